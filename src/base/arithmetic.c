/*
 * arithmetic.c - see arithmetic.h.
 *
 * Each loop keeps twelve sums, so that none waits for itself, and hides its operand from the
 * compiler, so that nothing can be computed once and reused.
 */
#include "base/arithmetic.h"

#include "base/clock.h"
#include "base/processors.h"
#include "base/thread_pool.h"

#include <stdatomic.h>
#include <stdint.h>
#include <string.h>

#if defined(__x86_64__)
#include <immintrin.h>
#elif defined(__aarch64__)
#include <arm_neon.h>
#endif

enum { ROUNDS = 4096, SUMS = 12, CHUNKS_A_THREAD = 16 };

/* One way to compute; sums `ROUNDS` times into SUMS registers and returns something of all. */
struct way {
    const char *instructions;
    const char *kernels; /* the sets that these are the best instructions of */
    double operations;   /* of one call */
    bool (*offered)(void);
    int64_t (*compute)(void);
};

static bool always(void) {
    return true;
}

#if defined(__x86_64__)

static bool has_avx2(void) {
    return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
}

static bool has_avx512(void) {
    return __builtin_cpu_supports("avx512f");
}

static bool has_avx512_vnni(void) {
    return has_avx512() && __builtin_cpu_supports("avx512vnni");
}

__attribute__((target("avx2"))) static int64_t int8_avx2(void) {
    __m256i sums[SUMS] = {0};
    __m256i x = _mm256_set1_epi8(1), y = _mm256_set1_epi8(2), ones = _mm256_set1_epi16(1);
    for (size_t i = 0; i < ROUNDS; i++) {
        for (size_t k = 0; k < SUMS; k++) {
            __asm__ volatile("" : "+x"(x));
            sums[k] =
                _mm256_add_epi32(sums[k], _mm256_madd_epi16(_mm256_maddubs_epi16(x, y), ones));
        }
    }
    for (size_t k = 1; k < SUMS; k++) {
        sums[0] = _mm256_add_epi32(sums[0], sums[k]);
    }
    return _mm256_extract_epi32(sums[0], 0);
}

__attribute__((target("avx2,avxvnni"))) static int64_t int8_avxvnni(void) {
    __m256i sums[SUMS] = {0};
    __m256i x = _mm256_set1_epi8(1), y = _mm256_set1_epi8(2);
    for (size_t i = 0; i < ROUNDS; i++) {
        for (size_t k = 0; k < SUMS; k++) {
            __asm__ volatile("" : "+x"(x));
            sums[k] = _mm256_dpbusd_avx_epi32(sums[k], x, y);
        }
    }
    for (size_t k = 1; k < SUMS; k++) {
        sums[0] = _mm256_add_epi32(sums[0], sums[k]);
    }
    return _mm256_extract_epi32(sums[0], 0);
}

__attribute__((target("avx512f,avx512vnni"))) static int64_t int8_avx512_vnni(void) {
    __m512i sums[SUMS] = {0};
    __m512i x = _mm512_set1_epi32(0x01010101), y = _mm512_set1_epi32(0x02020202);
    for (size_t i = 0; i < ROUNDS; i++) {
        for (size_t k = 0; k < SUMS; k++) {
            __asm__ volatile("" : "+v"(x));
            sums[k] = _mm512_dpbusd_epi32(sums[k], x, y);
        }
    }
    for (size_t k = 1; k < SUMS; k++) {
        sums[0] = _mm512_add_epi32(sums[0], sums[k]);
    }
    return _mm512_reduce_add_epi32(sums[0]);
}

__attribute__((target("avx2,fma"))) static int64_t f32_avx2(void) {
    __m256 sums[SUMS] = {0};
    __m256 x = _mm256_set1_ps(1e-3f), y = _mm256_set1_ps(2e-3f);
    for (size_t i = 0; i < ROUNDS; i++) {
        for (size_t k = 0; k < SUMS; k++) {
            __asm__ volatile("" : "+x"(x));
            sums[k] = _mm256_fmadd_ps(x, y, sums[k]);
        }
    }
    for (size_t k = 1; k < SUMS; k++) {
        sums[0] = _mm256_add_ps(sums[0], sums[k]);
    }
    return (int64_t)(_mm256_cvtss_f32(sums[0]) * 1e6f);
}

__attribute__((target("avx512f"))) static int64_t f32_avx512(void) {
    __m512 sums[SUMS] = {0};
    __m512 x = _mm512_set1_ps(1e-3f), y = _mm512_set1_ps(2e-3f);
    for (size_t i = 0; i < ROUNDS; i++) {
        for (size_t k = 0; k < SUMS; k++) {
            __asm__ volatile("" : "+v"(x));
            sums[k] = _mm512_fmadd_ps(x, y, sums[k]);
        }
    }
    for (size_t k = 1; k < SUMS; k++) {
        sums[0] = _mm512_add_ps(sums[0], sums[k]);
    }
    return (int64_t)(_mm512_cvtss_f32(sums[0]) * 1e6f);
}

#elif defined(__aarch64__)

/* Before version 16 clang has these intrinsics in files alone that are compiled for them. */
#if !defined(__clang__) || __clang_major__ >= 16
#define HAS_INT8_INTRINSICS

#define DEFINE_INT8_WAY(name, extension, intrinsic)                                                \
    __attribute__((target("arch=armv8.2-a+" extension))) static int64_t name(void) {               \
        int32x4_t sums[SUMS] = {0};                                                                \
        int8x16_t x = vdupq_n_s8(1), y = vdupq_n_s8(2);                                            \
        for (size_t i = 0; i < ROUNDS; i++) {                                                      \
            for (size_t k = 0; k < SUMS; k++) {                                                    \
                __asm__ volatile("" : "+w"(x));                                                    \
                sums[k] = intrinsic(sums[k], x, y);                                                \
            }                                                                                      \
        }                                                                                          \
        for (size_t k = 1; k < SUMS; k++) {                                                        \
            sums[0] = vaddq_s32(sums[0], sums[k]);                                                 \
        }                                                                                          \
        return vaddvq_s32(sums[0]);                                                                \
    }

DEFINE_INT8_WAY(int8_dot_product, "dotprod", vdotq_s32)
DEFINE_INT8_WAY(int8_matrices, "i8mm", vmmlaq_s32)
#endif

static int64_t f32_neon(void) {
    float32x4_t sums[SUMS] = {0};
    float32x4_t x = vdupq_n_f32(1e-3f), y = vdupq_n_f32(2e-3f);
    for (size_t i = 0; i < ROUNDS; i++) {
        for (size_t k = 0; k < SUMS; k++) {
            __asm__ volatile("" : "+w"(x));
            sums[k] = vfmaq_f32(sums[k], x, y);
        }
    }
    for (size_t k = 1; k < SUMS; k++) {
        sums[0] = vaddq_f32(sums[0], sums[k]);
    }
    return (int64_t)(vaddvq_f32(sums[0]) * 1e6f);
}

#endif

/* Whatever the compiler makes of it. */
static int64_t int8_plain(void) {
    int32_t sums[SUMS] = {0};
    int8_t x = 1;
    for (size_t i = 0; i < ROUNDS; i++) {
        __asm__ volatile("" : "+r"(x));
        for (size_t k = 0; k < SUMS; k++) {
            sums[k] += x * (int8_t)k;
        }
    }
    return sums[0] + sums[SUMS - 1];
}

static int64_t f32_plain(void) {
    float sums[SUMS] = {0};
    float x = 1e-3f;
    for (size_t i = 0; i < ROUNDS; i++) {
        __asm__ volatile("" : : "r"(&x) : "memory");
        for (size_t k = 0; k < SUMS; k++) {
            sums[k] += x * (float)k;
        }
    }
    return (int64_t)(sums[0] + sums[SUMS - 1]);
}

#define CALL(lanes) (2.0 * (double)(ROUNDS * SUMS * (lanes)))

/* Best first; the last is offered everywhere, and every set of kernels is named. */
static const struct way int8_ways[] = {
#if defined(__x86_64__)
    {"vpdpbusd, 512 bits", "avx512 amx", CALL(64), has_avx512_vnni, int8_avx512_vnni},
    {"vpdpbusd, 256 bits", "avxvnni", CALL(32), processors_have_avx_vnni, int8_avxvnni},
    {"vpmaddubsw and vpmaddwd, 256 bits", "avx2", CALL(32), has_avx2, int8_avx2},
#elif defined(HAS_INT8_INTRINSICS)
    {"smmla, 128 bits", "i8mm", CALL(32), processors_have_int8_matrices, int8_matrices},
    {"sdot, 128 bits", "neon", CALL(16), processors_have_dot_product, int8_dot_product},
#elif defined(__aarch64__)
    {"portable C", "neon i8mm", CALL(1), always, int8_plain},
#endif
    {"portable C", "portable", CALL(1), always, int8_plain},
};

static const struct way f32_ways[] = {
#if defined(__x86_64__)
    {"vfmadd, 512 bits", "avx512 amx", CALL(16), has_avx512, f32_avx512},
    {"vfmadd, 256 bits", "avx2 avxvnni", CALL(8), has_avx2, f32_avx2},
#elif defined(__aarch64__)
    {"fmla, 128 bits", "neon i8mm", CALL(4), always, f32_neon},
#endif
    {"portable C", "portable", CALL(1), always, f32_plain},
};

struct computing {
    struct thread_pool *pool;
    const struct way *way;
    size_t chunks;
    _Atomic int64_t sum; /* so that nothing can be left out */
};

static void compute_chunks(void *context, size_t thread_index) {
    struct computing *computing = context;
    int64_t sum = 0;
    (void)thread_index;
    while (thread_pool_next_chunk(computing->pool) < computing->chunks) {
        sum += computing->way->compute();
    }
    atomic_fetch_add(&computing->sum, sum);
}

static double best_rate(struct thread_pool *pool, const struct way *way, double seconds) {
    struct computing computing = {
        .pool = pool, .way = way, .chunks = CHUNKS_A_THREAD * thread_pool_size(pool)};
    double best = 0;
    int64_t start = clock_now_ns();
    do {
        int64_t before = clock_now_ns();
        thread_pool_run(pool, compute_chunks, &computing);
        double rate =
            way->operations * (double)computing.chunks / clock_seconds(clock_now_ns() - before);
        best = rate > best ? rate : best;
    } while (clock_seconds(clock_now_ns() - start) < seconds);
    return best;
}

/* The first that the processor and the kernels have. */
static const struct way *choose_way(const struct way *ways, const char *kernels) {
    while (!ways->offered() || (kernels != NULL && strstr(ways->kernels, kernels) == NULL)) {
        ways++;
    }
    return ways;
}

bool arithmetic_measure(size_t thread_count, double seconds, const char *kernels,
                        struct arithmetic *arithmetic, struct error *error) {
    struct thread_pool *pool;
    if (!thread_pool_create(thread_count, &pool, error)) {
        return false;
    }
    const struct way *int8 = choose_way(int8_ways, kernels);
    const struct way *f32 = choose_way(f32_ways, kernels);
    *arithmetic = (struct arithmetic){.int8_operations = best_rate(pool, int8, seconds),
                                      .f32_operations = best_rate(pool, f32, seconds),
                                      .int8_instructions = int8->instructions,
                                      .f32_instructions = f32->instructions};
    thread_pool_free(pool);
    return true;
}
