/*
 * cpu_attention_plain.c - attention as it is written down: all of a row's scores, their softmax,
 * the weighted sum of the values. The form that use_flash_attention=false selects, and what the
 * tiled one is compared with.
 *
 * One work item is one row and one query head; its scores lie in the thread's own row, as long as a
 * sequence can be. Keys and values are read a block at a time, in order: a row's result depends on
 * its sequence alone. Runs on the pool's threads, inside cpu_attention.
 */
#include "backend/cpu/cpu.h"

#include "base/bytes.h"

#include <math.h>
#include <string.h>

/* The thread's scratch: one block's keys and its values. */
static void attend_row(const struct attention_job *job, const struct batch_span *span, size_t row,
                       size_t head, float *scratch, float *scores) {
    const struct cpu_kernels *kernels = job->cpu->kernels;
    const struct attention_shape *shape = job->shape;
    size_t dim = shape->value_dim, end = span->position + row + 1;
    size_t first = shape->window != 0 && end > shape->window ? end - shape->window : 0;
    size_t first_block = first / KV_BLOCK_TOKENS, blocks = size_divide_up(end, KV_BLOCK_TOKENS);
    size_t at = span->first_row + row, kv_head = head / job->group;
    const float *q = job->q->data + at * job->q->columns + head * shape->key_dim;
    float *out = job->out->data + at * job->out->columns + head * dim;
    float *values = scratch + shape->key_dim * KV_BLOCK_TOKENS;
    for (size_t b = first_block; b < blocks; b++) {
        struct cpu_kv_unit unit = cpu_kv_unit(job->kv, job->layer, span->block_table[b], kv_head);
        const float *keys = cpu_kv_keys(job->kv, kernels, job->layer, unit, scratch);
        kernels->attention_scores(&q, 1, &keys, 1, shape->key_dim, shape->scale,
                                  scores + b * KV_BLOCK_TOKENS, 0);
    }
    cpu_cap_scores(shape, scores + first, end - first);
    float maximum = kernels->largest(scores + first, end - first, -INFINITY);
    float sum = kernels->exp_sum(scores + first, end - first, maximum);
    memset(out, 0, dim * sizeof *out);
    for (size_t b = first_block; b < blocks; b++) {
        struct cpu_kv_unit unit = cpu_kv_unit(job->kv, job->layer, span->block_table[b], kv_head);
        size_t low = size_max(first, b * KV_BLOCK_TOKENS);
        size_t high = size_min(end, (b + 1) * KV_BLOCK_TOKENS);
        const float *keys = !job->kv->layers[job->layer].shape.values_in_keys
                                ? NULL
                                : cpu_kv_keys(job->kv, kernels, job->layer, unit, scratch);
        cpu_kv_values(job->kv, kernels, job->layer, unit, keys, values);
        kernels->attention_accumulate(scores + low, values + (low - b * KV_BLOCK_TOKENS) * dim,
                                      high - low, dim, out);
    }
    kernels->scale(out, dim, cpu_softmax_factor(shape, head, maximum, sum));
}

void cpu_attend_plain(void *context, size_t thread_index) {
    const struct attention_job *job = context;
    const struct batch *batch = job->cpu->batch;
    float *scratch = cpu_scratch(job->cpu, thread_index);
    float *scores = job->cpu->plain_scores + thread_index * job->cpu->plain_scores_floats;
    size_t heads = job->shape->head_count, span_index = 0, item;
    while ((item = thread_pool_next_chunk(job->cpu->pool)) < batch->row_count * heads) {
        const struct batch_span *span = &batch->spans[span_index];
        while (item / heads >= span->first_row + span->row_count) {
            span = &batch->spans[++span_index];
        }
        attend_row(job, span, item / heads - span->first_row, item % heads, scratch, scores);
    }
}
