/*
 * cpu_attention.c - tiled attention over block tables.
 *
 * Attention is tiled with an online softmax (Milakov and Gimelshein 2018; Dao et al. 2022): for
 * each tile of 64 keys the running maximum moves, what was summed so far is scaled down, and the
 * tile is added. A tile always begins at a multiple of 64 tokens, so a row's result does not depend
 * on chunking. Work is handed out as (span, rows, kv head): the query heads that share a kv head
 * share the pass over its keys.
 *
 * Keys are gone through in segments of 512 tokens, again at fixed positions, each summed by itself
 * and then merged in order. So segments may be handed out one by one, when there are few rows over
 * many keys, and the result is the same as in one pass.
 */
#include "backend/cpu/cpu.h"

#include "base/bytes.h"

#include <math.h>
#include <string.h>

enum {
    TILE_BLOCKS = ATTENTION_TILE_TOKENS / KV_BLOCK_TOKENS,
    SEGMENT_TOKENS = 8 * ATTENTION_TILE_TOKENS,
};

/* ---- attention ---- */

/* What has been summed over some keys: values weighted by exp(score - maximum), and the weights. */
struct partial {
    float *out; /* [value_dim] */
    float maximum, sum;
};

/* Some rows of a span, with the query heads that share a kv head. */
struct item {
    const struct batch_span *span;
    size_t first, rows, kv_head;
};

/* The keys that a row sees: [first, end). */
struct key_range {
    size_t first, end;
};

static struct key_range keys_of(const struct attention_shape *shape, const struct batch_span *span,
                                size_t row) {
    size_t end = span->position + row + 1, window = shape->window;
    return (struct key_range){window != 0 && end > window ? end - window : 0, end};
}

struct query {
    const float *q; /* [key_dim] */
    float *result;  /* [value_dim], where the row's output belongs */
    size_t head;    /* of all query heads */
    size_t first_key, end_key;
    struct partial part; /* of the segment being visited */
};

static void clear_partial(struct partial *part, size_t dim) {
    part->maximum = -INFINITY;
    part->sum = 0;
    memset(part->out, 0, dim * sizeof(float));
}

/* Adds a later segment's part. */
static void merge_partial(struct partial *total, const struct partial *part, size_t dim) {
    if (part->maximum == -INFINITY) {
        return;
    }
    if (total->maximum == -INFINITY) {
        memcpy(total->out, part->out, dim * sizeof(float));
        total->maximum = part->maximum;
        total->sum = part->sum;
        return;
    }
    float maximum = part->maximum > total->maximum ? part->maximum : total->maximum;
    float keep = expf(total->maximum - maximum);
    float weight = expf(part->maximum - maximum);
    for (size_t d = 0; d < dim; d++) {
        total->out[d] = total->out[d] * keep + part->out[d] * weight;
    }
    total->sum = total->sum * keep + part->sum * weight;
    total->maximum = maximum;
}

/* All keys are summed: divides by the sum of the weights, the head's sink among them. */
static void finish(const struct attention_job *job, size_t head, const struct partial *total) {
    float factor = cpu_softmax_factor(job->shape, head, total->maximum, total->sum);
    job->cpu->kernels->scale(total->out, job->shape->value_dim, factor);
}

/* One thread's scratch, laid out in its floats. */
struct attention_scratch {
    float *keys;   /* [4 blocks][key_dim][16] */
    float *values; /* [4 blocks][16][value_dim] */
    float *scores; /* [queries][64] */
    float *parts;  /* [queries][value_dim], of a later segment */
};

size_t cpu_attention_scratch_floats(size_t head_dim) {
    return head_dim * KV_BLOCK_TOKENS * 2 * TILE_BLOCKS +
           ATTENTION_TILE_QUERIES * (ATTENTION_TILE_TOKENS + head_dim);
}

static struct attention_scratch lay_out(float *scratch, const struct attention_shape *shape) {
    struct attention_scratch s;
    s.keys = scratch;
    s.values = s.keys + shape->key_dim * KV_BLOCK_TOKENS * TILE_BLOCKS;
    s.scores = s.values + shape->value_dim * KV_BLOCK_TOKENS * TILE_BLOCKS;
    s.parts = s.scores + ATTENTION_TILE_QUERIES * ATTENTION_TILE_TOKENS;
    return s;
}

/* Adds one query's part of a tile. Keys outside [first_key, end_key) take no part at all: their
 * values are not even multiplied by zero, since what stands in an unwritten slot may not be a
 * number. */
static void add_tile(const struct attention_job *job, struct query *query, size_t tile_start,
                     float *scores, const float *values) {
    const struct cpu_kernels *kernels = job->cpu->kernels;
    size_t dim = job->shape->value_dim;
    size_t low = size_max(query->first_key, tile_start) - tile_start;
    size_t high = size_min(query->end_key, tile_start + ATTENTION_TILE_TOKENS) - tile_start;
    struct partial *part = &query->part;
    cpu_cap_scores(job->shape, scores + low, high - low);
    float maximum = kernels->largest(scores + low, high - low, part->maximum);
    if (maximum > part->maximum) {
        float keep = part->maximum == -INFINITY ? 0.0f : expf(part->maximum - maximum);
        kernels->scale(part->out, dim, keep);
        part->sum *= keep;
        part->maximum = maximum;
    }
    if (maximum == -INFINITY) {
        return; /* every score so far overflowed downwards: nothing to add */
    }
    part->sum += kernels->exp_sum(scores + low, high - low, maximum);
    kernels->attention_accumulate(scores + low, values + low * dim, high - low, dim, part->out);
}

/*
 * Units of one head lie far apart, out of sight of the processor's own prefetcher. So the tile
 * after the one being worked on is asked for, a few lines at each step of the work: asked for at
 * once, they would fill the line buffers, and the work would wait.
 */
struct tile_ahead {
    struct cpu_kv_unit units[TILE_BLOCKS];
    size_t unit_bytes;  /* of the keys, and no fewer than of the values */
    size_t count;       /* of the units */
    size_t block, byte; /* where the next line begins */
    size_t step;        /* bytes asked for at a time, of keys and of values */
};

/* The item's tile after `tile_start`, or the first one of `next`, which may be NULL, in `steps`. */
static struct tile_ahead look_ahead(const struct attention_job *job, const struct item *item,
                                    const struct item *next, size_t tile_start, size_t steps) {
    const struct cpu_kv_layer *layer = &job->kv->layers[job->layer];
    struct tile_ahead ahead = {.unit_bytes = size_max(layer->key_bytes, layer->value_bytes)};
    size_t token = tile_start + ATTENTION_TILE_TOKENS;
    size_t end = keys_of(job->shape, item->span, item->first + item->rows - 1).end;
    if (token >= end && next != NULL) {
        item = next;
        token = keys_of(job->shape, item->span, item->first).first;
        token -= token % ATTENTION_TILE_TOKENS;
        end = keys_of(job->shape, item->span, item->first + item->rows - 1).end;
    }
    for (; token < end && ahead.count < TILE_BLOCKS; token += KV_BLOCK_TOKENS) {
        uint32_t block = item->span->block_table[token / KV_BLOCK_TOKENS];
        ahead.units[ahead.count++] = cpu_kv_unit(job->kv, job->layer, block, item->kv_head);
    }
    ahead.step = size_divide_up(ahead.unit_bytes * ahead.count, steps * 64) * 64;
    return ahead;
}

static void ask_ahead(struct tile_ahead *ahead) {
    size_t left = ahead->step, unit_bytes = ahead->unit_bytes;
    while (left > 0 && ahead->block < ahead->count) {
        size_t first = ahead->byte, end = size_min(first + left, unit_bytes);
        for (size_t byte = first; byte < end; byte += 64) {
            cpu_kv_prefetch(ahead->units[ahead->block], byte);
        }
        left -= end - first;
        ahead->byte = end < unit_bytes ? end : 0;
        ahead->block += end == unit_bytes;
    }
}

/* All queries against the tile's blocks. Queries are in row order, so end_key never falls. */
static void visit_tile(const struct attention_job *job, const struct item *item,
                       const struct item *next, size_t tile_start, struct query *queries,
                       size_t count, const struct attention_scratch *scratch) {
    const struct cpu_kernels *kernels = job->cpu->kernels;
    size_t key_dim = job->shape->key_dim, value_dim = job->shape->value_dim;
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
    const uint32_t *blocks = item->span->block_table + tile_start / KV_BLOCK_TOKENS;
    const float *keys[TILE_BLOCKS];
    struct tile_ahead ahead =
        look_ahead(job, item, next, tile_start, 2 * (end - first) + count - active);
    for (size_t b = first; b < end; b++) {
        struct cpu_kv_unit unit = cpu_kv_unit(job->kv, job->layer, blocks[b], item->kv_head);
        keys[b] = cpu_kv_keys(job->kv, kernels, job->layer, unit,
                              scratch->keys + b * KV_BLOCK_TOKENS * key_dim);
        ask_ahead(&ahead);
        cpu_kv_values(job->kv, kernels, job->layer, unit, keys[b],
                      scratch->values + b * KV_BLOCK_TOKENS * value_dim);
        ask_ahead(&ahead);
    }
    kernels->attention_scores(
        rows + active, count - active, keys + first, end - first, key_dim, job->shape->scale,
        scratch->scores + active * ATTENTION_TILE_TOKENS + first * KV_BLOCK_TOKENS,
        ATTENTION_TILE_TOKENS);
    for (size_t i = active; i < count; i++) {
        ask_ahead(&ahead);
        if (queries[i].first_key < tile_start + ATTENTION_TILE_TOKENS) {
            add_tile(job, &queries[i], tile_start, scratch->scores + i * ATTENTION_TILE_TOKENS,
                     scratch->values);
        }
    }
}

/* All queries against the keys from `start`, up to the segment's end. */
static void visit_segment(const struct attention_job *job, const struct item *item,
                          const struct item *next, size_t start, struct query *queries,
                          size_t count, const struct attention_scratch *scratch) {
    for (size_t i = 0; i < count; i++) {
        clear_partial(&queries[i].part, job->shape->value_dim);
    }
    size_t end = size_min(start / SEGMENT_TOKENS * SEGMENT_TOKENS + SEGMENT_TOKENS,
                          queries[count - 1].end_key);
    for (size_t tile = start; tile < end; tile += ATTENTION_TILE_TOKENS) {
        visit_tile(job, item, next, tile, queries, count, scratch);
    }
}

/* The segments that a row sees any key of: [first, end). */
struct segments {
    size_t first, end;
};

static struct segments segments_of(const struct attention_shape *shape,
                                   const struct batch_span *span, size_t row) {
    struct key_range keys = keys_of(shape, span, row);
    return (struct segments){keys.first / SEGMENT_TOKENS, size_divide_up(keys.end, SEGMENT_TOKENS)};
}

/* Where one query head's output of a row belongs. */
static float *result_at(const struct attention_job *job, const struct batch_span *span, size_t row,
                        size_t head) {
    return job->out->data + (span->first_row + row) * job->out->columns +
           head * job->shape->value_dim;
}

/* Of the item's query heads, `heads` from `head` on. */
static size_t gather_queries(const struct attention_job *job, const struct item *item, size_t head,
                             size_t heads, struct query *queries) {
    size_t count = 0;
    for (size_t i = item->first; i < item->first + item->rows; i++) {
        struct key_range keys = keys_of(job->shape, item->span, i);
        for (size_t h = head; h < head + heads; h++, count++) {
            size_t index = item->kv_head * job->group + h;
            const float *row = job->q->data + (item->span->first_row + i) * job->q->columns;
            queries[count] = (struct query){.q = row + index * job->shape->key_dim,
                                            .result = result_at(job, item->span, i, index),
                                            .head = index,
                                            .first_key = keys.first,
                                            .end_key = keys.end};
        }
    }
    return count;
}

static size_t first_tile(const struct query *queries, size_t segment) {
    size_t first = queries[0].first_key / ATTENTION_TILE_TOKENS * ATTENTION_TILE_TOKENS;
    return size_max(first, segment * SEGMENT_TOKENS);
}

/* Every segment, one after the other. The first is summed where the result belongs: merged into
 * nothing, it would be the same. */
static void attend(const struct attention_job *job, const struct item *item,
                   const struct item *next, const struct attention_scratch *scratch) {
    size_t dim = job->shape->value_dim, last = item->first + item->rows - 1;
    struct query queries[ATTENTION_TILE_QUERIES] = {0};
    struct partial totals[ATTENTION_TILE_QUERIES];
    /* A kv head shared by more query heads than fit is visited in several passes. */
    for (size_t h = 0; h < job->group; h += ATTENTION_TILE_QUERIES) {
        size_t heads = size_min(job->group - h, ATTENTION_TILE_QUERIES);
        size_t count = gather_queries(job, item, h, heads, queries);
        size_t segment = segments_of(job->shape, item->span, item->first).first;
        size_t end = segments_of(job->shape, item->span, last).end;
        for (size_t i = 0; i < count; i++) {
            queries[i].part.out = queries[i].result;
        }
        visit_segment(job, item, next, first_tile(queries, segment), queries, count, scratch);
        for (size_t i = 0; i < count; i++) {
            totals[i] = queries[i].part;
            queries[i].part.out = scratch->parts + i * dim;
        }
        while (++segment < end) {
            visit_segment(job, item, next, first_tile(queries, segment), queries, count, scratch);
            for (size_t i = 0; i < count; i++) {
                merge_partial(&totals[i], &queries[i].part, dim);
            }
        }
        for (size_t i = 0; i < count; i++) {
            finish(job, queries[i].head, &totals[i]);
        }
    }
}

static size_t span_items(const struct attention_job *job, const struct batch_span *span) {
    return size_divide_up(span->row_count, job->tile_rows) * job->shape->kv_head_count;
}

/* How far a thread has come: it takes items in rising order. */
struct item_cursor {
    size_t span, before; /* items of earlier spans */
};

/* Takes an item that no other thread has. False: none is left. */
static bool take_item(const struct attention_job *job, struct item_cursor *at, struct item *item) {
    size_t number = thread_pool_next_chunk(job->cpu->pool), kv_heads = job->shape->kv_head_count;
    if (number >= job->item_count) {
        return false;
    }
    const struct batch_span *spans = job->cpu->batch->spans;
    while (number - at->before >= span_items(job, &spans[at->span])) {
        at->before += span_items(job, &spans[at->span++]);
    }
    const struct batch_span *span = &spans[at->span];
    /* The last rows of a span see the most keys: they go first, so that threads end together. */
    size_t index = span_items(job, span) - 1 - (number - at->before);
    size_t first = index / kv_heads * job->tile_rows;
    *item = (struct item){span, first, size_min(job->tile_rows, span->row_count - first),
                          index % kv_heads};
    return true;
}

/* An item is taken before the last one is worked on, so that its keys can be asked for. */
static void attend_items(void *context, size_t thread_index) {
    const struct attention_job *job = context;
    struct attention_scratch scratch = lay_out(cpu_scratch(job->cpu, thread_index), job->shape);
    struct item_cursor at = {0};
    struct item item = {0}, next = {0};
    for (bool has_item = take_item(job, &at, &item), has_next; has_item; has_item = has_next) {
        has_next = take_item(job, &at, &next);
        attend(job, &item, has_next ? &next : NULL, &scratch);
        item = next;
    }
}

/* ---- few rows over many keys: segments handed out one by one ---- */

/* Room for one sum: a head's values, its maximum and its weights' sum. */
static float *partial_at(const struct attention_job *job, size_t index, struct partial *part) {
    float *at = job->cpu->partials + index * (job->shape->value_dim + 2);
    part->out = at + 2;
    part->maximum = at[0];
    part->sum = at[1];
    return at;
}

/* Items are (span, kv head, segment); sums lie by [span][head][segment]. */
static void attend_segments(void *context, size_t thread_index) {
    const struct attention_job *job = context;
    const struct batch *batch = job->cpu->batch;
    const struct attention_shape *shape = job->shape;
    struct attention_scratch scratch = lay_out(cpu_scratch(job->cpu, thread_index), shape);
    size_t span_index = 0, span_start = 0, number;
    while ((number = thread_pool_next_chunk(job->cpu->pool)) < job->item_count) {
        const struct batch_span *span = &batch->spans[span_index];
        struct segments s = segments_of(shape, span, 0);
        while (number - span_start >= (s.end - s.first) * shape->kv_head_count) {
            span_start += (s.end - s.first) * shape->kv_head_count;
            span = &batch->spans[++span_index];
            s = segments_of(shape, span, 0);
        }
        size_t segments = s.end - s.first, segment = (number - span_start) % segments;
        const struct item item = {span, 0, 1, (number - span_start) / segments};
        struct query queries[ATTENTION_TILE_QUERIES] = {0};
        size_t count = gather_queries(job, &item, 0, job->group, queries);
        for (size_t i = 0; i < count; i++) {
            queries[i].part.out = scratch.parts + i * shape->value_dim;
        }
        visit_segment(job, &item, NULL, first_tile(queries, s.first + segment), queries, count,
                      &scratch);
        for (size_t i = 0; i < count; i++) {
            struct partial part;
            size_t index = (span_start * job->group) + (item.kv_head * job->group + i) * segments;
            float *at = partial_at(job, index + segment, &part);
            at[0] = queries[i].part.maximum;
            at[1] = queries[i].part.sum;
            memcpy(part.out, queries[i].part.out, shape->value_dim * sizeof(float));
        }
    }
}

static void merge_segments(const struct attention_job *job) {
    const struct batch *batch = job->cpu->batch;
    size_t dim = job->shape->value_dim, index = 0;
    for (size_t s = 0; s < batch->span_count; s++) {
        const struct batch_span *span = &batch->spans[s];
        struct segments range = segments_of(job->shape, span, 0);
        for (size_t head = 0; head < job->shape->head_count; head++) {
            struct partial first, total;
            partial_at(job, index++, &first);
            total = first;
            total.out = result_at(job, span, 0, head);
            memcpy(total.out, first.out, dim * sizeof(float));
            for (size_t segment = range.first + 1; segment < range.end; segment++) {
                struct partial part;
                partial_at(job, index++, &part);
                merge_partial(&total, &part, dim);
            }
            finish(job, head, &total);
        }
    }
}

/* Whether to hand out segments: rows alone would leave threads without work, and the sums have
 * room. Sets item_count. The result is the same either way. */
static bool divide_by_segments(struct attention_job *job) {
    const struct batch *batch = job->cpu->batch;
    size_t items = 0, threads = job->cpu->thread_count;
    if (threads == 1 || batch->row_count != batch->span_count ||
        batch->row_count * job->shape->kv_head_count >= 4 * threads ||
        job->group > ATTENTION_TILE_QUERIES) {
        return false;
    }
    for (size_t s = 0; s < batch->span_count; s++) {
        struct segments range = segments_of(job->shape, &batch->spans[s], 0);
        items += (range.end - range.first) * job->shape->kv_head_count;
    }
    if (items == batch->row_count * job->shape->kv_head_count ||
        items * job->group > ATTENTION_PARTIALS) {
        return false;
    }
    job->item_count = items;
    return true;
}

void cpu_cap_scores(const struct attention_shape *shape, float *scores, size_t count) {
    if (shape->soft_cap == 0) {
        return;
    }
    for (size_t i = 0; i < count; i++) {
        scores[i] = shape->soft_cap * tanhf(scores[i] / shape->soft_cap);
    }
}

float cpu_softmax_factor(const struct attention_shape *shape, size_t head, float maximum,
                         float sum) {
    if (shape->sinks == NULL) {
        return 1.0f / sum;
    }
    const float *sinks = cpu_weight_of(shape->sinks)->owned;
    if (sinks[head] <= maximum) {
        return 1.0f / (sum + expf(sinks[head] - maximum));
    }
    float keep = expf(maximum - sinks[head]);
    return keep / (sum * keep + 1.0f);
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
    if (divide_by_segments(&job)) {
        cpu_run(cpu, job.item_count, attend_segments, &job);
        merge_segments(&job);
        return;
    }
    for (size_t s = 0; s < cpu->batch->span_count; s++) {
        job.item_count += span_items(&job, &cpu->batch->spans[s]);
    }
    cpu_run(cpu, job.item_count, attend_items, &job);
}
