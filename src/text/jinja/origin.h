/*
 * origin.h - who wrote each byte of a text: the template, or whoever filled the context.
 *
 * Texts are views, and every operation on them ends in copying bytes from one place to another. So
 * it is enough to know who wrote the memory a copy comes from: the template's own memory and the
 * trusted texts of the context as a whole, and the rendering's text memory byte by byte. Any other
 * address is not the template's. One rendering, one thread.
 */
#ifndef MISTRAL_TEXT_JINJA_ORIGIN_H
#define MISTRAL_TEXT_JINJA_ORIGIN_H

#include "base/arena.h"
#include "base/error.h"
#include "base/string_view.h"
#include "text/jinja/render.h"

/* A piece of memory. */
struct jinja_origin {
    const char *start;
    size_t length;
    uint8_t *own; /* [length]; NULL: all of it is the template's */
};

/* Pieces that do not overlap, in order of address. */
struct jinja_origin_list {
    struct jinja_origin *pieces; /* [count] */
    size_t count, capacity;
};

struct jinja_origins {
    struct jinja_origin_list fixed; /* the template's, the trusted */
    struct jinja_origin_list made;  /* the rendering's text memory */
    char *chunk;                    /* the free part of the newest of those */
    uint8_t *chunk_own;
    size_t chunk_left;
};

bool jinja_origins_init(struct jinja_origins *origins, const struct arena *template_memory,
                        const struct string_view *trusted, size_t trusted_count,
                        struct error *error);
void jinja_origins_deinit(struct jinja_origins *origins);

#endif
