/* client_text.c - see client_text.h. */
#include "server/client_text.h"

#include <string.h>

static bool begins(const char *text, const char *prefix) {
    return strncmp(text, prefix, strlen(prefix)) == 0;
}

static bool is_route(const char *text) {
    static const char *const prefixes[] = {"/v1/", "/api/"};
    for (size_t i = 0; i < sizeof prefixes / sizeof prefixes[0]; i++) {
        if (begins(text, prefixes[i])) {
            return true;
        }
    }
    return false;
}

static bool is_path(const char *message, const char *at) {
    return at[0] == '/' && at[1] != '\0' && strchr(" /'\"", at[1]) == NULL && !is_route(at) &&
           (at == message || strchr(" '\"`([{<=", at[-1]) != NULL);
}

/* Bytes of the next word, and whether it goes on a path that had a space: it has a slash, and does
 * not begin with it. */
static bool goes_on(const char *word, size_t *length) {
    *length = strcspn(word, " '\"`");
    const char *slash = memchr(word, '/', *length);
    return slash != NULL && slash != word && !begins(slash, "//");
}

/* Bytes of the path at `path`; `quote` is what stands before it, or 0. */
static size_t path_length(const char *path, char quote) {
    const char *closing = quote == 0 ? NULL : strchr(path, quote);
    if (closing != NULL) {
        return (size_t)(closing - path);
    }
    size_t length = strcspn(path, " '\"`");
    size_t more;
    while (path[length] == ' ' && path[length - 1] != ':' && goes_on(path + length + 1, &more)) {
        length += 1 + more;
    }
    while (strchr(":,;.)]}>", path[length - 1]) != NULL) {
        length--;
    }
    return length;
}

bool client_text_hide_paths(const char *message, char *out, size_t size) {
    size_t used = 0;
    bool found = false;
    for (const char *at = message; *at != '\0' && used + 1 < size;) {
        if (!is_path(message, at)) {
            out[used++] = *at++;
            continue;
        }
        char before = at == message ? '\0' : at[-1];
        size_t length = path_length(at, strchr("'\"`", before) != NULL ? before : '\0');
        const char *end = at + length;
        size_t name = length;
        while (name > 1 && at[name - 1] == '/') { /* of a folder */
            name--;
        }
        for (length = name; name > 0 && at[name - 1] != '/'; name--) {
        }
        for (; name < length && used + 1 < size; name++) {
            out[used++] = at[name];
        }
        at = end;
        found = true;
    }
    out[used] = '\0';
    return found;
}
