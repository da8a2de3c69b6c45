/* json_output.c - see json_output.h. */
#include "cli/json_output.h"

#include "base/string_buffer.h"
#include "base/utf8.h"

#include <stdio.h>

bool json_output_print(json_t *value, struct error *error) {
    bool is_made = value != NULL;
    bool done = is_made && json_dumpf(value, stdout, JSON_INDENT(2)) == 0 &&
                fputc('\n', stdout) != EOF && fflush(stdout) == 0;
    json_decref(value);
    return done ||
           error_set(error, is_made ? ERROR_IO : ERROR_OUT_OF_MEMORY, "%s",
                     is_made ? "cannot write to standard output" : "no memory for the result");
}

json_t *json_output_text(struct string_view text) {
    if (utf8_validate(text.data, text.length, NULL)) {
        return json_stringn(text.data == NULL ? "" : text.data, text.length);
    }
    struct string_buffer clean = {0};
    for (size_t at = 0; at < text.length;) {
        uint32_t code_point = 0;
        size_t taken = utf8_decode(text.data + at, text.length - at, &code_point);
        if (taken > 0) {
            string_buffer_append(&clean, text.data + at, taken);
        } else {
            string_buffer_append_text(&clean, "\xef\xbf\xbd"); /* U+FFFD */
        }
        at += taken > 0 ? taken : 1;
    }
    json_t *value = clean.failed ? NULL : json_stringn(string_buffer_text(&clean), clean.length);
    string_buffer_deinit(&clean);
    return value;
}
