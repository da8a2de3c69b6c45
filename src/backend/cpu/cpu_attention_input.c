/*
 * cpu_attention_input.c - queries, keys and values on their way into attention: norms of heads,
 * rotary embedding, and the KV cache's blocks.
 *
 * Owns nothing. Rows are shared out among the pool's threads; a row's result depends on its
 * sequence and its position alone.
 */
#include "backend/cpu/cpu.h"

#include "base/bytes.h"

#include <math.h>
#include <string.h>

/* ---- a step's angles ---- */

static float *angles_of(const struct cpu_backend *cpu, float *table, size_t rope) {
    return table + rope * cpu->max_rows * (cpu->max_head_dim / 2);
}

static void compute_angles(struct cpu_backend *cpu, size_t index) {
    const struct rope *rope = &cpu->ropes[index];
    float *cosines = angles_of(cpu, cpu->cosines, index);
    float *sines = angles_of(cpu, cpu->sines, index);
    for (size_t s = 0; s < cpu->batch->span_count; s++) {
        const struct batch_span *span = &cpu->batch->spans[s];
        for (size_t i = 0; i < span->row_count; i++) {
            size_t at = (span->first_row + i) * rope->pair_count;
            for (size_t p = 0; p < rope->pair_count; p++) {
                double angle = (double)(span->position + i) * (double)rope->frequencies[p];
                cosines[at + p] = (float)cos(angle) * rope->magnitude;
                sines[at + p] = (float)sin(angle) * rope->magnitude;
            }
        }
    }
}

void cpu_step_angles(struct cpu_backend *cpu) {
    for (size_t i = 0; i < cpu->rope_count; i++) {
        compute_angles(cpu, i);
    }
}

/* ---- one head ---- */

static void rotate_interleaved(float *head, const float *cosines, const float *sines,
                               size_t pairs) {
    for (size_t p = 0; p < pairs; p++) {
        float a = head[2 * p], b = head[2 * p + 1];
        head[2 * p] = a * cosines[p] - b * sines[p];
        head[2 * p + 1] = a * sines[p] + b * cosines[p];
    }
}

static void rotate_halves(float *head, const float *cosines, const float *sines, size_t pairs) {
    for (size_t p = 0; p < pairs; p++) {
        float a = head[p], b = head[pairs + p];
        head[p] = a * cosines[p] - b * sines[p];
        head[pairs + p] = a * sines[p] + b * cosines[p];
    }
}

/* How a row's heads are rotated; rope NULL: not at all. */
struct rotation {
    const struct rope *rope;
    const float *cosines, *sines; /* [pair_count] */
};

static struct rotation rotation_of(const struct cpu_backend *cpu, const struct rope *rope,
                                   size_t row) {
    if (rope == NULL) {
        return (struct rotation){0};
    }
    size_t index = (size_t)(rope - cpu->ropes);
    return (struct rotation){rope, angles_of(cpu, cpu->cosines, index) + row * rope->pair_count,
                             angles_of(cpu, cpu->sines, index) + row * rope->pair_count};
}

static void rotate(float *head, const struct rotation *rotation) {
    const struct rope *rope = rotation->rope;
    if (rope == NULL) {
        return;
    }
    (rope->pairing == ROPE_HALVES ? rotate_halves : rotate_interleaved)(
        head + rope->first, rotation->cosines, rotation->sines, rope->pair_count);
}

struct input_job {
    struct cpu_backend *cpu;
    const struct attention_input *input;
    struct cpu_activation *q, *k; /* k: NULL when nothing is stored */
    const struct cpu_activation *v;
    struct cpu_kv *kv;
    size_t layer;
    size_t key_dim;
};

static void norm_head(const struct input_job *job, const struct weight *weight, float *head) {
    if (weight != NULL) {
        const struct cpu_weight *norm = cpu_weight_of(weight);
        job->cpu->kernels->rms_norm(head, norm->owned, job->input->epsilon, norm->columns, head);
    }
}

/* Of one head: the value of a layer that takes it from its keys as they are before their norm is
 * in `scratch` [value_dim]. */
static const float *value_of(const struct input_job *job, size_t row, size_t head, const float *key,
                             float *scratch) {
    const struct kv_layer *shape = &job->kv->layers[job->layer].shape;
    if (shape->values_in_keys) {
        return key;
    }
    const float *value = key;
    if (job->v != NULL) {
        value = job->v->data + row * job->v->columns + head * shape->value_dim;
    }
    if (job->input->normalise_values) {
        job->cpu->kernels->rms_norm(value, job->cpu->ones, job->input->epsilon, shape->value_dim,
                                    scratch);
        return scratch;
    }
    if (job->v == NULL) {
        memcpy(scratch, key, shape->value_dim * sizeof *key);
        return scratch;
    }
    return value;
}

/* ---- rows ---- */

static void store_row(const struct input_job *job, const struct batch_span *span, size_t row,
                      const struct rotation *rotation, float *scratch) {
    size_t position = span->position + row - span->first_row;
    uint32_t block = span->block_table[position / KV_BLOCK_TOKENS];
    for (size_t head = 0; head < job->kv->layers[job->layer].shape.head_count; head++) {
        float *key = job->k->data + row * job->k->columns + head * job->key_dim;
        const float *value = value_of(job, row, head, key, scratch);
        norm_head(job, job->input->k_norm, key);
        rotate(key, rotation);
        cpu_kv_store(job->kv, job->cpu->kernels, job->layer,
                     cpu_kv_unit(job->kv, job->layer, block, head), position % KV_BLOCK_TOKENS, key,
                     value);
    }
}

static float temperature_at(const struct query_temperature *temperature, size_t position) {
    if (temperature->scale == 0) {
        return 1;
    }
    double times = floor((double)position / (double)temperature->length);
    return (float)(1 + (double)temperature->scale * log(1 + times));
}

static void input_row(const struct input_job *job, const struct batch_span *span, size_t row,
                      float *scratch) {
    const struct attention_input *input = job->input;
    const struct rotation rotation = rotation_of(job->cpu, input->rope, row);
    size_t position = span->position + row - span->first_row;
    float *queries = job->q->data + row * job->q->columns;
    for (size_t head = 0; head < input->head_count; head++) {
        norm_head(job, input->q_norm, queries + head * job->key_dim);
        rotate(queries + head * job->key_dim, &rotation);
    }
    if (input->temperature.scale != 0) {
        job->cpu->kernels->scale(queries, input->head_count * job->key_dim,
                                 temperature_at(&input->temperature, position));
    }
    if (job->k != NULL) {
        store_row(job, span, row, &rotation, scratch);
    }
}

static void input_rows(void *context, size_t thread_index) {
    const struct input_job *job = context;
    const struct batch *batch = job->cpu->batch;
    float *scratch = cpu_scratch(job->cpu, thread_index);
    const struct batch_span *span = batch->spans;
    size_t first, end;
    while (cpu_next_rows(job->cpu, batch->row_count, &first, &end)) {
        for (size_t row = first; row < end; row++) {
            while (row >= span->first_row + span->row_count) {
                span++;
            }
            input_row(job, span, row, scratch);
        }
    }
}

void cpu_attention_input(struct backend *backend, const struct attention_input *input,
                         struct kv_cache *kv, size_t layer) {
    struct cpu_backend *cpu = cpu_backend_of(backend);
    struct input_job job = {.cpu = cpu,
                            .input = input,
                            .q = cpu_activation_of(input->q),
                            .k = cpu_activation_of(input->k),
                            .v = cpu_activation_view(input->v),
                            .kv = (struct cpu_kv *)kv,
                            .layer = layer};
    job.key_dim = job.kv->layers[layer].shape.key_dim;
    cpu_run(cpu, cpu->batch->row_count / CPU_CHUNK_ROWS, input_rows, &job);
}
