/*
 * preparer.h - threads that turn request bodies into tokens: JSON, template, tokenizer.
 *
 * The event loop must answer others while a long prompt is read, and a body of several megabytes
 * takes longer than that may last. A generation comes twice: first its body is parsed, which tells
 * the model it asks for; when it has that model's lease, its prompt becomes tokens. It belongs to
 * the preparer from preparer_send until it comes back through the mailbox; only the connection it
 * came from stays with the loop.
 *
 * There are several threads, so that one slow body holds nobody else's, and they are shared out
 * among clients: of those that wait, the one whose client has the fewest under way is next, and no
 * client has all threads where there are two or more. What the threads share is constant: models,
 * settings, templates. Each looks at the work limit (base/work_limit.h): a generation whose client
 * has left, and all of them at the end, are given up in the middle.
 */
#ifndef MISTRAL_SERVER_PREPARER_H
#define MISTRAL_SERVER_PREPARER_H

#include "base/error.h"
#include "base/mailbox.h"

#include <stdbool.h>
#include <stddef.h>

struct generation;
struct metrics;
struct preparer;

/* What a machine of so many cores gets: at least 4. */
size_t preparer_default_threads(size_t cores);

/* Generations come back through `done`, in any order. Both, and `metrics`, must outlive the
 * preparer. */
bool preparer_create(size_t threads, struct mailbox *done, struct metrics *metrics,
                     struct preparer **preparer, struct error *error);
/* Gives up what it has, hands it all back and joins the threads. NULL allowed. */
void preparer_free(struct preparer *preparer);

/* Loop thread. */
void preparer_send(struct preparer *preparer, struct generation *generation);

#endif
