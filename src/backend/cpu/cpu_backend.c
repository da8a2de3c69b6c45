/*
 * cpu_backend.c - creates the CPU backend and its objects; the small ops.
 *
 * Owns every buffer the CPU ops need. The engine thread calls in; worker threads run only inside
 * thread_pool_run and touch only what the running op hands them.
 */
#include "backend/cpu/cpu.h"

#include "base/bytes.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

enum { ALIGNMENT = 64 };

size_t cpu_allocated_bytes(size_t bytes) {
    size_t alignment = bytes >= HUGE_PAGE_BYTES ? HUGE_PAGE_BYTES : ALIGNMENT;
    return size_divide_up(size_max(bytes, 1), alignment) * alignment;
}

void cpu_ask_for_huge_pages(void *memory, size_t bytes) {
#ifdef MADV_HUGEPAGE
    if (bytes >= HUGE_PAGE_BYTES) {
        madvise(memory, bytes, MADV_HUGEPAGE); /* a hint: refusal changes speed only */
    }
#else
    (void)memory, (void)bytes;
#endif
}

void *cpu_allocate(size_t bytes) {
    if (bytes > SIZE_MAX / 2) {
        return NULL;
    }
    size_t total = cpu_allocated_bytes(bytes);
    void *memory = aligned_alloc(bytes >= HUGE_PAGE_BYTES ? HUGE_PAGE_BYTES : ALIGNMENT, total);
    if (memory != NULL) {
        cpu_ask_for_huge_pages(memory, total);
    }
    return memory;
}

/* Whole pages become zeros when they are first used, where the system can do so: most rows of a
 * step's buffers never are by a short prompt, and fresh pages are dear. */
static void clear(void *memory, size_t bytes) {
#if defined(__linux__)
    if (bytes >= HUGE_PAGE_BYTES && madvise(memory, bytes, MADV_DONTNEED) == 0) {
        return;
    }
#endif
    memset(memory, 0, bytes);
}

/* The same for [count][size] bytes, zeroed. */
static void *allocate(size_t count, size_t size) {
    size_t bytes;
    void *memory = size_multiply(count, size, &bytes) ? cpu_allocate(bytes) : NULL;
    if (memory != NULL) {
        clear(memory, cpu_allocated_bytes(bytes));
    }
    return memory;
}

size_t encoding_row_bytes(enum encoding encoding, size_t columns) {
    static const struct {
        size_t values, bytes;
    } blocks[ENCODING_COUNT] = {
        [ENCODING_F32] = {1, sizeof(float)},
        [ENCODING_Q8_32] = {32, sizeof(struct q8_block32)},
        [ENCODING_Q8_256] = {256, sizeof(struct q8_block256)},
        [ENCODING_Q8_32_WIDE] = {32, sizeof(struct q8_wide32)},
    };
    size_t bytes = size_divide_up(columns, blocks[encoding].values) * blocks[encoding].bytes;
    return size_divide_up(bytes, 8) * 8;
}

void cpu_run(struct cpu_backend *cpu, size_t work_items, thread_pool_task task, void *context) {
    if (work_items <= 1) {
        thread_pool_run_alone(cpu->pool, task, context);
    } else {
        thread_pool_run(cpu->pool, task, context);
    }
}

bool cpu_next_rows(struct cpu_backend *cpu, size_t row_count, size_t *first, size_t *end) {
    *first = thread_pool_next_chunk(cpu->pool) * CPU_CHUNK_ROWS;
    *end = size_min(*first + CPU_CHUNK_ROWS, row_count);
    return *first < row_count;
}

bool cpu_replace(void *slot, size_t count, size_t size, const char *what, struct error *error) {
    void **buffer = slot;
    free(*buffer);
    *buffer = allocate(count, size);
    return *buffer != NULL || error_set(error, ERROR_OUT_OF_MEMORY,
                                        "no memory for %zu bytes of %s; lower prefill_chunk_size "
                                        "or max_batch_size",
                                        count * size, what);
}

static bool fill_ones(struct cpu_backend *cpu) {
    for (size_t i = 0; i < cpu->max_columns; i++) {
        cpu->ones[i] = 1;
    }
    return true;
}

/* Rows of any op, or a row for each expert that a row uses. */
static size_t encoded_bytes(enum encoding encoding, size_t rows, size_t columns,
                            const struct scratch_shape *experts) {
    size_t pairs = experts->max_rows * experts->used_experts;
    size_t longest = size_max(experts->expert_length, experts->expert_width);
    return size_max(rows * encoding_row_bytes(encoding, columns),
                    pairs * encoding_row_bytes(encoding, longest));
}

bool cpu_size_scratch(struct cpu_backend *cpu, struct error *error) {
    const struct scratch_shape *experts = &cpu->experts.shape;
    for (int e = ENCODING_F32 + 1; e < ENCODING_COUNT; e++) {
        cpu->encoded_bytes[e] =
            encoded_bytes((enum encoding)e, cpu->max_rows, cpu->max_columns, experts);
        if (!cpu_replace(&cpu->encoded[e], 1, cpu->encoded_bytes[e], "encoded activations",
                         error)) {
            return false;
        }
    }
    size_t floats =
        size_max(cpu_matmul_scratch_floats(), cpu_attention_scratch_floats(cpu->max_head_dim));
    cpu->thread_scratch_floats = size_divide_up(floats, 1024) * 1024;
    size_t angles = STEP_MAX_ROPES * (cpu->max_head_dim / 2) + 1;
    return cpu_replace(&cpu->cosines, cpu->max_rows, angles * sizeof(float), "angles", error) &&
           cpu_replace(&cpu->sines, cpu->max_rows, angles * sizeof(float), "angles", error) &&
           cpu_replace(&cpu->ones, cpu->max_columns, sizeof(float), "ones", error) &&
           cpu_replace(&cpu->logit_rows, cpu->max_rows, cpu->max_columns * sizeof(float), "scratch",
                       error) &&
           cpu_replace(&cpu->partials, ATTENTION_PARTIALS, (cpu->max_head_dim + 2) * sizeof(float),
                       "partial sums", error) &&
           cpu_replace(&cpu->thread_scratch, cpu->thread_count,
                       cpu->thread_scratch_floats * sizeof(float), "thread scratch", error) &&
           fill_ones(cpu);
}

static size_t scratch_bytes(struct backend *backend, const struct scratch_shape *shape) {
    size_t rows = shape->max_rows, columns = shape->max_columns;
    size_t floats =
        size_max(cpu_matmul_scratch_floats(), cpu_attention_scratch_floats(shape->head_dim));
    size_t total = cpu_allocated_bytes(cpu_backend_of(backend)->thread_count *
                                       size_divide_up(floats, 1024) * 1024 * sizeof(float));
    for (int e = ENCODING_F32 + 1; e < ENCODING_COUNT; e++) {
        total += cpu_allocated_bytes(encoded_bytes((enum encoding)e, rows, columns, shape));
    }
    total += cpu_experts_bytes(cpu_backend_of(backend), shape);
    size_t angles = STEP_MAX_ROPES * (shape->head_dim / 2) + 1;
    return total + 2 * cpu_allocated_bytes(rows * angles * sizeof(float)) +
           cpu_allocated_bytes(rows * columns * sizeof(float)) +
           cpu_allocated_bytes(columns * sizeof(float));
}

/* ---- activations and the KV cache ---- */

static bool activation_create(struct backend *backend, size_t max_rows, size_t columns,
                              struct activation **out, struct error *error) {
    struct cpu_backend *cpu = cpu_backend_of(backend);
    struct cpu_activation *activation = calloc(1, sizeof *activation);
    if (activation == NULL) {
        return error_set(error, ERROR_OUT_OF_MEMORY, "no memory for an activation");
    }
    *activation = (struct cpu_activation){NULL, max_rows, columns};
    bool larger = max_rows > cpu->max_rows || columns > cpu->max_columns;
    cpu->max_rows = size_max(cpu->max_rows, max_rows);
    cpu->max_columns = size_max(cpu->max_columns, columns);
    if (!cpu_replace(&activation->data, max_rows, columns * sizeof(float), "activations", error) ||
        (larger && !cpu_size_scratch(cpu, error))) {
        free(activation->data);
        free(activation);
        return false;
    }
    *out = (struct activation *)activation;
    return true;
}

static void activation_free(struct backend *backend, struct activation *handle) {
    (void)backend;
    struct cpu_activation *activation = cpu_activation_of(handle);
    free(activation->data);
    free(activation);
}

static void activation_write(struct backend *backend, struct activation *handle, size_t rows,
                             const float *values) {
    (void)backend;
    struct cpu_activation *activation = cpu_activation_of(handle);
    memcpy(activation->data, values, rows * activation->columns * sizeof(float));
}

static void activation_read(struct backend *backend, const struct activation *handle, size_t rows,
                            float *values) {
    (void)backend;
    const struct cpu_activation *activation = cpu_activation_view(handle);
    memcpy(values, activation->data, rows * activation->columns * sizeof(float));
}

static void kv_free(struct backend *backend, struct kv_cache *handle) {
    (void)backend;
    cpu_kv_free((struct cpu_kv *)handle);
}

static bool kv_create(struct backend *backend, const struct kv_layout *layout,
                      struct kv_cache **out, struct error *error) {
    struct cpu_backend *cpu = cpu_backend_of(backend);
    struct cpu_kv *kv = NULL;
    for (size_t i = 0; i < layout->layer_count; i++) {
        cpu->max_head_dim = size_max(cpu->max_head_dim, layout->layers[i].key_dim);
        cpu->max_head_dim = size_max(cpu->max_head_dim, layout->layers[i].value_dim);
    }
    if (!cpu_kv_create(cpu, layout, &kv, error)) {
        return false;
    }
    if (!cpu_size_scratch(cpu, error)) {
        cpu_kv_free(kv);
        return false;
    }
    *out = (struct kv_cache *)kv;
    return true;
}

static bool kv_grow(struct backend *backend, struct kv_cache *kv, size_t block_count,
                    struct error *error) {
    (void)backend;
    return cpu_kv_grow((struct cpu_kv *)kv, block_count, error);
}

/* ---- a step's small ops ---- */

static void step_begin(struct backend *backend, const struct batch *batch, const struct rope *ropes,
                       size_t rope_count) {
    struct cpu_backend *cpu = cpu_backend_of(backend);
    cpu->batch = batch;
    cpu->ropes = ropes;
    cpu->rope_count = rope_count;
    cpu_allow_packing(cpu, batch->row_count);
    cpu_step_angles(cpu);
}

static void step_end(struct backend *backend) {
    struct cpu_backend *cpu = cpu_backend_of(backend);
    cpu->batch = NULL;
    cpu->ropes = NULL;
    cpu->rope_count = 0;
}

static void embed(struct backend *backend, const struct weight *embedding, float scale,
                  struct activation *out) {
    const struct cpu_backend *cpu = cpu_backend_of(backend);
    const struct cpu_weight *table = cpu_weight_of(embedding);
    const struct cpu_activation *x = cpu_activation_of(out);
    for (size_t row = 0; row < cpu->batch->row_count; row++) {
        size_t token = (size_t)cpu->batch->tokens[row];
        float *to = x->data + row * x->columns;
        table->format->decode(table->data + token * table->row_bytes, to, x->columns);
        if (scale != 1) {
            cpu->kernels->scale(to, x->columns, scale);
        }
    }
}

/* ---- ops on rows, each by itself ---- */

struct row_job {
    struct cpu_backend *cpu;
    void (*work)(const struct row_job *job, size_t row);
    const struct cpu_activation *x, *other; /* other: what a gate stands in */
    struct cpu_activation *out;
    const float *weight; /* [part] of a norm */
    size_t part;
    float epsilon, scale;
    const struct gate *gate;
    size_t first;
    /* Of copy_heads: */
    struct head_part from, to;
    size_t count, width;
};

static void run_rows(void *context, size_t thread_index) {
    const struct row_job *job = context;
    (void)thread_index;
    size_t first, end;
    while (cpu_next_rows(job->cpu, job->cpu->batch->row_count, &first, &end)) {
        for (size_t row = first; row < end; row++) {
            job->work(job, row);
        }
    }
}

static void run_row_job(struct row_job *job) {
    /* Waking the others costs more than a few rows do. */
    cpu_run(job->cpu, job->cpu->batch->row_count / 8, run_rows, job);
}

static const float *row_of(const struct cpu_activation *activation, size_t row) {
    return activation->data + row * activation->columns;
}

static void norm_row(const struct row_job *job, size_t row) {
    for (size_t at = 0; at < job->x->columns; at += job->part) {
        job->cpu->kernels->rms_norm(row_of(job->x, row) + at, job->weight, job->epsilon, job->part,
                                    job->out->data + row * job->out->columns + at);
    }
}

static struct row_job norm_job(struct backend *backend, const struct activation *x,
                               const struct weight *weight, float epsilon, struct activation *out) {
    struct cpu_backend *cpu = cpu_backend_of(backend);
    const struct cpu_activation *in = cpu_activation_view(x);
    const struct cpu_weight *values = weight == NULL ? NULL : cpu_weight_of(weight);
    return (struct row_job){.cpu = cpu,
                            .work = norm_row,
                            .x = in,
                            .out = cpu_activation_of(out),
                            .weight = values == NULL ? cpu->ones : values->owned,
                            .part = values == NULL ? in->columns : values->columns,
                            .epsilon = epsilon};
}

static void norm(struct backend *backend, const struct activation *x, const struct weight *weight,
                 float epsilon, struct activation *out) {
    struct row_job job = norm_job(backend, x, weight, epsilon, out);
    run_row_job(&job);
}

static void norm_add_row(const struct row_job *job, size_t row) {
    float *x = job->x->data + row * job->x->columns;
    float *out = job->out->data + row * job->out->columns;
    job->cpu->kernels->rms_norm(x, job->weight, job->epsilon, job->part, x);
    for (size_t i = 0; i < job->part; i++) {
        out[i] += x[i];
    }
}

static void norm_add(struct backend *backend, struct activation *x, const struct weight *weight,
                     float epsilon, struct activation *out) {
    struct row_job job = norm_job(backend, x, weight, epsilon, out);
    job.work = norm_add_row;
    run_row_job(&job);
}

static void add_row(const struct row_job *job, size_t row) {
    float *out = job->out->data + row * job->out->columns;
    for (size_t i = 0; job->x != NULL && i < job->out->columns; i++) {
        out[i] += row_of(job->x, row)[i];
    }
    if (job->scale != 1) {
        job->cpu->kernels->scale(out, job->out->columns, job->scale);
    }
}

static void add(struct backend *backend, const struct activation *x, float scale,
                struct activation *out) {
    struct row_job job = {.cpu = cpu_backend_of(backend),
                          .work = add_row,
                          .x = cpu_activation_view(x),
                          .out = cpu_activation_of(out),
                          .scale = scale};
    run_row_job(&job);
}

static void add_gated_row(const struct row_job *job, size_t row) {
    float factor = 1.0f / (1.0f + expf(-row_of(job->other, row)[0]));
    float *out = job->out->data + row * job->out->columns;
    for (size_t i = 0; i < job->out->columns; i++) {
        out[i] += factor * row_of(job->x, row)[i];
    }
}

static void add_gated(struct backend *backend, const struct activation *x,
                      const struct activation *gate, struct activation *out) {
    struct row_job job = {.cpu = cpu_backend_of(backend),
                          .work = add_gated_row,
                          .x = cpu_activation_view(x),
                          .other = cpu_activation_view(gate),
                          .out = cpu_activation_of(out)};
    run_row_job(&job);
}

/* Kernels take 16 values at a time: what is left of a row goes through a buffer. */
static void gate_row(const struct row_job *job, size_t row) {
    void (*kernel)(const struct gate *, float *, const float *, size_t) =
        job->cpu->kernels->gates[job->gate->function];
    float *x = job->out->data + row * job->out->columns;
    const float *other = row_of(job->other, row) + job->first;
    size_t whole = job->out->columns / PANEL_ROWS * PANEL_ROWS, rest = job->out->columns - whole;
    float g[PANEL_ROWS] = {0}, u[PANEL_ROWS] = {0};
    kernel(job->gate, x, other, whole);
    memcpy(g, x + whole, rest * sizeof *x);
    memcpy(u, other + whole, rest * sizeof *x);
    kernel(job->gate, g, u, PANEL_ROWS);
    memcpy(x + whole, g, rest * sizeof *x);
}

static void gate(struct backend *backend, const struct gate *function,
                 const struct activation *other, size_t first, struct activation *x) {
    struct row_job job = {.cpu = cpu_backend_of(backend),
                          .work = gate_row,
                          .other = cpu_activation_view(other),
                          .out = cpu_activation_of(x),
                          .gate = function,
                          .first = first};
    run_row_job(&job);
}

static void copy_row(const struct row_job *job, size_t row) {
    const float *from = row_of(job->x, row) + job->from.first;
    float *to = job->out->data + row * job->out->columns + job->to.first;
    for (size_t i = 0; i < job->count; i++) {
        memcpy(to + i * job->to.stride, from + i * job->from.stride, job->width * sizeof *to);
    }
}

static void copy_heads(struct backend *backend, const struct activation *x, struct head_part from,
                       size_t count, size_t width, struct activation *out, struct head_part to) {
    struct row_job job = {.cpu = cpu_backend_of(backend),
                          .work = copy_row,
                          .x = cpu_activation_view(x),
                          .out = cpu_activation_of(out),
                          .from = from,
                          .to = to,
                          .count = count,
                          .width = width};
    run_row_job(&job);
}

static void hidden(struct backend *backend, const struct activation *x, const struct weight *weight,
                   float epsilon, size_t first_row, size_t row_count, float *out) {
    const struct cpu_backend *cpu = cpu_backend_of(backend);
    const struct cpu_activation *rows = cpu_activation_view(x);
    for (size_t i = 0; i < row_count; i++) {
        cpu->kernels->rms_norm(rows->data + (first_row + i) * rows->columns,
                               cpu_weight_of(weight)->owned, epsilon, rows->columns,
                               out + i * rows->columns);
    }
}

/* ---- the backend ---- */

static void cpu_free(struct backend *backend) {
    struct cpu_backend *cpu = cpu_backend_of(backend);
    thread_pool_free(cpu->pool);
    for (int e = 0; e < ENCODING_COUNT; e++) {
        free(cpu->encoded[e]);
    }
    free(cpu->cosines);
    free(cpu->sines);
    free(cpu->ones);
    free(cpu->logit_rows);
    free(cpu->thread_scratch);
    free(cpu->partials);
    cpu_experts_free(&cpu->experts);
    cpu_release(cpu->plain_scores, cpu->thread_count * cpu->plain_scores_floats * sizeof(float));
    free(cpu);
}

static const struct backend_ops cpu_ops = {
    .name = "cpu",
    .free = cpu_free,
    .weight_create = cpu_weight_create,
    .weight_free = cpu_weight_free,
    .weight_bytes = cpu_weight_bytes,
    .prepare = cpu_prepare,
    .scratch_bytes = scratch_bytes,
    .experts_reserve = cpu_experts_reserve,
    .activation_create = activation_create,
    .activation_free = activation_free,
    .activation_write = activation_write,
    .activation_read = activation_read,
    .kv_create = kv_create,
    .kv_free = kv_free,
    .kv_grow = kv_grow,
    .step_begin = step_begin,
    .step_end = step_end,
    .embed = embed,
    .norm = norm,
    .norm_add = norm_add,
    .add = add,
    .add_gated = add_gated,
    .gate = gate,
    .matmul = cpu_matmul,
    .matmul_heads = cpu_matmul_heads,
    .copy_heads = copy_heads,
    .attention_input = cpu_attention_input,
    .attention = cpu_attention,
    .experts = cpu_experts,
    .logits = cpu_logits,
    .hidden = hidden,
};

bool cpu_backend_create(const struct cpu_backend_options *options, struct backend **backend,
                        struct error *error) {
    const struct cpu_kernels *kernels = cpu_kernels_choose(options->kernels, error);
    if (kernels == NULL) {
        return false;
    }
    struct cpu_backend *cpu = calloc(1, sizeof *cpu);
    if (cpu == NULL) {
        return error_set(error, ERROR_OUT_OF_MEMORY, "no memory for the CPU backend");
    }
    cpu->kernels = kernels;
    cpu->base = (struct backend){&cpu_ops, cpu->kernels->name};
    cpu->thread_count = options->thread_count;
    cpu->mapped_weights = options->mapped_weights;
    cpu->mapped_experts = options->mapped_experts;
    cpu->plain_attention = options->plain_attention;
    if (!thread_pool_create(options->thread_count, &cpu->pool, error)) {
        free(cpu);
        return false;
    }
    *backend = &cpu->base;
    return true;
}
