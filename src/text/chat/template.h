/*
 * template.h - renders a model's chat template: the part of Jinja that real GGUF files use.
 *
 * A template renders as Hugging Face transformers renders it: blocks trimmed (trim_blocks,
 * lstrip_blocks), no automatic escaping, its tojson, raise_exception, strftime_now and generation
 * tag. Beyond that, lists have append and pop, from_json reads JSON, and tojson writes iterators,
 * for templates that were written for other engines. Not there: inheritance, includes, call blocks,
 * recursive loops, integers past 64 bits.
 *
 * Compiled once, rendered many times, on any thread (a render keeps its state to itself). A
 * template comes from a file and is hostile: nesting, output size and the number of steps are
 * bounded.
 */
#ifndef MISTRAL_TEXT_CHAT_TEMPLATE_H
#define MISTRAL_TEXT_CHAT_TEMPLATE_H

#include "base/error.h"
#include "base/string_buffer.h"

#include <stdbool.h>
#include <stddef.h>

struct chat_template;
struct json_t; /* jansson's value */

/* Copies the source. A syntax error is ERROR_FORMAT: "line 12: …". */
bool chat_template_create(const char *source, size_t length, struct chat_template **chat_template,
                          struct error *error);
void chat_template_free(struct chat_template *chat_template); /* NULL allowed */

/* `context` is a JSON object of the global variables: messages, tools, add_generation_prompt,
 * bos_token, eos_token, and whatever else the caller passes. Appends to `out`. What the template
 * itself refuses (raise_exception) is ERROR_INVALID_ARGUMENT with its message; any other failure in
 * rendering is ERROR_FORMAT with the line. */
bool chat_template_render(const struct chat_template *chat_template, const struct json_t *context,
                          struct string_buffer *out, struct error *error);

/* The same, with `own` [length of what is appended to `out`] appended beside it: 1 for each byte
 * that the template wrote itself, 0 for each that came from the context or was made from it. Of the
 * context, the texts in `trusted` [trusted_count] (at these very addresses) count as the
 * template's. What a user writes is thus known wherever the template puts it. */
struct string_view;
bool chat_template_render_marked(const struct chat_template *chat_template,
                                 const struct json_t *context, const struct string_view *trusted,
                                 size_t trusted_count, struct string_buffer *out,
                                 struct string_buffer *own, struct error *error);

#endif
