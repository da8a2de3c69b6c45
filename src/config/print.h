/*
 * print.h - all settings as text: a commented .env or TOML file, the reference page, a listing.
 *
 * What is printed is read back by config_load to the same values; secrets are never printed. Pure.
 */
#ifndef MISTRAL_CONFIG_PRINT_H
#define MISTRAL_CONFIG_PRINT_H

#include "config/config.h"

enum config_form { CONFIG_AS_ENV, CONFIG_AS_TOML, CONFIG_AS_MARKDOWN };

/* Settings that nobody set are comments with their default; with `stack`, those of stack.def have
 * its values instead. The reference page does not depend on `config`. */
void config_print(const struct config *config, enum config_form form, bool stack,
                  struct string_buffer *out);

/* One line a setting: key = value, and where it came from. */
void config_show(const struct config *config, struct string_buffer *out);

/* {"settings": [{"key": …, "value": …, "from": …, "origin": …, …}, …]}, one line. */
void config_show_json(const struct config *config, struct string_buffer *out);

#endif
