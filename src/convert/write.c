/*
 * write.c - plan_write: every thread takes the next few rows of the next tensor, decodes them to
 * f32, encodes them and writes them to their place in the file. Nothing is ordered but the places,
 * which are known beforehand, and the file is the same with any number of threads.
 */
#include "convert/plan.h"

#include "base/bytes.h"
#include "base/processors.h"
#include "base/thread_pool.h"

#include <errno.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <sys/statvfs.h>
#include <unistd.h>

/* Values that a thread works on at once: 256 KiB as f32, which a core's cache holds. */
enum { CHUNK_VALUES = 65536 };

struct job {
    const struct plan *plan;
    int file;
    const struct convert_watch *watch;
    struct thread_pool *pool;
    size_t *first_chunks;  /* [tensor_count + 1]: chunks before each tensor */
    size_t *rows_a_chunk;  /* [tensor_count] */
    float *values;         /* [thread_count][largest_values] */
    uint8_t *blocks;       /* [thread_count][largest_values * 4] */
    size_t largest_values; /* of a chunk */
    _Atomic size_t chunks_done;
    _Atomic int write_error; /* errno; 0: none */
    atomic_bool stopped;
};

static bool write_at(int file, const uint8_t *bytes, size_t length, size_t offset) {
    while (length > 0) {
        ssize_t count = pwrite(file, bytes, length, (off_t)offset);
        if (count < 0 && errno == EINTR) {
            continue;
        }
        if (count <= 0) {
            return false;
        }
        bytes += count;
        length -= (size_t)count;
        offset += (size_t)count;
    }
    return true;
}

/* Where the GGUF row (or, in a bias, value) `at` lies in the source: pair p of a head is its rows
 * 2p and 2p + 1 here, p and p + half there. */
static size_t source_place(const struct source_tensor *tensor, size_t count, size_t at) {
    if (tensor->halved_heads == 0) {
        return at;
    }
    size_t head_dim = count / tensor->halved_heads;
    size_t inner = at % head_dim;
    return at - inner + inner % 2 * (head_dim / 2) + inner / 2;
}

static void decode_rows(const struct source_tensor *tensor, size_t first, size_t count,
                        float *values) {
    size_t columns = tensor->dimensions[0];
    size_t row_bytes = columns * tensor->format->block_bytes;
    for (size_t i = 0; i < count; i++) {
        size_t row =
            tensor->dimension_count == 1 ? 0 : source_place(tensor, tensor->row_count, first + i);
        tensor->format->decode(tensor->data + row * row_bytes, values + i * columns, columns);
    }
    if (tensor->dimension_count == 1 && tensor->halved_heads > 0) {
        for (size_t i = 0; i < columns; i++) {
            size_t at = source_place(tensor, columns, i);
            tensor->format->decode(tensor->data + at * tensor->format->block_bytes, values + i, 1);
        }
    }
}

static void write_chunk(struct job *job, size_t index, size_t chunk, size_t thread_index) {
    const struct planned_tensor *planned = &job->plan->tensors[index];
    const struct source_tensor *tensor = planned->source;
    size_t columns = tensor->dimensions[0];
    size_t first = (chunk - job->first_chunks[index]) * job->rows_a_chunk[index];
    size_t count = size_min(job->rows_a_chunk[index], tensor->row_count - first);
    size_t row_bytes = columns / planned->format->block_values * planned->format->block_bytes;
    float *values = job->values + thread_index * job->largest_values;
    uint8_t *blocks = job->blocks + thread_index * job->largest_values * sizeof(float);
    decode_rows(tensor, first, count, values);
    planned->format->encode(values, blocks, count * columns);
    if (!write_at(job->file, blocks, count * row_bytes, planned->offset + first * row_bytes)) {
        atomic_store(&job->write_error, errno == 0 ? EIO : errno);
        atomic_store(&job->stopped, true);
    }
}

static void watch(struct job *job) {
    const struct convert_watch *watcher = job->watch;
    size_t total = job->first_chunks[job->plan->source->tensor_count];
    if (watcher->progress != NULL) {
        watcher->progress(watcher->context, (double)atomic_load(&job->chunks_done) / (double)total);
    }
    if (watcher->cancelled != NULL && watcher->cancelled(watcher->context)) {
        atomic_store(&job->stopped, true);
    }
}

static void run_job(void *context, size_t thread_index) {
    struct job *job = context;
    size_t count = job->plan->source->tensor_count;
    size_t tensor = 0;
    for (;;) {
        size_t chunk = thread_pool_next_chunk(job->pool);
        if (chunk >= job->first_chunks[count] || atomic_load(&job->stopped)) {
            return;
        }
        while (chunk >= job->first_chunks[tensor + 1]) {
            tensor++;
        }
        write_chunk(job, tensor, chunk, thread_index);
        atomic_fetch_add(&job->chunks_done, 1);
        if (thread_index == 0) {
            watch(job);
        }
    }
}

static bool prepare(struct job *job, size_t thread_count, struct error *error) {
    const struct source *source = job->plan->source;
    job->first_chunks = calloc(source->tensor_count + 1, sizeof *job->first_chunks);
    job->rows_a_chunk = calloc(source->tensor_count + 1, sizeof *job->rows_a_chunk);
    for (size_t i = 0;
         job->first_chunks != NULL && job->rows_a_chunk != NULL && i < source->tensor_count; i++) {
        const struct source_tensor *tensor = &source->tensors[i];
        size_t rows = size_max(1, CHUNK_VALUES / tensor->dimensions[0]);
        job->rows_a_chunk[i] = rows;
        job->first_chunks[i + 1] = job->first_chunks[i] + size_divide_up(tensor->row_count, rows);
        job->largest_values = size_max(job->largest_values,
                                       size_min(rows, tensor->row_count) * tensor->dimensions[0]);
    }
    size_t bytes = 0;
    if (size_multiply(job->largest_values, thread_count * sizeof(float), &bytes)) {
        job->values = malloc(bytes + 1);
        job->blocks = malloc(bytes + 1);
    }
    return (job->first_chunks != NULL && job->rows_a_chunk != NULL && job->values != NULL &&
            job->blocks != NULL) ||
           error_set(error, ERROR_OUT_OF_MEMORY, "no memory for rows of %zu values",
                     job->largest_values);
}

static bool check_space(const struct plan *plan, int file, const char *path, struct error *error) {
    struct statvfs status;
    if (fstatvfs(file, &status) != 0) {
        return true;
    }
    uint64_t available = (uint64_t)status.f_bavail * status.f_frsize;
    return plan->file_bytes <= available ||
           error_set(error, ERROR_NO_SPACE, "'%s' will have %.1f MB, and %.1f MB are free there",
                     path, (double)plan->file_bytes / 1e6, (double)available / 1e6);
}

static bool finish(struct job *job, const char *path, struct error *error) {
    const struct plan *plan = job->plan;
    int reason = atomic_load(&job->write_error);
    if (reason != 0) {
        return error_set_errno(error, reason, "cannot write '%s'", path);
    }
    if (atomic_load(&job->stopped)) {
        return error_set(error, ERROR_CANCELLED, "stopped; nothing was kept");
    }
    if (!source_check(plan->source, error)) {
        return false;
    }
    /* The padding behind the last tensor too. */
    if (!write_at(job->file, (const uint8_t *)plan->head.data, plan->head.length, 0) ||
        ftruncate(job->file, (off_t)plan->file_bytes) != 0) {
        return error_set_errno(error, errno, "cannot write '%s'", path);
    }
    return true;
}

bool plan_write(const struct plan *plan, int file, const char *path, size_t thread_count,
                const struct convert_watch *watcher, struct error *error) {
    struct job job = {.plan = plan, .file = file, .watch = watcher};
    thread_count = thread_count == 0 ? processors_physical() : thread_count;
    bool done = check_space(plan, file, path, error) && prepare(&job, thread_count, error) &&
                thread_pool_create(thread_count, &job.pool, error);
    if (done) {
        thread_pool_run(job.pool, run_job, &job);
        done = finish(&job, path, error);
    }
    thread_pool_free(job.pool);
    free(job.first_chunks);
    free(job.rows_a_chunk);
    free(job.values);
    free(job.blocks);
    return done;
}
