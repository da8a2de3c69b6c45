/* processors.c - see processors.h. */
#include "base/processors.h"

#if defined(__APPLE__)
#include <sys/sysctl.h>
#else
#include <sched.h>
#include <stdlib.h>
#endif
#include <stdio.h>
#include <string.h>
#include <unistd.h>
#if defined(__x86_64__)
#include <cpuid.h>
#elif defined(__aarch64__) && defined(__linux__)
#include <sys/auxv.h>
#endif

static size_t online(void) {
    long count = sysconf(_SC_NPROCESSORS_ONLN);
    return count < 1 ? 1 : (size_t)count;
}

#if defined(__APPLE__)

size_t processors_physical(void) {
    static const char *const names[] = {"hw.perflevel0.physicalcpu", "hw.physicalcpu"};
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        int count = 0;
        size_t size = sizeof count;
        if (sysctlbyname(names[i], &count, &size, NULL, 0) == 0 && count > 0) {
            return (size_t)count;
        }
    }
    return online();
}

void processors_read_name(const char *root, char *name, size_t size) {
    (void)root;
    size_t length = size;
    if (sysctlbyname("machdep.cpu.brand_string", name, &length, NULL, 0) != 0) {
        snprintf(name, size, "processor");
    }
}

#if defined(__aarch64__)
static bool feature(const char *name) {
    int present = 0;
    size_t size = sizeof present;
    return sysctlbyname(name, &present, &size, NULL, 0) == 0 && present != 0;
}

bool processors_have_dot_product(void) {
    return feature("hw.optional.arm.FEAT_DotProd");
}

bool processors_have_int8_matrices(void) {
    return feature("hw.optional.arm.FEAT_I8MM");
}
#endif

#else

/* The lowest-numbered processor that shares a core with this one; itself when the kernel does not
 * say. */
static size_t first_sibling(size_t processor) {
    char path[96];
    snprintf(path, sizeof path, "/sys/devices/system/cpu/cpu%zu/topology/thread_siblings_list",
             processor);
    size_t first = processor;
    FILE *file = fopen(path, "re");
    if (file != NULL) {
        char line[64], *end = line;
        if (fgets(line, sizeof line, file) != NULL) {
            first = strtoul(line, &end, 10);
        }
        if (end == line || first >= CPU_SETSIZE) {
            first = processor;
        }
        fclose(file);
    }
    return first;
}

size_t processors_physical(void) {
    cpu_set_t allowed, cores;
    if (sched_getaffinity(0, sizeof allowed, &allowed) != 0) {
        return online();
    }
    CPU_ZERO(&cores);
    for (size_t i = 0; i < CPU_SETSIZE; i++) {
        if (CPU_ISSET(i, &allowed)) {
            CPU_SET(first_sibling(i), &cores);
        }
    }
    int count = CPU_COUNT(&cores);
    return count < 1 ? 1 : (size_t)count;
}

void processors_read_name(const char *root, char *name, size_t size) {
    char path[512], line[256];
    snprintf(name, size, "processor");
    snprintf(path, sizeof path, "%s/proc/cpuinfo", root);
    FILE *file = fopen(path, "re");
    while (file != NULL && fgets(line, sizeof line, file) != NULL) {
        const char *colon = strchr(line, ':');
        if (strncmp(line, "model name", 10) == 0 && colon != NULL) {
            line[strcspn(line, "\n")] = '\0';
            snprintf(name, size, "%s", colon + 1 + (colon[1] == ' '));
            break;
        }
    }
    if (file != NULL) {
        fclose(file);
    }
}

#if defined(__aarch64__)
/* HWCAP_ASIMDDP and HWCAP2_I8MM of Linux' <asm/hwcap.h>, which older ones lack. */
bool processors_have_dot_product(void) {
    return (getauxval(AT_HWCAP) & 1UL << 20) != 0;
}

bool processors_have_int8_matrices(void) {
    return (getauxval(AT_HWCAP2) & 1UL << 13) != 0;
}
#endif

#endif

#if defined(__x86_64__)
/* AVX-VNNI the built-in of older compilers does not know. */
bool processors_have_avx_vnni(void) {
    enum { FEATURES = 7, SECOND_PART = 1 };
    unsigned a = 0, b = 0, c = 0, d = 0;
    return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") &&
           __get_cpuid_count(FEATURES, SECOND_PART, &a, &b, &c, &d) != 0 && (a & 1u << 4) != 0;
}
#endif
