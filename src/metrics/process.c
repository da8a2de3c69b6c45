/* process.c - see process.h. Linux reads /proc, macOS asks the kernel by its own calls. */
#include "metrics/process.h"

#include "base/clock.h"

#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>
#if defined(__APPLE__)
#include <libproc.h>
#include <mach/mach.h>
#include <sys/sysctl.h>
#endif

struct memory_use {
    double resident, virtual_bytes;
};

static int64_t cpu_ns(void) {
    struct rusage usage;
    if (getrusage(RUSAGE_SELF, &usage) != 0) {
        return 0;
    }
    return ((int64_t)usage.ru_utime.tv_sec + usage.ru_stime.tv_sec) * 1000000000 +
           ((int64_t)usage.ru_utime.tv_usec + usage.ru_stime.tv_usec) * 1000;
}

#if defined(__APPLE__)

static struct memory_use read_memory(void) {
    struct mach_task_basic_info info;
    mach_msg_type_number_t count = MACH_TASK_BASIC_INFO_COUNT;
    if (task_info(mach_task_self(), MACH_TASK_BASIC_INFO, (task_info_t)&info, &count) != 0) {
        return (struct memory_use){0, 0};
    }
    return (struct memory_use){(double)info.resident_size, (double)info.virtual_size};
}

static double start_seconds(void) {
    struct proc_bsdinfo info;
    int size = (int)sizeof info;
    if (proc_pidinfo(getpid(), PROC_PIDTBSDINFO, 0, &info, size) != size) {
        return 0;
    }
    return (double)info.pbi_start_tvsec + (double)info.pbi_start_tvusec * 1e-6;
}

static double memory_limit(void) {
    uint64_t bytes = 0;
    size_t size = sizeof bytes;
    return sysctlbyname("hw.memsize", &bytes, &size, NULL, 0) == 0 ? (double)bytes : 0;
}

static const char open_files_folder[] = "/dev/fd";

#else

/* The number after `key` in a file of lines, such as "MemTotal:   16384 kB"; 0 when there is none.
 */
static double read_line_number(const char *path, const char *key) {
    FILE *file = fopen(path, "re");
    char line[256];
    double value = 0;
    while (file != NULL && fgets(line, sizeof line, file) != NULL) {
        if (strncmp(line, key, strlen(key)) == 0) {
            value = strtod(line + strlen(key), NULL);
            break;
        }
    }
    if (file != NULL) {
        fclose(file);
    }
    return value;
}

static struct memory_use read_memory(void) {
    FILE *file = fopen("/proc/self/statm", "re");
    char line[128] = "";
    if (file != NULL) {
        (void)!fgets(line, sizeof line, file);
        fclose(file);
    }
    char *rest = line;
    double pages = strtod(rest, &rest);
    double resident = strtod(rest, NULL);
    double page_bytes = (double)sysconf(_SC_PAGESIZE);
    return (struct memory_use){resident * page_bytes, pages * page_bytes};
}

/* Field 22 of /proc/self/stat, ticks after boot. The name before it may hold blanks and brackets.
 */
static double start_seconds(void) {
    FILE *file = fopen("/proc/self/stat", "re");
    char text[1024] = "";
    if (file != NULL) {
        size_t length = fread(text, 1, sizeof text - 1, file);
        text[length] = '\0';
        fclose(file);
    }
    const char *field = strrchr(text, ')');
    for (int i = 2; field != NULL && i < 22; i++) {
        field = strchr(field + 1, ' ');
    }
    double boot = read_line_number("/proc/stat", "btime");
    return field != NULL ? boot + strtod(field, NULL) / (double)sysconf(_SC_CLK_TCK) : 0;
}

/* The least of the machine's memory and the control group's limits (version 2, then version 1),
 * as a container sees them: its own group is mounted at the root. */
static double memory_limit(void) {
    static const char *const files[] = {"/sys/fs/cgroup/memory.max",
                                        "/sys/fs/cgroup/memory/memory.limit_in_bytes"};
    double limit = read_line_number("/proc/meminfo", "MemTotal:") * 1024;
    for (size_t i = 0; i < sizeof files / sizeof files[0]; i++) {
        double value = read_line_number(files[i], ""); /* "max" is no number */
        limit = value > 0 && value < limit ? value : limit;
    }
    return limit;
}

static const char open_files_folder[] = "/proc/self/fd";

#endif

static double count_open_files(void) {
    DIR *folder = opendir(open_files_folder);
    if (folder == NULL) {
        return 0;
    }
    double count = -1; /* the folder itself is open meanwhile */
    for (const struct dirent *entry = readdir(folder); entry != NULL; entry = readdir(folder)) {
        count += entry->d_name[0] != '.';
    }
    closedir(folder);
    return count;
}

void process_metrics_init(struct process_metrics *process, struct metrics *metrics,
                          const char *version, const char *commit) {
    const char *const build[] = {version, commit};
    *process = (struct process_metrics){
        .resident = metrics_series(metrics, METRIC_PROCESS_RESIDENT_MEMORY, NULL),
        .virtual_memory = metrics_series(metrics, METRIC_PROCESS_VIRTUAL_MEMORY, NULL),
        .cpu = metrics_series(metrics, METRIC_PROCESS_CPU, NULL),
        .open_files = metrics_series(metrics, METRIC_PROCESS_OPEN_FDS, NULL),
        .max_files = metrics_series(metrics, METRIC_PROCESS_MAX_FDS, NULL),
    };
    metric_set(metrics_series(metrics, METRIC_BUILD_INFO, build), 1);
    metric_set(metrics_series(metrics, METRIC_MEMORY_LIMIT, NULL), memory_limit());
    metric_set(metrics_series(metrics, METRIC_PROCESS_START_TIME, NULL), start_seconds());
}

void process_metrics_read(struct process_metrics *process) {
    struct memory_use memory = read_memory();
    metric_set(process->resident, memory.resident);
    metric_set(process->virtual_memory, memory.virtual_bytes);
    int64_t now = cpu_ns();
    metric_add_ns(process->cpu, now - process->cpu_ns);
    process->cpu_ns = now;
    metric_set(process->open_files, count_open_files());
    struct rlimit limit;
    if (getrlimit(RLIMIT_NOFILE, &limit) == 0) {
        metric_set(process->max_files, (double)limit.rlim_cur);
    }
}
