/* json_output.h - results for scripts: JSON on standard output. Main thread. */
#ifndef MISTRAL_CLI_JSON_OUTPUT_H
#define MISTRAL_CLI_JSON_OUTPUT_H

#include "base/error.h"
#include "base/string_view.h"

#include <jansson.h>
#include <stdbool.h>

/* Prints the value, indented, with a newline, and gives up the reference to it. NULL (memory ran
 * out while it was made) or a failed write is an error. */
bool json_output_print(json_t *value, struct error *error);

/* A JSON string of any bytes: what is not UTF-8 becomes U+FFFD. NULL when memory runs out. */
json_t *json_output_text(struct string_view text);

#endif
