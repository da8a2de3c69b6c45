/* stop_matcher.c - see stop_matcher.h. */
#include "text/tokenizer/stop_matcher.h"

#include "base/bytes.h"

void stop_matcher_deinit(struct stop_matcher *matcher) {
    string_buffer_deinit(&matcher->held);
}

/* The match that was complete first as the bytes came, whatever pieces they came in; of those that
 * end together the longest. */
static bool find_match(struct stop_matcher *matcher, struct string_view text, size_t *start) {
    size_t best_end = SIZE_MAX;
    for (size_t i = 0; i < matcher->stop_count; i++) {
        struct string_view stop = matcher->stops[i];
        const char *found = memmem(text.data, text.length, stop.data, stop.length);
        if (found == NULL) {
            continue;
        }
        size_t at = (size_t)(found - text.data);
        size_t end = at + stop.length;
        if (end < best_end || (end == best_end && at < *start)) {
            best_end = end;
            *start = at;
            matcher->match = i;
        }
    }
    return best_end != SIZE_MAX;
}

/* How many bytes at the end of the text could begin a stop string. */
static size_t open_tail(const struct stop_matcher *matcher, struct string_view text) {
    size_t longest = 0;
    for (size_t i = 0; i < matcher->stop_count; i++) {
        struct string_view stop = matcher->stops[i];
        for (size_t size = size_min(stop.length - 1, text.length); size > longest; size--) {
            if (memcmp(text.data + text.length - size, stop.data, size) == 0) {
                longest = size;
            }
        }
    }
    return longest;
}

bool stop_matcher_push(struct stop_matcher *matcher, const char *text, size_t length,
                       struct string_buffer *out) {
    if (matcher->matched || length == 0) {
        return matcher->matched;
    }
    string_buffer_append(&matcher->held, text, length);
    if (matcher->held.failed) {
        out->failed = true; /* text was lost: the caller checks one buffer */
        return false;
    }
    struct string_view held = {matcher->held.data, matcher->held.length};
    size_t start = 0;
    if (find_match(matcher, held, &start)) {
        string_buffer_append(out, held.data, start);
        string_buffer_clear(&matcher->held);
        matcher->matched = true;
        return true;
    }
    size_t open = open_tail(matcher, held);
    string_buffer_append(out, held.data, held.length - open);
    memmove(matcher->held.data, held.data + held.length - open, open);
    matcher->held.length = open;
    matcher->held.data[open] = '\0';
    return false;
}

void stop_matcher_finish(struct stop_matcher *matcher, struct string_buffer *out) {
    string_buffer_append(out, matcher->held.data, matcher->held.length);
    string_buffer_clear(&matcher->held);
}
