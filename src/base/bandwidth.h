/* bandwidth.h - how fast this machine's memory is read: what bounds the speed of generating. */
#ifndef MISTRAL_BASE_BANDWIDTH_H
#define MISTRAL_BASE_BANDWIDTH_H

#include "base/error.h"

#include <stdbool.h>
#include <stddef.h>

/* Reads a buffer of `bytes` (far larger than the caches) again and again on `thread_count` threads
 * for about `seconds`, a part at a time; the best part counts. Blocks; any thread. */
bool bandwidth_measure(size_t thread_count, size_t bytes, double seconds, double *bytes_a_second,
                       struct error *error);

#endif
