/*
 * preparer.h - a thread that turns request bodies into tokens: JSON, template, tokenizer.
 *
 * The event loop must answer others while a long prompt is read, and a body of several megabytes
 * takes longer than that may last. A generation comes twice: first its body is parsed, which tells
 * the model it asks for; when it has that model's lease, its prompt becomes tokens. It belongs to
 * the preparer from preparer_send until it comes back through the mailbox; only the connection it
 * came from stays with the loop.
 */
#ifndef MISTRAL_SERVER_PREPARER_H
#define MISTRAL_SERVER_PREPARER_H

#include "base/error.h"
#include "base/mailbox.h"

#include <stdbool.h>

struct generation;
struct preparer;

/* Generations come back through `done`, in order. Both must outlive the preparer. */
bool preparer_create(struct mailbox *done, struct preparer **preparer, struct error *error);
/* Finishes what it was sent and joins the thread. NULL allowed. */
void preparer_free(struct preparer *preparer);

void preparer_send(struct preparer *preparer, struct generation *generation);

#endif
