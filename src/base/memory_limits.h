/*
 * memory_limits.h - how much memory this machine, and the container around this process, allow.
 * Reads a few small files of the kernel's; any thread.
 */
#ifndef MISTRAL_BASE_MEMORY_LIMITS_H
#define MISTRAL_BASE_MEMORY_LIMITS_H

#include <stdint.h>

struct memory_limits {
    uint64_t machine_bytes;   /* all of its memory; 0: unknown */
    uint64_t available_bytes; /* what could be had now without swapping; 0: unknown */
    uint64_t cgroup_bytes;    /* the least limit of the cgroups this process is in; 0: none */
    char cgroup_file[512];    /* that says so; "" for none */
};

/* `root` is put before /proc and /sys: "" on a live system, a folder in tests. Understands cgroup
 * v1 and v2 and both together, nested, and a mount that shows the container's own group as its
 * root. */
void memory_limits_read(const char *root, struct memory_limits *limits);

#endif
