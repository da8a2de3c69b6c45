/* input.h - texts that people give: as arguments or on standard input. Main thread. */
#ifndef MISTRAL_CLI_INPUT_H
#define MISTRAL_CLI_INPUT_H

#include "base/error.h"
#include "base/string_buffer.h"
#include "config/arguments.h"

#include <stdbool.h>
#include <stddef.h>

/* Appends operands from `first` on, with blanks between, "-" standing for standard input; without
 * operands, standard input. One newline at the end of standard input is dropped: a pipe's, not the
 * text's. */
bool input_read(const struct argument_operands *operands, size_t first, struct string_buffer *text,
                struct error *error);

/* ERROR_INVALID_ARGUMENT with the offset of the first byte that is not UTF-8. `what` names the
 * text. */
bool input_check_utf8(const struct string_buffer *text, const char *what, struct error *error);

#endif
