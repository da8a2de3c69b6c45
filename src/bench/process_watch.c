/* process_watch.c - see process_watch.h. */
#include "bench/process_watch.h"

#include "base/clock.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#if defined(__APPLE__)
#include <libproc.h>
#include <mach/mach_time.h>
#else
#include <dirent.h>
#endif

enum { FIRST_INTERVAL_MS = 100, MOST_DESCENDANTS = 64 };

struct process_watch {
    int64_t pid;
    int64_t start_ns;
    pthread_t thread;
    pthread_mutex_t lock;
    pthread_cond_t stopping_changed;
    bool stopping; /* guarded by lock, as is all below */
    int interval_ms;
    struct process_sample samples[PROCESS_WATCH_MOST];
    size_t count;
};

#if defined(__APPLE__)

static bool read_processes(int64_t pid, struct process_sample *sample) {
    struct proc_taskinfo info;
    if (proc_pidinfo((int)pid, PROC_PIDTASKINFO, 0, &info, sizeof info) != (int)sizeof info) {
        return false;
    }
    mach_timebase_info_data_t base;
    mach_timebase_info(&base);
    double ticks = (double)(info.pti_total_user + info.pti_total_system);
    sample->resident_bytes = (double)info.pti_resident_size;
    sample->cpu_seconds = ticks * base.numer / base.denom * 1e-9;
    return true;
}

#else

struct process_row {
    int64_t pid, parent;
    double resident_bytes, cpu_seconds;
};

/* Fields 4, 14 to 17 and 24 of /proc/PID/stat (proc(5)); the name before them may hold anything.
 * What children took that have ended counts, or the sum of a family would fall with each of them.
 */
static bool read_row(int64_t pid, struct process_row *row) {
    char path[64], text[1024];
    snprintf(path, sizeof path, "/proc/%lld/stat", (long long)pid);
    FILE *file = fopen(path, "re");
    size_t length = file == NULL ? 0 : fread(text, 1, sizeof text - 1, file);
    if (file != NULL) {
        fclose(file);
    }
    text[length] = '\0';
    char *field = strrchr(text, ')');
    double values[25] = {0};
    if (field == NULL || field[1] == '\0' || field[2] == 'Z') {
        return false;
    }
    field += 3; /* behind the state, field 3 */
    for (int i = 4; i <= 24; i++) {
        values[i] = strtod(field, &field);
    }
    *row = (struct process_row){
        .pid = pid,
        .parent = (int64_t)values[4],
        .resident_bytes = values[24] * (double)sysconf(_SC_PAGESIZE),
        .cpu_seconds =
            (values[14] + values[15] + values[16] + values[17]) / (double)sysconf(_SC_CLK_TCK),
    };
    return true;
}

static bool is_known(const int64_t *family, size_t count, int64_t pid) {
    for (size_t i = 0; i < count; i++) {
        if (family[i] == pid) {
            return true;
        }
    }
    return false;
}

/* The processes of /proc come by number, so a child mostly after its parent; two passes see the
 * others. */
static size_t find_family(int64_t pid, int64_t family[MOST_DESCENDANTS]) {
    size_t count = 1;
    family[0] = pid;
    for (int pass = 0; pass < 2; pass++) {
        DIR *folder = opendir("/proc");
        const struct dirent *entry;
        while (folder != NULL && (entry = readdir(folder)) != NULL && count < MOST_DESCENDANTS) {
            struct process_row row;
            int64_t each = strtoll(entry->d_name, NULL, 10);
            if (each > 0 && !is_known(family, count, each) && read_row(each, &row) &&
                is_known(family, count, row.parent)) {
                family[count++] = each;
            }
        }
        if (folder != NULL) {
            closedir(folder);
        }
    }
    return count;
}

static bool read_processes(int64_t pid, struct process_sample *sample) {
    int64_t family[MOST_DESCENDANTS];
    struct process_row row;
    if (!read_row(pid, &row)) {
        return false;
    }
    size_t count = find_family(pid, family);
    sample->resident_bytes = sample->cpu_seconds = 0;
    for (size_t i = 0; i < count; i++) {
        if (read_row(family[i], &row)) {
            sample->resident_bytes += row.resident_bytes;
            sample->cpu_seconds += row.cpu_seconds;
        }
    }
    return true;
}

#endif

bool process_watch_now(struct process_watch *watch, struct process_sample *sample) {
    sample->at = clock_seconds(clock_now_ns() - watch->start_ns);
    return read_processes(watch->pid, sample);
}

/* Half of the samples go when there is no room, and from then on they come half as often. */
static void keep(struct process_watch *watch, const struct process_sample *sample) {
    if (watch->count == PROCESS_WATCH_MOST) {
        for (size_t i = 0; i < PROCESS_WATCH_MOST / 2; i++) {
            watch->samples[i] = watch->samples[2 * i];
        }
        watch->count = PROCESS_WATCH_MOST / 2;
        watch->interval_ms *= 2;
    }
    watch->samples[watch->count++] = *sample;
}

static void *run(void *context) {
    struct process_watch *watch = context;
    struct process_sample sample;
    bool alive = true;
    pthread_mutex_lock(&watch->lock);
    while (!watch->stopping) {
        pthread_mutex_unlock(&watch->lock);
        alive = alive && process_watch_now(watch, &sample);
        pthread_mutex_lock(&watch->lock);
        if (alive) {
            keep(watch, &sample);
        }
        int64_t next = clock_now_ns() + (int64_t)watch->interval_ms * 1000000;
        if (!watch->stopping) {
            (void)clock_wait(&watch->stopping_changed, &watch->lock, next);
        }
    }
    pthread_mutex_unlock(&watch->lock);
    return NULL;
}

bool process_watch_start(int64_t pid, struct process_watch **watch, struct error *error) {
    struct process_watch *made = calloc(1, sizeof *made);
    struct process_sample sample;
    if (made == NULL) {
        return error_set(error, ERROR_OUT_OF_MEMORY, "no memory to watch a process");
    }
    made->pid = pid;
    made->interval_ms = FIRST_INTERVAL_MS;
    made->start_ns = clock_now_ns();
    if (!process_watch_now(made, &sample)) {
        free(made);
        return error_set(error, ERROR_NOT_FOUND, "there is no process %lld that can be watched",
                         (long long)pid);
    }
    bool locked = pthread_mutex_init(&made->lock, NULL) == 0;
    bool conditioned = locked && clock_condition_init(&made->stopping_changed) == 0;
    if (!conditioned || pthread_create(&made->thread, NULL, run, made) != 0) {
        if (conditioned) {
            pthread_cond_destroy(&made->stopping_changed);
        }
        if (locked) {
            pthread_mutex_destroy(&made->lock);
        }
        free(made);
        return error_set(error, ERROR_OUT_OF_MEMORY, "no thread to watch a process");
    }
    *watch = made;
    return true;
}

void process_watch_free(struct process_watch *watch) {
    if (watch == NULL) {
        return;
    }
    pthread_mutex_lock(&watch->lock);
    watch->stopping = true;
    pthread_cond_signal(&watch->stopping_changed);
    pthread_mutex_unlock(&watch->lock);
    pthread_join(watch->thread, NULL);
    pthread_cond_destroy(&watch->stopping_changed);
    pthread_mutex_destroy(&watch->lock);
    free(watch);
}

size_t process_watch_read(struct process_watch *watch, struct process_sample *samples,
                          size_t most) {
    pthread_mutex_lock(&watch->lock);
    size_t count = watch->count < most ? watch->count : most;
    memcpy(samples, watch->samples, count * sizeof *samples);
    pthread_mutex_unlock(&watch->lock);
    return count;
}
