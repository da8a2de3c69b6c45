/*
 * k_encode.c - encoders of the 256-value formats, whose layouts are in k_quants.c.
 *
 * A block is fitted in two rounds, both of which minimise the weighted squared error
 *
 *   sum over values x with steps q of  w * (d * scale * q - dmin * min - x)^2
 *
 * First each sub-block alone, with a real scale and minimum: a few step sizes around the one that
 * spans its range are tried, and for the steps each of them gives, the best scale and minimum are
 * solved for (a line fit). Then d and dmin are set so that the largest scale and minimum fit their
 * bits, and each sub-block takes the best of the whole scales and minima around its real ones,
 * judged as they will be decoded, with d and dmin as f16. Solving once more for d and dmin with all
 * steps known was tried: it takes 0.3 % off the error, for half as much time again.
 *
 * The weights, w = rms of the block + |x|, spend a little of the plain error on large values, whose
 * errors matter most in a dot product. tests/python/test_quant_formats.py holds the result against
 * ggml's encoders: on gaussian weights the plain error is 1 to 9 % lower.
 *
 * Sixteen sub-blocks are fitted at once, one in each lane of the compiler's vectors: one block of
 * the formats with sub-blocks of 16 values, two of those with 32. A lane computes what it would
 * alone, in the same order, whatever registers it gets, so the bytes are the same on every
 * processor. On x86-64 the fit is compiled for AVX2 and AVX-512 too and chosen when it is called.
 */
#include "quant/families.h"
#include "quant/quant.h"

#include <float.h>
#include <math.h>
#include <string.h>

enum {
    RUN = 32, /* values whose bits start at the same shift of consecutive bytes */
    LANES = 16,
    MAX_SUB_BLOCKS = 16,
    MAX_SUB_VALUES = 32,
    CANDIDATES = 9, /* step sizes tried for a sub-block */
};

/* The candidates' spans reach from this many steps fewer than the range has to as many more. */
static const float SPAN_REACH = 1.5f;

/* What a format can say about a block. */
struct k_grid {
    size_t sub_values;               /* values in a sub-block */
    int step_lowest, step_highest;   /* q of a value */
    int scale_lowest, scale_highest; /* of a sub-block */
    int min_highest;                 /* of a sub-block; 0: the format has no minima */
};

/* A block before it is packed into bits. */
struct k_block {
    float d, dmin;              /* exact as f16 */
    int scales[MAX_SUB_BLOCKS]; /* [256 / sub_values] */
    int mins[MAX_SUB_BLOCKS];   /* likewise */
    int steps[K_BLOCK_VALUES];
};

/* ---- lanes ---- */

#define INLINE static inline __attribute__((always_inline))

typedef float lanes __attribute__((vector_size(LANES * sizeof(float))));
typedef int32_t lane_mask __attribute__((vector_size(LANES * sizeof(int32_t)))); /* 0 or -1 */

INLINE lanes all_lanes(float value) {
    return value - (lanes){0};
}

INLINE lanes pick(lane_mask mask, lanes a, lanes b) {
    return (lanes)((mask & (lane_mask)a) | (~mask & (lane_mask)b));
}

/* The nearest whole number in the range, to even from halfway; a NaN becomes the lowest. Adding a
 * number whose last place is 1 rounds. */
INLINE lanes nearest_lanes(lanes position, lanes lowest, lanes highest) {
    const lanes rounder = all_lanes(0x1.8p23f);
    lanes above = pick(position > lowest, position, lowest);
    lanes within = pick(above < highest, above, highest);
    return (within + rounder) - rounder;
}

INLINE lanes reciprocal_lanes(lanes value) {
    lanes inverse = 1.0f / value;
    return pick((inverse <= all_lanes(FLT_MAX)) & (inverse >= all_lanes(-FLT_MAX)), inverse,
                all_lanes(0));
}

/* What a sub-block's steps mean: value = scale * q - min. */
struct lines {
    lanes scale, min;
};

/* The values of sixteen sub-blocks, the n-th of each together. */
struct group {
    size_t count; /* of values in a sub-block */
    lanes values[MAX_SUB_VALUES];
    lanes weights[MAX_SUB_VALUES];
};

/* ---- round one: a real scale and minimum for each sub-block ---- */

/* The lines whose steps span the values when `more` steps are added to the range. Without minima
 * the value of largest magnitude takes the outermost negative step, since there is one more of
 * those. */
INLINE struct lines spanning_lines(const struct k_grid *grid, lanes low, lanes high, float more) {
    if (grid->min_highest > 0) {
        lanes floor = pick(low < all_lanes(0), low, all_lanes(0));
        return (struct lines){(high - floor) / ((float)grid->step_highest + more), -floor};
    }
    lanes extreme = pick(-low > high, low, high);
    return (struct lines){extreme / ((float)grid->step_lowest - more), all_lanes(0)};
}

/* The lines of least error for the steps that `guess` gives, with minima of at least 0 (none: lines
 * through the origin). *gain is by how much their error is less than that of all zeros. */
INLINE struct lines solve_lines(const struct k_grid *grid, const struct group *group,
                                struct lines guess, lanes *gain) {
    const lanes zero = all_lanes(0);
    const lanes lowest = all_lanes((float)grid->step_lowest);
    const lanes highest = all_lanes((float)grid->step_highest);
    lanes inverse = reciprocal_lanes(guess.scale);
    lanes sum_w = zero, sum_q = zero, sum_qq = zero, sum_x = zero, sum_xq = zero;
    for (size_t i = 0; i < group->count; i++) {
        lanes x = group->values[i], w = group->weights[i];
        lanes q = nearest_lanes((x + guess.min) * inverse, lowest, highest);
        sum_w += w;
        sum_q += w * q;
        sum_qq += w * q * q;
        sum_x += w * x;
        sum_xq += w * x * q;
    }
    struct lines lines = {zero, zero};
    if (grid->min_highest > 0) {
        lanes determinant = sum_w * sum_qq - sum_q * sum_q;
        lane_mask can = determinant > zero;
        lines.scale = pick(can, (sum_w * sum_xq - sum_x * sum_q) / determinant, zero);
        lines.min = pick(can, (sum_q * sum_xq - sum_qq * sum_x) / determinant, zero);
    }
    lane_mask has_min = lines.min > zero;
    lanes through_origin = pick(sum_qq > zero, sum_xq / sum_qq, zero);
    lines.min = pick(has_min, lines.min, zero);
    lines.scale = pick(has_min, lines.scale, through_origin);
    *gain = lines.scale * sum_xq - lines.min * sum_x;
    return lines;
}

INLINE struct lines fit_lines(const struct k_grid *grid, const struct group *group) {
    lanes low = group->values[0], high = low;
    for (size_t i = 1; i < group->count; i++) {
        low = pick(group->values[i] < low, group->values[i], low);
        high = pick(group->values[i] > high, group->values[i], high);
    }
    /* Where all values are the same and negative, a minimum alone says it all. */
    struct lines best = {all_lanes(0), spanning_lines(grid, low, high, 0).min};
    lanes best_gain = all_lanes(0);
    for (int i = 0; i < CANDIDATES; i++) {
        float more = SPAN_REACH * ((float)(2 * i) / (float)(CANDIDATES - 1) - 1);
        lanes gain;
        struct lines lines = solve_lines(grid, group, spanning_lines(grid, low, high, more), &gain);
        lane_mask better = gain > best_gain;
        best.scale = pick(better, lines.scale, best.scale);
        best.min = pick(better, lines.min, best.min);
        best_gain = pick(better, gain, best_gain);
    }
    return best;
}

/* ---- round two: whole scales and minima ---- */

static float rounded_to_f16(float value) {
    return f16_to_f32(f32_to_f16(value));
}

/* Sets d and dmin of a block whose sub-blocks fit these lines. */
static void set_units(const struct k_grid *grid, const float *scales, const float *mins,
                      struct k_block *block) {
    float scale = 0, min = 0;
    for (size_t sub = 0; sub < K_BLOCK_VALUES / grid->sub_values; sub++) {
        scale = fabsf(scales[sub]) > fabsf(scale) ? scales[sub] : scale;
        min = mins[sub] > min ? mins[sub] : min;
    }
    /* Signed scales have one more negative number than positive ones. */
    int outermost = grid->scale_lowest < 0 ? grid->scale_lowest : grid->scale_highest;
    block->d = rounded_to_f16(scale / (float)outermost);
    block->dmin = grid->min_highest > 0 ? rounded_to_f16(min / (float)grid->min_highest) : 0;
}

INLINE lanes errors_of(const struct k_grid *grid, const struct group *group, struct lines lines) {
    const lanes lowest = all_lanes((float)grid->step_lowest);
    const lanes highest = all_lanes((float)grid->step_highest);
    lanes inverse = reciprocal_lanes(lines.scale);
    lanes errors = all_lanes(0);
    for (size_t i = 0; i < group->count; i++) {
        lanes q = nearest_lanes((group->values[i] + lines.min) * inverse, lowest, highest);
        lanes difference = lines.scale * q - lines.min - group->values[i];
        errors += group->weights[i] * difference * difference;
    }
    return errors;
}

/* The best whole scales and minima near the real ones, as multiples of `units`. */
INLINE struct lines settle_lines(const struct k_grid *grid, const struct group *group,
                                 struct lines fits, struct lines units) {
    const lanes scale_lowest = all_lanes((float)grid->scale_lowest);
    const lanes scale_highest = all_lanes((float)grid->scale_highest);
    const lanes zero = all_lanes(0), min_highest = all_lanes((float)grid->min_highest);
    struct lines near = {
        nearest_lanes(fits.scale * reciprocal_lanes(units.scale), scale_lowest, scale_highest),
        nearest_lanes(fits.min * reciprocal_lanes(units.min), zero, min_highest)};
    struct lines best = near;
    lanes best_errors = all_lanes(INFINITY);
    for (int i = 0; i < 9; i++) {
        if (grid->min_highest == 0 && i % 3 != 1) {
            continue;
        }
        int scale_step = i / 3 - 1, min_step = i % 3 - 1;
        struct lines whole = {near.scale + (float)scale_step, near.min + (float)min_step};
        lane_mask possible = (whole.scale >= scale_lowest) & (whole.scale <= scale_highest) &
                             (whole.min >= zero) & (whole.min <= min_highest);
        lanes errors = errors_of(grid, group,
                                 (struct lines){units.scale * whole.scale, units.min * whole.min});
        lane_mask better = possible & (errors < best_errors);
        best.scale = pick(better, whole.scale, best.scale);
        best.min = pick(better, whole.min, best.min);
        best_errors = pick(better, errors, best_errors);
    }
    return best;
}

/* ---- sixteen sub-blocks ---- */

static void weigh(const float *values, float *weights) {
    float sum = 0;
    for (size_t i = 0; i < K_BLOCK_VALUES; i++) {
        sum += values[i] * values[i];
    }
    float rms = sqrtf(sum / (float)K_BLOCK_VALUES);
    for (size_t i = 0; i < K_BLOCK_VALUES; i++) {
        weights[i] = rms + fabsf(values[i]);
    }
}

/* Lane l of the group becomes sub-block l % subs of block l / subs; where there is one block less,
 * the last is taken twice. */
INLINE void gather(const struct k_grid *grid, const float *values, size_t block_count,
                   struct group *group) {
    size_t subs = K_BLOCK_VALUES / grid->sub_values;
    group->count = grid->sub_values;
    for (size_t b = 0; b < LANES / subs; b++) {
        float weights[K_BLOCK_VALUES];
        const float *from = values + (b < block_count ? b : block_count - 1) * K_BLOCK_VALUES;
        weigh(from, weights);
        for (size_t sub = 0; sub < subs; sub++) {
            for (size_t i = 0; i < grid->sub_values; i++) {
                group->values[i][b * subs + sub] = from[sub * grid->sub_values + i];
                group->weights[i][b * subs + sub] = weights[sub * grid->sub_values + i];
            }
        }
    }
}

/* The steps, and the whole scales and minima, into the blocks. */
INLINE void scatter(const struct k_grid *grid, const struct group *group, struct lines whole,
                    struct lines units, size_t block_count, struct k_block *blocks) {
    size_t subs = K_BLOCK_VALUES / grid->sub_values;
    const lanes lowest = all_lanes((float)grid->step_lowest);
    const lanes highest = all_lanes((float)grid->step_highest);
    struct lines lines = {units.scale * whole.scale, units.min * whole.min};
    lanes inverse = reciprocal_lanes(lines.scale);
    for (size_t l = 0; l < block_count * subs; l++) {
        blocks[l / subs].scales[l % subs] = (int)whole.scale[l];
        blocks[l / subs].mins[l % subs] = (int)whole.min[l];
    }
    for (size_t i = 0; i < group->count; i++) {
        lanes q = nearest_lanes((group->values[i] + lines.min) * inverse, lowest, highest);
        for (size_t l = 0; l < block_count * subs; l++) {
            blocks[l / subs].steps[l % subs * group->count + i] = (int)q[l];
        }
    }
}

/* Fits 1 or 2 blocks, as many as sixteen sub-blocks make up, or fewer. */
INLINE void fit_any(const struct k_grid *grid, const float *values, size_t block_count,
                    struct k_block *blocks) {
    size_t subs = K_BLOCK_VALUES / grid->sub_values;
    struct group group;
    float scales[LANES], mins[LANES];
    struct lines units;
    gather(grid, values, block_count, &group);
    struct lines fits = fit_lines(grid, &group);
    memcpy(scales, &fits.scale, sizeof scales);
    memcpy(mins, &fits.min, sizeof mins);
    for (size_t b = 0; b < block_count; b++) {
        set_units(grid, scales + b * subs, mins + b * subs, &blocks[b]);
    }
    for (size_t l = 0; l < LANES; l++) {
        size_t b = l / subs < block_count ? l / subs : block_count - 1;
        units.scale[l] = blocks[b].d;
        units.min[l] = blocks[b].dmin;
    }
    struct lines whole = settle_lines(grid, &group, fits, units);
    scatter(grid, &group, whole, units, block_count, blocks);
}

typedef void (*fit_function)(const struct k_grid *grid, const float *values, size_t block_count,
                             struct k_block *blocks);

static void fit_plain(const struct k_grid *grid, const float *values, size_t block_count,
                      struct k_block *blocks) {
    fit_any(grid, values, block_count, blocks);
}

#ifdef __x86_64__
__attribute__((target("avx2"))) static void fit_avx2(const struct k_grid *grid, const float *values,
                                                     size_t block_count, struct k_block *blocks) {
    fit_any(grid, values, block_count, blocks);
}

__attribute__((target("avx512f"))) static void fit_avx512(const struct k_grid *grid,
                                                          const float *values, size_t block_count,
                                                          struct k_block *blocks) {
    fit_any(grid, values, block_count, blocks);
}
#endif

static fit_function choose_fit(void) {
#ifdef __x86_64__
    if (__builtin_cpu_supports("avx512f")) {
        return fit_avx512;
    }
    if (__builtin_cpu_supports("avx2")) {
        return fit_avx2;
    }
#endif
    return fit_plain;
}

static void encode(const struct k_grid *grid, const float *values, size_t count, uint8_t *out,
                   size_t block_bytes, void (*pack)(const struct k_block *block, uint8_t *out)) {
    fit_function fit = choose_fit();
    size_t group_blocks = LANES * grid->sub_values / K_BLOCK_VALUES;
    struct k_block blocks[2];
    memset(out, 0, count / K_BLOCK_VALUES * block_bytes);
    for (size_t left = count / K_BLOCK_VALUES; left > 0;) {
        size_t block_count = left < group_blocks ? left : group_blocks;
        fit(grid, values, block_count, blocks);
        for (size_t b = 0; b < block_count; b++, out += block_bytes) {
            pack(&blocks[b], out);
        }
        values += block_count * K_BLOCK_VALUES;
        left -= block_count;
    }
}

/* ---- packing; bytes start as zeros ---- */

/* Puts bits into the byte of a value whose run has `runs_a_byte` runs sharing its bytes. */
static void pack_bits(uint8_t *bytes, size_t value, size_t runs_a_byte, unsigned bits) {
    size_t run = value / RUN, lane = value % RUN;
    bytes[run / runs_a_byte * RUN + lane] |=
        (uint8_t)(bits << (run % runs_a_byte * (8 / runs_a_byte)));
}

static void pack_q2_k(const struct k_block *block, uint8_t *out) {
    for (size_t sub = 0; sub < 16; sub++) {
        out[sub] = (uint8_t)(block->scales[sub] | block->mins[sub] << 4);
    }
    for (size_t j = 0; j < K_BLOCK_VALUES; j++) {
        pack_bits(out + 16, j, 4, (unsigned)block->steps[j]);
    }
    store_u16_le(out + 80, f32_to_f16(block->d));
    store_u16_le(out + 82, f32_to_f16(block->dmin));
}

void encode_q2_k(const float *values, void *blocks, size_t count) {
    static const struct k_grid grid = {16, 0, 3, 0, 15, 15};
    encode(&grid, values, count, blocks, Q2_K_BLOCK_BYTES, pack_q2_k);
}

static void pack_q3_k(const struct k_block *block, uint8_t *out) {
    for (size_t j = 0; j < K_BLOCK_VALUES; j++) {
        unsigned step = (unsigned)(block->steps[j] + 4);
        pack_bits(out, j, 8, step >> 2);
        pack_bits(out + 32, j, 4, step & 3);
    }
    for (size_t sub = 0; sub < 16; sub++) {
        unsigned scale = (unsigned)(block->scales[sub] + 32);
        out[96 + sub % 8] |= (uint8_t)((scale & 15) << (sub / 8 * 4));
        out[104 + sub % 4] |= (uint8_t)(scale >> 4 << (sub / 4 * 2));
    }
    store_u16_le(out + 108, f32_to_f16(block->d));
}

void encode_q3_k(const float *values, void *blocks, size_t count) {
    static const struct k_grid grid = {16, -4, 3, -32, 31, 0};
    encode(&grid, values, count, blocks, Q3_K_BLOCK_BYTES, pack_q3_k);
}

/* The 16 bytes that Q4_K and Q5_K begin with. */
static void pack_scales_and_mins(const struct k_block *block, uint8_t *out) {
    store_u16_le(out, f32_to_f16(block->d));
    store_u16_le(out + 2, f32_to_f16(block->dmin));
    uint8_t *packed = out + 4;
    for (size_t k = 0; k < 4; k++) {
        packed[k] = (uint8_t)(block->scales[k] | block->scales[k + 4] >> 4 << 6);
        packed[k + 4] = (uint8_t)(block->mins[k] | block->mins[k + 4] >> 4 << 6);
        packed[k + 8] = (uint8_t)((block->scales[k + 4] & 15) | (block->mins[k + 4] & 15) << 4);
    }
}

static void pack_q4_k(const struct k_block *block, uint8_t *out) {
    pack_scales_and_mins(block, out);
    for (size_t j = 0; j < K_BLOCK_VALUES; j++) {
        pack_bits(out + 16, j, 2, (unsigned)block->steps[j]);
    }
}

void encode_q4_k(const float *values, void *blocks, size_t count) {
    static const struct k_grid grid = {RUN, 0, 15, 0, 63, 63};
    encode(&grid, values, count, blocks, Q4_K_BLOCK_BYTES, pack_q4_k);
}

static void pack_q5_k(const struct k_block *block, uint8_t *out) {
    pack_scales_and_mins(block, out);
    for (size_t j = 0; j < K_BLOCK_VALUES; j++) {
        pack_bits(out + 16, j, 8, (unsigned)block->steps[j] >> 4);
        pack_bits(out + 48, j, 2, (unsigned)block->steps[j] & 15);
    }
}

void encode_q5_k(const float *values, void *blocks, size_t count) {
    static const struct k_grid grid = {RUN, 0, 31, 0, 63, 63};
    encode(&grid, values, count, blocks, Q5_K_BLOCK_BYTES, pack_q5_k);
}

static void pack_q6_k(const struct k_block *block, uint8_t *out) {
    for (size_t j = 0; j < K_BLOCK_VALUES; j++) {
        unsigned step = (unsigned)(block->steps[j] + 32);
        /* Low nibbles: of the four runs of a half, the first two are low in 64 bytes, the
         * others high in the same. */
        out[j / 128 * 64 + j % 64] |= (uint8_t)((step & 15) << (j / 64 % 2 * 4));
        pack_bits(out + 128, j, 4, step >> 4);
    }
    for (size_t sub = 0; sub < 16; sub++) {
        out[192 + sub] = (uint8_t)(int8_t)block->scales[sub];
    }
    store_u16_le(out + 208, f32_to_f16(block->d));
}

void encode_q6_k(const float *values, void *blocks, size_t count) {
    static const struct k_grid grid = {16, -32, 31, -128, 127, 0};
    encode(&grid, values, count, blocks, Q6_K_BLOCK_BYTES, pack_q6_k);
}
