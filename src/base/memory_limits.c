/* memory_limits.c - see memory_limits.h. */
#include "base/memory_limits.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#if defined(__APPLE__)
#include <sys/sysctl.h>
#endif
#include <unistd.h>

enum { PATH_BYTES = 512, LINE_BYTES = 1024 };

/* "MemTotal:  16384 kB" */
static void read_meminfo(const char *root, struct memory_limits *limits) {
    char path[PATH_BYTES], line[LINE_BYTES];
    snprintf(path, sizeof path, "%s/proc/meminfo", root);
    FILE *file = fopen(path, "re");
    if (file == NULL) {
        return;
    }
    while (fgets(line, sizeof line, file) != NULL) {
        if (strncmp(line, "MemTotal:", 9) == 0) {
            limits->machine_bytes = strtoull(line + 9, NULL, 10) * 1024;
        } else if (strncmp(line, "MemAvailable:", 13) == 0) {
            limits->available_bytes = strtoull(line + 13, NULL, 10) * 1024;
        }
    }
    fclose(file);
}

static void read_machine(const char *root, struct memory_limits *limits) {
    read_meminfo(root, limits);
    if (limits->machine_bytes != 0) {
        return;
    }
#if defined(__APPLE__)
    size_t size = sizeof limits->machine_bytes;
    sysctlbyname("hw.memsize", &limits->machine_bytes, &size, NULL, 0);
#else
    long pages = sysconf(_SC_PHYS_PAGES), bytes = sysconf(_SC_PAGESIZE);
    limits->machine_bytes = pages > 0 && bytes > 0 ? (uint64_t)pages * (uint64_t)bytes : 0;
#endif
}

/* A limit file holds a number, or "max". */
static void take_limit(const char *path, struct memory_limits *limits) {
    char line[64], *end = line;
    FILE *file = fopen(path, "re");
    if (file == NULL) {
        return;
    }
    if (fgets(line, sizeof line, file) != NULL) {
        uint64_t value = strtoull(line, &end, 10);
        /* v1 writes "no limit" as a number near 2^63. */
        if (end != line && value > 0 && value < (uint64_t)1 << 62 &&
            (limits->cgroup_bytes == 0 || value < limits->cgroup_bytes)) {
            limits->cgroup_bytes = value;
            snprintf(limits->cgroup_file, sizeof limits->cgroup_file, "%.500s", path);
        }
    }
    fclose(file);
}

/* The group's own limit and those of all groups above it, up to the mount. */
static void walk_up(const char *mount, const char *group, const char *name,
                    struct memory_limits *limits) {
    char rest[PATH_BYTES];
    snprintf(rest, sizeof rest, "%s", strstr(group, "..") == NULL ? group : "");
    for (;;) {
        char path[2 * PATH_BYTES];
        snprintf(path, sizeof path, "%s%s/%s", mount, strcmp(rest, "/") == 0 ? "" : rest, name);
        take_limit(path, limits);
        char *slash = strrchr(rest, '/');
        if (slash == NULL) {
            return;
        }
        *slash = '\0';
    }
}

/* Whether "cpu,memory" names the memory controller. */
static int has_memory(const char *controllers, size_t length) {
    for (size_t at = 0; at < length;) {
        size_t word = strcspn(controllers + at, ",:");
        if (word == 6 && strncmp(controllers + at, "memory", 6) == 0) {
            return 1;
        }
        at += word + 1;
    }
    return 0;
}

static void read_cgroups(const char *root, struct memory_limits *limits) {
    char path[PATH_BYTES], line[LINE_BYTES];
    snprintf(path, sizeof path, "%s/proc/self/cgroup", root);
    FILE *file = fopen(path, "re");
    if (file == NULL) {
        return;
    }
    /* "hierarchy:controllers:/group"; version 2 has hierarchy 0 and no controllers. */
    while (fgets(line, sizeof line, file) != NULL) {
        line[strcspn(line, "\n")] = '\0';
        char *controllers = strchr(line, ':');
        char *group = controllers == NULL ? NULL : strchr(controllers + 1, ':');
        if (group == NULL) {
            continue;
        }
        controllers++;
        group++;
        char mount[PATH_BYTES];
        if (group[-2] == ':') {
            snprintf(mount, sizeof mount, "%s/sys/fs/cgroup", root);
            walk_up(mount, group, "memory.max", limits);
            snprintf(mount, sizeof mount, "%s/sys/fs/cgroup/unified", root);
            walk_up(mount, group, "memory.max", limits);
        } else if (has_memory(controllers, (size_t)(group - 1 - controllers))) {
            snprintf(mount, sizeof mount, "%s/sys/fs/cgroup/memory", root);
            walk_up(mount, group, "memory.limit_in_bytes", limits);
        }
    }
    fclose(file);
}

void memory_limits_read(const char *root, struct memory_limits *limits) {
    *limits = (struct memory_limits){0};
    read_machine(root, limits);
    read_cgroups(root, limits);
    if (limits->machine_bytes != 0 && limits->cgroup_bytes >= limits->machine_bytes) {
        limits->cgroup_bytes = 0; /* no limit in effect */
        limits->cgroup_file[0] = '\0';
    }
}
