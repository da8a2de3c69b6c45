/*
 * cpu_matmul.c - matrix products on the pool's threads: encode the activations once, then let the
 * threads take panels of the weights. All arithmetic is in the kernels; which thread takes which
 * panel has no influence on any result.
 */
#include "backend/cpu/cpu.h"

#include "base/bytes.h"

#include <string.h>

/* Panels handed out at once: small enough that the last ones finish together, large enough that a
 * tile of activations is used several times while it is in the cache. */
enum { MAX_CHUNK_PANELS = 8, CHUNKS_PER_THREAD = 6 };

struct matmul_job {
    struct cpu_backend *cpu;
    const float *x; /* [row_count][columns] */
    size_t row_count, columns;
    const struct matmul_target *targets;
    size_t target_count;
    size_t chunk_panels;
    size_t chunk_count; /* over all targets */
    float *plain_out;   /* for logits: [row_count][weight rows] in place of target->out */
    bool needed[ENCODING_COUNT];
};

struct matmul_scratch {
    _Alignas(64) float sums[2][MATMUL_TILE_ROWS * PANEL_ROWS];
    _Alignas(64) uint8_t unpacked[UNPACKED_BYTES];
    _Alignas(64) uint8_t packed[PACKED_CHUNK_BYTES]; /* of a matrix in the file's form */
};

size_t cpu_matmul_scratch_floats(void) {
    return sizeof(struct matmul_scratch) / sizeof(float);
}

static size_t panel_count(const struct cpu_weight *weight) {
    return size_divide_up(weight->rows, PANEL_ROWS);
}

/* ---- encoding ---- */

static void encode_row(const struct matmul_job *job, size_t row) {
    const struct cpu_backend *cpu = job->cpu;
    size_t bytes32 = encoding_row_bytes(ENCODING_Q8_32, job->columns);
    size_t bytes256 = encoding_row_bytes(ENCODING_Q8_256, job->columns);
    const float *values = job->x + row * job->columns;
    if (job->needed[ENCODING_Q8_32]) {
        void *out = cpu->encoded[ENCODING_Q8_32] + row * bytes32;
        cpu->kernels->encode_q8_32(values, job->columns, out);
    }
    if (job->needed[ENCODING_Q8_256]) {
        void *out = cpu->encoded[ENCODING_Q8_256] + row * bytes256;
        cpu->kernels->encode_q8_256(values, job->columns, out);
    }
}

static void encode_rows(void *context, size_t thread_index) {
    const struct matmul_job *job = context;
    (void)thread_index;
    size_t first, end;
    while (cpu_next_rows(job->cpu, job->row_count, &first, &end)) {
        for (size_t row = first; row < end; row++) {
            encode_row(job, row);
        }
    }
}

static void encode_activations(struct matmul_job *job) {
    for (size_t i = 0; i < job->target_count; i++) {
        const struct matmul_target *target = &job->targets[i];
        job->needed[cpu_weight_of(target->weight)->kernel->encoding] = true;
        if (target->second != NULL) {
            job->needed[cpu_weight_of(target->second)->kernel->encoding] = true;
        }
    }
    if (job->needed[ENCODING_Q8_32] || job->needed[ENCODING_Q8_256]) {
        cpu_run(job->cpu, job->row_count / CPU_CHUNK_ROWS, encode_rows, job);
    }
}

/* ---- one panel, one tile of rows ---- */

/* A chunk of a panel, however the matrix is kept. */
struct chunk {
    const struct cpu_weight *weight;
    struct cpu_weight piece; /* the chunk by itself, when it had to be packed */
    size_t panel, first_column;
};

static void find_chunk(const struct cpu_weight *weight, size_t panel, size_t first_column,
                       size_t columns, struct matmul_scratch *scratch, struct chunk *chunk) {
    *chunk = (struct chunk){weight, {0}, panel, first_column};
    if (cpu_weight_is_mapped(weight)) {
        size_t block_values = weight->format->block_values;
        cpu_pack_blocks(weight, panel, first_column / block_values, columns / block_values,
                        scratch->packed);
        chunk->piece = *weight;
        chunk->piece.data = scratch->packed;
        chunk->weight = &chunk->piece;
        chunk->panel = chunk->first_column = 0;
    }
}

static void multiply_panel(const struct matmul_job *job, const struct cpu_weight *weight,
                           size_t panel, size_t first_row, size_t rows, float *sums,
                           struct matmul_scratch *scratch) {
    const struct matmul_kernel *kernel = weight->kernel;
    enum encoding encoding = kernel->encoding;
    size_t stride = encoding_row_bytes(encoding, job->columns);
    const uint8_t *encoded =
        encoding == ENCODING_F32 ? (const uint8_t *)job->x : job->cpu->encoded[encoding];
    stride = encoding == ENCODING_F32 ? job->columns * sizeof(float) : stride;
    memset(sums, 0, rows * PANEL_ROWS * sizeof(float));
    for (size_t column = 0; column < job->columns; column += CHUNK_COLUMNS) {
        size_t columns = size_min(CHUNK_COLUMNS, job->columns - column);
        const uint8_t *activations =
            encoded + first_row * stride +
            (encoding == ENCODING_F32 ? column * sizeof(float)
                                      : encoding_row_bytes(encoding, column));
        struct chunk chunk;
        find_chunk(weight, panel, column, columns, scratch, &chunk);
        if (rows <= MATMUL_DIRECT_ROWS && kernel->multiply_packed != NULL) {
            kernel->multiply_packed(chunk.weight, chunk.panel, chunk.first_column, activations,
                                    stride, rows, columns, sums);
        } else {
            kernel->unpack(chunk.weight, chunk.panel, chunk.first_column, columns,
                           scratch->unpacked);
            kernel->multiply(scratch->unpacked, activations, stride, rows, columns, sums);
        }
    }
}

static void add_bias(const struct weight *handle, size_t panel, size_t rows, float *sums) {
    if (handle == NULL) {
        return;
    }
    const struct cpu_weight *bias = cpu_weight_of(handle);
    const float *values = bias->owned;
    size_t first = panel * PANEL_ROWS;
    size_t count = size_min(PANEL_ROWS, bias->columns - first);
    for (size_t row = 0; row < rows; row++) {
        for (size_t i = 0; i < count; i++) {
            sums[row * PANEL_ROWS + i] += values[first + i];
        }
    }
}

static inline __attribute__((always_inline)) void
store_rows(const float *from, size_t rows, const size_t count, bool adds, float *to, size_t width) {
    for (size_t row = 0; row < rows; row++, from += PANEL_ROWS, to += width) {
        if (adds) {
            for (size_t i = 0; i < count; i++) {
                to[i] += from[i];
            }
        } else {
            memcpy(to, from, count * sizeof(float));
        }
    }
}

/* sums [rows][16] → the target's columns, by its epilogue. */
static void store_panel(const struct matmul_job *job, const struct matmul_target *target,
                        size_t panel, size_t first_row, size_t rows, const float *sums) {
    size_t width = cpu_weight_of(target->weight)->rows;
    size_t first = panel * PANEL_ROWS;
    size_t count = size_min(PANEL_ROWS, width - first);
    float *out = job->plain_out != NULL ? job->plain_out : cpu_activation_of(target->out)->data;
    out += first_row * width + first;
    bool adds = target->epilogue == MATMUL_ADD;
    if (count == PANEL_ROWS) { /* a constant: vectors */
        store_rows(sums, rows, PANEL_ROWS, adds, out, width);
    } else {
        store_rows(sums, rows, count, adds, out, width);
    }
}

static void run_panel(const struct matmul_job *job, const struct matmul_target *target,
                      size_t panel, size_t first_row, size_t rows, struct matmul_scratch *scratch) {
    multiply_panel(job, cpu_weight_of(target->weight), panel, first_row, rows, scratch->sums[0],
                   scratch);
    add_bias(target->bias, panel, rows, scratch->sums[0]);
    if (target->epilogue == MATMUL_SILU_MUL) {
        multiply_panel(job, cpu_weight_of(target->second), panel, first_row, rows, scratch->sums[1],
                       scratch);
        add_bias(target->second_bias, panel, rows, scratch->sums[1]);
        job->cpu->kernels->silu_multiply(scratch->sums[0], scratch->sums[1], rows * PANEL_ROWS);
    }
    store_panel(job, target, panel, first_row, rows, scratch->sums[0]);
}

/* ---- the threads' loop ---- */

/* Chunk number → target and first panel. */
static const struct matmul_target *locate_chunk(const struct matmul_job *job, size_t chunk,
                                                size_t *first_panel) {
    for (size_t i = 0; i < job->target_count; i++) {
        size_t panels = panel_count(cpu_weight_of(job->targets[i].weight));
        size_t chunks = size_divide_up(panels, job->chunk_panels);
        if (chunk < chunks) {
            *first_panel = chunk * job->chunk_panels;
            return &job->targets[i];
        }
        chunk -= chunks;
    }
    return NULL;
}

static void multiply_chunks(void *context, size_t thread_index) {
    const struct matmul_job *job = context;
    struct matmul_scratch *scratch = (void *)cpu_scratch(job->cpu, thread_index);
    size_t chunk;
    while ((chunk = thread_pool_next_chunk(job->cpu->pool)) < job->chunk_count) {
        size_t first_panel = 0;
        const struct matmul_target *target = locate_chunk(job, chunk, &first_panel);
        size_t end =
            size_min(first_panel + job->chunk_panels, panel_count(cpu_weight_of(target->weight)));
        for (size_t row = 0; row < job->row_count; row += MATMUL_TILE_ROWS) {
            size_t rows = size_min(MATMUL_TILE_ROWS, job->row_count - row);
            for (size_t panel = first_panel; panel < end; panel++) {
                run_panel(job, target, panel, row, rows, scratch);
            }
        }
    }
}

static void run_job(struct matmul_job *job) {
    size_t panels = 0;
    for (size_t i = 0; i < job->target_count; i++) {
        panels += panel_count(cpu_weight_of(job->targets[i].weight));
    }
    size_t wanted = panels / (job->cpu->thread_count * CHUNKS_PER_THREAD);
    job->chunk_panels = size_max(1, size_min(wanted, MAX_CHUNK_PANELS));
    for (size_t i = 0; i < job->target_count; i++) {
        job->chunk_count +=
            size_divide_up(panel_count(cpu_weight_of(job->targets[i].weight)), job->chunk_panels);
    }
    encode_activations(job);
    thread_pool_run(job->cpu->pool, multiply_chunks, job);
}

void cpu_matmul(struct backend *backend, const struct activation *x,
                const struct matmul_target *targets, size_t target_count) {
    struct cpu_backend *cpu = cpu_backend_of(backend);
    struct matmul_job job = {.cpu = cpu,
                             .x = cpu_activation_view(x)->data,
                             .row_count = cpu->batch->row_count,
                             .columns = cpu_weight_of(targets[0].weight)->columns,
                             .targets = targets,
                             .target_count = target_count};
    run_job(&job);
}

void cpu_logits(struct backend *backend, const struct activation *x,
                const struct weight *norm_weight, float epsilon, const struct weight *output,
                float *logits) {
    struct cpu_backend *cpu = cpu_backend_of(backend);
    const struct cpu_activation *rows = cpu_activation_view(x);
    const struct batch *batch = cpu->batch;
    for (size_t i = 0; i < batch->logit_row_count; i++) {
        cpu->kernels->rms_norm(rows->data + batch->logit_rows[i] * rows->columns,
                               cpu_weight_of(norm_weight)->owned, epsilon, rows->columns,
                               cpu->logit_rows + i * rows->columns);
    }
    const struct matmul_target target = {.weight = output};
    struct matmul_job job = {.cpu = cpu,
                             .x = cpu->logit_rows,
                             .row_count = batch->logit_row_count,
                             .columns = rows->columns,
                             .targets = &target,
                             .target_count = 1,
                             .plain_out = logits};
    run_job(&job);
}
