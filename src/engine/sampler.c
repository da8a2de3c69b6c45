/*
 * sampler.c - see sampler.h.
 *
 * A candidate is one 64-bit key: the score in the high half, in a form that orders like the number,
 * and the complement of the token id in the low half. Larger is better, ties go to the lower id,
 * and no two keys are equal. Sets of candidates stay unsorted: each stage is a selection (a bounded
 * heap for top-k, a quickselect by probability mass for top-p and typical), so a vocabulary of
 * 131,072 is never sorted. Probabilities are exp(logit - largest) in f32 by weight_of, whose value
 * is the same on every platform, summed in double in a fixed order: same seed, same tokens.
 */
#include "engine/sampler.h"

#include "base/bytes.h"
#include "base/random.h"

#include <assert.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

enum {
    LANES = 8,           /* independent sums and maxima, so that the compiler can use vectors */
    BLOCK = 64,          /* logits scanned at once; one without a candidate costs a maximum only */
    SORT_BELOW = 32,     /* candidates that quickselect leaves to an insertion sort */
    MAX_WINDOW = 1 << 20 /* tokens the penalties may look back, other than all: bounds the ring */
};

/* Candidates this far below the largest logit are gathered first for top-p; e^-8 = 0.0003. The
 * depth doubles until the gathered mass suffices. */
static const float FIRST_DEPTH = 8.0f;

struct sampler {
    struct sampling_params params;
    size_t vocabulary_size;
    struct random_state random;
    float *adjusted;    /* [vocabulary_size]; NULL: no stage changes a logit */
    double *block_mass; /* [blocks of the vocabulary]; NULL: some stage narrows the candidates */
    uint64_t
        *candidates;  /* keys: [top_k] or [vocabulary_size]; NULL: greedy, or block_mass is used */
    uint32_t *counts; /* [vocabulary_size] occurrences in the window; NULL: no penalties */
    int32_t *window;  /* ring [repeat_last_n]; NULL: the window is the whole sequence */
    size_t window_count, window_next;
};

struct sampling_params sampling_params_default(void) {
    return (struct sampling_params){.temperature = 1.0f,
                                    .top_p = 1.0f,
                                    .typical_p = 1.0f,
                                    .repeat_penalty = 1.0f,
                                    .repeat_last_n = 64};
}

/* --- parameters --- */

struct range_row {
    const char *name;
    size_t offset; /* of a float in struct sampling_params */
    float low, high;
    const char *range; /* in words */
};

#define FIELD(name) #name, offsetof(struct sampling_params, name)
static const struct range_row float_ranges[] = {
    {FIELD(temperature), 0.0f, INFINITY, "a finite number of at least 0"},
    {FIELD(top_p), 0.0f, 1.0f, "from 0 to 1"},
    {FIELD(min_p), 0.0f, 1.0f, "from 0 to 1"},
    {FIELD(typical_p), 0.0f, 1.0f, "from 0 to 1"},
    {FIELD(repeat_penalty), 0x1p-126f, INFINITY, "a finite number above 0"},
    {FIELD(presence_penalty), -INFINITY, INFINITY, "a finite number"},
    {FIELD(frequency_penalty), -INFINITY, INFINITY, "a finite number"},
};
#undef FIELD

static bool check_logit_bias(const struct sampling_params *params, size_t vocabulary_size,
                             struct error *error) {
    if (params->logit_bias_count > 0 && params->logit_bias == NULL) {
        return error_set(error, ERROR_INVALID_ARGUMENT, "logit_bias is missing");
    }
    for (size_t i = 0; i < params->logit_bias_count; i++) {
        const struct logit_bias *row = &params->logit_bias[i];
        if (row->token < 0 || (size_t)row->token >= vocabulary_size) {
            return error_set(error, ERROR_INVALID_ARGUMENT,
                             "logit_bias names token %d; tokens are from 0 to %zu", row->token,
                             vocabulary_size - 1);
        }
        if (isnan(row->bias)) {
            return error_set(error, ERROR_INVALID_ARGUMENT,
                             "logit_bias of token %d must be a number", row->token);
        }
    }
    return true;
}

bool sampling_params_check(const struct sampling_params *params, size_t vocabulary_size,
                           struct error *error) {
    for (size_t i = 0; i < sizeof float_ranges / sizeof float_ranges[0]; i++) {
        const struct range_row *row = &float_ranges[i];
        float value;
        memcpy(&value, (const char *)params + row->offset, sizeof value);
        if (!isfinite(value) || value < row->low || value > row->high) {
            return error_set(error, ERROR_INVALID_ARGUMENT, "%s is %g; it must be %s", row->name,
                             (double)value, row->range);
        }
    }
    if (params->repeat_last_n < -1 || params->repeat_last_n > MAX_WINDOW) {
        return error_set(error, ERROR_INVALID_ARGUMENT,
                         "repeat_last_n is %d; it must be from -1 to %d", params->repeat_last_n,
                         MAX_WINDOW);
    }
    return check_logit_bias(params, vocabulary_size, error);
}

static bool has_penalties(const struct sampling_params *params) {
    return params->repeat_last_n != 0 &&
           (params->repeat_penalty != 1.0f || params->presence_penalty != 0.0f ||
            params->frequency_penalty != 0.0f);
}

static bool has_top_k(const struct sampler *sampler) {
    return sampler->params.top_k > 0 && (size_t)sampler->params.top_k < sampler->vocabulary_size;
}

/* --- life --- */

static bool sampler_alloc(struct sampler *sampler) {
    const struct sampling_params *params = &sampler->params;
    size_t n = sampler->vocabulary_size;
    bool ok = true;
    if (has_penalties(params) || params->logit_bias_count > 0) {
        sampler->adjusted = calloc(n, sizeof *sampler->adjusted);
        ok = ok && sampler->adjusted != NULL;
    }
    if (has_penalties(params)) {
        sampler->counts = calloc(n, sizeof *sampler->counts);
        ok = ok && sampler->counts != NULL;
        if (params->repeat_last_n > 0) {
            sampler->window = calloc((size_t)params->repeat_last_n, sizeof *sampler->window);
            ok = ok && sampler->window != NULL;
        }
    }
    if (params->temperature == 0.0f) {
        return ok;
    }
    if (has_top_k(sampler) || params->typical_p < 1.0f || params->top_p < 1.0f ||
        params->min_p > 0.0f) {
        size_t capacity = has_top_k(sampler) ? (size_t)params->top_k : n;
        sampler->candidates = calloc(capacity, sizeof *sampler->candidates);
        return ok && sampler->candidates != NULL;
    }
    sampler->block_mass = calloc(size_divide_up(n, BLOCK), sizeof *sampler->block_mass);
    return ok && sampler->block_mass != NULL;
}

bool sampler_create(const struct sampling_params *params, size_t vocabulary_size,
                    struct sampler **sampler, struct error *error) {
    *sampler = NULL;
    if (vocabulary_size == 0 || vocabulary_size > INT32_MAX) {
        return error_set(error, ERROR_INVALID_ARGUMENT, "a vocabulary of %zu tokens",
                         vocabulary_size);
    }
    if (!sampling_params_check(params, vocabulary_size, error)) {
        return false;
    }
    struct sampler *created = calloc(1, sizeof *created);
    if (created != NULL) {
        created->params = *params;
        created->vocabulary_size = vocabulary_size;
        random_seed(&created->random, params->seed);
    }
    if (created == NULL || !sampler_alloc(created)) {
        sampler_free(created);
        return error_set(error, ERROR_OUT_OF_MEMORY, "no memory for a sampler of %zu tokens",
                         vocabulary_size);
    }
    *sampler = created;
    return true;
}

void sampler_free(struct sampler *sampler) {
    if (sampler == NULL) {
        return;
    }
    free(sampler->adjusted);
    free(sampler->block_mass);
    free(sampler->candidates);
    free(sampler->counts);
    free(sampler->window);
    free(sampler);
}

void sampler_accept(struct sampler *sampler, int32_t token) {
    assert(token >= 0 && (size_t)token < sampler->vocabulary_size);
    if (sampler->counts == NULL) {
        return;
    }
    if (sampler->window != NULL) {
        int32_t *slot = &sampler->window[sampler->window_next];
        size_t capacity = (size_t)sampler->params.repeat_last_n;
        if (sampler->window_count == capacity) {
            sampler->counts[*slot]--;
        } else {
            sampler->window_count++;
        }
        *slot = token;
        sampler->window_next = sampler->window_next + 1 == capacity ? 0 : sampler->window_next + 1;
    }
    sampler->counts[token]++;
}

/* --- scans over logits --- */

/* The largest of [count] logits; NaN is passed over; -INFINITY when there is nothing else. */
static float largest(const float *logits, size_t count) {
    float lanes[LANES];
    for (size_t j = 0; j < LANES; j++) {
        lanes[j] = -INFINITY;
    }
    size_t i = 0;
    for (; i + LANES <= count; i += LANES) {
        for (size_t j = 0; j < LANES; j++) {
            lanes[j] = logits[i + j] > lanes[j] ? logits[i + j] : lanes[j];
        }
    }
    for (; i < count; i++) {
        lanes[0] = logits[i] > lanes[0] ? logits[i] : lanes[0];
    }
    for (size_t j = 1; j < LANES; j++) {
        lanes[0] = lanes[j] > lanes[0] ? lanes[j] : lanes[0];
    }
    return lanes[0];
}

/* The lowest id among the largest logits; 0 when all are -INFINITY or NaN. */
static size_t index_of_largest(const float *logits, size_t count) {
    float best = -INFINITY;
    size_t index = 0;
    for (size_t start = 0; start < count; start += BLOCK) {
        size_t length = size_min(BLOCK, count - start);
        float block_best = largest(logits + start, length);
        if (block_best > best) {
            best = block_best;
            for (index = start; logits[index] != best; index++) {
            }
        }
    }
    return index;
}

static inline uint32_t bits_of(float value) {
    uint32_t bits;
    memcpy(&bits, &value, sizeof bits);
    return bits;
}

static inline float float_of(uint32_t bits) {
    float value;
    memcpy(&value, &bits, sizeof value);
    return value;
}

/* exp((logit - top) / temperature), for logit ≤ top, within 2e-7 of itself; 0 below e^-87 and for
 * NaN; 1 where the two are equal, infinities included. exp(x) = 2^n exp(r), n = round(x / ln 2),
 * |r| ≤ ln 2 / 2, and exp(r) by its Taylor series to r^7 (remainder 5e-9). The choices are masks,
 * as compilers make branches of float comparisons, and then no vectors of the loops around. */
static inline float weight_of(float logit, float top, float temperature) {
    uint32_t differs = 0u - (uint32_t)(logit != top);
    uint32_t quotient = bits_of((logit - top) / temperature) & differs;
    uint32_t in_range = 0u - (uint32_t)((quotient & 0x7fffffffu) < 0x42ae0000u); /* |x| < 87 */
    float x = float_of(quotient & in_range);
    const float round_shift = 0x1.8p23f; /* adding it leaves the nearest integer in the low bits */
    float shifted = x * 1.44269504f + round_shift;
    float n = shifted - round_shift;
    float r = (x - n * 0x1.63p-1f) - n * -2.12194440e-4f; /* ln 2 in two parts */
    float series = 1.0f / 5040.0f;
    series = series * r + 1.0f / 720.0f;
    series = series * r + 1.0f / 120.0f;
    series = series * r + 1.0f / 24.0f;
    series = series * r + 1.0f / 6.0f;
    series = series * r + 0.5f;
    series = series * r + 1.0f;
    series = series * r + 1.0f;
    float scale = float_of((bits_of(shifted) + 127u) << 23); /* 2^n: n + 127 is the exponent */
    return float_of(bits_of(series * scale) & in_range);
}

/* Σ weight_of over [count] logits, in an order that depends on count alone. */
static double total_weight(const float *logits, size_t count, float top, float temperature) {
    double lanes[LANES] = {0};
    for (size_t start = 0; start < count; start += BLOCK) {
        float weights[BLOCK] = {0};
        size_t length = size_min(BLOCK, count - start);
        for (size_t i = 0; i < length; i++) {
            weights[i] = weight_of(logits[start + i], top, temperature);
        }
        for (size_t i = 0; i < BLOCK; i += LANES) {
            for (size_t j = 0; j < LANES; j++) {
                lanes[j] += (double)weights[i + j];
            }
        }
    }
    for (size_t j = 1; j < LANES; j++) {
        lanes[0] += lanes[j];
    }
    return lanes[0];
}

/* --- keys --- */

/* Orders as (score, then lower token). NaN counts as -INFINITY, -0 as 0. */
static inline uint64_t key_of(float score, size_t token) {
    float clean = isnan(score) ? -INFINITY : score + 0.0f;
    uint32_t bits = bits_of(clean);
    bits = (bits & 0x80000000u) != 0 ? ~bits : bits | 0x80000000u;
    return (uint64_t)bits << 32 | (uint32_t)~token;
}

static inline size_t token_of(uint64_t key) {
    return (uint32_t)~key;
}

static inline void swap_keys(uint64_t *a, uint64_t *b) {
    uint64_t held = *a;
    *a = *b;
    *b = held;
}

/* Restores the heap (smallest key first) below `at`. */
static void sift_down(uint64_t *heap, size_t count, size_t at) {
    for (;;) {
        size_t child = 2 * at + 1;
        if (child >= count) {
            return;
        }
        if (child + 1 < count && heap[child + 1] < heap[child]) {
            child++;
        }
        if (heap[at] <= heap[child]) {
            return;
        }
        swap_keys(&heap[at], &heap[child]);
        at = child;
    }
}

/* keys[0 .. k) become the k best of the logits, unsorted; k ≤ count. */
static void select_top_k(const float *logits, size_t count, uint64_t *keys, size_t k) {
    for (size_t i = 0; i < k; i++) {
        keys[i] = key_of(logits[i], i);
    }
    for (size_t i = k / 2; i-- > 0;) {
        sift_down(keys, k, i);
    }
    for (size_t start = k; start < count; start += BLOCK) {
        size_t end = size_min(start + BLOCK, count);
        /* Of equal logits the later token is the worse, so only a larger one can enter. */
        if (key_of(largest(logits + start, end - start), start) <= keys[0]) {
            continue;
        }
        for (size_t i = start; i < end; i++) {
            uint64_t key = key_of(logits[i], i);
            if (key > keys[0]) {
                keys[0] = key;
                sift_down(keys, k, 0);
            }
        }
    }
}

/* Collects the tokens whose logit is at least `floor`; returns how many. */
static size_t gather_above(const float *logits, size_t count, float floor, uint64_t *keys) {
    size_t kept = 0;
    for (size_t start = 0; start < count; start += BLOCK) {
        size_t end = size_min(start + BLOCK, count);
        if (largest(logits + start, end - start) < floor) {
            continue;
        }
        for (size_t i = start; i < end; i++) {
            if (logits[i] >= floor || floor == -INFINITY) {
                keys[kept++] = key_of(logits[i], i);
            }
        }
    }
    return kept;
}

/* --- selection by mass --- */

static float best_logit(const float *logits, const uint64_t *keys, size_t count) {
    float best = -INFINITY;
    for (size_t i = 0; i < count; i++) {
        float logit = logits[token_of(keys[i])];
        best = logit > best ? logit : best;
    }
    return best;
}

static double mass_of(const float *logits, const uint64_t *keys, size_t count, float top,
                      float temperature) {
    double mass = 0.0;
    for (size_t start = 0; start < count; start += BLOCK) {
        float weights[BLOCK] = {0}; /* first the logits, which lie apart, then vectors */
        size_t length = size_min(BLOCK, count - start);
        for (size_t i = 0; i < length; i++) {
            weights[i] = logits[token_of(keys[start + i])];
        }
        for (size_t i = 0; i < BLOCK; i++) {
            weights[i] = weight_of(weights[i], top, temperature);
        }
        for (size_t i = 0; i < length; i++) {
            mass += (double)weights[i];
        }
    }
    return mass;
}

static void sort_descending(uint64_t *keys, size_t count) {
    for (size_t i = 1; i < count; i++) {
        uint64_t key = keys[i];
        size_t j = i;
        for (; j > 0 && keys[j - 1] < key; j--) {
            keys[j] = keys[j - 1];
        }
        keys[j] = key;
    }
}

/* Moves the keys above a pivot before it and the rest behind it; returns the pivot's place. */
static size_t partition(uint64_t *keys, size_t count) {
    uint64_t *a = &keys[0], *b = &keys[count / 2], *c = &keys[count - 1];
    uint64_t *middle = *a < *b ? (*b < *c ? b : *a < *c ? c : a) : (*a < *c ? a : *b < *c ? c : b);
    uint64_t pivot = *middle;
    swap_keys(middle, c);
    size_t place = 0;
    for (size_t i = 0; i + 1 < count; i++) {
        uint64_t key = keys[i];
        keys[i] = keys[place];
        keys[place] = key;
        place += key > pivot;
    }
    swap_keys(&keys[place], c);
    return place;
}

/* The fewest best keys whose weights, exp(logit - top), reach `target`: moved to the front, at
 * least one, all when the target is not reached. Returns how many. */
static size_t keep_mass(const float *logits, uint64_t *keys, size_t count, float top,
                        double target) {
    size_t low = 0, high = count; /* keys[0 .. low) are kept, keys[high ..] are not */
    double mass = 0.0;            /* of keys[0 .. low) */
    while (high - low > SORT_BELOW) {
        size_t pivot = low + partition(keys + low, high - low);
        double upper = mass_of(logits, keys + low, pivot - low, top, 1.0f);
        if (pivot > low && mass + upper >= target) {
            high = pivot;
            continue;
        }
        mass += upper + (double)weight_of(logits[token_of(keys[pivot])], top, 1.0f);
        low = pivot + 1;
        if (mass >= target) {
            return low;
        }
    }
    sort_descending(keys + low, high - low);
    while (low < high) {
        mass += (double)weight_of(logits[token_of(keys[low++])], top, 1.0f);
        if (mass >= target) {
            break;
        }
    }
    return low;
}

/* --- stages over a set of candidates; each returns how many stay, at the front --- */

static size_t stage_top_p(const float *logits, uint64_t *keys, size_t count, float top_p) {
    float top = best_logit(logits, keys, count);
    double total = mass_of(logits, keys, count, top, 1.0f);
    return keep_mass(logits, keys, count, top, (double)top_p * total);
}

/* Locally typical sampling (Meister et al. 2022): the tokens whose surprise, -ln p, is closest to
 * the distribution's entropy, up to a mass of typical_p. */
static size_t stage_typical(const float *logits, uint64_t *keys, size_t count, float typical_p) {
    float top = best_logit(logits, keys, count);
    double total = 0.0, weighted = 0.0; /* Σ w, Σ w (logit - top) */
    for (size_t i = 0; i < count; i++) {
        float logit = logits[token_of(keys[i])];
        double weight = (double)weight_of(logit, top, 1.0f);
        total += weight;
        if (weight > 0.0 && logit != top) {
            weighted += weight * ((double)logit - (double)top);
        }
    }
    double mean = weighted / total; /* of logit - top; surprise - entropy = mean - (logit - top) */
    for (size_t i = 0; i < count; i++) {
        size_t token = token_of(keys[i]);
        double below = logits[token] == top ? 0.0 : (double)logits[token] - (double)top;
        keys[i] = key_of((float)-fabs(mean - below), token);
    }
    count = keep_mass(logits, keys, count, top, (double)typical_p * total);
    for (size_t i = 0; i < count; i++) {
        keys[i] = key_of(logits[token_of(keys[i])], token_of(keys[i]));
    }
    return count;
}

static size_t stage_min_p(const float *logits, uint64_t *keys, size_t count, float min_p) {
    float floor = best_logit(logits, keys, count) + logf(min_p);
    size_t kept = 0;
    for (size_t i = 0; i < count; i++) {
        if (logits[token_of(keys[i])] >= floor) {
            keys[kept++] = keys[i];
        }
    }
    return kept > 0 ? kept : count; /* none: every logit is -INFINITY or NaN */
}

/* Top-p over the whole vocabulary: looks near the top first, and deeper only where the mass is. */
static size_t gather_top_p(const float *logits, size_t count, uint64_t *keys, float top_p) {
    float top = largest(logits, count);
    double target = (double)top_p * total_weight(logits, count, top, 1.0f);
    float depth = FIRST_DEPTH;
    size_t kept = gather_above(logits, count, top - depth, keys);
    while (depth < 87.0f && mass_of(logits, keys, kept, top, 1.0f) < target) {
        depth *= 2.0f;
        kept = gather_above(logits, count, top - depth, keys);
    }
    return keep_mass(logits, keys, kept, top, target);
}

/* --- the draw --- */

static int32_t draw_candidate(struct sampler *sampler, const float *logits, const uint64_t *keys,
                              size_t count) {
    float temperature = sampler->params.temperature;
    float top = best_logit(logits, keys, count);
    double at = random_uniform(&sampler->random) * mass_of(logits, keys, count, top, temperature);
    size_t last = 0; /* with weight: where rounding leaves `at` at the very end */
    double mass = 0.0;
    for (size_t i = 0; i < count; i++) {
        double weight = (double)weight_of(logits[token_of(keys[i])], top, temperature);
        mass += weight;
        last = weight > 0.0 ? i : last;
        if (mass > at) {
            break;
        }
    }
    return (int32_t)token_of(keys[last]);
}

/* A draw from the whole vocabulary, in order of id: the block first, then the token in it. */
static int32_t draw_any(struct sampler *sampler, const float *logits) {
    size_t count = sampler->vocabulary_size;
    float temperature = sampler->params.temperature;
    float top = largest(logits, count);
    double total = 0.0;
    for (size_t start = 0; start < count; start += BLOCK) {
        double mass =
            total_weight(logits + start, size_min(BLOCK, count - start), top, temperature);
        sampler->block_mass[start / BLOCK] = mass;
        total += mass;
    }
    double at = random_uniform(&sampler->random) * total;
    size_t last = 0;
    double mass = 0.0;
    for (size_t start = 0; start < count; start += BLOCK) {
        double block = sampler->block_mass[start / BLOCK];
        if (mass + block <= at) {
            mass += block;
            last = block > 0.0 ? start : last;
            continue;
        }
        last = start;
        break;
    }
    size_t end = size_min(last + BLOCK, count);
    for (size_t i = last; i < end; i++) {
        double weight = (double)weight_of(logits[i], top, temperature);
        mass += weight;
        last = weight > 0.0 ? i : last;
        if (mass > at) {
            break;
        }
    }
    return (int32_t)last;
}

/* --- the public whole --- */

/* Logit bias and penalties; the formulas of CTRL (Keskar et al. 2019) for repetition and of
 * OpenAI's API for frequency and presence. */
static const float *adjust(struct sampler *sampler, const float *logits) {
    const struct sampling_params *params = &sampler->params;
    float *adjusted = sampler->adjusted;
    if (adjusted == NULL) {
        return logits;
    }
    memcpy(adjusted, logits, sampler->vocabulary_size * sizeof *adjusted);
    for (size_t i = 0; i < params->logit_bias_count; i++) {
        adjusted[params->logit_bias[i].token] += params->logit_bias[i].bias;
    }
    if (sampler->counts == NULL) {
        return adjusted;
    }
    for (size_t i = 0; i < sampler->vocabulary_size; i++) {
        uint32_t occurrences = sampler->counts[i];
        if (occurrences == 0) {
            continue;
        }
        float logit = adjusted[i];
        logit = logit > 0.0f ? logit / params->repeat_penalty : logit * params->repeat_penalty;
        adjusted[i] =
            logit - (float)occurrences * params->frequency_penalty - params->presence_penalty;
    }
    return adjusted;
}

int32_t sampler_sample(struct sampler *sampler, const float *logits) {
    const struct sampling_params *params = &sampler->params;
    size_t n = sampler->vocabulary_size;
    uint64_t *keys = sampler->candidates;
    logits = adjust(sampler, logits);
    if (params->temperature == 0.0f) {
        return (int32_t)index_of_largest(logits, n);
    }
    if (keys == NULL) {
        return draw_any(sampler, logits);
    }
    size_t count;
    bool narrow_top_p = params->top_p < 1.0f;
    if (has_top_k(sampler)) {
        count = (size_t)params->top_k;
        select_top_k(logits, n, keys, count);
    } else if (params->typical_p < 1.0f) {
        count = gather_above(logits, n, -INFINITY, keys);
    } else if (narrow_top_p) {
        count = gather_top_p(logits, n, keys, params->top_p);
        narrow_top_p = false;
    } else {
        count = gather_above(logits, n, largest(logits, n) + logf(params->min_p), keys);
    }
    if (params->typical_p < 1.0f) {
        count = stage_typical(logits, keys, count, params->typical_p);
    }
    if (narrow_top_p) {
        count = stage_top_p(logits, keys, count, params->top_p);
    }
    if (params->min_p > 0.0f) {
        count = stage_min_p(logits, keys, count, params->min_p);
    }
    return draw_candidate(sampler, logits, keys, count);
}

static float logprob_of(float logit, float top, double log_total) {
    double below = logit == top ? 0.0 : (double)logit - (double)top;
    return isnan(below) ? -INFINITY : (float)(below - log_total);
}

/* The `top_count` largest logits, best first, ties by lower id; returns how many there are. A block
 * without one costs a maximum only. */
static size_t find_top(const float *logits, size_t count, struct token_logprob *top,
                       size_t top_count) {
    size_t filled = 0;
    for (size_t start = 0; start < count && top_count > 0; start += BLOCK) {
        size_t end = size_min(start + BLOCK, count);
        if (filled == top_count &&
            largest(logits + start, end - start) <= top[filled - 1].logprob) {
            continue;
        }
        for (size_t i = start; i < end; i++) {
            float logit = isnan(logits[i]) ? -INFINITY : logits[i];
            if (filled == top_count && logit <= top[filled - 1].logprob) {
                continue;
            }
            size_t place = filled < top_count ? filled++ : filled - 1;
            for (; place > 0 && top[place - 1].logprob < logit; place--) {
                top[place] = top[place - 1];
            }
            top[place] = (struct token_logprob){(int32_t)i, logit};
        }
    }
    return filled;
}

float sampler_logprobs(struct sampler *sampler, const float *logits, int32_t token,
                       struct token_logprob *top, size_t top_count) {
    size_t n = sampler->vocabulary_size;
    assert(token >= 0 && (size_t)token < n);
    float largest_logit = largest(logits, n);
    double log_total = log(total_weight(logits, n, largest_logit, 1.0f));
    size_t filled = find_top(logits, n, top, top_count);
    for (size_t i = 0; i < top_count; i++) {
        if (i < filled) {
            top[i].logprob = logprob_of(top[i].logprob, largest_logit, log_total);
        } else {
            top[i] = (struct token_logprob){-1, -INFINITY};
        }
    }
    return logprob_of(logits[token], largest_logit, log_total);
}
