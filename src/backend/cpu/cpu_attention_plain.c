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

/* The thread's scratch: one block's keys or values. */
static void attend_row(const struct attention_job *job, const struct batch_span *span, size_t row,
                       size_t head, float *scratch, float *scores) {
    const struct cpu_kernels *kernels = job->cpu->kernels;
    const struct attention_shape *shape = job->shape;
    size_t dim = shape->head_dim, end = span->position + row + 1;
    size_t first = shape->window != 0 && end > shape->window ? end - shape->window : 0;
    size_t first_block = first / KV_BLOCK_TOKENS, blocks = size_divide_up(end, KV_BLOCK_TOKENS);
    size_t at = (span->first_row + row) * job->q->columns + head * dim;
    const float *q = job->q->data + at;
    float *out = job->out->data + at;
    for (size_t b = first_block; b < blocks; b++) {
        size_t offset = cpu_kv_offset(job->kv, job->layer, span->block_table[b], head / job->group);
        const float *keys = cpu_kv_keys(job->kv, kernels, offset, scratch);
        kernels->attention_scores(&q, 1, &keys, 1, dim, shape->scale, scores + b * KV_BLOCK_TOKENS,
                                  0);
    }
    float maximum = kernels->largest(scores + first, end - first, -INFINITY);
    float sum = kernels->exp_sum(scores + first, end - first, maximum);
    memset(out, 0, dim * sizeof *out);
    for (size_t b = first_block; b < blocks; b++) {
        size_t offset = cpu_kv_offset(job->kv, job->layer, span->block_table[b], head / job->group);
        size_t low = size_max(first, b * KV_BLOCK_TOKENS);
        size_t high = size_min(end, (b + 1) * KV_BLOCK_TOKENS);
        cpu_kv_values(job->kv, kernels, offset, scratch);
        kernels->attention_accumulate(scores + low, scratch + (low - b * KV_BLOCK_TOKENS) * dim,
                                      high - low, dim, out);
    }
    kernels->scale(out, dim, 1.0f / sum);
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
