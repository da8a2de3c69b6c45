/* hugging_face.c - see hugging_face.h. What the server says is hostile until checked. */
#include "hub/hugging_face.h"

#include "base/json_memory.h"

#include <ctype.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

enum {
    LISTING_LIMIT = 16 << 20, /* bytes of a repository's description */
    MAX_FILES = 10000,
    NAMES_IN_A_MESSAGE = 20,
};

void hub_file_list_deinit(struct hub_file_list *list) {
    for (size_t i = 0; i < list->count; i++) {
        free(list->files[i].path);
    }
    free(list->files);
    *list = (struct hub_file_list){0};
}

/* Errors. */

bool hugging_face_refused(const struct hub_session *session, const char *repository,
                          const struct http_response *response, struct error *error) {
    bool has_token = session->options->config->hub_token != NULL;
    const char *code = response->error_code;
    bool is_gated = strcmp(code, "GatedRepo") == 0;
    if (response->status == 404 || strcmp(code, "RepoNotFound") == 0) {
        return error_set(error, ERROR_NOT_FOUND, "%s: %s has no such %s, or it is private%s",
                         repository, string_buffer_text(&session->endpoint),
                         strcmp(code, "EntryNotFound") == 0 ? "file" : "repository",
                         has_token ? "" : " (then set HF_TOKEN)");
    }
    if (response->status == 401 || response->status == 403) {
        return error_set(error, ERROR_INVALID_ARGUMENT, "%s: access %s (%ld). %s%s/%s%s",
                         repository, is_gated ? "must be asked for" : "was refused",
                         response->status, is_gated ? "Accept the terms at " : "See ",
                         string_buffer_text(&session->endpoint), repository,
                         has_token ? "; the token in HF_TOKEN is not valid for it"
                                   : ", then set HF_TOKEN to a token of your account");
    }
    return error_set(error, ERROR_NETWORK, "%s: %s", repository, response->reason);
}

/* The list. */

struct listing {
    struct hub_session *session; /* first: the context of `cancelled` too */
    struct string_buffer text;
};

static bool append_listing(void *context, const struct http_response *response, const char *bytes,
                           size_t length) {
    (void)response;
    struct listing *listing = context;
    string_buffer_append(&listing->text, bytes, length);
    return !listing->text.failed && listing->text.length <= LISTING_LIMIT;
}

static bool listing_cancelled(void *context) {
    const struct listing *listing = context;
    return session_is_cancelled(listing->session);
}

static bool fetch_listing(struct hub_session *session, const char *repository,
                          struct string_buffer *text, struct error *error) {
    struct string_buffer url = {0};
    string_buffer_append_format(&url, "%s/api/models/%s?blobs=true",
                                string_buffer_text(&session->endpoint), repository);
    struct listing listing = {.session = session};
    struct http_request request = session_request(session, string_buffer_text(&url));
    request.body = append_listing;
    request.cancelled = listing_cancelled;
    request.context = &listing;
    bool done = false;
    size_t attempt = 0;
    for (;;) {
        string_buffer_clear(&listing.text);
        session_report(session, HUB_ASKING, NULL, 0, 0, NULL);
        struct http_response response;
        bool answered = http_get(&request, &response, error);
        if (answered && response.status == 200) {
            done = true;
            break;
        }
        if (listing.text.length > LISTING_LIMIT) {
            error_set(error, ERROR_NETWORK, "%s: the list of files is larger than %d MiB",
                      repository, LISTING_LIMIT >> 20);
            break;
        }
        if (response.unreachable) {
            session_fail_unreachable(session, &response, error);
            break;
        }
        if (!response.transient) {
            done = answered && hugging_face_refused(session, repository, &response, error);
            break;
        }
        if (!session_wait_to_retry(session, &response, &attempt, NULL, 0, 0, error)) {
            error_prefix(error, "%s", repository);
            break;
        }
    }
    string_buffer_deinit(&url);
    *text = listing.text;
    return done;
}

static bool copy_sha256(const json_t *value, char out[DIGEST_HEX_BYTES]) {
    const char *text = json_string_value(value);
    out[0] = '\0';
    if (text == NULL || strlen(text) != DIGEST_HEX_BYTES - 1) {
        return false;
    }
    for (size_t i = 0; i < DIGEST_HEX_BYTES; i++) {
        if (text[i] != '\0' && !isxdigit((unsigned char)text[i])) {
            out[0] = '\0';
            return false;
        }
        out[i] = (char)tolower((unsigned char)text[i]);
    }
    return true;
}

static const char *base_name(const char *path) {
    const char *slash = strrchr(path, '/');
    return slash == NULL ? path : slash + 1;
}

/* A name that may become a file here: no hidden file, no control characters. */
static bool is_usable_path(const char *path) {
    const char *name = base_name(path);
    size_t length = strlen(name);
    if (length <= 5 || length >= HUB_NAME_BYTES - 80 || name[0] == '.' ||
        strcasecmp(name + length - 5, ".gguf") != 0) {
        return false;
    }
    for (const char *c = path; *c != '\0'; c++) {
        if ((unsigned char)*c < 0x20 || *c == 0x7f || *c == '\\') {
            return false;
        }
    }
    return true;
}

/* One element of "siblings"; what is no usable GGUF file is passed over. */
static bool add_file(struct hub_file_list *list, const json_t *entry) {
    const char *path = json_string_value(json_object_get(entry, "rfilename"));
    const json_t *large = json_object_get(entry, "lfs");
    const json_t *size = json_object_get(json_is_object(large) ? large : entry, "size");
    if (path == NULL || !is_usable_path(path) || !json_is_integer(size) ||
        json_integer_value(size) < 0) {
        return true;
    }
    struct hub_file *file = &list->files[list->count];
    file->path = strdup(path);
    file->bytes = (uint64_t)json_integer_value(size);
    copy_sha256(json_object_get(large, "sha256"), file->sha256);
    list->count += file->path != NULL ? 1 : 0;
    return file->path != NULL;
}

static bool parse_listing(const struct string_buffer *text, const char *repository,
                          struct hub_file_list *list, struct error *error) {
    json_t *description = json_guarded(json_loadb, string_buffer_text(text), text->length, 0, NULL);
    const json_t *siblings = json_object_get(description, "siblings");
    bool done = false;
    size_t count = json_array_size(siblings);
    if (!json_is_array(siblings) || count > MAX_FILES) {
        error_set(error, ERROR_NETWORK, "%s: the server's list of files is not understood",
                  repository);
        goto cleanup;
    }
    list->files = calloc(count + 1, sizeof *list->files);
    done = list->files != NULL;
    for (size_t i = 0; done && i < count; i++) {
        done = add_file(list, json_array_get(siblings, i));
    }
    if (!done) {
        error_set(error, ERROR_OUT_OF_MEMORY, "no memory for the list of files");
    } else if (list->count == 0) {
        done = error_set(error, ERROR_NOT_FOUND,
                         "%s has no GGUF files; look for a repository whose name ends in -GGUF",
                         repository);
    }
cleanup:
    json_decref(description);
    return done;
}

bool hugging_face_list(struct hub_session *session, const char *repository,
                       struct hub_file_list *list, struct error *error) {
    *list = (struct hub_file_list){0};
    struct string_buffer text = {0};
    bool done = fetch_listing(session, repository, &text, error) &&
                parse_listing(&text, repository, list, error);
    string_buffer_deinit(&text);
    if (!done) {
        hub_file_list_deinit(list);
    }
    return done;
}

void hugging_face_append_url(const struct hub_session *session, const char *repository,
                             const struct hub_file *file, struct string_buffer *url) {
    string_buffer_append_format(url, "%s/%s/resolve/main", string_buffer_text(&session->endpoint),
                                repository);
    for (const char *part = file->path; *part != '\0';) {
        size_t length = strcspn(part, "/");
        string_buffer_append_char(url, '/');
        http_append_escaped(url, part, length);
        part += length + (part[length] == '/' ? 1 : 0);
    }
}

/* The choice. */

/* "name-Q4_K_M.gguf", "name.q4_k_m.gguf": the format stands before the ending, after a separator.
 */
static bool has_format(const char *path, const char *format) {
    const char *name = base_name(path);
    size_t stem = strlen(name) - 5;
    size_t length = strlen(format);
    return length > 0 && stem > length && strchr("-._", name[stem - length - 1]) != NULL &&
           strncasecmp(name + stem - length, format, length) == 0;
}

/* "…-00001-of-00003.gguf": one of several parts. */
static bool is_part(const char *path) {
    const char *name = base_name(path);
    size_t stem = strlen(name) - 5;
    if (stem < 15 || strncmp(name + stem - 9, "-of-", 4) != 0 || name[stem - 15] != '-') {
        return false;
    }
    for (size_t i = 0; i < 5; i++) {
        if (!isdigit((unsigned char)name[stem - 14 + i]) ||
            !isdigit((unsigned char)name[stem - 5 + i])) {
            return false;
        }
    }
    return true;
}

/* A vision model's projector is no language model. */
static bool is_model(const char *path) {
    return !is_part(path) && strncasecmp(base_name(path), "mmproj", 6) != 0;
}

enum match_rule { MATCH_FILE, MATCH_FORMAT, MATCH_ANY };

static bool matches(const struct hub_file *file, enum match_rule rule, const char *wanted) {
    switch (rule) {
    case MATCH_FILE:
        return strcasecmp(file->path, wanted) == 0 ||
               strcasecmp(base_name(file->path), wanted) == 0;
    case MATCH_FORMAT:
        return is_model(file->path) && has_format(file->path, wanted);
    case MATCH_ANY:
        break;
    }
    return is_model(file->path);
}

/* NULL, with *count telling why, unless exactly one file matches. */
static const struct hub_file *find_one(const struct hub_file_list *list, enum match_rule rule,
                                       const char *wanted, size_t *count) {
    const struct hub_file *found = NULL;
    *count = 0;
    for (size_t i = 0; i < list->count; i++) {
        if (matches(&list->files[i], rule, wanted)) {
            found = &list->files[i];
            (*count)++;
        }
    }
    return *count == 1 ? found : NULL;
}

static void append_names(const struct hub_file_list *list, struct string_buffer *names) {
    size_t shown = 0;
    for (size_t i = 0; i < list->count; i++) {
        if (shown == NAMES_IN_A_MESSAGE) {
            string_buffer_append_format(names, " … (%zu in all)", list->count);
            break;
        }
        string_buffer_append_format(names, " %s", list->files[i].path);
        shown++;
    }
}

static const struct hub_file *fail_choice(const struct hub_file_list *list,
                                          const struct hub_reference *reference, const char *wanted,
                                          size_t count, struct error *error) {
    bool in_parts = false;
    for (size_t i = 0; i < list->count; i++) {
        const char *part = is_part(list->files[i].path) ? list->files[i].path : NULL;
        in_parts = in_parts || (part != NULL && strcasestr(part, wanted) != NULL);
    }
    struct string_buffer names = {0};
    append_names(list, &names);
    if (count > 1) {
        error_set(error, ERROR_INVALID_ARGUMENT,
                  "%s has several files for '%s'; name one (hf:%s:FILE.gguf):%s",
                  reference->repository, wanted, reference->repository, string_buffer_text(&names));
    } else if (in_parts) {
        error_set(error, ERROR_UNSUPPORTED,
                  "%s has '%s' in several parts only, which cannot be loaded; there is:%s",
                  reference->repository, wanted, string_buffer_text(&names));
    } else {
        error_set(error, ERROR_NOT_FOUND, "%s has no file for '%s'; there is:%s",
                  reference->repository, wanted, string_buffer_text(&names));
    }
    string_buffer_deinit(&names);
    return NULL;
}

const struct hub_file *hugging_face_choose(const struct hub_file_list *list,
                                           const struct hub_reference *reference,
                                           const char *default_format, struct error *error) {
    const struct hub_file *file;
    size_t count;
    struct string_buffer name = {0};
    if (reference_file_name(reference, default_format, &name)) {
        const char *wanted =
            reference->alias == NULL ? reference->wanted : string_buffer_text(&name);
        file = find_one(list, MATCH_FILE, wanted, &count);
        file = file != NULL ? file : fail_choice(list, reference, wanted, count, error);
    } else if (reference->wanted[0] != '\0') {
        file = find_one(list, MATCH_FORMAT, reference->wanted, &count);
        file = file != NULL ? file : fail_choice(list, reference, reference->wanted, count, error);
    } else {
        file = find_one(list, MATCH_FORMAT, default_format, &count);
        size_t any;
        if (file == NULL && count == 0) {
            file = find_one(list, MATCH_ANY, "", &any);
        }
        file = file != NULL ? file : fail_choice(list, reference, default_format, count, error);
    }
    string_buffer_deinit(&name);
    return file;
}
