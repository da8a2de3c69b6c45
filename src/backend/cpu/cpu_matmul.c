/*
 * cpu_matmul.c - matrix products on the pool's threads: encode the activations once, then let the
 * threads take panels of the weights. All arithmetic is in the kernels; which thread takes which
 * panel, and in which order panels and chunks are visited, has no influence on any result.
 *
 * A prompt's activations are more than the second-level cache holds. So encoded rows lie chunk by
 * chunk, [input][chunk][row][its bytes], and several panels meet a chunk of a tile of rows, a few
 * tens of kilobytes read in order, before the next chunk is touched.
 */
#include "backend/cpu/cpu_matmul.h"

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

struct matmul_scratch {
    _Alignas(64) float sums[2][PASS_PANELS * MATMUL_TILE_ROWS * PANEL_ROWS];
    _Alignas(64) uint8_t unpacked[UNPACKED_BYTES];
    _Alignas(64) uint8_t packed[PACKED_CHUNK_BYTES]; /* of a matrix in the file's form */
    float gathered[MATMUL_TILE_ROWS][CHUNK_COLUMNS]; /* rows that do not lie one after the other */
};

size_t cpu_matmul_scratch_floats(void) {
    return sizeof(struct matmul_scratch) / sizeof(float);
}

/* ---- encoding ---- */

/* Whether packed weights are multiplied where they are, or unpacked first. */
static bool is_direct(const struct matmul_input *input, const struct matmul_kernel *kernel) {
    return input->count <= MATMUL_DIRECT_ROWS && kernel->multiply_packed != NULL;
}

static enum encoding encoding_of(const struct matmul_input *input,
                                 const struct matmul_kernel *kernel) {
    return kernel->multiplies_wide && !is_direct(input, kernel) ? ENCODING_Q8_32_WIDE
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
static uint8_t *encoded_at(const struct matmul_job *job, const struct matmul_input *input,
                           enum encoding encoding, size_t column, size_t row, size_t *stride) {
    size_t columns = size_min(CHUNK_COLUMNS, job->columns - column);
    *stride = encoding_row_bytes(encoding, columns);
    return input->encoded[encoding] + input->count * encoding_row_bytes(encoding, column) +
           row * *stride;
}

static const float *input_row(const struct matmul_input *input, size_t row) {
    return input->x + (input->rows == NULL ? row : input->rows[row]) * input->stride;
}

static void encode_row(const struct matmul_job *job, const struct matmul_input *input, size_t row) {
    const struct cpu_kernels *kernels = job->cpu->kernels;
    const float *values = input_row(input, row);
    size_t stride = 0;
    for (size_t column = 0; column < job->columns; column += CHUNK_COLUMNS) {
        size_t columns = size_min(CHUNK_COLUMNS, job->columns - column);
        if (input->encoded[ENCODING_Q8_32] != NULL) {
            kernels->encode_q8_32(
                values + column, columns,
                (void *)encoded_at(job, input, ENCODING_Q8_32, column, row, &stride));
        }
        if (input->encoded[ENCODING_Q8_256] != NULL) {
            kernels->encode_q8_256(
                values + column, columns,
                (void *)encoded_at(job, input, ENCODING_Q8_256, column, row, &stride));
        }
        if (input->encoded[ENCODING_Q8_32_WIDE] != NULL) {
            encode_wide(kernels, values + column, columns,
                        (void *)encoded_at(job, input, ENCODING_Q8_32_WIDE, column, row, &stride));
        }
    }
}

/* Rows of all inputs, one after the other: a thread takes them in rising order. */
static void encode_rows(void *context, size_t thread_index) {
    const struct matmul_job *job = context;
    const struct matmul_input *input = job->inputs, *last = input + job->input_count - 1;
    (void)thread_index;
    size_t first, end;
    while (cpu_next_rows(job->cpu, last->first + last->count, &first, &end)) {
        for (size_t row = first; row < end; row++) {
            while (row >= input->first + input->count) {
                input++;
            }
            encode_row(job, input, row - input->first);
        }
    }
}

/* Makes room for what a matrix's kernel reads. False: the rows as they are. */
static bool ask_for_encoding(const struct matmul_job *job, struct matmul_input *input,
                             const struct cpu_weight *weight) {
    enum encoding encoding = encoding_of(input, weight->kernel);
    if (encoding != ENCODING_F32) {
        input->encoded[encoding] =
            job->cpu->encoded[encoding] + input->first * encoding_row_bytes(encoding, job->columns);
    }
    return encoding != ENCODING_F32;
}

static void encode_activations(struct matmul_job *job) {
    bool is_needed = false;
    for (size_t i = 0; i < job->part_count; i++) {
        const struct matmul_part *part = &job->parts[i];
        is_needed |= ask_for_encoding(job, part->input, part->weight);
        is_needed |= part->second != NULL && ask_for_encoding(job, part->input, part->second);
    }
    if (is_needed) {
        const struct matmul_input *last = &job->inputs[job->input_count - 1];
        cpu_run(job->cpu, (last->first + last->count) / CPU_CHUNK_ROWS, encode_rows, job);
    }
}

size_t cpu_encodable_rows(const struct cpu_backend *cpu, size_t columns) {
    size_t rows = SIZE_MAX;
    for (int e = ENCODING_F32 + 1; e < ENCODING_COUNT; e++) {
        rows =
            size_min(rows, cpu->encoded_bytes[e] / encoding_row_bytes((enum encoding)e, columns));
    }
    return rows;
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

/* A chunk of a tile of rows, as `encoding` has it. */
static const uint8_t *activations_at(const struct matmul_job *job, const struct matmul_input *input,
                                     enum encoding encoding, size_t column, const struct pass *pass,
                                     struct matmul_scratch *scratch, size_t *stride) {
    if (encoding != ENCODING_F32) {
        return encoded_at(job, input, encoding, column, pass->first_row, stride);
    }
    *stride = input->stride * sizeof(float);
    if (input->rows == NULL || pass->rows == 1) {
        return (const uint8_t *)(input_row(input, pass->first_row) + column);
    }
    size_t columns = size_min(CHUNK_COLUMNS, job->columns - column);
    *stride = sizeof scratch->gathered[0];
    for (size_t row = 0; row < pass->rows; row++) {
        memcpy(scratch->gathered[row], input_row(input, pass->first_row + row) + column,
               columns * sizeof(float));
    }
    return (const uint8_t *)scratch->gathered;
}

/* sums: [panel][row][16] */
static void multiply_panels(const struct matmul_job *job, const struct matmul_input *input,
                            const struct cpu_weight *weight, const struct pass *pass, float *sums,
                            struct matmul_scratch *scratch) {
    const struct matmul_kernel *kernel = weight->kernel;
    enum encoding encoding = encoding_of(input, kernel);
    size_t panel_sums = pass->rows * PANEL_ROWS;
    memset(sums, 0, pass->panels * panel_sums * sizeof(float));
    for (size_t column = 0; column < job->columns; column += CHUNK_COLUMNS) {
        size_t columns = size_min(CHUNK_COLUMNS, job->columns - column), stride = 0;
        const uint8_t *activations =
            activations_at(job, input, encoding, column, pass, scratch, &stride);
        for (size_t i = 0; i < pass->panels; i++) {
            struct chunk chunk;
            find_chunk(job->cpu->kernels, weight, pass->first_panel + i, column, columns, scratch,
                       &chunk);
            if (is_direct(input, kernel)) {
                kernel->multiply_packed(chunk.weight, chunk.panel, chunk.first_column, activations,
                                        stride, pass->rows, columns, sums + i * panel_sums);
            } else {
                kernel->unpack(chunk.weight, chunk.panel, chunk.first_column, columns,
                               scratch->unpacked);
                kernel->multiply(scratch->unpacked, activations, stride, pass->rows, columns,
                                 sums + i * panel_sums);
            }
        }
    }
}

static void add_bias(const float *bias, size_t width, const struct pass *pass, float *sums) {
    if (bias == NULL) {
        return;
    }
    for (size_t panel = 0; panel < pass->panels; panel++) {
        size_t first = (pass->first_panel + panel) * PANEL_ROWS;
        size_t count = size_min(PANEL_ROWS, width - first);
        for (size_t row = 0; row < pass->rows; row++, sums += PANEL_ROWS) {
            for (size_t i = 0; i < count; i++) {
                sums[i] += bias[first + i];
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

/* sums [panel][row][16] → the part's rows, by its epilogue: a row's panels lie side by side there.
 */
static void store_panels(const struct matmul_part *part, const struct pass *pass,
                         const float *sums) {
    size_t width = part->weight->rows;
    bool adds = part->epilogue == MATMUL_ADD;
    for (size_t row = 0; row < pass->rows; row++) {
        float *to = part->out + (pass->first_row + row) * part->out_stride;
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

static inline __attribute__((always_inline)) void
add_scaled(const float *restrict from, float factor, const size_t count, float *restrict to) {
    for (size_t i = 0; i < count; i++) {
        to[i] += factor * from[i];
    }
}

/* The same for rows that are elsewhere in the output: out += factor * sums. */
static void scatter_panels(const struct matmul_part *part, const struct pass *pass,
                           const float *sums) {
    size_t first = pass->first_panel * PANEL_ROWS;
    for (size_t row = 0; row < pass->rows; row++) {
        float factor = part->factors[pass->first_row + row];
        float *to = part->out + part->out_rows[pass->first_row + row] * part->out_stride + first;
        for (size_t panel = 0; panel < pass->panels; panel++, to += PANEL_ROWS) {
            const float *from = sums + (panel * pass->rows + row) * PANEL_ROWS;
            size_t count = size_min(PANEL_ROWS, part->weight->rows - first - panel * PANEL_ROWS);
            if (count == PANEL_ROWS) { /* a constant: vectors */
                add_scaled(from, factor, PANEL_ROWS, to);
            } else {
                add_scaled(from, factor, count, to);
            }
        }
    }
}

static void run_pass(const struct matmul_job *job, const struct matmul_part *part,
                     const struct pass *pass, struct matmul_scratch *scratch) {
    float *sums = scratch->sums[0], *others = scratch->sums[1];
    multiply_panels(job, part->input, part->weight, pass, sums, scratch);
    add_bias(part->bias, part->weight->rows, pass, sums);
    if (part->epilogue == MATMUL_GATED) {
        multiply_panels(job, part->input, part->second, pass, others, scratch);
        add_bias(part->second_bias, part->weight->rows, pass, others);
        job->cpu->kernels->gates[part->gate->function](part->gate, sums, others,
                                                       pass->panels * pass->rows * PANEL_ROWS);
    }
    if (part->factors == NULL) {
        store_panels(part, pass, sums);
    } else {
        scatter_panels(part, pass, sums);
    }
}

/* ---- the threads' loop ---- */

static void pack_at_first_use(const struct cpu_backend *cpu, const struct cpu_weight *weight,
                              size_t first_panel, size_t panels) {
    if (weight != NULL && weight->unpacked != NULL) {
        cpu_weight_pack(cpu, weight, first_panel, panels);
    }
}

/* All rows that meet these panels. */
static void run_part(const struct matmul_job *job, const struct matmul_part *part,
                     size_t first_panel, size_t panels, struct matmul_scratch *scratch) {
    size_t row_count = part->input->count;
    pack_at_first_use(job->cpu, part->weight, first_panel, panels);
    pack_at_first_use(job->cpu, part->second, first_panel, panels);
    size_t step = row_count < LEAST_ROWS_SIDE_BY_SIDE ? 1 : panels;
    for (size_t row = 0; row < row_count; row += MATMUL_TILE_ROWS) {
        for (size_t panel = first_panel; panel < first_panel + panels; panel += step) {
            const struct pass pass = {panel, step, row,
                                      size_min(MATMUL_TILE_ROWS, row_count - row)};
            run_pass(job, part, &pass, scratch);
        }
    }
}

static size_t pass_count_of(const struct matmul_job *job, const struct matmul_part *part) {
    return size_divide_up(cpu_panel_count(part->weight), job->pass_panels);
}

/* Items are (part, panels); a thread takes them in rising order. */
static void run_passes(void *context, size_t thread_index) {
    const struct matmul_job *job = context;
    struct matmul_scratch *scratch = (void *)cpu_scratch(job->cpu, thread_index);
    const struct matmul_part *part = job->parts;
    size_t before = 0, passes = pass_count_of(job, part), number; /* before: of earlier parts */
    while ((number = thread_pool_next_chunk(job->cpu->pool)) < job->pass_count) {
        while (number - before >= passes) {
            before += passes;
            passes = pass_count_of(job, ++part);
        }
        size_t panel = (number - before) * job->pass_panels;
        run_part(job, part, panel,
                 size_min(job->pass_panels, cpu_panel_count(part->weight) - panel), scratch);
    }
}

/* Items are panels, of all parts: whoever has them adds the parts up in their order. */
static void run_sums(void *context, size_t thread_index) {
    const struct matmul_job *job = context;
    struct matmul_scratch *scratch = (void *)cpu_scratch(job->cpu, thread_index);
    size_t panels = cpu_panel_count(job->parts[0].weight), number;
    while ((number = thread_pool_next_chunk(job->cpu->pool)) < job->pass_count) {
        size_t panel = number * job->pass_panels;
        for (size_t i = 0; i < job->part_count; i++) {
            run_part(job, &job->parts[i], panel, size_min(job->pass_panels, panels - panel),
                     scratch);
        }
    }
}

/* Of each matrix: before the threads meet its panels, and after they have met all of them. */
static void begin_weight(struct cpu_backend *cpu, const struct cpu_weight *weight) {
    if (weight != NULL && cpu_weight_is_mapped(weight)) {
        cpu_weight_choose(cpu, weight);
    }
}

static void end_weight(struct cpu_backend *cpu, const struct cpu_weight *weight) {
    if (weight != NULL && weight->unpacked != NULL) {
        cpu_weight_packed(cpu, weight);
    }
}

/* How many panels an item has, and how many items there are. */
static void divide(struct matmul_job *job) {
    size_t panels = 0, different = job->is_sum ? 1 : job->part_count;
    for (size_t i = 0; i < different; i++) {
        panels += cpu_panel_count(job->parts[i].weight);
    }
    size_t wanted = panels / (job->cpu->thread_count * PASSES_PER_THREAD);
    job->pass_panels = size_max(1, size_min(wanted, PASS_PANELS));
    job->pass_count = 0;
    for (size_t i = 0; i < different; i++) {
        job->pass_count += pass_count_of(job, &job->parts[i]);
    }
}

void cpu_run_matmul(struct matmul_job *job) {
    divide(job);
    encode_activations(job);
    for (size_t i = 0; i < job->part_count; i++) {
        begin_weight(job->cpu, job->parts[i].weight);
        begin_weight(job->cpu, job->parts[i].second);
    }
    thread_pool_run(job->cpu->pool, job->is_sum ? run_sums : run_passes, job);
    for (size_t i = 0; i < job->part_count; i++) {
        end_weight(job->cpu, job->parts[i].weight);
        end_weight(job->cpu, job->parts[i].second);
    }
}

/* ---- the ops ---- */

void cpu_matmul(struct backend *backend, const struct activation *x,
                const struct matmul_target *targets, size_t target_count) {
    struct cpu_backend *cpu = cpu_backend_of(backend);
    struct matmul_input input = {.x = cpu_activation_view(x)->data,
                                 .stride = cpu_activation_view(x)->columns,
                                 .count = cpu->batch->row_count};
    struct matmul_part parts[MATMUL_MAX_TARGETS];
    for (size_t i = 0; i < target_count; i++) {
        const struct matmul_target *target = &targets[i];
        const struct cpu_activation *out = cpu_activation_of(target->out);
        parts[i] = (struct matmul_part){.input = &input,
                                        .weight = cpu_weight_of(target->weight),
                                        .second = cpu_weight_of(target->second),
                                        .bias = cpu_vector_of(target->bias),
                                        .second_bias = cpu_vector_of(target->second_bias),
                                        .epilogue = target->epilogue,
                                        .gate = &target->gate,
                                        .out = out->data,
                                        .out_stride = out->columns};
    }
    struct matmul_job job = {.cpu = cpu,
                             .columns = cpu_weight_of(targets[0].weight)->columns,
                             .inputs = &input,
                             .input_count = 1,
                             .parts = parts,
                             .part_count = target_count};
    cpu_run_matmul(&job);
}

enum { HEADS_AT_ONCE = 64 };

void cpu_matmul_heads(struct backend *backend, const struct activation *x, struct head_part from,
                      const struct weight *stack, struct activation *out, struct head_part to) {
    struct cpu_backend *cpu = cpu_backend_of(backend);
    const struct cpu_stack *weights = cpu_stack_of(stack);
    const struct cpu_activation *in = cpu_activation_view(x), *result = cpu_activation_of(out);
    struct matmul_input inputs[HEADS_AT_ONCE];
    struct matmul_part parts[HEADS_AT_ONCE];
    size_t rows = cpu->batch->row_count, columns = weights->weight.columns;
    size_t most = size_min(cpu_encodable_rows(cpu, columns) / rows, HEADS_AT_ONCE);
    for (size_t head = 0, count; head < weights->count; head += count) {
        count = size_min(most, weights->count - head);
        for (size_t i = 0; i < count; i++) {
            inputs[i] = (struct matmul_input){.x = in->data + from.first + (head + i) * from.stride,
                                              .stride = in->columns,
                                              .count = rows,
                                              .first = i * rows};
            parts[i] = (struct matmul_part){.input = &inputs[i],
                                            .weight = &weights->slices[head + i],
                                            .out = result->data + to.first + (head + i) * to.stride,
                                            .out_stride = result->columns};
        }
        struct matmul_job job = {.cpu = cpu,
                                 .columns = columns,
                                 .inputs = inputs,
                                 .input_count = count,
                                 .parts = parts,
                                 .part_count = count};
        cpu_run_matmul(&job);
    }
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
    const struct cpu_weight *weight = cpu_weight_of(output);
    struct matmul_input input = {
        .x = cpu->logit_rows, .stride = rows->columns, .count = batch->logit_row_count};
    const struct matmul_part part = {
        .input = &input, .weight = weight, .out = logits, .out_stride = weight->rows};
    struct matmul_job job = {.cpu = cpu,
                             .columns = rows->columns,
                             .inputs = &input,
                             .input_count = 1,
                             .parts = &part,
                             .part_count = 1};
    cpu_run_matmul(&job);
    finish_logits(finish, logits, batch->logit_row_count * weight->rows);
}
