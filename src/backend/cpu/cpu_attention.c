/*
 * cpu_attention.c - rotary embedding, and tiled attention over block tables.
 *
 * Attention is tiled with an online softmax (Milakov and Gimelshein 2018; Dao et al. 2022): for
 * each tile of 64 keys the running maximum moves, what was summed so far is scaled down, and the
 * tile is added. A tile always begins at a multiple of 64 tokens, so a row's result does not depend
 * on chunking. Work is handed out as (span, rows, kv head): the query heads that share a kv head
 * share the pass over its keys.
 */
#include "backend/cpu/cpu.h"

#include "base/bytes.h"

#include <math.h>
#include <string.h>

enum { TILE_BLOCKS = ATTENTION_TILE_TOKENS / KV_BLOCK_TOKENS };

/* ---- rotary embedding ---- */

void cpu_step_angles(struct cpu_backend *cpu) {
    size_t pairs = cpu->rope->pair_count;
    for (size_t s = 0; s < cpu->batch->span_count; s++) {
        const struct batch_span *span = &cpu->batch->spans[s];
        for (size_t i = 0; i < span->row_count; i++) {
            size_t at = (span->first_row + i) * pairs;
            for (size_t p = 0; p < pairs; p++) {
                double angle = (double)(span->position + i) * (double)cpu->rope->frequencies[p];
                cpu->cosines[at + p] = (float)cos(angle) * cpu->rope->magnitude;
                cpu->sines[at + p] = (float)sin(angle) * cpu->rope->magnitude;
            }
        }
    }
}

static void rotate(float *head, const float *cosines, const float *sines, size_t pairs) {
    for (size_t p = 0; p < pairs; p++) {
        float a = head[2 * p], b = head[2 * p + 1];
        head[2 * p] = a * cosines[p] - b * sines[p];
        head[2 * p + 1] = a * sines[p] + b * cosines[p];
    }
}

struct rope_job {
    struct cpu_backend *cpu;
    struct cpu_activation *q, *k;
    const struct cpu_activation *v;
    struct cpu_kv *kv;
    size_t head_count, layer;
};

static void store_row(const struct rope_job *job, const struct batch_span *span, size_t i) {
    const struct kv_layout *layout = &job->kv->layout;
    size_t dim = layout->head_dim, row = span->first_row + i, position = span->position + i;
    uint32_t block = span->block_table[position / KV_BLOCK_TOKENS];
    for (size_t head = 0; head < layout->kv_head_count; head++) {
        cpu_kv_store(job->kv, cpu_kv_offset(job->kv, job->layer, block, head),
                     position % KV_BLOCK_TOKENS, job->k->data + row * job->k->columns + head * dim,
                     job->v->data + row * job->v->columns + head * dim);
    }
}

static void rope_store_row(const struct rope_job *job, const struct batch_span *span, size_t row) {
    size_t dim = job->kv->layout.head_dim, pairs = job->cpu->rope->pair_count;
    const float *cosines = job->cpu->cosines + row * pairs;
    const float *sines = job->cpu->sines + row * pairs;
    for (size_t head = 0; head < job->head_count; head++) {
        rotate(job->q->data + row * job->q->columns + head * dim, cosines, sines, pairs);
    }
    for (size_t head = 0; head < job->kv->layout.kv_head_count; head++) {
        rotate(job->k->data + row * job->k->columns + head * dim, cosines, sines, pairs);
    }
    store_row(job, span, row - span->first_row);
}

static void rope_store_rows(void *context, size_t thread_index) {
    const struct rope_job *job = context;
    const struct batch *batch = job->cpu->batch;
    (void)thread_index;
    const struct batch_span *span = batch->spans;
    size_t first, end;
    while (cpu_next_rows(job->cpu, batch->row_count, &first, &end)) {
        for (size_t row = first; row < end; row++) {
            while (row >= span->first_row + span->row_count) {
                span++;
            }
            rope_store_row(job, span, row);
        }
    }
}

void cpu_rope_store(struct backend *backend, struct activation *q, struct activation *k,
                    const struct activation *v, size_t head_count, struct kv_cache *kv,
                    size_t layer) {
    struct cpu_backend *cpu = cpu_backend_of(backend);
    struct rope_job job = {cpu,
                           cpu_activation_of(q),
                           cpu_activation_of(k),
                           cpu_activation_view(v),
                           (struct cpu_kv *)kv,
                           head_count,
                           layer};
    cpu_run(cpu, cpu->batch->row_count / CPU_CHUNK_ROWS, rope_store_rows, &job);
}

/* ---- attention ---- */

struct query {
    const float *q; /* [head_dim] */
    float *out;     /* [head_dim], accumulated in place */
    size_t first_key, end_key;
    float maximum, sum;
};

/* One thread's scratch, laid out in its floats. */
struct attention_scratch {
    float *keys;   /* [4 blocks][head_dim][16] */
    float *values; /* [4 blocks][16][head_dim] */
    float *scores; /* [queries][64] */
};

size_t cpu_attention_scratch_floats(size_t head_dim) {
    return head_dim * KV_BLOCK_TOKENS * 2 * TILE_BLOCKS +
           ATTENTION_TILE_QUERIES * ATTENTION_TILE_TOKENS;
}

static struct attention_scratch lay_out(float *scratch, size_t head_dim) {
    struct attention_scratch s;
    s.keys = scratch;
    s.values = s.keys + head_dim * KV_BLOCK_TOKENS * TILE_BLOCKS;
    s.scores = s.values + head_dim * KV_BLOCK_TOKENS * TILE_BLOCKS;
    return s;
}

/* Adds one query's part of a tile. Keys outside [first_key, end_key) take no part at all: their
 * values are not even multiplied by zero, since what stands in an unwritten slot may not be a
 * number. */
static void add_tile(const struct attention_job *job, struct query *query, size_t tile_start,
                     float *scores, const float *values) {
    const struct cpu_kernels *kernels = job->cpu->kernels;
    size_t dim = job->shape->head_dim;
    size_t low = size_max(query->first_key, tile_start) - tile_start;
    size_t high = size_min(query->end_key, tile_start + ATTENTION_TILE_TOKENS) - tile_start;
    float maximum = query->maximum;
    for (size_t t = low; t < high; t++) {
        maximum = scores[t] > maximum ? scores[t] : maximum;
    }
    if (maximum > query->maximum) {
        float keep = query->maximum == -INFINITY ? 0.0f : expf(query->maximum - maximum);
        kernels->scale(query->out, dim, keep);
        query->sum *= keep;
        query->maximum = maximum;
    }
    if (maximum == -INFINITY) {
        return; /* every score so far overflowed downwards: nothing to add */
    }
    query->sum += kernels->exp_sum(scores + low, high - low, maximum);
    kernels->attention_accumulate(scores + low, values + low * dim, high - low, dim, query->out);
}

/* All queries against the tile's blocks. Queries are in row order, so end_key never falls. */
static void visit_tile(const struct attention_job *job, const struct batch_span *span,
                       size_t kv_head, size_t tile_start, struct query *queries, size_t count,
                       const struct attention_scratch *scratch) {
    const struct cpu_kernels *kernels = job->cpu->kernels;
    size_t dim = job->shape->head_dim;
    size_t tile_end = size_min(tile_start + ATTENTION_TILE_TOKENS, queries[count - 1].end_key);
    size_t tile_begin = size_max(tile_start, queries[0].first_key);
    size_t active = 0;
    while (active < count && queries[active].end_key <= tile_start) {
        active++;
    }
    const float *rows[ATTENTION_TILE_QUERIES];
    for (size_t i = active; i < count; i++) {
        rows[i] = queries[i].q;
    }
    size_t first = (tile_begin - tile_start) / KV_BLOCK_TOKENS;
    size_t end = size_divide_up(tile_end - tile_start, KV_BLOCK_TOKENS);
    const uint32_t *blocks = span->block_table + tile_start / KV_BLOCK_TOKENS;
    const float *keys[TILE_BLOCKS];
    for (size_t b = first; b < end; b++) {
        size_t offset = cpu_kv_offset(job->kv, job->layer, blocks[b], kv_head);
        keys[b] = cpu_kv_keys(job->kv, kernels, offset, scratch->keys + b * KV_BLOCK_TOKENS * dim);
        cpu_kv_values(job->kv, kernels, offset, scratch->values + b * KV_BLOCK_TOKENS * dim);
        size_t next = tile_start + (b + TILE_BLOCKS) * KV_BLOCK_TOKENS;
        if (next < queries[count - 1].end_key) {
            cpu_kv_prefetch(job->kv,
                            cpu_kv_offset(job->kv, job->layer, blocks[b + TILE_BLOCKS], kv_head));
        }
    }
    kernels->attention_scores(
        rows + active, count - active, keys + first, end - first, dim, job->shape->scale,
        scratch->scores + active * ATTENTION_TILE_TOKENS + first * KV_BLOCK_TOKENS,
        ATTENTION_TILE_TOKENS);
    for (size_t i = active; i < count; i++) {
        if (queries[i].first_key < tile_start + ATTENTION_TILE_TOKENS) {
            add_tile(job, &queries[i], tile_start, scratch->scores + i * ATTENTION_TILE_TOKENS,
                     scratch->values);
        }
    }
}

static void attend(const struct attention_job *job, const struct batch_span *span, size_t first,
                   size_t rows, size_t kv_head, const struct attention_scratch *scratch) {
    const struct attention_shape *shape = job->shape;
    size_t dim = shape->head_dim, count = 0;
    struct query queries[ATTENTION_TILE_QUERIES] = {0};
    /* A kv head shared by more query heads than fit is visited in several passes. */
    for (size_t head = 0; head < job->group; head += ATTENTION_TILE_QUERIES) {
        size_t heads = size_min(job->group - head, ATTENTION_TILE_QUERIES);
        count = 0;
        for (size_t i = first; i < first + rows; i++) {
            size_t end = span->position + i + 1;
            size_t begin = shape->window != 0 && end > shape->window ? end - shape->window : 0;
            size_t row = span->first_row + i;
            for (size_t h = 0; h < heads; h++, count++) {
                size_t at = row * job->q->columns + (kv_head * job->group + head + h) * dim;
                queries[count] = (struct query){.q = job->q->data + at,
                                                .out = job->out->data + at,
                                                .first_key = begin,
                                                .end_key = end,
                                                .maximum = -INFINITY};
                memset(queries[count].out, 0, dim * sizeof(float));
            }
        }
        size_t tile = queries[0].first_key / ATTENTION_TILE_TOKENS * ATTENTION_TILE_TOKENS;
        for (; tile < queries[count - 1].end_key; tile += ATTENTION_TILE_TOKENS) {
            visit_tile(job, span, kv_head, tile, queries, count, scratch);
        }
        for (size_t i = 0; i < count; i++) {
            job->cpu->kernels->scale(queries[i].out, dim, 1.0f / queries[i].sum);
        }
    }
}

static size_t span_items(const struct attention_job *job, const struct batch_span *span) {
    return size_divide_up(span->row_count, job->tile_rows) * job->shape->kv_head_count;
}

static void attend_items(void *context, size_t thread_index) {
    const struct attention_job *job = context;
    const struct batch *batch = job->cpu->batch;
    struct attention_scratch scratch =
        lay_out(cpu_scratch(job->cpu, thread_index), job->shape->head_dim);
    size_t span_index = 0, span_start = 0, item;
    while ((item = thread_pool_next_chunk(job->cpu->pool)) < job->item_count) {
        while (item - span_start >= span_items(job, &batch->spans[span_index])) {
            span_start += span_items(job, &batch->spans[span_index++]);
        }
        const struct batch_span *span = &batch->spans[span_index];
        /* The last rows of a span see the most keys: they go first, so that threads end together.
         */
        size_t index = span_items(job, span) - 1 - (item - span_start);
        size_t first = index / job->shape->kv_head_count * job->tile_rows;
        attend(job, span, first, size_min(job->tile_rows, span->row_count - first),
               index % job->shape->kv_head_count, &scratch);
    }
}

void cpu_attention(struct backend *backend, const struct activation *q, const struct kv_cache *kv,
                   size_t layer, const struct attention_shape *shape, struct activation *out) {
    struct cpu_backend *cpu = cpu_backend_of(backend);
    size_t group = shape->head_count / shape->kv_head_count;
    struct attention_job job = {
        .cpu = cpu,
        .q = cpu_activation_view(q),
        .out = cpu_activation_of(out),
        .kv = (const struct cpu_kv *)kv,
        .shape = shape,
        .layer = layer,
        .group = group,
        .tile_rows = size_max(1, ATTENTION_TILE_QUERIES / group),
    };
    if (cpu->plain_attention) {
        cpu_run(cpu, cpu->batch->row_count * shape->head_count, cpu_attend_plain, &job);
        return;
    }
    for (size_t s = 0; s < cpu->batch->span_count; s++) {
        job.item_count += span_items(&job, &cpu->batch->spans[s]);
    }
    cpu_run(cpu, job.item_count, attend_items, &job);
}
