/*
 * hugging_face.h - the files of a repository on Hugging Face (or a mirror), and which one is meant.
 * Private to hub/. Uses GET <endpoint>/api/models/<owner>/<name>?blobs=true and
 * <endpoint>/<owner>/<name>/resolve/main/<file>, as huggingface_hub does.
 */
#ifndef MISTRAL_HUB_HUGGING_FACE_H
#define MISTRAL_HUB_HUGGING_FACE_H

#include "hub/digest.h"
#include "hub/reference.h"
#include "hub/session.h"

struct hub_file {
    char *path; /* in the repository */
    uint64_t bytes;
    char sha256[DIGEST_HEX_BYTES]; /* "" when the repository does not tell */
};

struct hub_file_list {
    struct hub_file *files; /* [count], GGUF only */
    size_t count;
};

void hub_file_list_deinit(struct hub_file_list *list);

bool hugging_face_list(struct hub_session *session, const char *repository,
                       struct hub_file_list *list, struct error *error);

/* The file that the reference means. Not one, or several: an error that lists what there is. */
const struct hub_file *hugging_face_choose(const struct hub_file_list *list,
                                           const struct hub_reference *reference,
                                           const char *default_format, struct error *error);

void hugging_face_append_url(const struct hub_session *session, const char *repository,
                             const struct hub_file *file, struct string_buffer *url);

/* Turns an answer that is neither 200 nor 206 into an error with advice. Returns false. */
bool hugging_face_refused(const struct hub_session *session, const char *repository,
                          const struct http_response *response, struct error *error);

#endif
