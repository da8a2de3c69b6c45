/* check_machine.c - mistral check: processor, memory, limits of the process. Main thread. */
#include "backend/backend.h"
#include "base/memory_limits.h"
#include "base/processors.h"
#include "cli/check.h"
#include "cli/terminal.h"

#include <stdio.h>
#include <string.h>
#include <sys/resource.h>

enum { SPARE_FILES = 64 }; /* beside the clients' sockets: the model, logs, listeners */

static bool can_run(const char *kernels) {
    const char *offered = kernels;
    for (size_t i = 0; strcmp(kernels, "auto") != 0 && offered != NULL; i++) {
        offered = cpu_kernels_offered(i);
        if (offered != NULL && strcmp(offered, kernels) == 0) {
            return true;
        }
    }
    return offered != NULL;
}

static void check_processor(struct check *check) {
    const struct config *config = &check->cli->config;
    size_t cores = processors_physical();
    char name[128];
    processors_read_name(check->root, name, sizeof name);
    const char *best = cpu_kernels_offered(0), *asked = config->kernels;
    if (!can_run(asked)) {
        check_add(check, CHECK_ERROR, "processor", "set kernels to auto",
                  "%s, %zu cores: kernels is %s, which it cannot run; its best is %s", name, cores,
                  asked, best);
    } else if (strcmp(best, "portable") == 0) {
        check_add(
            check, CHECK_WARNING, "processor",
            "expect a fraction of the speed of a processor with AVX2 or, on arm64, dot products",
            "%s, %zu cores: no fast kernels for it, the portable ones are used", name, cores);
    } else if (strcmp(asked, "auto") != 0 && strcmp(asked, best) != 0) {
        check_add(check, CHECK_WARNING, "processor", "leave kernels at auto, but to compare",
                  "%s, %zu cores: its best kernels are %s, but kernels is %s", name, cores, best,
                  asked);
    } else {
        check_add(check, CHECK_OK, "processor", NULL, "%s, %zu cores, %s kernels", name, cores,
                  best);
    }
    if (config->num_threads > (int64_t)cores) {
        check_add(check, CHECK_WARNING, "threads", "set num_threads to 0, which takes one a core",
                  "num_threads is %lld, more than the %zu cores", (long long)config->num_threads,
                  cores);
    }
}

static void check_memory(struct check *check) {
    struct memory_limits limits;
    char machine[32], available[32], group[32];
    memory_limits_read(check->root, &limits);
    terminal_format_bytes(machine, sizeof machine, limits.machine_bytes);
    terminal_format_bytes(available, sizeof available, limits.available_bytes);
    terminal_format_bytes(group, sizeof group, limits.cgroup_bytes);
    check_add(check, CHECK_OK, "memory", NULL, "%s, of which %s are available now", machine,
              available);
    if (limits.cgroup_bytes > 0) {
        check_add(check, CHECK_OK, "container", NULL, "limited to %s (%s)", group,
                  limits.cgroup_file);
    }
}

static void check_files(struct check *check) {
    struct rlimit limit;
    int64_t wanted = check->cli->config.max_connections + SPARE_FILES;
    if (getrlimit(RLIMIT_NOFILE, &limit) != 0) {
        return;
    }
    if (limit.rlim_cur != RLIM_INFINITY && (int64_t)limit.rlim_cur < wanted) {
        check_add(check, CHECK_WARNING, "files",
                  "raise it with ulimit -n (LimitNOFILE in a unit), or lower max_connections",
                  "this process may open %lld files; max_connections needs %lld",
                  (long long)limit.rlim_cur, (long long)wanted);
    } else {
        check_add(check, CHECK_OK, "files", NULL, "enough open files are allowed");
    }
}

void check_machine(struct check *check) {
    check_processor(check);
    check_memory(check);
    check_files(check);
}
