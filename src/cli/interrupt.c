/* interrupt.c - see interrupt.h. */
#include "cli/interrupt.h"

#include <signal.h>
#include <stddef.h>

static volatile sig_atomic_t requested = 0;

static void on_signal(int number) {
    (void)number;
    requested = 1;
}

void interrupt_catch(void) {
    struct sigaction action = {.sa_handler = on_signal};
    sigemptyset(&action.sa_mask);
    sigaction(SIGINT, &action, NULL);
    sigaction(SIGTERM, &action, NULL);
}

bool interrupt_requested(void) {
    return requested != 0;
}

void interrupt_clear(void) {
    requested = 0;
}
