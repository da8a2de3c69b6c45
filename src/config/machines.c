/*
 * machines.c - see machines.h. The rows say what vendors publish; nothing here was measured but by
 * machine_look.
 */
#include "config/machines.h"

#include "base/bandwidth.h"
#include "base/bytes.h"
#include "base/memory_limits.h"
#include "base/processors.h"

#include <string.h>

#define GIB              ((uint64_t)1 << 30)
#define NEVER_RUN        "Computed, never run on such a machine"
#define MEASURED_BYTES   ((size_t)256 << 20)
#define MEASURED_SECONDS 0.3

/* Apple shares the memory with the screen and the person before it: three quarters. */
const struct machine machine_table[] = {
    {"m1-max", "Apple M1 Max, 64 GB", NEVER_RUN,
     "Apple, 'Introducing M1 Pro and M1 Max', 18 October 2021: 8 performance cores, 400 GB/s", 8,
     64 * GIB, 400e9, 0.75},
    {"m1-ultra", "Apple M1 Ultra, 128 GB", NEVER_RUN,
     "Apple, 'Apple unveils M1 Ultra', 8 March 2022: 16 performance cores, 800 GB/s", 16, 128 * GIB,
     800e9, 0.75},
    {"m2-max", "Apple M2 Max, 96 GB", NEVER_RUN,
     "Apple, 'Apple unveils M2 Pro and M2 Max', 17 January 2023: 8 performance cores, 400 GB/s", 8,
     96 * GIB, 400e9, 0.75},
    {"m2-ultra", "Apple M2 Ultra, 192 GB", NEVER_RUN,
     "Apple, 'Apple introduces M2 Ultra', 5 June 2023: 16 performance cores, 800 GB/s", 16,
     192 * GIB, 800e9, 0.75},
    {"m3-max", "Apple M3 Max with 16 cores, 128 GB", NEVER_RUN,
     "Apple, technical specifications of MacBook Pro (2023): 12 performance cores, 400 GB/s", 12,
     128 * GIB, 400e9, 0.75},
    {"m3-ultra", "Apple M3 Ultra with 32 cores, 512 GB", NEVER_RUN,
     "Apple, technical specifications of Mac Studio (2025): 24 performance cores, 819 GB/s", 24,
     512 * GIB, 819e9, 0.75},
    {"m4-max", "Apple M4 Max with 16 cores, 128 GB", NEVER_RUN,
     "Apple, technical specifications of Mac Studio (2025): 12 performance cores, 546 GB/s", 12,
     128 * GIB, 546e9, 0.75},
    {"linux-small", "Linux, 4 cores, 8 GB, two channels of DDR4-3200", NEVER_RUN,
     "2 channels of 8 bytes, 3.2 billion transfers a second (JEDEC JESD79-4)", 4, 8 * GIB, 51.2e9,
     0.9},
    {"linux-server", "Linux, 32 cores, 256 GB, eight channels of DDR5-4800", NEVER_RUN,
     "8 channels of 8 bytes, 4.8 billion transfers a second (JEDEC JESD79-5)", 32, 256 * GIB,
     307.2e9, 0.9},
    {"h100", "NVIDIA H100 SXM, 80 GB",
     NEVER_RUN ". This version computes on the CPU only and cannot use the GPU",
     "NVIDIA, H100 Tensor Core GPU data sheet: 80 GB, 3.35 TB/s", 0, 80 * GIB, 3350e9, 0.9},
    {0},
};

const struct machine *machine_find(const char *name) {
    for (const struct machine *machine = machine_table; machine->name != NULL; machine++) {
        if (strcmp(machine->name, name) == 0) {
            return machine;
        }
    }
    return NULL;
}

bool machine_look(struct machine *machine, struct error *error) {
    struct memory_limits limits;
    memory_limits_read("", &limits);
    uint64_t memory = limits.machine_bytes;
    if (limits.cgroup_bytes > 0 && (memory == 0 || limits.cgroup_bytes < memory)) {
        memory = limits.cgroup_bytes;
    }
    if (memory == 0) {
        return error_set(error, ERROR_UNSUPPORTED,
                         "this machine does not say how much memory it has; name a profile");
    }
#if defined(__APPLE__)
    double share = 0.75;
#else
    double share = 0.9;
#endif
    *machine = (struct machine){.name = "auto",
                                .title = "this machine",
                                .status = "Computed from what was found and measured here",
                                .source = "found and measured on this machine",
                                .cores = processors_physical(),
                                .memory_bytes = memory,
                                .share = share};
    size_t bytes = MEASURED_BYTES;
    if (limits.available_bytes > 0) {
        bytes = size_min(bytes, (size_t)(limits.available_bytes / 4));
    }
    return bandwidth_measure(machine->cores, bytes, MEASURED_SECONDS, &machine->bandwidth, error);
}
