/* string_view.h - a borrowed run of bytes: not NUL-terminated, not owned, any content. */
#ifndef MISTRAL_BASE_STRING_VIEW_H
#define MISTRAL_BASE_STRING_VIEW_H

#include <stdbool.h>
#include <stddef.h>
#include <string.h>

struct string_view {
    const char *data;
    size_t length; /* bytes */
};

static inline struct string_view string_view_of(const char *text) {
    return (struct string_view){text, strlen(text)};
}

static inline bool string_view_equals(struct string_view a, struct string_view b) {
    return a.length == b.length && (a.length == 0 || memcmp(a.data, b.data, a.length) == 0);
}

static inline bool string_view_is(struct string_view view, const char *text) {
    return string_view_equals(view, string_view_of(text));
}

#endif
