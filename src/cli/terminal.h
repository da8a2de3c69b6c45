/*
 * terminal.h - the person in front of the program: styles, lines that are drawn over, numbers they
 * can read. Standard output carries results, standard error everything else. Main thread.
 */
#ifndef MISTRAL_CLI_TERMINAL_H
#define MISTRAL_CLI_TERMINAL_H

#include "base/error.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

enum terminal_style { STYLE_PLAIN, STYLE_BOLD, STYLE_DIM, STYLE_ERROR };

/* The escape sequence for a style, or "" when the stream is no terminal that wants colours
 * (NO_COLOR, TERM=dumb). */
const char *terminal_style(FILE *stream, enum terminal_style style);

bool terminal_is(FILE *stream);

/* Columns, 80 when the terminal does not tell. */
size_t terminal_width(FILE *stream);

/* "mistral: error: <message>" on standard error. */
void terminal_print_error(const struct error *error);

/* A model's words. On a terminal, control characters other than newline and tab are dropped, so
 * that an answer cannot steer it. */
void terminal_write_text(FILE *stream, const char *text, size_t length);

/* A line on standard error that is drawn over by the next one; nothing when that is no terminal. */
void terminal_draw_line(const char *text);
void terminal_clear_line(void);

/* "[######      ]": `fraction` of `width` characters. */
void terminal_append_bar(char *out, size_t size, double fraction, size_t width);

/* "93.8 MiB" */
void terminal_format_bytes(char *out, size_t size, uint64_t bytes);

#endif
