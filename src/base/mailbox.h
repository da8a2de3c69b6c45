/*
 * mailbox.h - messages from many threads to one, in order. The only thing that crosses threads.
 *
 * A message embeds a mailbox_message as its first member and belongs to whoever holds it: the
 * sender until send, the receiver after receive. A receiver that sleeps in something else (an event
 * loop) gives `wake`, which is called by a send that found the box empty, on the sender's thread;
 * it must not use the box itself. Whoever has received a message may release the box at once, if no
 * other is to come.
 */
#ifndef MISTRAL_BASE_MAILBOX_H
#define MISTRAL_BASE_MAILBOX_H

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

struct mailbox_message {
    struct mailbox_message *next;
};

struct mailbox {
    pthread_mutex_t lock;
    pthread_cond_t arrived;
    struct mailbox_message *first, *last; /* guarded by lock */
    void (*wake)(void *context);          /* may be NULL */
    void *wake_context;
};

bool mailbox_init(struct mailbox *mailbox, void (*wake)(void *context), void *wake_context);
void mailbox_deinit(struct mailbox *mailbox); /* must be empty and out of use */

void mailbox_send(struct mailbox *mailbox, struct mailbox_message *message); /* any thread */

/* Takes everything, oldest first, as a chain through `next`; NULL when empty. Receiver's thread. */
struct mailbox_message *mailbox_receive_all(struct mailbox *mailbox);

/* As above, but waits up to timeout_ns for something to arrive (negative: for ever). */
struct mailbox_message *mailbox_wait_all(struct mailbox *mailbox, int64_t timeout_ns);

#endif
