/*
 * neon_blocks.h - unpacked chunks as the NEON kernels read them, and the f32 part of a product,
 * which both sets run instruction for instruction alike. Private to them.
 *
 * A vector holds a quarter of a group: 4 rows × 4 columns of quants.
 */
#ifndef MISTRAL_BACKEND_CPU_NEON_BLOCKS_H
#define MISTRAL_BACKEND_CPU_NEON_BLOCKS_H

#include "backend/cpu/neon.h"
#include "backend/cpu/packed.h"

#include <arm_neon.h>
#include <string.h>

#define INLINE static inline __attribute__((always_inline))

enum {
    QUARTERS = 4, /* vectors of 4 rows in a panel */
    QUARTER_BYTES = 16,
    HALF =
        2, /* quarters that several activation rows meet at once: their sums fill the registers */
    MAX_BATCH = 4, /* activation rows of one pass over a chunk */
};

/* ---- bit planes → bytes ---- */

INLINE uint8x16_t load_plane(const uint8_t *plane, size_t bits, size_t group, size_t quarter) {
    const uint8_t *at = plane + group * bits / 8 * GROUP_BYTES + quarter * QUARTER_BYTES;
    return vld1q_u8(at) >> (uint8_t)(group * bits % 8);
}

/* 4 rows × 4 columns of quants. `group` counts from the planes' start and is below 8: the caller
 * unrolls, so that the shifts are constants. The high bits are inserted above the low ones; one
 * mask then drops what came along with either. */
INLINE int8x16_t planes_to_quants(const uint8_t *low, const uint8_t *high,
                                  const struct packed_layout layout, size_t group, size_t quarter) {
    uint8x16_t q = load_plane(low, layout.low_bits, group, quarter);
    if (layout.high_bits > 0) {
        uint8x16_t h = load_plane(high, layout.high_bits, group, quarter);
        q = layout.low_bits == 4 ? vsliq_n_u8(q, h, 4) : vsliq_n_u8(q, h, 2);
    }
    size_t top_bits = layout.high_bits > 0 ? layout.high_bits : layout.low_bits;
    bool is_clean = (group + 1) * top_bits % 8 == 0; /* nothing stands above them */
    uint8_t mask = (uint8_t)((1 << (layout.low_bits + layout.high_bits)) - 1);
    return vreinterpretq_s8_u8(is_clean ? q : vandq_u8(q, vdupq_n_u8(mask)));
}

/* The same, eight groups from `first` of a packed block. */
INLINE int8x16_t packed_quants(const uint8_t *packed, const struct packed_layout layout,
                               size_t first, size_t j, size_t quarter) {
    const struct packed_offsets at = packed_offsets(layout);
    return planes_to_quants(packed + at.low + first * layout.low_bits / 8 * GROUP_BYTES,
                            packed + at.high + first * layout.high_bits / 8 * GROUP_BYTES, layout,
                            j, quarter);
}

INLINE float32x4_t load_halves(const uint8_t *at) {
    return vcvt_f32_f16(vreinterpret_f16_u8(vld1_u8(at)));
}

/* ---- blocks of 32: Q4_0, Q4_1, Q5_0, Q5_1, Q8_0 ---- */

struct scales_32 {
    float scale[BLOCKS_PER_CHUNK][PANEL_ROWS];
    float minimum[BLOCKS_PER_CHUNK][PANEL_ROWS]; /* when the layout has minimums */
};

struct unpacked_32 {
    uint8_t q[BLOCKS_PER_CHUNK][GROUPS_32 * GROUP_BYTES];
    struct scales_32 scales;
};

_Static_assert(sizeof(struct unpacked_32) <= UNPACKED_BYTES, "fits the scratch");

INLINE void unpack_scales_32(const uint8_t *packed, size_t block_count, struct scales_32 *out,
                             const struct packed_layout layout) {
    const struct packed_offsets at = packed_offsets(layout);
    for (size_t b = 0; b < block_count; b++, packed += at.total) {
#pragma GCC unroll 4
        for (size_t quarter = 0; quarter < QUARTERS; quarter++) {
            vst1q_f32(out->scale[b] + 4 * quarter, load_halves(packed + at.scale + 8 * quarter));
            if (layout.has_minimum) {
                vst1q_f32(out->minimum[b] + 4 * quarter,
                          load_halves(packed + at.minimum + 8 * quarter));
            }
        }
    }
}

/* minus_128_sums of activation rows → where their sums of integers begin, so that they come out as
 * if each quant were moved down by the layout's offset: 8 or 16 here, or 0. */
INLINE int32x4_t first_sums(int32x4_t minus_128_sums, const struct packed_layout layout) {
    return layout.offset == 0 ? vdupq_n_s32(0) : minus_128_sums >> (layout.offset == 8 ? 4 : 3);
}

/* One block's part of four of a row's sums. */
INLINE float32x4_t add_block_32(float32x4_t sum, int32x4_t integers, const struct scales_32 *w,
                                size_t b, size_t quarter, const struct q8_block32 *x,
                                const struct packed_layout layout) {
    float32x4_t scale = vmulq_n_f32(vld1q_f32(w->scale[b] + 4 * quarter), x->scale);
    sum = vfmaq_f32(sum, vcvtq_f32_s32(integers), scale);
    if (layout.has_minimum) {
        sum = vfmaq_n_f32(sum, vld1q_f32(w->minimum[b] + 4 * quarter), x->scaled_sum);
    }
    return sum;
}

/* ---- blocks of 256 with sub-block scales: Q2_K … Q6_K ---- */

struct scales_256 {
    int32_t scale[16][PANEL_ROWS];   /* of a sub-block */
    int16_t minimum[16][PANEL_ROWS]; /* of a sub-block; without minimums its scale */
    float block_scale[PANEL_ROWS];
    float block_minimum[PANEL_ROWS]; /* times the minimums' sum, subtracted */
};

/* Without minimums the quants are signed: moved down by the layout's offset. */
struct unpacked_256 {
    uint8_t q[GROUPS_PER_CHUNK][GROUP_BYTES];
    struct scales_256 scales;
};

_Static_assert(sizeof(struct unpacked_256) <= UNPACKED_BYTES, "fits the scratch");

/* 16 rows of one sub-block. */
INLINE void widen_scales(int8x16_t scales, int32_t *out) {
    int16x8_t low = vmovl_s8(vget_low_s8(scales)), high = vmovl_high_s8(scales);
    vst1q_s32(out, vmovl_s16(vget_low_s16(low)));
    vst1q_s32(out + 4, vmovl_high_s16(low));
    vst1q_s32(out + 8, vmovl_s16(vget_low_s16(high)));
    vst1q_s32(out + 12, vmovl_high_s16(high));
}

INLINE void widen_minimums(uint8x16_t minimums, int16_t *out) {
    vst1q_s16(out, vreinterpretq_s16_u16(vmovl_u8(vget_low_u8(minimums))));
    vst1q_s16(out + 8, vreinterpretq_s16_u16(vmovl_high_u8(minimums)));
}

INLINE void unpack_scales_256(const uint8_t *packed, struct scales_256 *out,
                              const struct packed_layout layout) {
    const struct packed_offsets at = packed_offsets(layout);
    for (size_t pair = 0; pair < layout.sub_blocks / 2; pair++) {
        size_t from = pair * PANEL_ROWS * 2;
        int8x16x2_t scales = vld2q_s8((const int8_t *)packed + at.sub_scale + from);
        widen_scales(scales.val[0], out->scale[2 * pair]);
        widen_scales(scales.val[1], out->scale[2 * pair + 1]);
        if (layout.has_minimum) {
            uint8x16x2_t minimums = vld2q_u8(packed + at.sub_minimum + from);
            widen_minimums(minimums.val[0], out->minimum[2 * pair]);
            widen_minimums(minimums.val[1], out->minimum[2 * pair + 1]);
        } else {
            for (size_t s = 2 * pair; s < 2 * pair + 2; s++) {
                vst1q_s16(out->minimum[s], vmovl_s8(vget_low_s8(scales.val[s % 2])));
                vst1q_s16(out->minimum[s] + 8, vmovl_high_s8(scales.val[s % 2]));
            }
        }
    }
#pragma GCC unroll 4
    for (size_t quarter = 0; quarter < QUARTERS; quarter++) {
        vst1q_f32(out->block_scale + 4 * quarter, load_halves(packed + at.scale + 8 * quarter));
        if (layout.has_minimum) {
            vst1q_f32(out->block_minimum + 4 * quarter,
                      load_halves(packed + at.minimum + 8 * quarter));
        }
    }
}

/* Σ minimum * sum of x over the sub-blocks, of 8 rows. */
INLINE void sum_minimums(const struct scales_256 *w, const struct q8_block256 *x,
                         const struct packed_layout layout, size_t first_row, int32x4_t *sums) {
    const int16_t *x_sums = layout.sub_blocks == 16 ? x->sums16 : x->sums32;
    sums[0] = sums[1] = vdupq_n_s32(0);
#pragma GCC unroll 16
    for (size_t s = 0; s < layout.sub_blocks; s++) {
        int16x8_t minimum = vld1q_s16(w->minimum[s] + first_row);
        sums[0] = vmlal_n_s16(sums[0], vget_low_s16(minimum), x_sums[s]);
        sums[1] = vmlal_high_n_s16(sums[1], minimum, x_sums[s]);
    }
}

/* A block's sums of scaled sub-blocks, less the minimums' part, into a row's sums: of half a panel.
 * `is_moved`: of a layout without minimums, the quants were moved down by its offset already.
 * Integers stay exact: 63 * 127 * 127 * 256 is below 2^31. */
INLINE void finish_block_256(const struct scales_256 *w, const struct q8_block256 *x,
                             const struct packed_layout layout, const bool is_moved,
                             const int32x4_t *integers, size_t first_quarter, float *out) {
    int32x4_t minimums[HALF];
    if (layout.has_minimum || !is_moved) {
        sum_minimums(w, x, layout, 4 * first_quarter, minimums);
    }
#pragma GCC unroll 2
    for (size_t i = 0; i < HALF; i++) {
        size_t row = 4 * (first_quarter + i);
        int32x4_t sum = integers[i];
        if (!layout.has_minimum && !is_moved) {
            sum = vmlsq_n_s32(sum, minimums[i], layout.offset);
        }
        float32x4_t scale = vmulq_n_f32(vld1q_f32(w->block_scale + row), x->scale);
        float32x4_t to = vfmaq_f32(vld1q_f32(out + row), vcvtq_f32_s32(sum), scale);
        if (layout.has_minimum) {
            float32x4_t minimum = vmulq_n_f32(vld1q_f32(w->block_minimum + row), x->scale);
            to = vfmsq_f32(to, vcvtq_f32_s32(minimums[i]), minimum);
        }
        vst1q_f32(out + row, to);
    }
}

#define CONSTANT(...) ((const struct packed_layout)__VA_ARGS__)

/* Calls ROWS(batch) with a constant: fours, then what is left. */
#define BY_BATCHES(row_count, x, stride, sums, ROWS)                                               \
    for (; (row_count) >= MAX_BATCH; (row_count) -= MAX_BATCH, (x) += MAX_BATCH * (stride),        \
                                     (sums) += MAX_BATCH * PANEL_ROWS) {                           \
        ROWS(MAX_BATCH);                                                                           \
    }                                                                                              \
    if ((row_count) == 3) {                                                                        \
        ROWS(3);                                                                                   \
    } else if ((row_count) == 2) {                                                                 \
        ROWS(2);                                                                                   \
    } else if ((row_count) == 1) {                                                                 \
        ROWS(1);                                                                                   \
    }

#endif
