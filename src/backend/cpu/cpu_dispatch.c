/*
 * cpu_dispatch.c - which kernels there are, which of them this processor can run, and which one is
 * taken. Any thread.
 */
#include "backend/cpu/cpu.h"

#include "base/processors.h"

#include <string.h>
#if defined(__x86_64__) && defined(__linux__)
#include <cpuid.h>
#include <sys/syscall.h>
#include <unistd.h>
#endif

struct kernel_set {
    const struct cpu_kernels *kernels;
    bool (*runs_here)(void);
};

#if defined(__x86_64__)
/* Every processor with AVX2 has F16C, which clang 14's built-in does not know. */
static bool has_avx2(void) {
    return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
}

static bool has_avx512(void) {
    return has_avx2() && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
           __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl") &&
           __builtin_cpu_supports("avx512vnni");
}

/* The processor has tiles of 8-bit integers, and the kernel lends them to this process: their state
 * is large, so Linux wants to be asked, for all threads at once. */
static bool has_amx(void) {
#if defined(__linux__)
    enum { REQUEST_PERMISSION = 0x1023, TILE_DATA = 18 }; /* of arch_prctl; state component */
    const unsigned wanted = 1u << 24 | 1u << 25;          /* AMX-TILE, AMX-INT8 */
    unsigned a = 0, b = 0, c = 0, d = 0;
    return has_avx512() && __get_cpuid_count(7, 0, &a, &b, &c, &d) != 0 && (d & wanted) == wanted &&
           syscall(SYS_arch_prctl, REQUEST_PERMISSION, TILE_DATA) == 0;
#else
    return false;
#endif
}
#elif defined(__aarch64__)
/* The set multiplies one or two rows with the dot product instructions. */
static bool has_i8mm(void) {
    return processors_have_int8_matrices() && processors_have_dot_product();
}
#endif

static bool always(void) {
    return true;
}

/* Best first. */
static const struct kernel_set sets[] = {
#if defined(__x86_64__)
    {&cpu_kernels_amx, has_amx},
    {&cpu_kernels_avx512, has_avx512},
    {&cpu_kernels_avxvnni, processors_have_avx_vnni},
    {&cpu_kernels_avx2, has_avx2},
#elif defined(__aarch64__)
    {&cpu_kernels_i8mm, has_i8mm},
    {&cpu_kernels_neon, processors_have_dot_product},
#endif
    {&cpu_kernels_portable, always},
};

enum { SET_COUNT = sizeof sets / sizeof sets[0] };

const char *cpu_kernels_offered(size_t index) {
    for (size_t i = 0; i < SET_COUNT; i++) {
        if (sets[i].runs_here() && index-- == 0) {
            return sets[i].kernels->name;
        }
    }
    return NULL;
}

static void append(char *text, size_t size, const char *more) {
    size_t used = strlen(text);
    size_t length = strlen(more);
    if (used + length < size) {
        memcpy(text + used, more, length + 1);
    }
}

const struct cpu_kernels *cpu_kernels_choose(const char *name, struct error *error) {
    bool automatic = name == NULL || strcmp(name, "auto") == 0;
    char offered[64] = "";
    for (size_t i = 0; i < SET_COUNT; i++) {
        if (!sets[i].runs_here()) {
            continue;
        }
        if (automatic || strcmp(sets[i].kernels->name, name) == 0) {
            return sets[i].kernels;
        }
        append(offered, sizeof offered, offered[0] == '\0' ? "" : ", ");
        append(offered, sizeof offered, sets[i].kernels->name);
    }
    error_set(error, ERROR_INVALID_ARGUMENT,
              "kernels is %.40s, which this processor cannot run; it has %s, and auto takes the "
              "first of these",
              name, offered);
    return NULL;
}
