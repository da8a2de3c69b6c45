/*
 * render.h - the state of one rendering: its memory, its budget, its first failure.
 *
 * A template and its context are hostile, so everything a rendering does is paid for: steps (about
 * one for each expression evaluated, each piece of text written and each 64 bytes looked at),
 * bytes, and depth of nesting. A step is some 50 ns; every few thousand of them the clock is looked
 * at, and whether anybody still waits (base/work_limit.h). When a budget runs out the rendering
 * fails, and whoever loops over text or items finds `failed` set. Values live in the rendering's
 * arena and are released with it. One rendering belongs to one thread.
 *
 * A function that can fail returns false after jinja_fail; the first failure stays.
 */
#ifndef MISTRAL_TEXT_JINJA_RENDER_H
#define MISTRAL_TEXT_JINJA_RENDER_H

#include "base/arena.h"
#include "base/error.h"
#include "base/string_view.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define JINJA_MAX_NS INT64_C(2000000000) /* of one rendering, however slow the machine */

enum {
    JINJA_MAX_STEPS = 20 * 1000 * 1000,         /* about a second */
    JINJA_MAX_MEMORY_BYTES = 256 * 1024 * 1024, /* values of one rendering */
    JINJA_MAX_OUTPUT_BYTES = 64 * 1024 * 1024,
    JINJA_MAX_DEPTH = 600, /* nested evaluations, macro calls, and values inside values */
};

struct json_t;
struct jinja_origins;
struct jinja_activation;
struct jinja_builder;
struct jinja_value;

struct jinja_render {
    struct arena arena;
    char *slab; /* free part of the newest small-allocation slab */
    size_t slab_left;
    size_t steps_left;
    size_t steps_to_look; /* until the clock and the thread's work limit are looked at */
    int64_t deadline_ns;  /* of clock_now_ns; 0: the rendering has not begun */
    unsigned depth;
    bool failed;
    struct error *error;
    uint32_t failed_line;               /* 0 until an evaluation with a line has failed */
    bool raised;                        /* the template refused by raise_exception */
    const struct json_t *context;       /* object of the caller's variables */
    struct jinja_value *context_values; /* [context_count], those used so far */
    bool *context_loaded;               /* [context_count] */
    int64_t now_s;                      /* what strftime_now prints; seconds since the epoch */
    struct jinja_builder *out;          /* where output goes at this moment */
    struct jinja_origins *origins;      /* NULL: who wrote which byte is not followed */
    struct jinja_activation *activation;
};

void jinja_render_deinit(struct jinja_render *render);

/* Sets ERROR_FORMAT with this message unless something failed before. Returns false. */
bool jinja_fail(struct jinja_render *render, const char *format, ...)
    __attribute__((format(printf, 2, 3)));
/* The same for running out of memory or of the memory budget. */
bool jinja_fail_memory(struct jinja_render *render);

bool jinja_spend(struct jinja_render *render, size_t steps);
/* The prices of copying or comparing text, of taking it apart into characters, and of looking for
 * one text in another: at the worst texts from the front (where the time is linear), and from the
 * end (by the product of the lengths). Lengths are in bytes. */
bool jinja_spend_bytes(struct jinja_render *render, size_t length);
bool jinja_spend_characters(struct jinja_render *render, size_t length);
bool jinja_spend_search(struct jinja_render *render, size_t length);
bool jinja_spend_search_last(struct jinja_render *render, size_t length, size_t needle_length);

/* Every function that calls itself on hostile depth enters first and leaves last. */
bool jinja_enter(struct jinja_render *render);
static inline void jinja_leave(struct jinja_render *render) {
    render->depth--;
}

/* What turning a float into its shortest text, or text into a number, is worth. */
enum { JINJA_STEPS_OF_NUMBER = 64, JINJA_STEPS_OF_DATE = 512, JINJA_STEPS_OF_LOOK_UP = 4 };

/* Zeroed, aligned to 16 bytes; NULL after jinja_fail_memory. */
void *jinja_alloc(struct jinja_render *render, size_t count, size_t size);

/* Memory for text. With render->origins, *own is as long, zeroed: 1 for each byte that the template
 * wrote itself, 0 for what came from the context; else *own is NULL. */
char *jinja_alloc_text(struct jinja_render *render, size_t length, uint8_t **own);
/* Copies text and, where `own` is not NULL, who wrote it. */
void jinja_copy_text(const struct jinja_render *render, char *to, uint8_t *own, const char *from,
                     size_t length);

/* Text that grows in the rendering's memory. Appending after a failure does nothing; the rendering
 * is marked failed, so one check at the end is enough. */
struct jinja_builder {
    struct jinja_render *render;
    char *data;
    uint8_t *own; /* [capacity], of jinja_alloc_text */
    size_t length, capacity;
};

/* Whoever wrote the bytes before has written these; the functions that make text of anything but
 * text append what counts as the context's. */
void jinja_append(struct jinja_builder *builder, const char *data, size_t length);
void jinja_append_view(struct jinja_builder *builder, struct string_view text);
void jinja_append_text(struct jinja_builder *builder, const char *text);
void jinja_append_char(struct jinja_builder *builder, char character);
void jinja_append_code_point(struct jinja_builder *builder, uint32_t code_point);
void jinja_append_repeated(struct jinja_builder *builder, struct string_view text, size_t count);
void jinja_append_format(struct jinja_builder *builder, const char *format, ...)
    __attribute__((format(printf, 2, 3))); /* up to 511 bytes */
struct string_view jinja_built(const struct jinja_builder *builder);

#endif
