/*
 * k_quants.c - Q2_K to Q6_K: 256 values a block, scales of sub-blocks quantised themselves; decode.
 *
 *   bytes  layout                                                      sub-block  value
 *   Q2_K   84   scale|min u4|u4 [16], q u2 [256], d f16, dmin f16      16         d*s*q - dmin*m
 *   Q3_K  110   high u1 [256], q u2 [256], s 6 bit [16], d f16         16         d*(s-32)*(q-4)
 *   Q4_K  144   d f16, dmin f16, s|m 6 bit [8], q u4 [256]             32         d*s*q - dmin*m
 *   Q5_K  176   d, dmin, s|m 6 bit [8], high u1 [256], q u4 [256]      32         d*s*q - dmin*m
 *   Q6_K  210   low u4 [256], high u2 [256], s i8 [16], d f16          16         d*s*(q-32)
 *
 * d*s is rounded first, then multiplied by q, then the minimum is taken away: each step rounds
 * once, so that every implementation of the format gives the same bits. Values are stored in runs
 * of 32 that share bytes; the comments below say which run takes which bits.
 */
#include "base/bytes.h"
#include "quant/families.h"
#include "quant/quant.h"

enum {
    RUN = 32,      /* values whose bits start at the same shift of consecutive bytes */
    SUB_BLOCK = 16 /* values a scale in Q2_K, Q3_K and Q6_K; Q4_K and Q5_K have one a run */
};

/* Run r = 4h + j (h: half of the block, j: 0..3) has bits 2j, 2j+1 of bytes 32h .. 32h+31. */
static unsigned two_bits(const uint8_t *bytes, size_t run, size_t lane) {
    return bytes[run / 4 * RUN + lane] >> (run % 4 * 2) & 3u;
}

void decode_q2_k(const void *blocks, float *values, size_t count) {
    const uint8_t *block = blocks;
    for (size_t i = 0; i < count; i += K_BLOCK_VALUES, block += Q2_K_BLOCK_BYTES) {
        const uint8_t *scales = block; /* low nibble: scale, high nibble: min */
        const uint8_t *quants = block + 16;
        float d = f16_to_f32(load_u16_le(block + 80));
        float dmin = f16_to_f32(load_u16_le(block + 82));
        for (size_t sub = 0; sub < K_BLOCK_VALUES / SUB_BLOCK; sub++) {
            float scale = d * (float)(scales[sub] & 15);
            float min = dmin * (float)(scales[sub] >> 4);
            for (size_t j = 0; j < SUB_BLOCK; j++) {
                size_t value = sub * SUB_BLOCK + j;
                values[i + value] = scale * (float)two_bits(quants, value / RUN, value % RUN) - min;
            }
        }
    }
}

/* Scale k of 16: its low nibble is in byte k % 8 (low half for k < 8, else high), its upper two
 * bits are in byte 8 + k % 4 at bit 2 * (k / 4). */
static int q3_k_scale(const uint8_t *packed, size_t k) {
    int low = packed[k % 8] >> (k / 8 * 4) & 15;
    int high = packed[8 + k % 4] >> (k / 4 * 2) & 3;
    return (low | high << 4) - 32;
}

void decode_q3_k(const void *blocks, float *values, size_t count) {
    const uint8_t *block = blocks;
    for (size_t i = 0; i < count; i += K_BLOCK_VALUES, block += Q3_K_BLOCK_BYTES) {
        const uint8_t *high = block; /* bit r of byte l: value l of run r; clear means minus 4 */
        const uint8_t *quants = block + 32;
        const uint8_t *scales = block + 96;
        float d = f16_to_f32(load_u16_le(block + 108));
        for (size_t sub = 0; sub < K_BLOCK_VALUES / SUB_BLOCK; sub++) {
            float scale = d * (float)q3_k_scale(scales, sub);
            for (size_t j = 0; j < SUB_BLOCK; j++) {
                size_t run = (sub * SUB_BLOCK + j) / RUN;
                size_t lane = (sub * SUB_BLOCK + j) % RUN;
                int q = (int)two_bits(quants, run, lane) - ((high[lane] >> run & 1) ? 0 : 4);
                values[i + sub * SUB_BLOCK + j] = scale * (float)q;
            }
        }
    }
}

/* Q4_K and Q5_K keep 8 scales and 8 minima of 6 bits in 12 bytes. The first four of each are the
 * low six bits of bytes 0-3 and 4-7; of the last four, the nibbles are in bytes 8-11 (scale low,
 * min high) and the upper two bits are on top of bytes 0-3 and 4-7. */
static void unpack_scale_min(const uint8_t *packed, size_t k, int *scale, int *min) {
    if (k < 4) {
        *scale = packed[k] & 63;
        *min = packed[k + 4] & 63;
    } else {
        *scale = (packed[k + 4] & 15) | packed[k - 4] >> 6 << 4;
        *min = packed[k + 4] >> 4 | packed[k] >> 6 << 4;
    }
}

/* Run r has the low (r even) or high nibbles of bytes 32*(r/2) .. +31; `high` is NULL for Q4_K,
 * else bit r of byte l is the fifth bit of value l. */
static void decode_q4_k_q5_k(const uint8_t *block, const uint8_t *high, const uint8_t *quants,
                             float *values) {
    float d = f16_to_f32(load_u16_le(block));
    float dmin = f16_to_f32(load_u16_le(block + 2));
    for (size_t run = 0; run < K_BLOCK_VALUES / RUN; run++) {
        int scale_bits, min_bits;
        unpack_scale_min(block + 4, run, &scale_bits, &min_bits);
        float scale = d * (float)scale_bits;
        float min = dmin * (float)min_bits;
        for (size_t lane = 0; lane < RUN; lane++) {
            int q = quants[run / 2 * RUN + lane] >> (run % 2 * 4) & 15;
            if (high != NULL) {
                q |= (high[lane] >> run & 1) << 4;
            }
            values[run * RUN + lane] = scale * (float)q - min;
        }
    }
}

void decode_q4_k(const void *blocks, float *values, size_t count) {
    const uint8_t *block = blocks;
    for (size_t i = 0; i < count; i += K_BLOCK_VALUES, block += Q4_K_BLOCK_BYTES) {
        decode_q4_k_q5_k(block, NULL, block + 16, values + i);
    }
}

void decode_q5_k(const void *blocks, float *values, size_t count) {
    const uint8_t *block = blocks;
    for (size_t i = 0; i < count; i += K_BLOCK_VALUES, block += Q5_K_BLOCK_BYTES) {
        decode_q4_k_q5_k(block, block + 16, block + 48, values + i);
    }
}

void decode_q6_k(const void *blocks, float *values, size_t count) {
    const uint8_t *block = blocks;
    for (size_t i = 0; i < count; i += K_BLOCK_VALUES, block += Q6_K_BLOCK_BYTES) {
        /* Run r = 4h + j: low nibbles in bytes 64h + 32*(j % 2) .. +31, at bit 4 * (j / 2). */
        const uint8_t *low = block;
        const uint8_t *high = block + 128;
        const uint8_t *scales = block + 192;
        float d = f16_to_f32(load_u16_le(block + 208));
        for (size_t sub = 0; sub < K_BLOCK_VALUES / SUB_BLOCK; sub++) {
            float scale = d * (float)(int8_t)scales[sub];
            for (size_t j = 0; j < SUB_BLOCK; j++) {
                size_t run = (sub * SUB_BLOCK + j) / RUN;
                size_t lane = (sub * SUB_BLOCK + j) % RUN;
                size_t at = run / 4 * (2 * RUN) + run % 2 * RUN + lane;
                unsigned nibble = low[at] >> (run / 2 % 2 * 4) & 15u;
                int q = (int)(nibble | two_bits(high, run, lane) << 4) - 32;
                values[i + sub * SUB_BLOCK + j] = scale * (float)q;
            }
        }
    }
}
