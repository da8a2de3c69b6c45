/* template_internal.h - rendering at a given time, for tests. */
#ifndef MISTRAL_TEXT_CHAT_TEMPLATE_INTERNAL_H
#define MISTRAL_TEXT_CHAT_TEMPLATE_INTERNAL_H

#include "text/chat/template.h"

#include <stdint.h>

/* As chat_template_render, with strftime_now telling `now_s` (seconds since the Unix epoch, shown
 * in the local time zone). */
bool chat_template_render_at(const struct chat_template *chat_template,
                             const struct json_t *context, int64_t now_s, struct string_buffer *out,
                             struct error *error);

#endif
