/*
 * cpu_matmul.c - matrix products on the pool's threads: encode the activations once, then let the
 * threads take panels of the weights. All arithmetic is in the kernels; which thread takes which
 * panel, and in which order panels and chunks are visited, has no influence on any result.
 *
 * A prompt's activations are more than the second-level cache holds. So encoded rows lie chunk by
 * chunk, [chunk][row][its bytes], and several panels meet a chunk of a tile of rows, a few tens of
 * kilobytes read in order, before the next chunk is touched.
 */
#include "backend/cpu/cpu.h"

#include "base/bytes.h"

#include <math.h>
#include <string.h>

enum {
    /* Panels handed out at once: small enough that the last ones finish together, large enough that
     * a chunk of activations is used several times while it is in the cache. */
    PASS_PANELS = 8,
    PASSES_PER_THREAD = 6,
    /* With fewer rows a panel is read from end to end: it is the weights that come from memory. */
    LEAST_ROWS_SIDE_BY_SIDE = 32,
};

struct matmul_job {
    struct cpu_backend *cpu;
    const float *x; /* [row_count], `stride` floats apart; of each the first `columns` */
    size_t row_count, columns, stride;
    const struct matmul_target *targets;
    size_t target_count;
    size_t pass_panels;
    size_t pass_count; /* over all targets */
    float *plain_out;  /* for logits: [row_count][weight rows] in place of target->out */
    bool needed[ENCODING_COUNT];
};

struct matmul_scratch {
    _Alignas(64) float sums[2][PASS_PANELS * MATMUL_TILE_ROWS * PANEL_ROWS];
    _Alignas(64) uint8_t unpacked[UNPACKED_BYTES];
    _Alignas(64) uint8_t packed[PACKED_CHUNK_BYTES]; /* of a matrix in the file's form */
};

size_t cpu_matmul_scratch_floats(void) {
    return sizeof(struct matmul_scratch) / sizeof(float);
}

/* ---- encoding ---- */

/* Whether packed weights are multiplied where they are, or unpacked first. */
static bool is_direct(const struct matmul_job *job, const struct matmul_kernel *kernel) {
    return job->row_count <= MATMUL_DIRECT_ROWS && kernel->multiply_packed != NULL;
}

static enum encoding encoding_of(const struct matmul_job *job, const struct weight *weight) {
    const struct matmul_kernel *kernel = cpu_weight_of(weight)->kernel;
    return kernel->multiplies_wide && !is_direct(job, kernel) ? ENCODING_Q8_32_WIDE
                                                              : kernel->encoding;
}

static void encode_wide(const struct cpu_kernels *kernels, const float *values, size_t columns,
                        struct q8_wide32 *out) {
    struct q8_block32 blocks[CHUNK_COLUMNS / 32];
    kernels->encode_q8_32(values, columns, blocks);
    for (size_t b = 0; b < size_divide_up(columns, 32); b++) {
        out[b].scale = blocks[b].scale;
        for (size_t i = 0; i < 32; i++) {
            out[b].q[i] = (int16_t)blocks[b].q[i];
        }
    }
}

/* Where a chunk of a row is encoded; the chunk's other rows follow, `stride` bytes apart. */
static uint8_t *encoded_at(const struct matmul_job *job, enum encoding encoding, size_t column,
                           size_t row, size_t *stride) {
    size_t columns = size_min(CHUNK_COLUMNS, job->columns - column);
    *stride = encoding_row_bytes(encoding, columns);
    return job->cpu->encoded[encoding] + job->row_count * encoding_row_bytes(encoding, column) +
           row * *stride;
}

static void encode_row(const struct matmul_job *job, size_t row) {
    const struct cpu_kernels *kernels = job->cpu->kernels;
    const float *values = job->x + row * job->stride;
    size_t stride = 0;
    for (size_t column = 0; column < job->columns; column += CHUNK_COLUMNS) {
        size_t columns = size_min(CHUNK_COLUMNS, job->columns - column);
        if (job->needed[ENCODING_Q8_32]) {
            kernels->encode_q8_32(values + column, columns,
                                  (void *)encoded_at(job, ENCODING_Q8_32, column, row, &stride));
        }
        if (job->needed[ENCODING_Q8_256]) {
            kernels->encode_q8_256(values + column, columns,
                                   (void *)encoded_at(job, ENCODING_Q8_256, column, row, &stride));
        }
        if (job->needed[ENCODING_Q8_32_WIDE]) {
            encode_wide(kernels, values + column, columns,
                        (void *)encoded_at(job, ENCODING_Q8_32_WIDE, column, row, &stride));
        }
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
        job->needed[encoding_of(job, target->weight)] = true;
        if (target->second != NULL) {
            job->needed[encoding_of(job, target->second)] = true;
        }
    }
    if (job->needed[ENCODING_Q8_32] || job->needed[ENCODING_Q8_256] ||
        job->needed[ENCODING_Q8_32_WIDE]) {
        cpu_run(job->cpu, job->row_count / CPU_CHUNK_ROWS, encode_rows, job);
    }
}

/* ---- some panels, one tile of rows ---- */

/* A chunk of a panel, however the matrix is kept. */
struct chunk {
    const struct cpu_weight *weight;
    struct cpu_weight piece; /* the chunk by itself, when it had to be packed */
    size_t panel, first_column;
};

static void find_chunk(const struct cpu_kernels *kernels, const struct cpu_weight *weight,
                       size_t panel, size_t first_column, size_t columns,
                       struct matmul_scratch *scratch, struct chunk *chunk) {
    *chunk = (struct chunk){weight, {0}, panel, first_column};
    if (cpu_weight_is_mapped(weight)) {
        size_t block_values = weight->format->block_values;
        kernels->pack_blocks(weight, panel, first_column / block_values, columns / block_values,
                             scratch->packed);
        chunk->piece = *weight;
        chunk->piece.data = scratch->packed;
        chunk->weight = &chunk->piece;
        chunk->panel = chunk->first_column = 0;
    }
}

/* Some panels of a weight and a tile of rows. */
struct pass {
    size_t first_panel, panels;
    size_t first_row, rows;
};

static void multiply_chunk(const struct matmul_job *job, const struct weight *handle, size_t panel,
                           size_t column, size_t first_row, size_t rows, float *sums,
                           struct matmul_scratch *scratch) {
    const struct cpu_weight *weight = cpu_weight_of(handle);
    const struct matmul_kernel *kernel = weight->kernel;
    enum encoding encoding = encoding_of(job, handle);
    size_t columns = size_min(CHUNK_COLUMNS, job->columns - column);
    size_t stride = job->stride * sizeof(float);
    const uint8_t *activations = (const uint8_t *)(job->x + first_row * job->stride + column);
    if (encoding != ENCODING_F32) {
        activations = encoded_at(job, encoding, column, first_row, &stride);
    }
    struct chunk chunk;
    find_chunk(job->cpu->kernels, weight, panel, column, columns, scratch, &chunk);
    if (is_direct(job, kernel)) {
        kernel->multiply_packed(chunk.weight, chunk.panel, chunk.first_column, activations, stride,
                                rows, columns, sums);
    } else {
        kernel->unpack(chunk.weight, chunk.panel, chunk.first_column, columns, scratch->unpacked);
        kernel->multiply(scratch->unpacked, activations, stride, rows, columns, sums);
    }
}

/* sums: [panel][row][16] */
static void multiply_panels(const struct matmul_job *job, const struct weight *weight,
                            const struct pass *pass, float *sums, struct matmul_scratch *scratch) {
    size_t panel_sums = pass->rows * PANEL_ROWS;
    memset(sums, 0, pass->panels * panel_sums * sizeof(float));
    for (size_t column = 0; column < job->columns; column += CHUNK_COLUMNS) {
        for (size_t i = 0; i < pass->panels; i++) {
            multiply_chunk(job, weight, pass->first_panel + i, column, pass->first_row, pass->rows,
                           sums + i * panel_sums, scratch);
        }
    }
}

static void add_bias(const struct weight *handle, const struct pass *pass, float *sums) {
    if (handle == NULL) {
        return;
    }
    const struct cpu_weight *bias = cpu_weight_of(handle);
    const float *values = bias->owned;
    for (size_t panel = 0; panel < pass->panels; panel++) {
        size_t first = (pass->first_panel + panel) * PANEL_ROWS;
        size_t count = size_min(PANEL_ROWS, bias->columns - first);
        for (size_t row = 0; row < pass->rows; row++, sums += PANEL_ROWS) {
            for (size_t i = 0; i < count; i++) {
                sums[i] += values[first + i];
            }
        }
    }
}

static inline __attribute__((always_inline)) void
store_sums(const float *restrict from, const size_t count, bool adds, float *restrict to) {
    if (adds) {
        for (size_t i = 0; i < count; i++) {
            to[i] += from[i];
        }
    } else {
        memcpy(to, from, count * sizeof(float));
    }
}

/* sums [panel][row][16] → the target's columns, by its epilogue: a row's panels lie side by side
 * there. */
static void store_panels(const struct matmul_job *job, const struct matmul_target *target,
                         const struct pass *pass, const float *sums) {
    size_t width = cpu_weight_of(target->weight)->rows;
    const struct cpu_activation *to_rows = cpu_activation_of(target->out);
    size_t stride = job->plain_out != NULL ? width : to_rows->columns;
    float *out = job->plain_out != NULL ? job->plain_out : to_rows->data;
    bool adds = target->epilogue == MATMUL_ADD;
    for (size_t row = 0; row < pass->rows; row++) {
        float *to = out + (pass->first_row + row) * stride;
        for (size_t panel = 0; panel < pass->panels; panel++) {
            const float *from = sums + (panel * pass->rows + row) * PANEL_ROWS;
            size_t first = (pass->first_panel + panel) * PANEL_ROWS;
            size_t count = size_min(PANEL_ROWS, width - first);
            if (count == PANEL_ROWS) { /* a constant: vectors */
                store_sums(from, PANEL_ROWS, adds, to + first);
            } else {
                store_sums(from, count, adds, to + first);
            }
        }
    }
}

static void run_pass(const struct matmul_job *job, const struct matmul_target *target,
                     const struct pass *pass, struct matmul_scratch *scratch) {
    multiply_panels(job, target->weight, pass, scratch->sums[0], scratch);
    add_bias(target->bias, pass, scratch->sums[0]);
    if (target->epilogue == MATMUL_GATED) {
        multiply_panels(job, target->second, pass, scratch->sums[1], scratch);
        add_bias(target->second_bias, pass, scratch->sums[1]);
        job->cpu->kernels->gates[target->gate.function](&target->gate, scratch->sums[0],
                                                        scratch->sums[1],
                                                        pass->panels * pass->rows * PANEL_ROWS);
    }
    store_panels(job, target, pass, scratch->sums[0]);
}

/* ---- the threads' loop ---- */

/* Pass number → target and panels. */
static const struct matmul_target *locate_pass(const struct matmul_job *job, size_t number,
                                               struct pass *pass) {
    for (size_t i = 0; i < job->target_count; i++) {
        size_t panels = cpu_panel_count(cpu_weight_of(job->targets[i].weight));
        size_t passes = size_divide_up(panels, job->pass_panels);
        if (number < passes) {
            pass->first_panel = number * job->pass_panels;
            pass->panels = size_min(job->pass_panels, panels - pass->first_panel);
            return &job->targets[i];
        }
        number -= passes;
    }
    return NULL;
}

static void pack_at_first_use(const struct cpu_backend *cpu, const struct weight *handle,
                              const struct pass *pass) {
    if (handle != NULL && cpu_weight_of(handle)->unpacked != NULL) {
        cpu_weight_pack(cpu, cpu_weight_of(handle), pass->first_panel, pass->panels);
    }
}

static void run_passes(void *context, size_t thread_index) {
    const struct matmul_job *job = context;
    struct matmul_scratch *scratch = (void *)cpu_scratch(job->cpu, thread_index);
    size_t number;
    while ((number = thread_pool_next_chunk(job->cpu->pool)) < job->pass_count) {
        struct pass pass = {0};
        const struct matmul_target *target = locate_pass(job, number, &pass);
        size_t end = pass.first_panel + pass.panels;
        pack_at_first_use(job->cpu, target->weight, &pass);
        pack_at_first_use(job->cpu, target->second, &pass);
        size_t step = job->row_count < LEAST_ROWS_SIDE_BY_SIDE ? 1 : pass.panels;
        for (size_t row = 0; row < job->row_count; row += MATMUL_TILE_ROWS) {
            for (size_t panel = pass.first_panel; panel < end; panel += step) {
                const struct pass part = {panel, step, row,
                                          size_min(MATMUL_TILE_ROWS, job->row_count - row)};
                run_pass(job, target, &part, scratch);
            }
        }
    }
}

/* Of each matrix: before the threads meet its panels, and after they have met all of them. */
static void begin_weight(struct cpu_backend *cpu, const struct weight *handle) {
    if (handle != NULL && cpu_weight_is_mapped(cpu_weight_of(handle))) {
        cpu_weight_choose(cpu, cpu_weight_of(handle));
    }
}

static void end_weight(struct cpu_backend *cpu, const struct weight *handle) {
    if (handle != NULL && cpu_weight_of(handle)->unpacked != NULL) {
        cpu_weight_packed(cpu, cpu_weight_of(handle));
    }
}

static void run_job(struct matmul_job *job) {
    size_t panels = 0;
    for (size_t i = 0; i < job->target_count; i++) {
        panels += cpu_panel_count(cpu_weight_of(job->targets[i].weight));
    }
    size_t wanted = panels / (job->cpu->thread_count * PASSES_PER_THREAD);
    job->pass_panels = size_max(1, size_min(wanted, PASS_PANELS));
    for (size_t i = 0; i < job->target_count; i++) {
        job->pass_count += size_divide_up(cpu_panel_count(cpu_weight_of(job->targets[i].weight)),
                                          job->pass_panels);
    }
    encode_activations(job);
    for (size_t i = 0; i < job->target_count; i++) {
        begin_weight(job->cpu, job->targets[i].weight);
        begin_weight(job->cpu, job->targets[i].second);
    }
    thread_pool_run(job->cpu->pool, run_passes, job);
    for (size_t i = 0; i < job->target_count; i++) {
        end_weight(job->cpu, job->targets[i].weight);
        end_weight(job->cpu, job->targets[i].second);
    }
}

void cpu_matmul(struct backend *backend, const struct activation *x,
                const struct matmul_target *targets, size_t target_count) {
    struct cpu_backend *cpu = cpu_backend_of(backend);
    struct matmul_job job = {.cpu = cpu,
                             .x = cpu_activation_view(x)->data,
                             .stride = cpu_activation_view(x)->columns,
                             .row_count = cpu->batch->row_count,
                             .columns = cpu_weight_of(targets[0].weight)->columns,
                             .targets = targets,
                             .target_count = target_count};
    run_job(&job);
}

/* In place: the logits [count] as the model gives them. */
static void finish_logits(const struct logits_finish *finish, float *logits, size_t count) {
    for (size_t i = 0; finish->scale != 1 && i < count; i++) {
        logits[i] *= finish->scale;
    }
    for (size_t i = 0; finish->soft_cap != 0 && i < count; i++) {
        logits[i] = finish->soft_cap * tanhf(logits[i] / finish->soft_cap);
    }
}

void cpu_logits(struct backend *backend, const struct activation *x,
                const struct weight *norm_weight, float epsilon, const struct weight *output,
                const struct logits_finish *finish, float *logits) {
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
                             .stride = rows->columns,
                             .row_count = batch->logit_row_count,
                             .columns = rows->columns,
                             .targets = &target,
                             .target_count = 1,
                             .plain_out = logits};
    run_job(&job);
    finish_logits(finish, logits, batch->logit_row_count * cpu_weight_of(output)->rows);
}
