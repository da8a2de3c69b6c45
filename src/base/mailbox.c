/* mailbox.c - see mailbox.h. */
#include "base/mailbox.h"

#include "base/clock.h"

#include <stddef.h>

bool mailbox_init(struct mailbox *mailbox, void (*wake)(void *context), void *wake_context) {
    *mailbox = (struct mailbox){.wake = wake, .wake_context = wake_context};
    if (pthread_mutex_init(&mailbox->lock, NULL) != 0) {
        return false;
    }
    if (clock_condition_init(&mailbox->arrived) != 0) {
        pthread_mutex_destroy(&mailbox->lock);
        return false;
    }
    return true;
}

void mailbox_deinit(struct mailbox *mailbox) {
    pthread_cond_destroy(&mailbox->arrived);
    pthread_mutex_destroy(&mailbox->lock);
}

void mailbox_send(struct mailbox *mailbox, struct mailbox_message *message) {
    message->next = NULL;
    pthread_mutex_lock(&mailbox->lock);
    bool was_empty = mailbox->first == NULL;
    if (was_empty) {
        mailbox->first = message;
    } else {
        mailbox->last->next = message;
    }
    mailbox->last = message;
    if (was_empty) {
        pthread_cond_signal(&mailbox->arrived);
        if (mailbox->wake != NULL) { /* still locked: the receiver may release the box once it has
                                        the message, and nothing here may touch it after that */
            mailbox->wake(mailbox->wake_context);
        }
    }
    pthread_mutex_unlock(&mailbox->lock);
}

static struct mailbox_message *take_all(struct mailbox *mailbox) {
    struct mailbox_message *chain = mailbox->first;
    mailbox->first = NULL;
    mailbox->last = NULL;
    return chain;
}

struct mailbox_message *mailbox_receive_all(struct mailbox *mailbox) {
    pthread_mutex_lock(&mailbox->lock);
    struct mailbox_message *chain = take_all(mailbox);
    pthread_mutex_unlock(&mailbox->lock);
    return chain;
}

struct mailbox_message *mailbox_wait_all(struct mailbox *mailbox, int64_t timeout_ns) {
    int64_t deadline = clock_now_ns() + (timeout_ns < 0 ? 0 : timeout_ns);
    pthread_mutex_lock(&mailbox->lock);
    while (mailbox->first == NULL) {
        if (timeout_ns < 0) {
            pthread_cond_wait(&mailbox->arrived, &mailbox->lock);
        } else if (!clock_wait(&mailbox->arrived, &mailbox->lock, deadline)) {
            break;
        }
    }
    struct mailbox_message *chain = take_all(mailbox);
    pthread_mutex_unlock(&mailbox->lock);
    return chain;
}
