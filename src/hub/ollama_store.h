/*
 * ollama_store.h - Ollama's way of keeping models: manifests that name layers, layers as blobs.
 * Private to hub/.
 *
 * <root>/manifests/<host>/<namespace>/<model>/<tag> is JSON that lists layers by checksum;
 * <root>/blobs/sha256-<hex> are the layers. People's own Ollama stores are read and never written.
 * What is created, copied or pulled here lies in a store of the same layout in the models folder.
 * Manifests are hostile: names and checksums are checked before they become paths.
 */
#ifndef MISTRAL_HUB_OLLAMA_STORE_H
#define MISTRAL_HUB_OLLAMA_STORE_H

#include "hub/hub.h"

#include <jansson.h>

enum { OLLAMA_PART_BYTES = 129, OLLAMA_MAX_LAYERS = 64, OLLAMA_MAX_TEXT = 4 << 20 };

struct ollama_name {
    char host[OLLAMA_PART_BYTES], space[OLLAMA_PART_BYTES], model[OLLAMA_PART_BYTES],
        tag[OLLAMA_PART_BYTES];
};

/* [host/][namespace/]model[:tag]; false when it is no such name. */
bool ollama_name_parse(const char *text, struct ollama_name *name);
bool ollama_name_is_of_default_host(const struct ollama_name *name);
/* As people write it: defaults left out, but for the tag. */
void ollama_name_append(const struct ollama_name *name, struct string_buffer *out);
void ollama_name_append_path(const char *root, const struct ollama_name *name,
                             struct string_buffer *out);

struct ollama_layer {
    char type[64]; /* "model", "params", …: what is behind application/vnd.ollama.image. */
    char digest[65];
    uint64_t bytes;
};

struct ollama_manifest {
    struct ollama_layer layers[OLLAMA_MAX_LAYERS];
    size_t count;
    struct ollama_layer config; /* digest "": none */
};

bool ollama_manifest_parse(const char *text, size_t length, struct ollama_manifest *manifest,
                           struct error *error);
/* Reads and parses a manifest's file; *text is the caller's to free. */
bool ollama_manifest_read(const char *path, char **text, size_t *length,
                          struct ollama_manifest *manifest, struct error *error);
const struct ollama_layer *ollama_manifest_find(const struct ollama_manifest *manifest,
                                                const char *type);
void ollama_append_blob(const char *root, const char *digest, struct string_buffer *out);

/* Calls `visit` for each file where a manifest may be, until it returns false. */
bool ollama_store_walk(const char *root,
                       bool (*visit)(void *context, const char *path,
                                     const struct ollama_name *name),
                       void *context);
/* Appends what is in the store; a manifest that makes no sense is passed over. False: no memory. */
bool ollama_store_list(const char *root, enum hub_store store, struct hub_model_list *list);
/* Reads what lies beside the weights of a listed model. */
bool ollama_store_read_texts(struct hub_model *model, struct error *error);

/* Appends the root of the store in the models folder. */
bool ollama_own_root(const struct config *config, struct string_buffer *root, struct error *error);
/* Every foreign store there may be: false ends the walk. */
bool ollama_foreign_roots(bool (*visit)(void *context, const char *root), void *context);

/* hugging_face_cache.c: the same for the cache of Hugging Face's own programs. */
bool hugging_face_cache_list(struct hub_model_list *list);
bool hugging_face_cache_folder(struct string_buffer *folder); /* false: there is no home folder */

/* models.c: appends a copy-free entry; takes it over, also when false (no memory). */
bool hub_model_list_append(struct hub_model_list *list, struct hub_model *model);

#endif
