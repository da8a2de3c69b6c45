/*
 * interrupt.h - Ctrl-C as a request to stop what is going on, not the program. Main thread.
 */
#ifndef MISTRAL_CLI_INTERRUPT_H
#define MISTRAL_CLI_INTERRUPT_H

#include <stdbool.h>

/* From here on SIGINT and SIGTERM only set a flag. */
void interrupt_catch(void);

/* From here on they end the program again. */
void interrupt_release(void);

/* Whether one came since the last clear. */
bool interrupt_requested(void);
void interrupt_clear(void);

#endif
