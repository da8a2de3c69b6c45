/* template.c - see template.h: compiles a template once, and gives each rendering its own
 * state. */
#include "text/chat/template.h"

#include "text/chat/template_internal.h"
#include "text/jinja/eval.h"
#include "text/jinja/origin.h"
#include "text/jinja/text.h"

#include "base/clock.h"
#include "base/utf8.h"

#include <jansson.h>
#include <stdlib.h>
#include <string.h>

enum { MAX_SOURCE_BYTES = 1024 * 1024 };

struct chat_template {
    struct arena arena; /* source, tokens, tree */
    struct jinja_template tree;
};

static uint32_t line_of(const char *source, size_t offset) {
    uint32_t line = 1;
    for (size_t i = 0; i < offset; i++) {
        line += source[i] == '\n';
    }
    return line;
}

/* The source with every line break as \n, less the last one, as Jinja reads it. */
static bool normalize_source(struct arena *arena, const char *source, size_t length,
                             struct string_view *text, struct error *error) {
    char *copy = arena_alloc(arena, length + 1, 1);
    if (copy == NULL) {
        return error_set(error, ERROR_OUT_OF_MEMORY, "no memory for the template");
    }
    size_t count = 0;
    for (size_t i = 0; i < length; i++) {
        if (source[i] == '\r' && i + 1 < length && source[i + 1] == '\n') {
            continue;
        }
        copy[count++] = source[i] == '\r' ? '\n' : source[i];
    }
    count -= count > 0 && copy[count - 1] == '\n';
    *text = (struct string_view){copy, count};
    return true;
}

bool chat_template_create(const char *source, size_t length, struct chat_template **chat_template,
                          struct error *error) {
    size_t bad_at;
    struct jinja_name *loop_name = NULL;
    struct string_view text = {0};
    struct chat_template *created = NULL;
    if (length > MAX_SOURCE_BYTES) {
        return error_set(error, ERROR_FORMAT, "line 1: the chat template is larger than %d KiB",
                         MAX_SOURCE_BYTES >> 10);
    }
    if (!utf8_validate(source, length, &bad_at)) {
        return error_set(error, ERROR_FORMAT, "line %u: the chat template is not UTF-8",
                         (unsigned)line_of(source, bad_at));
    }
    created = calloc(1, sizeof *created);
    if (created == NULL) {
        return error_set(error, ERROR_OUT_OF_MEMORY, "no memory for the template");
    }
    created->tree.arena = &created->arena;
    if (!normalize_source(&created->arena, source, length, &text, error) ||
        !jinja_parse(&created->tree, text, &loop_name, error) ||
        !jinja_resolve_names(&created->tree, loop_name, error)) {
        chat_template_free(created);
        return false;
    }
    *chat_template = created;
    return true;
}

void chat_template_free(struct chat_template *chat_template) {
    if (chat_template != NULL) {
        arena_deinit(&chat_template->arena);
        free(chat_template);
    }
}

/* Runs the template into the rendering's own memory. */
static bool run(struct jinja_render *render, const struct jinja_template *tree) {
    struct jinja_activation *activation = jinja_alloc(render, 1, sizeof *activation);
    render->context_values =
        jinja_alloc(render, tree->context_count, sizeof *render->context_values);
    render->context_loaded =
        jinja_alloc(render, tree->context_count, sizeof *render->context_loaded);
    if (activation == NULL || render->failed) {
        return false;
    }
    activation->slots = jinja_alloc(render, tree->slot_count, sizeof *activation->slots);
    render->activation = activation;
    return activation->slots != NULL && jinja_enter_scope(render, &tree->scope) &&
           jinja_execute(render, tree->body) == JINJA_FLOW_NEXT && !render->failed;
}

/* Renders what `render` is set up for; the output is in its memory until jinja_render_deinit. */
static bool render_output(struct jinja_render *render, const struct chat_template *chat_template,
                          struct jinja_builder *output) {
    render->out = output;
    bool done = run(render, &chat_template->tree);
    if (done && output->length > JINJA_MAX_OUTPUT_BYTES) {
        done = jinja_fail(render, "the template's output is larger than %d MiB",
                          JINJA_MAX_OUTPUT_BYTES >> 20);
    }
    if (!done && !render->raised && render->error->code == ERROR_FORMAT) {
        error_prefix(render->error, "line %u",
                     (unsigned)(render->failed_line > 0 ? render->failed_line : 1));
    }
    return done;
}

bool chat_template_render_at(const struct chat_template *chat_template,
                             const struct json_t *context, int64_t now_s, struct string_buffer *out,
                             struct error *error) {
    struct error own_error = {0};
    struct jinja_render render = {.steps_left = JINJA_MAX_STEPS,
                                  .error = error == NULL ? &own_error : error,
                                  .context = context,
                                  .now_s = now_s};
    struct jinja_builder output = {.render = &render};
    bool done = render_output(&render, chat_template, &output);
    if (done) {
        string_buffer_append(out, output.data, output.length);
    }
    jinja_render_deinit(&render);
    return done && (!out->failed ||
                    error_set(error, ERROR_OUT_OF_MEMORY, "no memory for the rendered prompt"));
}

bool chat_template_render(const struct chat_template *chat_template, const struct json_t *context,
                          struct string_buffer *out, struct error *error) {
    return chat_template_render_at(chat_template, context, clock_wall_ns() / 1000000000, out,
                                   error);
}

bool chat_template_render_marked(const struct chat_template *chat_template,
                                 const struct json_t *context, const struct string_view *trusted,
                                 size_t trusted_count, struct string_buffer *out,
                                 struct string_buffer *own, struct error *error) {
    struct error own_error = {0};
    struct jinja_origins origins = {0};
    struct jinja_render render = {.steps_left = JINJA_MAX_STEPS,
                                  .error = error == NULL ? &own_error : error,
                                  .context = context,
                                  .now_s = clock_wall_ns() / 1000000000,
                                  .origins = &origins};
    struct jinja_builder output = {.render = &render};
    bool done =
        jinja_origins_init(&origins, &chat_template->arena, trusted, trusted_count, render.error) &&
        render_output(&render, chat_template, &output);
    if (done) {
        string_buffer_append(out, output.data, output.length);
        string_buffer_append(own, output.own, output.length);
    }
    jinja_render_deinit(&render);
    jinja_origins_deinit(&origins);
    return done && ((!out->failed && !own->failed) ||
                    error_set(error, ERROR_OUT_OF_MEMORY, "no memory for the rendered prompt"));
}
