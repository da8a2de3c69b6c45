/*
 * client_text.h - what the program says to itself, made fit for a client's eyes.
 *
 * Pure; any thread.
 */
#ifndef MISTRAL_SERVER_CLIENT_TEXT_H
#define MISTRAL_SERVER_CLIENT_TEXT_H

#include <stdbool.h>
#include <stddef.h>

/* Copies `message` to out[size], cut where it is longer, with the last name of each absolute path
 * in the place of the path: "'/home/me/x.gguf' is empty" becomes "'x.gguf' is empty". A path begins
 * with a slash that stands at the beginning, after a space, or after a quote or bracket, and may
 * have spaces in it where that can be told. Routes of the server (/v1/…, /api/…) stay. True when
 * there was a path. */
bool client_text_hide_paths(const char *message, char *out, size_t size);

#endif
