/* interrupt.c - see interrupt.h. */
#include "cli/interrupt.h"

#include <signal.h>
#include <stddef.h>

static volatile sig_atomic_t requested = 0;
static size_t catching = 0; /* how many have asked to, and not let go */

static void on_signal(int number) {
    (void)number;
    requested = 1;
}

static void set_handler(void (*handler)(int number)) {
    struct sigaction action = {.sa_handler = handler};
    sigemptyset(&action.sa_mask);
    sigaction(SIGINT, &action, NULL);
    sigaction(SIGTERM, &action, NULL);
}

void interrupt_catch(void) {
    catching++;
    set_handler(on_signal);
}

void interrupt_release(void) {
    if (--catching == 0) {
        set_handler(SIG_DFL);
    }
}

bool interrupt_requested(void) {
    return requested != 0;
}

void interrupt_clear(void) {
    requested = 0;
}
