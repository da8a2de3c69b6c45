/* file.c - see file.h. */
#include "base/file.h"

#include "base/bytes.h"
#include "base/file_guard.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

/* Opens a regular file and tells its size. Non-blocking, so that a FIFO cannot hang the caller. */
static int open_regular(const char *path, size_t *size, struct error *error) {
    int file = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (file < 0) {
        error_set_errno(error, errno, "cannot open '%s'", path);
        return -1;
    }
    struct stat status;
    if (fstat(file, &status) != 0) {
        error_set_errno(error, errno, "cannot read the status of '%s'", path);
    } else if (S_ISDIR(status.st_mode)) {
        error_set(error, ERROR_INVALID_ARGUMENT, "'%s' is a directory, not a file", path);
    } else if (!S_ISREG(status.st_mode)) {
        error_set(error, ERROR_INVALID_ARGUMENT, "'%s' is not a regular file", path);
    } else {
        *size = (size_t)status.st_size;
        return file;
    }
    close(file);
    return -1;
}

bool file_map(const char *path, struct mapped_file *mapped, struct error *error) {
    size_t size = 0;
    int file = open_regular(path, &size, error);
    if (file < 0) {
        return false;
    }
    *mapped = (struct mapped_file){.size = size};
    if (size == 0) {
        close(file);
        return true;
    }
    void *data = mmap(NULL, size, PROT_READ, MAP_PRIVATE, file, 0);
    if (data == MAP_FAILED) {
        int reason = errno;
        close(file);
        return error_set_errno(error, reason, "cannot map '%s' into memory", path);
    }
    mapped->guard = file_guard_add(data, size, file, error);
    if (mapped->guard == NULL) {
        munmap(data, size);
        close(file);
        return error_prefix(error, "'%s'", path);
    }
    mapped->data = data;
    return true;
}

bool file_check(const struct mapped_file *mapped, const char *path, struct error *error) {
    return mapped->guard == NULL || file_guard_check(mapped->guard, path, error);
}

bool file_keep_head(struct mapped_file *mapped, size_t length, struct error *error) {
    size_t page = (size_t)sysconf(_SC_PAGESIZE);
    size_t pages = size_divide_up(size_min(length, mapped->size), page) * page;
    size_t kept = size_min(pages, mapped->size);
    void *head = (void *)(uintptr_t)mapped->data;
    if (mapped->guard == NULL || kept == 0) {
        return true;
    }
    void *copy = malloc(kept);
    if (copy == NULL) {
        return error_set(error, ERROR_OUT_OF_MEMORY, "no memory for %zu bytes of a file", kept);
    }
    memcpy(copy, head, kept);
    bool done = mmap(head, pages, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED,
                     -1, 0) == head ||
                error_set_errno(error, errno, "no memory for %zu bytes of a file", kept);
    if (done) {
        file_guard_begin_at(mapped->guard, mapped->data + pages);
        memcpy(head, copy, kept);
        mprotect(head, pages, PROT_READ);
    }
    free(copy);
    return done;
}

void file_forget(const void *bytes, size_t length) {
    uintptr_t page = (uintptr_t)sysconf(_SC_PAGESIZE);
    uintptr_t first = ((uintptr_t)bytes + page - 1) / page * page;
    uintptr_t end = ((uintptr_t)bytes + length) / page * page;
    if (first < end) {
        madvise((void *)first, end - first, MADV_DONTNEED);
    }
}

void file_unmap(struct mapped_file *mapped) {
    if (mapped->guard != NULL) {
        file_guard_remove(mapped->guard);
        munmap((void *)(uintptr_t)mapped->data, mapped->size);
    }
    *mapped = (struct mapped_file){0};
}

static bool read_fully(int file, char *buffer, size_t size, size_t *got) {
    *got = 0;
    while (*got < size) {
        ssize_t count = read(file, buffer + *got, size - *got);
        if (count < 0 && errno == EINTR) {
            continue;
        }
        if (count < 0) {
            return false;
        }
        if (count == 0) {
            break; /* the file shrank since fstat */
        }
        *got += (size_t)count;
    }
    return true;
}

bool file_read_all(const char *path, size_t limit, char **text, size_t *length,
                   struct error *error) {
    size_t size = 0;
    int file = open_regular(path, &size, error);
    if (file < 0) {
        return false;
    }
    bool done = false;
    char *buffer = NULL;
    if (size > limit) {
        error_set(error, ERROR_INVALID_ARGUMENT, "'%s' has %zu bytes; at most %zu are read", path,
                  size, limit);
        goto cleanup;
    }
    buffer = malloc(size + 1);
    if (buffer == NULL) {
        error_set(error, ERROR_OUT_OF_MEMORY, "no memory to read '%s'", path);
        goto cleanup;
    }
    if (!read_fully(file, buffer, size, length)) {
        error_set_errno(error, errno, "cannot read '%s'", path);
        goto cleanup;
    }
    buffer[*length] = '\0';
    *text = buffer;
    buffer = NULL;
    done = true;
cleanup:
    free(buffer);
    close(file);
    return done;
}

static bool write_fully(int file, const char *bytes, size_t length) {
    while (length > 0) {
        ssize_t count = write(file, bytes, length);
        if (count < 0 && errno == EINTR) {
            continue;
        }
        if (count < 0) {
            return false;
        }
        bytes += count;
        length -= (size_t)count;
    }
    return true;
}

bool file_write_atomic(const char *path, const void *bytes, size_t length, struct error *error) {
    char temporary[PATH_MAX];
    const char *slash = strrchr(path, '/');
    size_t folder = slash == NULL ? 0 : (size_t)(slash - path) + 1;
    int needed = snprintf(temporary, sizeof temporary, "%.*s.%s.%ld.part", (int)folder, path,
                          path + folder, (long)getpid());
    if (needed < 0 || (size_t)needed >= sizeof temporary) {
        return error_set(error, ERROR_INVALID_ARGUMENT, "the path '%s' is too long", path);
    }
    int file = open(temporary, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
    if (file < 0) {
        return error_set_errno(error, errno, "cannot create '%s'", temporary);
    }
    bool written = write_fully(file, bytes, length) && fsync(file) == 0;
    int reason = errno;
    if (close(file) != 0 && written) {
        written = false;
        reason = errno;
    }
    if (written && rename(temporary, path) != 0) {
        written = false;
        reason = errno;
    }
    if (!written) {
        unlink(temporary);
        return error_set_errno(error, reason, "cannot write '%s'", path);
    }
    return true;
}

bool file_make_directories(const char *path, struct error *error) {
    char partial[PATH_MAX];
    size_t length = strlen(path);
    if (length >= sizeof partial) {
        return error_set(error, ERROR_INVALID_ARGUMENT, "the path '%s' is too long", path);
    }
    for (size_t i = 1; i <= length; i++) {
        if (path[i] != '/' && path[i] != '\0') {
            continue;
        }
        memcpy(partial, path, i);
        partial[i] = '\0';
        if (mkdir(partial, 0755) != 0 && errno != EEXIST) {
            return error_set_errno(error, errno, "cannot create the directory '%s'", partial);
        }
    }
    if (!file_is_directory(path)) {
        return error_set(error, ERROR_INVALID_ARGUMENT, "'%s' exists and is not a directory", path);
    }
    return true;
}

bool file_exists(const char *path) {
    struct stat status;
    return lstat(path, &status) == 0;
}

bool file_is_at(int file, const char *path) {
    struct stat open_status, path_status;
    return fstat(file, &open_status) == 0 && stat(path, &path_status) == 0 &&
           open_status.st_ino == path_status.st_ino && open_status.st_dev == path_status.st_dev;
}

bool file_is_directory(const char *path) {
    struct stat status;
    return stat(path, &status) == 0 && S_ISDIR(status.st_mode);
}

struct timespec file_modified(const struct stat *status) {
#ifdef __APPLE__
    return status->st_mtimespec;
#else
    return status->st_mtim;
#endif
}

struct timespec file_accessed(const struct stat *status) {
#ifdef __APPLE__
    return status->st_atimespec;
#else
    return status->st_atim;
#endif
}
