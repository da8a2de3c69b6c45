/* ranges.c - see ranges.h. */
#include "hub/ranges.h"

#include "base/bytes.h"
#include "base/clock.h"

#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

enum {
    MIBIBYTE = 1 << 20,
    WORTH_BYTES = 8 << 20,
    LEAST_PIECE = 2 << 20,
    MOST_PIECE = 64 << 20,
    PIECES_WANTED = 64,
    NOTE_STEP = 1 << 20,       /* bytes of a piece between two notes in the journal */
    ENOUGH_PROGRESS = 1 << 16, /* bytes after which earlier failures are forgotten */
    HEADER_BYTES = 32,         /* the journal's: 16 of magic, the size of a piece, their number */
    MAX_CONNECTIONS = 16,
};

static const char magic[16] = "mistral ranges 1";
static const uint64_t most_bytes = UINT64_C(1) << 40;

struct piece {
    uint64_t start, end; /* in the file */
    uint64_t done;       /* of it, on the disk; its worker's, else under the mutex */
    bool is_taken;
};

struct ranges {
    const struct download *download;
    int file;
    struct piece *pieces; /* [count] */
    size_t count;
    _Atomic uint64_t done;
    /* while it is fetched */
    pthread_mutex_t mutex; /* of all below, and of which piece is taken */
    pthread_cond_t changed;
    size_t running;
    bool has_failed, is_not_offered;
    struct error error;
    char note[256]; /* why somebody waits; "": nobody does, or it was told */
    atomic_bool must_stop;
};

struct connection {
    struct ranges *ranges;
    struct hub_connection *client;
    struct piece *piece;
    bool started;    /* the request's first bytes have come */
    bool has_failed; /* the piece's bytes were refused; the ranges' error says why */
    uint64_t noted;  /* of the piece, in the journal */
};

/* --- the journal --- */

static uint64_t piece_size(uint64_t bytes) {
    uint64_t wanted = (bytes / PIECES_WANTED + MIBIBYTE - 1) / MIBIBYTE * MIBIBYTE;
    return wanted < LEAST_PIECE ? LEAST_PIECE : wanted > MOST_PIECE ? MOST_PIECE : wanted;
}

static size_t piece_count(uint64_t bytes) {
    uint64_t size = piece_size(bytes);
    return (size_t)((bytes + size - 1) / size);
}

static void put_u64(uint8_t *out, uint64_t value) {
    for (size_t i = 0; i < 8; i++) {
        out[i] = (uint8_t)(value >> 8 * i);
    }
}

static uint64_t get_u64(const uint8_t *bytes) {
    uint64_t value = 0;
    for (size_t i = 0; i < 8; i++) {
        value |= (uint64_t)bytes[i] << 8 * i;
    }
    return value;
}

static void make_header(const struct download *download, uint8_t header[HEADER_BYTES]) {
    memcpy(header, magic, sizeof magic);
    put_u64(header + 16, piece_size(download->bytes));
    put_u64(header + 24, piece_count(download->bytes));
}

static bool write_at(int file, const void *bytes, size_t length, uint64_t offset) {
    const char *rest = bytes;
    while (length > 0) {
        ssize_t count = pwrite(file, rest, length, (off_t)offset);
        if (count < 0 && errno != EINTR) {
            return false;
        }
        size_t written = count > 0 ? (size_t)count : 0;
        rest += written;
        length -= written;
        offset += written;
    }
    return true;
}

static bool fail_disk(const struct download *download, int reason, struct error *error) {
    return error_set_errno(error, reason, "cannot write '%s'", download->path);
}

static bool note_piece(const struct ranges *ranges, const struct piece *piece) {
    uint8_t value[8];
    uint64_t index = (uint64_t)(piece - ranges->pieces);
    put_u64(value, piece->done);
    return write_at(ranges->file, value, sizeof value,
                    ranges->download->bytes + HEADER_BYTES + 8 * index);
}

static bool write_journal(const struct ranges *ranges) {
    uint8_t header[HEADER_BYTES];
    make_header(ranges->download, header);
    for (size_t i = 0; i < ranges->count; i++) {
        if (!note_piece(ranges, &ranges->pieces[i])) {
            return false;
        }
    } /* the header last: it says that the rest can be believed */
    return write_at(ranges->file, header, sizeof header, ranges->download->bytes);
}

bool ranges_are_worth(const struct download *download) {
    return download->bytes >= WORTH_BYTES && download->bytes <= most_bytes &&
           download->sha256[0] != '\0' && download->session->options->config->hub_connections > 1;
}

bool ranges_have_journal(const struct download *download, int file, uint64_t size) {
    uint8_t expected[HEADER_BYTES], found[HEADER_BYTES];
    if (download->bytes < WORTH_BYTES || download->bytes > most_bytes ||
        size != download->bytes + HEADER_BYTES + 8 * (uint64_t)piece_count(download->bytes)) {
        return false;
    }
    make_header(download, expected);
    return pread(file, found, sizeof found, (off_t)download->bytes) == HEADER_BYTES &&
           memcmp(expected, found, sizeof found) == 0;
}

static bool read_journal(struct ranges *ranges) {
    for (size_t i = 0; i < ranges->count; i++) {
        struct piece *piece = &ranges->pieces[i];
        uint8_t value[8];
        if (pread(ranges->file, value, sizeof value,
                  (off_t)(ranges->download->bytes + HEADER_BYTES + 8 * i)) != sizeof value) {
            return false;
        }
        uint64_t done = get_u64(value);
        piece->done = done > piece->end - piece->start ? 0 : done;
    }
    return true;
}

static void split(struct ranges *ranges, uint64_t there) {
    uint64_t size = piece_size(ranges->download->bytes);
    for (size_t i = 0; i < ranges->count; i++) {
        struct piece *piece = &ranges->pieces[i];
        piece->start = i * size;
        piece->end = piece->start + size < ranges->download->bytes ? piece->start + size
                                                                   : ranges->download->bytes;
        uint64_t have = there > piece->start ? there - piece->start : 0;
        piece->done = have < piece->end - piece->start ? have : piece->end - piece->start;
    }
}

bool ranges_create(const struct download *download, int file, uint64_t there,
                   struct ranges **ranges, struct error *error) {
    struct ranges *made = calloc(1, sizeof *made);
    if (made != NULL) {
        made->count = piece_count(download->bytes);
        made->pieces = calloc(made->count, sizeof *made->pieces);
    }
    if (made == NULL || made->pieces == NULL || clock_condition_init(&made->changed) != 0) {
        free(made == NULL ? NULL : made->pieces);
        free(made);
        return error_set(error, ERROR_OUT_OF_MEMORY, "no memory for a download");
    }
    made->download = download;
    made->file = file;
    bool has_journal = there > download->bytes;
    split(made, has_journal ? 0 : there);
    bool done = has_journal ? read_journal(made) : write_journal(made);
    if (!done) {
        fail_disk(download, errno, error);
        pthread_cond_destroy(&made->changed);
        free(made->pieces);
        free(made);
        return false;
    }
    uint64_t sum = 0;
    for (size_t i = 0; i < made->count; i++) {
        sum += made->pieces[i].done;
    }
    atomic_store(&made->done, sum);
    pthread_mutex_init(&made->mutex, NULL);
    *ranges = made;
    return true;
}

void ranges_free(struct ranges *ranges) {
    if (ranges != NULL) {
        pthread_mutex_destroy(&ranges->mutex);
        pthread_cond_destroy(&ranges->changed);
        free(ranges->pieces);
        free(ranges);
    }
}

uint64_t ranges_done_bytes(const struct ranges *ranges) {
    return atomic_load_explicit(&ranges->done, memory_order_relaxed);
}

/* --- a connection's thread --- */

/* The first failure counts; all others stop for it. Returns false. */
static bool fail(struct ranges *ranges, const struct error *error) {
    pthread_mutex_lock(&ranges->mutex);
    if (!ranges->has_failed && !ranges->is_not_offered) {
        ranges->has_failed = true;
        ranges->error = *error;
    }
    pthread_mutex_unlock(&ranges->mutex);
    atomic_store_explicit(&ranges->must_stop, true, memory_order_relaxed);
    return false;
}

static bool must_stop(void *context) {
    const struct connection *connection = context;
    return atomic_load_explicit(&connection->ranges->must_stop, memory_order_relaxed);
}

static bool check_bytes(const struct connection *connection, const struct http_response *response,
                        size_t length, struct error *error) {
    const struct piece *piece = connection->piece;
    const struct download *download = connection->ranges->download;
    if (!connection->started && response->range_start != (int64_t)(piece->start + piece->done)) {
        return error_set(error, ERROR_NETWORK,
                         "%s: the server sent another range than was asked for", download->label);
    }
    if (length > piece->end - piece->start - piece->done) {
        return error_set(error, ERROR_NETWORK, "%s: the server sent more than was asked for",
                         download->label);
    }
    return true;
}

static bool on_bytes(void *context, const struct http_response *response, const char *bytes,
                     size_t length) {
    struct connection *connection = context;
    struct ranges *ranges = connection->ranges;
    struct piece *piece = connection->piece;
    struct error error = {0};
    if (response->status == 200) {
        pthread_mutex_lock(&ranges->mutex);
        ranges->is_not_offered = !ranges->has_failed;
        pthread_mutex_unlock(&ranges->mutex);
        atomic_store_explicit(&ranges->must_stop, true, memory_order_relaxed);
        connection->has_failed = true;
        return false;
    }
    if (!check_bytes(connection, response, length, &error)) {
        connection->has_failed = true;
        return fail(ranges, &error);
    }
    connection->started = true;
    bool written = write_at(ranges->file, bytes, length, piece->start + piece->done);
    if (written) {
        piece->done += length;
        atomic_fetch_add_explicit(&ranges->done, length, memory_order_relaxed);
        if (piece->done - connection->noted >= NOTE_STEP) {
            connection->noted = piece->done;
            written = note_piece(ranges, piece);
        }
    }
    if (!written) {
        fail_disk(ranges->download, errno, &error);
        connection->has_failed = true;
        return fail(ranges, &error);
    }
    return true;
}

/* In slices, so that the end of all does not have to wait for it. */
static void rest(const struct connection *connection, int64_t milliseconds) {
    const struct timespec slice = {.tv_nsec = 50 * 1000 * 1000};
    for (; milliseconds > 0 && !must_stop((void *)(uintptr_t)connection); milliseconds -= 50) {
        nanosleep(&slice, NULL);
    }
}

/* What one request left undone: another attempt (true), or the end of all. */
static bool handle_failure(struct connection *connection, const struct http_response *response,
                           bool answered, size_t *failures, struct error *error) {
    struct ranges *ranges = connection->ranges;
    const struct download *download = ranges->download;
    struct http_response failure = *response;
    if (connection->has_failed || must_stop(connection)) {
        return false;
    }
    bool is_short = answered && response->status == 206;
    if (!answered && !response->transient) {
        return fail(ranges, error);
    }
    if (answered && response->status == 416) {
        error_set(error, ERROR_NETWORK, "%s: the server has fewer bytes than it had announced",
                  download->label);
        return fail(ranges, error);
    }
    if (answered && !response->transient && !is_short) {
        download->refused(download->session, download->repository, response, error);
        return fail(ranges, error);
    }
    if (is_short) {
        snprintf(failure.reason, sizeof failure.reason, "the server ended a piece early");
    }
    int64_t milliseconds = 0;
    if (!session_retry_delay(download->session, &failure, failures, &milliseconds, error)) {
        return fail(ranges, error);
    }
    pthread_mutex_lock(&ranges->mutex);
    snprintf(ranges->note, sizeof ranges->note, "%s", failure.reason);
    pthread_mutex_unlock(&ranges->mutex);
    rest(connection, milliseconds);
    return true;
}

static bool fetch_piece(struct connection *connection) {
    struct ranges *ranges = connection->ranges;
    struct piece *piece = connection->piece;
    uint64_t length = piece->end - piece->start;
    size_t failures = 0;
    bool goes_on = true;
    connection->noted = piece->done;
    while (goes_on && piece->done < length) {
        struct http_request request =
            session_request(ranges->download->session, ranges->download->url);
        struct http_response response;
        struct error error = {0};
        uint64_t before = piece->done;
        request.client = connection->client;
        request.range_start = piece->start + piece->done;
        request.range_end = piece->end;
        request.body = on_bytes;
        request.cancelled = must_stop;
        request.context = connection;
        connection->started = false;
        bool answered = http_get(&request, &response, &error);
        failures = piece->done - before >= ENOUGH_PROGRESS ? 0 : failures;
        if (piece->done < length || connection->has_failed) {
            goes_on = handle_failure(connection, &response, answered, &failures, &error);
        }
    }
    (void)note_piece(ranges, piece); /* what is not noted is only fetched again */
    return goes_on && piece->done == length;
}

static struct piece *take_piece(struct ranges *ranges) {
    struct piece *found = NULL;
    pthread_mutex_lock(&ranges->mutex);
    for (size_t i = 0; i < ranges->count && found == NULL; i++) {
        struct piece *piece = &ranges->pieces[i];
        if (!piece->is_taken && piece->done < piece->end - piece->start) {
            piece->is_taken = true; /* for ever: it is fetched, or all has failed */
            found = piece;
        }
    }
    pthread_mutex_unlock(&ranges->mutex);
    return found;
}

static void *run(void *context) {
    struct connection *connection = context;
    struct ranges *ranges = connection->ranges;
    while (!must_stop(connection) && (connection->piece = take_piece(ranges)) != NULL &&
           fetch_piece(connection)) {
    }
    pthread_mutex_lock(&ranges->mutex);
    ranges->running--;
    pthread_cond_signal(&ranges->changed);
    pthread_mutex_unlock(&ranges->mutex);
    return NULL;
}

/* --- the caller's thread --- */

/* With the mutex held, which is given back while something is told. */
static void tell(struct ranges *ranges, const char *name) {
    char note[sizeof ranges->note];
    struct hub_session *session = ranges->download->session;
    memcpy(note, ranges->note, sizeof note);
    ranges->note[0] = '\0';
    pthread_mutex_unlock(&ranges->mutex);
    uint64_t done = ranges_done_bytes(ranges);
    if (note[0] != '\0') {
        session_report(session, HUB_WAITING, name, done, ranges->download->bytes, note);
    }
    session_report(session, HUB_FETCHING, name, done, ranges->download->bytes, NULL);
    bool cancelled = session_is_cancelled(session);
    pthread_mutex_lock(&ranges->mutex);
    if (cancelled && !ranges->has_failed) {
        ranges->has_failed = true;
        error_set(&ranges->error, ERROR_CANCELLED, "cancelled");
        atomic_store_explicit(&ranges->must_stop, true, memory_order_relaxed);
    }
}

static void wait_a_moment(struct ranges *ranges) {
    (void)clock_wait(&ranges->changed, &ranges->mutex, clock_now_ns() + 100000000);
}

static size_t connections_wanted(const struct ranges *ranges) {
    size_t left = 0;
    for (size_t i = 0; i < ranges->count; i++) {
        left += ranges->pieces[i].done < ranges->pieces[i].end - ranges->pieces[i].start;
    }
    int64_t asked = ranges->download->session->options->config->hub_connections;
    return size_min(left, size_min((size_t)asked, MAX_CONNECTIONS));
}

enum ranges_outcome ranges_fetch(struct ranges *ranges, const char *name, struct error *error) {
    struct connection connections[MAX_CONNECTIONS];
    pthread_t threads[MAX_CONNECTIONS];
    size_t wanted = connections_wanted(ranges);
    size_t started = 0;
    pthread_mutex_lock(&ranges->mutex);
    for (size_t i = 0; i < wanted; i++) {
        connections[i] = (struct connection){.ranges = ranges, .client = hub_connection_create()};
        if (connections[i].client == NULL ||
            pthread_create(&threads[i], NULL, run, &connections[i]) != 0) {
            hub_connection_free(connections[i].client);
            break; /* those that are there do the work */
        }
        ranges->running++;
        started++;
    }
    while (ranges->running > 0) {
        tell(ranges, name);
        if (ranges->running > 0) {
            wait_a_moment(ranges);
        }
    }
    pthread_mutex_unlock(&ranges->mutex);
    for (size_t i = 0; i < started; i++) {
        pthread_join(threads[i], NULL);
        hub_connection_free(connections[i].client);
    }
    if (ranges->has_failed) {
        *error = ranges->error;
        return RANGES_FAILED;
    }
    if (ranges->is_not_offered) {
        return RANGES_NOT_OFFERED;
    }
    uint64_t bytes = ranges->download->bytes;
    if (ranges_done_bytes(ranges) != bytes) {
        error_set(error, ERROR_OUT_OF_MEMORY, "no thread for a download");
        return RANGES_FAILED;
    }
    session_report(ranges->download->session, HUB_FETCHING, name, bytes, bytes, NULL);
    return RANGES_DONE;
}
