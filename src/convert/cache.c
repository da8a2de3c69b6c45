/* cache.c - see cache.h. */
#include "convert/cache.h"

#include "base/file.h"
#include "base/hash_map.h"
#include "base/log.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

/* To be raised when the same source and format become other bytes. */
enum { CONVERTER_VERSION = 1 };

enum { MARK_BYTES = 8, SUM_BYTES = 8, TRAILER_BYTES = MARK_BYTES + SUM_BYTES };
static const char mark[MARK_BYTES + 1] = "MISTSUM1";
static const uint64_t SEED = 0x9e3779b97f4a7c15ULL;

enum { SUM_CHUNK = 4 << 20, WAIT_NS = 100 * 1000 * 1000 };

bool cache_folder(struct string_buffer *path, struct error *error) {
    const char *cache = getenv("XDG_CACHE_HOME");
    const char *home = getenv("HOME");
    if (cache != NULL && cache[0] == '/') {
        string_buffer_append_format(path, "%s/mistral/converted", cache);
    } else if (home != NULL && home[0] != '\0') {
        string_buffer_append_format(path, "%s/.cache/mistral/converted", home);
    } else {
        return error_set(error, ERROR_NOT_FOUND,
                         "there is no folder for converted models: set XDG_CACHE_HOME, or "
                         "dynamic_quantization to false");
    }
    return true;
}

/* ---- names ---- */

static uint64_t mix_text(uint64_t hash, const char *text) {
    return hash_bytes(text, strlen(text), hash);
}

static uint64_t mix_status(uint64_t hash, const struct stat *status) {
    const struct timespec modified = file_modified(status);
    const int64_t facts[] = {(int64_t)status->st_size, (int64_t)modified.tv_sec,
                             (int64_t)modified.tv_nsec};
    return hash_bytes(facts, sizeof facts, hash);
}

/* The files right in a folder, whatever their order. */
static bool mix_folder(const char *folder, uint64_t *hash, struct error *error) {
    DIR *directory = opendir(folder);
    if (directory == NULL) {
        return error_set_errno(error, errno, "cannot read the folder '%s'", folder);
    }
    uint64_t sum = 0;
    const struct dirent *entry;
    while ((entry = readdir(directory)) != NULL) {
        struct string_buffer path = {0};
        struct stat status;
        string_buffer_append_format(&path, "%s/%s", folder, entry->d_name);
        if (stat(string_buffer_text(&path), &status) == 0 && S_ISREG(status.st_mode)) {
            sum += mix_status(mix_text(SEED, entry->d_name), &status);
        }
        string_buffer_deinit(&path);
    }
    closedir(directory);
    *hash = hash_bytes(&sum, sizeof sum, *hash);
    return true;
}

/* The last part of the path, of letters, digits and ".-_" only, without ".gguf". */
static void append_stem(const char *path, struct string_buffer *name) {
    const char *slash = strrchr(path, '/');
    const char *stem = slash == NULL ? path : slash + 1;
    size_t length = strlen(stem);
    if (length > 5 && strcmp(stem + length - 5, ".gguf") == 0) {
        length -= 5;
    }
    for (size_t i = 0; i < length && i < 80; i++) {
        bool plain = (stem[i] >= '0' && stem[i] <= '9') || (stem[i] >= 'a' && stem[i] <= 'z') ||
                     (stem[i] >= 'A' && stem[i] <= 'Z') || (i > 0 && strchr("._-", stem[i]));
        string_buffer_append_char(name, plain ? stem[i] : '_');
    }
}

bool cache_entry_name(const char *source_path, const struct mix *mix, struct string_buffer *name,
                      struct error *error) {
    struct stat status;
    char *real = realpath(source_path, NULL);
    if (real == NULL || stat(real, &status) != 0) {
        free(real);
        return error_set_errno(error, errno, "cannot read the status of '%s'", source_path);
    }
    uint64_t hash = mix_text(mix_text(SEED + CONVERTER_VERSION, real), mix->name);
    bool done = true;
    if (S_ISDIR(status.st_mode)) {
        done = mix_folder(real, &hash, error);
    } else {
        hash = mix_status(hash, &status);
    }
    append_stem(real, name);
    string_buffer_append_format(name, ".%s.%016llx.gguf", mix->name, (unsigned long long)hash);
    free(real);
    return done && (!name->failed || error_set(error, ERROR_OUT_OF_MEMORY, "no memory for a name"));
}

/* ---- checksums ---- */

static uint64_t sum_of(const uint8_t *bytes, size_t length) {
    uint64_t sum = SEED;
    for (size_t at = 0; at < length; at += SUM_CHUNK) {
        sum = hash_bytes(bytes + at, length - at < SUM_CHUNK ? length - at : SUM_CHUNK, sum);
    }
    return sum;
}

static bool append_trailer(int file, const char *path, struct error *error) {
    struct mapped_file mapped;
    if (!file_map(path, &mapped, error)) {
        return false;
    }
    uint64_t sum = sum_of(mapped.data, mapped.size);
    uint8_t trailer[TRAILER_BYTES];
    memcpy(trailer, mark, MARK_BYTES);
    memcpy(trailer + MARK_BYTES, &sum, SUM_BYTES);
    bool done = file_check(&mapped, path, error) &&
                (pwrite(file, trailer, sizeof trailer, (off_t)mapped.size) == TRAILER_BYTES ||
                 error_set_errno(error, errno, "cannot write '%s'", path));
    file_unmap(&mapped);
    return done;
}

static bool is_whole(const char *path) {
    struct mapped_file mapped;
    struct error ignored;
    if (!file_map(path, &mapped, &ignored)) {
        return false;
    }
    bool whole = false;
    if (mapped.size > TRAILER_BYTES) {
        size_t length = mapped.size - TRAILER_BYTES;
        const uint8_t *trailer = mapped.data + length;
        uint64_t sum = sum_of(mapped.data, length);
        whole = memcmp(trailer, mark, MARK_BYTES) == 0 &&
                memcmp(trailer + MARK_BYTES, &sum, SUM_BYTES) == 0;
    }
    file_unmap(&mapped);
    return whole;
}

/* ---- entries ---- */

static bool entry_path(const char *name, struct string_buffer *path, struct error *error) {
    if (!cache_folder(path, error)) {
        return false;
    }
    string_buffer_append_format(path, "/%s", name);
    return !path->failed || error_set(error, ERROR_OUT_OF_MEMORY, "no memory for a path");
}

/* By the time of access, set by hand, as file systems may not. Never by that of modification:
 * whoever has the entry mapped would take it for overwritten. */
static void note_use(const char *path) {
    const struct timespec times[] = {{.tv_nsec = UTIME_NOW}, {.tv_nsec = UTIME_OMIT}};
    utimensat(AT_FDCWD, path, times, 0);
}

bool cache_find(const char *name, struct cache_hold *hold, struct error *error) {
    *hold = (struct cache_hold){.file = -1};
    if (!entry_path(name, &hold->path, error)) {
        string_buffer_deinit(&hold->path);
        return false;
    }
    const char *path = string_buffer_text(&hold->path);
    int file = open(path, O_RDONLY | O_CLOEXEC);
    if (file >= 0) {
        flock(file, LOCK_SH); /* until it is opened: see sweep_entries */
        if (is_whole(path)) {
            note_use(path);
            hold->file = file;
            return true;
        }
        log_event(LOG_WARN, "converted_model_damaged", log_text("path", path),
                  log_text("note", "its checksum is wrong; it is made again"));
        unlink(path);
        close(file);
    }
    string_buffer_deinit(&hold->path);
    return true;
}

void cache_release(struct cache_hold *hold) {
    if (hold->file >= 0) {
        if (hold->is_temporary) {
            unlink(string_buffer_text(&hold->path));
        }
        close(hold->file);
    }
    string_buffer_deinit(&hold->path);
    *hold = (struct cache_hold){.file = -1};
}

/* ---- room ---- */

struct entry {
    char *path;
    uint64_t bytes;
    struct timespec used; /* last */
};

struct entries {
    struct entry *rows;
    size_t count, capacity;
    uint64_t bytes;
};

static int compare_use(const void *a, const void *b) {
    const struct timespec *x = &((const struct entry *)a)->used;
    const struct timespec *y = &((const struct entry *)b)->used;
    if (x->tv_sec != y->tv_sec) {
        return x->tv_sec < y->tv_sec ? -1 : 1;
    }
    return (x->tv_nsec > y->tv_nsec) - (x->tv_nsec < y->tv_nsec);
}

static void add_entry(struct entries *entries, const char *path, const struct stat *status) {
    if (entries->count == entries->capacity) {
        size_t capacity = entries->capacity == 0 ? 16 : entries->capacity * 2;
        struct entry *rows = realloc(entries->rows, capacity * sizeof *rows);
        if (rows == NULL) {
            return;
        }
        entries->rows = rows;
        entries->capacity = capacity;
    }
    char *copy = strdup(path);
    if (copy != NULL) {
        entries->rows[entries->count++] =
            (struct entry){copy, (uint64_t)status->st_size, file_accessed(status)};
        entries->bytes += (uint64_t)status->st_size;
    }
}

/* Removes a file that nobody has locked. */
static bool remove_unused(const char *path) {
    int file = open(path, O_RDONLY | O_CLOEXEC);
    bool removed = file >= 0 && flock(file, LOCK_EX | LOCK_NB) == 0 && unlink(path) == 0;
    if (file >= 0) {
        close(file);
    }
    return removed;
}

static bool ends_in(const char *text, const char *end) {
    size_t length = strlen(text), end_length = strlen(end);
    return length >= end_length && strcmp(text + length - end_length, end) == 0;
}

/* Lists the entries, and removes what killed processes left. */
static void list_entries(const char *folder, struct entries *entries) {
    DIR *directory = opendir(folder);
    const struct dirent *row;
    while (directory != NULL && (row = readdir(directory)) != NULL) {
        struct string_buffer path = {0};
        struct stat status;
        string_buffer_append_format(&path, "%s/%s", folder, row->d_name);
        const char *text = string_buffer_text(&path);
        if (ends_in(text, ".part")) {
            remove_unused(text);
        } else if (ends_in(text, ".gguf") && lstat(text, &status) == 0 && S_ISREG(status.st_mode)) {
            add_entry(entries, text, &status);
        }
        string_buffer_deinit(&path);
    }
    if (directory != NULL) {
        closedir(directory);
    }
}

/* Makes room for `needed` bytes under the limit. */
static void sweep_entries(const char *folder, uint64_t needed, uint64_t limit) {
    struct entries entries = {0};
    list_entries(folder, &entries);
    if (entries.count > 1) {
        qsort(entries.rows, entries.count, sizeof *entries.rows, compare_use);
    }
    for (size_t i = 0; i < entries.count; i++) {
        if (entries.bytes + needed > limit && remove_unused(entries.rows[i].path)) {
            entries.bytes -= entries.rows[i].bytes;
            log_event(LOG_INFO, "converted_model_removed", log_text("path", entries.rows[i].path),
                      log_text("reason", "quantization.cache_size"));
        }
        free(entries.rows[i].path);
    }
    free(entries.rows);
}

/* ---- making ---- */

/* Opens and locks the unfinished file, waiting for who has it. *file is -1 when the wait is over
 * and the file has become the entry, or has gone. */
static bool lock_part(const char *path, const struct convert_watch *watch, int *file,
                      struct error *error) {
    bool told = false;
    *file = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0644);
    if (*file < 0) {
        return error_set_errno(error, errno, "cannot create '%s'", path);
    }
    while (flock(*file, LOCK_EX | LOCK_NB) != 0) {
        if (watch->cancelled != NULL && watch->cancelled(watch->context)) {
            close(*file);
            return error_set(error, ERROR_CANCELLED, "stopped");
        }
        if (!told) {
            log_event(LOG_INFO, "conversion_awaited", log_text("path", path),
                      log_text("note", "another process is writing it"));
            told = true;
        }
        const struct timespec wait = {0, WAIT_NS};
        nanosleep(&wait, NULL);
    }
    if (!file_is_at(*file, path)) {
        close(*file);
        *file = -1;
    }
    return true;
}

/* Writes the file that is open and locked; leaves it in its place when that succeeds. */
static bool fill_part(const struct plan *plan, int file, const char *path, size_t thread_count,
                      const struct convert_watch *watch, struct error *error) {
    bool done =
        (ftruncate(file, 0) == 0 || error_set_errno(error, errno, "cannot write '%s'", path)) &&
        plan_write(plan, file, path, thread_count, watch, error) &&
        append_trailer(file, path, error);
    if (!done) {
        unlink(path);
    }
    return done;
}

static bool make_temporary(const char *folder, const char *name, const struct plan *plan,
                           size_t thread_count, const struct convert_watch *watch,
                           struct cache_hold *hold, struct error *error) {
    int file = -1;
    string_buffer_append_format(&hold->path, "%s/%s.%ld.part", folder, name, (long)getpid());
    const char *path = string_buffer_text(&hold->path);
    if (!lock_part(path, watch, &file, error)) {
        return false;
    }
    if (file < 0) {
        return error_set(error, ERROR_IO, "'%s' was removed while it was made", path);
    }
    if (!fill_part(plan, file, path, thread_count, watch, error)) {
        close(file);
        return false;
    }
    hold->file = file;
    hold->is_temporary = true;
    return true;
}

/* One try; hold->file stays -1 when another process was faster or its leavings were in the way. */
static bool make_entry(const char *folder, const char *name, const struct plan *plan,
                       size_t thread_count, const struct convert_watch *watch,
                       struct cache_hold *hold, struct error *error) {
    struct string_buffer part = {0};
    int file = -1;
    string_buffer_append_format(&part, "%s/%s.part", folder, name);
    string_buffer_append_format(&hold->path, "%s/%s", folder, name);
    const char *path = string_buffer_text(&part), *entry = string_buffer_text(&hold->path);
    bool done = lock_part(path, watch, &file, error);
    if (done && file >= 0 && file_exists(entry)) {
        unlink(path);
        close(file);
    } else if (done && file >= 0) {
        done = fill_part(plan, file, path, thread_count, watch, error);
        if (done && rename(path, entry) != 0) {
            done = error_set_errno(error, errno, "cannot write '%s'", entry);
            unlink(path);
        }
        if (done) {
            flock(file, LOCK_SH); /* others may open it now */
            hold->file = file;
        } else {
            close(file);
        }
    }
    string_buffer_deinit(&part);
    return done;
}

bool cache_make(const char *name, const struct plan *plan, uint64_t limit, size_t thread_count,
                const struct convert_watch *watch, struct cache_hold *hold, struct error *error) {
    struct string_buffer folder = {0};
    uint64_t bytes = (uint64_t)plan->file_bytes + TRAILER_BYTES;
    *hold = (struct cache_hold){.file = -1};
    bool done =
        cache_folder(&folder, error) && file_make_directories(string_buffer_text(&folder), error);
    if (!done) {
        error_prefix(error, "nowhere to keep a converted model (set XDG_CACHE_HOME, or "
                            "dynamic_quantization to false)");
    }
    const char *text = string_buffer_text(&folder);
    if (done) {
        sweep_entries(text, bytes <= limit ? bytes : 0, limit);
    }
    if (done && bytes > limit) {
        done = make_temporary(text, name, plan, thread_count, watch, hold, error);
    }
    while (done && bytes <= limit && hold->file < 0) {
        string_buffer_deinit(&hold->path);
        done = make_entry(text, name, plan, thread_count, watch, hold, error);
        if (done && hold->file < 0) {
            string_buffer_deinit(&hold->path);
            done = cache_find(name, hold, error);
        }
    }
    if (!done) {
        string_buffer_deinit(&hold->path);
    }
    string_buffer_deinit(&folder);
    return done;
}
