/*
 * amx_matmul.c - matrix kernels on AMX tiles, for sixteen activation rows at once.
 *
 * A packed panel's groups are what a tile of weights wants: four columns of 16 rows side by side.
 * So one instruction multiplies 16 activation rows with a sub-block of 16 weight rows, into 16 × 16
 * exact sums. These go through memory into the vector unit, where scaling and adding is
 * avx512_blocks.h's, as for a single row: the result is AVX-512's bit for bit, and rows left over
 * are given to it. What bounds the speed is storing the sums and scaling them, not the tiles: with
 * sub-blocks of 16 columns, or a scale for each 32 columns on both sides, vectors alone are as fast
 * or faster, so only Q4_K and Q5_K come here.
 */
#include "backend/cpu/avx512_blocks.h"

enum {
    TILE_ROWS = 16,
    LEAST_ROWS = 2 * TILE_ROWS, /* below, setting tiles up costs what they gain */
    TILES = 4, /* sub-blocks whose sums are on their way together: a product's latency is long */
};

/* As the processor reads it: 64 bytes. Tiles 0 … 3 hold sums, 4 activations, 5 weights. */
struct tile_config {
    uint8_t palette, start_row;
    uint8_t reserved[14];
    uint16_t column_bytes[16];
    uint8_t rows[16];
};

_Static_assert(sizeof(struct tile_config) == 64, "the processor's layout");

/* For sub-blocks of 32 columns. */
static const struct tile_config config = {
    .palette = 1, .column_bytes = {64, 64, 64, 64, 32, 64}, .rows = {16, 16, 16, 16, 16, 8}};

/* Sums of TILES sub-blocks: [sub-block][activation row][weight row]. */
struct tile_sums {
    _Alignas(64) int32_t at[TILES][TILE_ROWS][PANEL_ROWS];
};

/* activations: 16 rows of one sub-block, `stride` bytes apart. Tile numbers are constants, and the
 * macro of one intrinsic. */
#define TILE_PRODUCT(number, activations, stride, weights, to)                                     \
    do {                                                                                           \
        _tile_zero(number);                                                                        \
        _tile_loadd(4, (activations), (stride));                                                   \
        _tile_loadd(5, (weights), GROUP_BYTES);                                                    \
        _tile_dpbsud(number, 4, 5);                                                                \
        _tile_stored(number, (to), PANEL_ROWS * sizeof(int32_t));                                  \
    } while (0)

/* Sub-blocks first … first + 3 of a chunk, whose activations and weights lie so many bytes apart.
 */
INLINE void tile_products(const int8_t *activations, size_t stride, size_t activation_step,
                          const uint8_t *weights, size_t weight_step, struct tile_sums *sums) {
    TILE_PRODUCT(0, activations, stride, weights, sums->at[0]);
    TILE_PRODUCT(1, activations + activation_step, stride, weights + weight_step, sums->at[1]);
    TILE_PRODUCT(2, activations + 2 * activation_step, stride, weights + 2 * weight_step,
                 sums->at[2]);
    TILE_PRODUCT(3, activations + 3 * activation_step, stride, weights + 3 * weight_step,
                 sums->at[3]);
}

/* 16 rows against a chunk. The next chunk is asked for at `next`, unless it is NULL. */
INLINE void tile_256(const struct unpacked_256 *w, const uint8_t *next, const uint8_t *activations,
                     size_t stride, const struct packed_layout layout, float *out) {
    const size_t part = packed_offsets(layout).total / layout.sub_blocks * TILES;
    const size_t groups = GROUPS_PER_CHUNK / layout.sub_blocks;
    const struct q8_block256 *x = (const void *)activations;
    struct tile_sums integers;
    __m512 sums[TILE_ROWS];
#pragma GCC unroll 16
    for (size_t t = 0; t < TILE_ROWS; t++) {
        sums[t] = _mm512_setzero_ps();
    }
    for (size_t s = 0; s < layout.sub_blocks; s += TILES) {
        if (next != NULL) {
            prefetch(next + s / TILES * part, part);
        }
        tile_products(x->q + s * groups * 4, stride, groups * 4, w->q[s * groups],
                      groups * GROUP_BYTES, &integers);
#pragma GCC unroll 4
        for (size_t i = 0; i < TILES; i++) {
            __m512 scale = _mm512_load_ps(w->scales.scale[s + i]);
#pragma GCC unroll 16
            for (size_t t = 0; t < TILE_ROWS; t++) {
                __m512 sum = _mm512_cvtepi32_ps(_mm512_load_si512(integers.at[i][t]));
                sums[t] = _mm512_fmadd_ps(sum, scale, sums[t]);
            }
        }
    }
#pragma GCC unroll 16
    for (size_t t = 0; t < TILE_ROWS; t++) {
        finish_block_256(&w->scales, (const void *)(activations + t * stride), layout, sums[t],
                         out + t * PANEL_ROWS);
    }
}

INLINE void multiply_256(const struct unpacked_256 *w, const uint8_t *x, size_t stride,
                         size_t row_count, float *sums, const struct packed_layout layout) {
    if (row_count >= LEAST_ROWS) {
        _tile_loadconfig(&config);
        const uint8_t *next = w->next;
        for (; row_count >= TILE_ROWS; row_count -= TILE_ROWS, next = NULL) {
            tile_256(w, next, x, stride, layout, sums);
            x += TILE_ROWS * stride;
            sums += TILE_ROWS * PANEL_ROWS;
        }
        _tile_release();
    }
    if (row_count > 0) {
        avx512_matmul_kernel(layout.type)->multiply(w, x, stride, row_count, CHUNK_COLUMNS, sums);
    }
}

/* ---- one function a format; the rest is AVX-512's ---- */

#define CONSTANT(...) ((const struct packed_layout)__VA_ARGS__)

#define DEFINE_MULTIPLY_256(name, LAYOUT)                                                          \
    static void multiply_##name(const void *unpacked, const uint8_t *x, size_t stride,             \
                                size_t row_count, size_t columns, float *sums) {                   \
        (void)columns;                                                                             \
        multiply_256(unpacked, x, stride, row_count, sums, CONSTANT(LAYOUT));                      \
    }

DEFINE_MULTIPLY_256(q4_k, LAYOUT_Q4_K)
DEFINE_MULTIPLY_256(q5_k, LAYOUT_Q5_K)

#define ROW(TYPE, name, ENCODING)                                                                  \
    [TENSOR_##TYPE] = {ENCODING, LAYOUT_##TYPE, avx512_unpack_##name, multiply_##name,             \
                       avx512_multiply_packed_##name}

const struct matmul_kernel *amx_matmul_kernel(enum tensor_type type) {
    static const struct matmul_kernel kernels[] = {
        ROW(Q4_K, q4_k, ENCODING_Q8_256),
        ROW(Q5_K, q5_k, ENCODING_Q8_256),
    };
    bool has_tiles = (size_t)type < sizeof kernels / sizeof kernels[0] &&
                     kernels[type].multiply != NULL; /* the others have none */
    return has_tiles ? &kernels[type] : avx512_matmul_kernel(type);
}
