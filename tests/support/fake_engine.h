/*
 * fake_engine.h - an engine that follows a script instead of a model, behind the real engine.h.
 *
 * Tests of the server link this in place of the engine's own file: same thread, same mailboxes,
 * same rules, but timing, failures and text are the test's. A prompt holds its script between
 * double brackets: "[[tokens=5 delay=20]]", words of name=value:
 *
 *   tokens=N    text of N words, then the end (default 8)
 *   prefill=MS  time before the first token
 *   delay=MS    time between tokens
 *   stall=MS    the engine's thread does nothing else for so long, before the first token
 *   fail=N      fails after N tokens
 *   bytes=N     each token's text is N bytes long
 *   hex=TEXT    the answer in hexadecimal: for any bytes
 *   stuck=1     ignores cancel
 *   tell=1      the event "asked" says what the request was: prompt, options
 *   say=TEXT    the answer, up to the closing brackets; stands alone in them
 *   refuse=busy|context|invalid|memory    what submit answers
 *
 * A request to embed gives the vector (4, 3, 0, 0) / 5, after `prefill`.
 *
 * Words depend on the seed alone (temperature 0: on nothing). Every submit and every end is told on
 * standard output, one JSON object a line.
 */
#ifndef MISTRAL_TESTS_FAKE_ENGINE_H
#define MISTRAL_TESTS_FAKE_ENGINE_H

#include "engine/engine.h"

extern const char fake_engine_template[]; /* what engine_create's engines have */

/* `max_requests` at once; beyond: ERROR_BUSY. Ends the program when memory runs out. */
struct engine *fake_engine_create(size_t context_length, size_t max_requests,
                                  const char *chat_template);

#endif
