/* render.c - see render.h. */
#include "text/jinja/render.h"

#include "base/bytes.h"
#include "base/clock.h"
#include "base/utf8.h"
#include "base/work_limit.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

enum {
    SLAB_BYTES = 32 * 1024,
    SMALL_BYTES = 4 * 1024, /* larger allocations do not come from a slab */
    ALIGNMENT = 16,
    LOOK_EVERY = 4096, /* steps */
    BYTES_PER_STEP = 64,
    SEARCHED_BYTES_PER_STEP = 4,
    DECODED_BYTES_PER_STEP = 2,
};

void jinja_render_deinit(struct jinja_render *render) {
    arena_deinit(&render->arena);
}

bool jinja_fail(struct jinja_render *render, const char *format, ...) {
    if (render->failed) {
        return false;
    }
    render->failed = true;
    char message[sizeof render->error->message];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(message, sizeof message, format, arguments);
    va_end(arguments);
    return error_set(render->error, ERROR_FORMAT, "%s", message);
}

bool jinja_fail_memory(struct jinja_render *render) {
    if (render->failed) {
        return false;
    }
    render->failed = true;
    return error_set(render->error, ERROR_OUT_OF_MEMORY,
                     "the template needs more memory than there is");
}

static bool look_up(struct jinja_render *render) {
    render->steps_to_look = LOOK_EVERY;
    int64_t now = clock_now_ns();
    if (render->deadline_ns == 0) {
        render->deadline_ns = now + JINJA_MAX_NS;
    }
    if (now < render->deadline_ns && !work_limit_reached()) {
        return true;
    }
    return work_limit_is_wanted() ? jinja_fail(render, "the template takes longer than %d s",
                                               (int)(JINJA_MAX_NS / 1000000000))
                                  : jinja_fail(render, "nobody waits for the template any more");
}

bool jinja_spend(struct jinja_render *render, size_t steps) {
    if (steps > render->steps_left) {
        render->steps_left = 0;
        return jinja_fail(render, "the template takes too many steps");
    }
    render->steps_left -= steps;
    if (steps >= render->steps_to_look) {
        return look_up(render) && !render->failed;
    }
    render->steps_to_look -= steps;
    return !render->failed;
}

bool jinja_spend_bytes(struct jinja_render *render, size_t length) {
    return jinja_spend(render, length / BYTES_PER_STEP);
}

bool jinja_spend_characters(struct jinja_render *render, size_t length) {
    return jinja_spend(render, length / DECODED_BYTES_PER_STEP);
}

bool jinja_spend_search(struct jinja_render *render, size_t length) {
    return jinja_spend(render, 1 + length / SEARCHED_BYTES_PER_STEP);
}

bool jinja_spend_search_last(struct jinja_render *render, size_t length, size_t needle_length) {
    /* Neither is larger than JINJA_MAX_MEMORY_BYTES or a caller's JSON: no overflow in 64 bits. */
    return jinja_spend(render,
                       1 + length / DECODED_BYTES_PER_STEP * (1 + needle_length / BYTES_PER_STEP));
}

bool jinja_enter(struct jinja_render *render) {
    if (render->depth >= JINJA_MAX_DEPTH) {
        return jinja_fail(render, "the template or its data is nested too deeply");
    }
    render->depth++;
    return true;
}

static void *allocate_large(struct jinja_render *render, size_t bytes) {
    if (bytes > JINJA_MAX_MEMORY_BYTES || render->arena.total > JINJA_MAX_MEMORY_BYTES - bytes) {
        jinja_fail(render, "the template uses more than %d MiB", JINJA_MAX_MEMORY_BYTES >> 20);
        return NULL;
    }
    if (!jinja_spend_bytes(render, bytes)) {
        return NULL;
    }
    void *memory = arena_alloc(&render->arena, bytes, 1);
    if (memory == NULL) {
        jinja_fail_memory(render);
    }
    return memory;
}

void *jinja_alloc(struct jinja_render *render, size_t count, size_t size) {
    size_t bytes;
    if (render->failed) {
        return NULL;
    }
    if (!size_multiply(count, size, &bytes) || bytes > JINJA_MAX_MEMORY_BYTES) {
        bytes = (size_t)JINJA_MAX_MEMORY_BYTES + 1;
    }
    bytes = size_divide_up(size_max(bytes, 1), ALIGNMENT) * ALIGNMENT;
    if (bytes > SMALL_BYTES) {
        return allocate_large(render, bytes);
    }
    if (bytes > render->slab_left) {
        render->slab = allocate_large(render, SLAB_BYTES);
        render->slab_left = render->slab == NULL ? 0 : SLAB_BYTES;
        if (render->slab == NULL) {
            return NULL;
        }
    }
    void *memory = render->slab;
    render->slab += bytes;
    render->slab_left -= bytes;
    return memory;
}

static bool builder_reserve(struct jinja_builder *builder, size_t extra) {
    struct jinja_render *render = builder->render;
    if (!jinja_spend(render, 1 + extra / BYTES_PER_STEP)) {
        return false;
    }
    size_t needed;
    if (!size_add(builder->length, extra, &needed)) {
        return jinja_fail_memory(render);
    }
    if (needed <= builder->capacity) {
        return true;
    }
    size_t capacity = size_max(needed, size_max(64, builder->capacity * 2));
    uint8_t *own;
    char *data = jinja_alloc_text(render, capacity, &own);
    if (data == NULL) {
        return false;
    }
    if (builder->length > 0) {
        memcpy(data, builder->data, builder->length);
    }
    if (builder->length > 0 && own != NULL) {
        memcpy(own, builder->own, builder->length);
    }
    builder->data = data;
    builder->own = own;
    builder->capacity = capacity;
    return true;
}

void jinja_append(struct jinja_builder *builder, const char *data, size_t length) {
    if (length > 0 && builder_reserve(builder, length)) {
        uint8_t *own = builder->own == NULL ? NULL : builder->own + builder->length;
        jinja_copy_text(builder->render, builder->data + builder->length, own, data, length);
        builder->length += length;
    }
}

/* What no one wrote: the memory behind `own` is zero already. */
static void append_made(struct jinja_builder *builder, const char *data, size_t length) {
    if (length > 0 && builder_reserve(builder, length)) {
        memcpy(builder->data + builder->length, data, length);
        builder->length += length;
    }
}

void jinja_append_view(struct jinja_builder *builder, struct string_view text) {
    jinja_append(builder, text.data, text.length);
}

void jinja_append_text(struct jinja_builder *builder, const char *text) {
    append_made(builder, text, strlen(text));
}

void jinja_append_char(struct jinja_builder *builder, char character) {
    append_made(builder, &character, 1);
}

void jinja_append_code_point(struct jinja_builder *builder, uint32_t code_point) {
    char bytes[4];
    append_made(builder, bytes, utf8_encode(code_point, bytes));
}

void jinja_append_repeated(struct jinja_builder *builder, struct string_view text, size_t count) {
    size_t bytes;
    if (!size_multiply(text.length, count, &bytes) || bytes > JINJA_MAX_MEMORY_BYTES) {
        bytes = (size_t)JINJA_MAX_MEMORY_BYTES + 1; /* refused by the next line */
    }
    if (bytes == 0 || !builder_reserve(builder, bytes)) {
        return;
    }
    char *start = builder->data + builder->length;
    uint8_t *own = builder->own == NULL ? NULL : builder->own + builder->length;
    jinja_copy_text(builder->render, start, own, text.data, text.length);
    for (size_t done = text.length; done < bytes;) { /* twice as many each time */
        size_t more = size_min(done, bytes - done);
        memcpy(start + done, start, more);
        if (own != NULL) {
            memcpy(own + done, own, more);
        }
        done += more;
    }
    builder->length += bytes;
}

void jinja_append_format(struct jinja_builder *builder, const char *format, ...) {
    char text[512];
    va_list arguments;
    va_start(arguments, format);
    int length = vsnprintf(text, sizeof text, format, arguments);
    va_end(arguments);
    if (length > 0) {
        append_made(builder, text, size_min((size_t)length, sizeof text - 1));
    }
}

struct string_view jinja_built(const struct jinja_builder *builder) {
    return (struct string_view){builder->data == NULL ? "" : builder->data, builder->length};
}
