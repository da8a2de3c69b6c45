/* origin.c - see origin.h; also the part of render.h that hands out text memory.
 */
#include "text/jinja/origin.h"

#include <stdlib.h>

enum { CHUNK_BYTES = 16 * 1024, SMALL_TEXT_BYTES = 2 * 1024 };

static bool list_reserve(struct jinja_origin_list *list, size_t capacity) {
    if (capacity <= list->capacity) {
        return true;
    }
    capacity = capacity < 2 * list->capacity ? 2 * list->capacity : capacity;
    if (capacity > SIZE_MAX / sizeof *list->pieces) {
        return false;
    }
    struct jinja_origin *pieces = realloc(list->pieces, capacity * sizeof *pieces);
    if (pieces == NULL) {
        return false;
    }
    list->pieces = pieces;
    list->capacity = capacity;
    return true;
}

static int compare_pieces(const void *a, const void *b) {
    uintptr_t left = (uintptr_t)((const struct jinja_origin *)a)->start;
    uintptr_t right = (uintptr_t)((const struct jinja_origin *)b)->start;
    return left < right ? -1 : left > right;
}

bool jinja_origins_init(struct jinja_origins *origins, const struct arena *template_memory,
                        const struct string_view *trusted, size_t trusted_count,
                        struct error *error) {
    struct jinja_origin_list *list = &origins->fixed;
    const void *cursor = NULL;
    struct jinja_origin piece = {0};
    bool done = list_reserve(list, trusted_count);
    for (size_t i = 0; done && i < trusted_count; i++) {
        if (trusted[i].length > 0) {
            list->pieces[list->count++] =
                (struct jinja_origin){trusted[i].data, trusted[i].length, NULL};
        }
    }
    while (done && arena_next_span(template_memory, &cursor, &piece.start, &piece.length)) {
        done = list_reserve(list, list->count + 1);
        if (done) {
            list->pieces[list->count++] = piece;
        }
    }
    if (!done) {
        return error_set(error, ERROR_OUT_OF_MEMORY, "no memory for the rendered prompt");
    }
    if (list->count > 0) {
        qsort(list->pieces, list->count, sizeof *list->pieces, compare_pieces);
    }
    return true;
}

void jinja_origins_deinit(struct jinja_origins *origins) {
    free(origins->fixed.pieces);
    free(origins->made.pieces);
    *origins = (struct jinja_origins){0};
}

/* How many pieces start at or before the address. */
static size_t pieces_until(const struct jinja_origin_list *list, const char *address) {
    size_t low = 0, high = list->count;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if ((uintptr_t)list->pieces[middle].start <= (uintptr_t)address) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    return low;
}

/* The piece that holds the address; NULL when none does. */
static const struct jinja_origin *find_piece(const struct jinja_origin_list *list,
                                             const char *address) {
    size_t index = pieces_until(list, address);
    if (index == 0) {
        return NULL;
    }
    const struct jinja_origin *piece = &list->pieces[index - 1];
    return (uintptr_t)address - (uintptr_t)piece->start < piece->length ? piece : NULL;
}

static bool add_chunk(struct jinja_render *render, size_t length) {
    struct jinja_origins *origins = render->origins;
    struct jinja_origin_list *list = &origins->made;
    struct jinja_origin piece = {.length = length};
    char *memory = jinja_alloc(render, length, 2);
    if (memory == NULL || !list_reserve(list, list->count + 1)) {
        return jinja_fail_memory(render);
    }
    piece.start = memory;
    piece.own = (uint8_t *)memory + length;
    size_t index = pieces_until(list, memory);
    size_t moved = (list->count - index) * sizeof piece;
    if (!jinja_spend_bytes(render, moved)) {
        return false;
    }
    memmove(list->pieces + index + 1, list->pieces + index, moved);
    list->pieces[index] = piece;
    list->count++;
    origins->chunk = memory;
    origins->chunk_own = piece.own;
    origins->chunk_left = length;
    return true;
}

char *jinja_alloc_text(struct jinja_render *render, size_t length, uint8_t **own) {
    struct jinja_origins *origins = render->origins;
    *own = NULL;
    if (origins == NULL || render->failed) {
        return jinja_alloc(render, length, 1);
    }
    if (length > SIZE_MAX / 4 || length == 0) {
        return jinja_alloc(render, length,
                           1); /* refuses the one, and needs no origin for the other */
    }
    if (length > origins->chunk_left &&
        !add_chunk(render, length > SMALL_TEXT_BYTES ? length : CHUNK_BYTES)) {
        return NULL;
    }
    char *text = origins->chunk;
    *own = origins->chunk_own;
    origins->chunk += length;
    origins->chunk_own += length;
    origins->chunk_left -= length;
    return text;
}

void jinja_copy_text(const struct jinja_render *render, char *to, uint8_t *own, const char *from,
                     size_t length) {
    if (length == 0) {
        return;
    }
    memcpy(to, from, length);
    if (own == NULL) {
        return;
    }
    const struct jinja_origin *piece = find_piece(&render->origins->made, from);
    if (piece == NULL) {
        piece = find_piece(&render->origins->fixed, from);
    }
    if (piece == NULL) {
        memset(own, 0, length);
    } else if (piece->own == NULL) {
        memset(own, 1, length);
    } else {
        memcpy(own, piece->own + (from - piece->start), length);
    }
}
