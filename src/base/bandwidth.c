/* bandwidth.c - see bandwidth.h. */
#include "base/bandwidth.h"

#include "base/bytes.h"
#include "base/clock.h"
#include "base/thread_pool.h"

#include <stdatomic.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

/* A window is timed by itself: short, so that on a busy machine some have the processors for
 * themselves. */
enum { CHUNK_BYTES = 1 << 20, CHUNK_WORDS = CHUNK_BYTES / 8, WINDOW_CHUNKS = 32 };

struct reading {
    struct thread_pool *pool;
    const uint64_t *words;
    size_t chunks;        /* of the window that begins at words */
    _Atomic uint64_t sum; /* so that no read can be left out */
};

static void read_chunks(void *context, size_t thread_index) {
    struct reading *reading = context;
    (void)thread_index;
    size_t chunk;
    uint64_t sums[4] = {0};
    while ((chunk = thread_pool_next_chunk(reading->pool)) < reading->chunks) {
        const uint64_t *words = reading->words + chunk * CHUNK_WORDS;
        for (size_t i = 0; i < CHUNK_WORDS; i += 4) {
            for (size_t j = 0; j < 4; j++) {
                sums[j] += words[i + j];
            }
        }
    }
    atomic_fetch_add(&reading->sum, sums[0] + sums[1] + sums[2] + sums[3]);
}

bool bandwidth_measure(size_t thread_count, size_t bytes, double seconds, double *bytes_a_second,
                       struct error *error) {
    size_t chunks = bytes / CHUNK_BYTES, at = 0;
    struct reading reading = {.chunks = size_min(WINDOW_CHUNKS, chunks)};
    uint64_t *words = malloc(chunks * CHUNK_BYTES);
    if (words == NULL) {
        return error_set(error, ERROR_OUT_OF_MEMORY, "no memory for %zu bytes to read", bytes);
    }
    memset(words, 1, chunks * CHUNK_BYTES);
    if (!thread_pool_create(thread_count, &reading.pool, error)) {
        free(words);
        return false;
    }
    *bytes_a_second = 0;
    int64_t start = clock_now_ns();
    do {
        reading.words = words + at * CHUNK_WORDS;
        at = at + 2 * reading.chunks <= chunks ? at + reading.chunks : 0;
        int64_t before = clock_now_ns();
        thread_pool_run(reading.pool, read_chunks, &reading);
        double rate =
            (double)(reading.chunks * CHUNK_BYTES) / clock_seconds(clock_now_ns() - before);
        *bytes_a_second = rate > *bytes_a_second ? rate : *bytes_a_second;
    } while (clock_seconds(clock_now_ns() - start) < seconds);
    thread_pool_free(reading.pool);
    free(words);
    return true;
}
