/*
 * fault_injection.c - makes one call of a program fail: the Nth that allocates, opens, reads,
 * writes, renames or starts something. A library that stands before the C library's functions
 * (LD_PRELOAD).
 *
 * $FAULTS_FILE is a file of struct control, which whoever drives the program maps too: it sets
 * `fail_at`, then `armed`, and reads how many calls there were and which one failed. With
 * $FAULTS_TRACE set, the call's stack goes to standard error. What the dynamic linker asks for is
 * left alone (it ends the program when it gets nothing), and so is what comes before the program's
 * own constructors.
 *
 * Also stands before the address sanitizer's allocator, when its check of the order of libraries is
 * off.
 */
/* NOLINTBEGIN(bugprone-reserved-identifier,readability-identifier-naming,cert-dcl37-c,cert-dcl51-cpp):
 * the C library's names. */
#include <dirent.h>
#include <dlfcn.h>
#include <errno.h>
#include <execinfo.h>
#include <fcntl.h>
#include <link.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

struct control {
    _Atomic uint64_t armed;   /* 1: calls are counted */
    _Atomic uint64_t fail_at; /* which of them fails, from 1; 0: none */
    _Atomic uint64_t calls;   /* since it was set to 0 */
    _Atomic uint64_t failed;  /* 1: that call has come */
    _Atomic int64_t live;     /* blocks that were allocated and not freed, armed or not */
    char name[40];            /* of the function that failed */
};

static struct control *control;
static uintptr_t linker_start, linker_end; /* where the dynamic linker's code lies */

static int find_linker(struct dl_phdr_info *library, size_t size, void *context) {
    (void)size;
    (void)context;
    if (strstr(library->dlpi_name, "/ld-linux") == NULL) {
        return 0;
    }
    for (int i = 0; i < library->dlpi_phnum; i++) {
        if (library->dlpi_phdr[i].p_type == PT_LOAD) {
            uintptr_t start = library->dlpi_addr + library->dlpi_phdr[i].p_vaddr;
            linker_start = linker_start == 0 ? start : linker_start;
            linker_end = start + library->dlpi_phdr[i].p_memsz;
        }
    }
    return 1;
}

__attribute__((constructor)) static void start(void) {
    const char *path = getenv("FAULTS_FILE");
    int file = path == NULL ? -1 : (int)syscall(SYS_openat, AT_FDCWD, path, O_RDWR | O_CLOEXEC);
    void *frames[1];
    (void)backtrace(frames, 1); /* loads what it needs */
    dl_iterate_phdr(find_linker, NULL);
    if (file >= 0) {
        void *mapped = (void *)syscall(SYS_mmap, NULL, sizeof *control, PROT_READ | PROT_WRITE,
                                       MAP_SHARED, file, (off_t)0);
        close(file);
        control = mapped == MAP_FAILED ? NULL : mapped;
    }
}

static void tell(const char *name) {
    void *frames[32];
    uint64_t armed = atomic_exchange(&control->armed, 0); /* what tells of it may allocate */
    char line[64];
    int length = snprintf(line, sizeof line, "failing %s, from:\n", name);
    (void)syscall(SYS_write, STDERR_FILENO, line, (size_t)length);
    backtrace_symbols_fd(frames, backtrace(frames, 32), STDERR_FILENO);
    atomic_store(&control->armed, armed);
}

static bool is_due(const char *name, const void *caller) {
    if (control == NULL || atomic_load(&control->armed) == 0 ||
        ((uintptr_t)caller >= linker_start && (uintptr_t)caller < linker_end) ||
        atomic_fetch_add(&control->calls, 1) + 1 != atomic_load(&control->fail_at)) {
        return false;
    }
    strncpy(control->name, name, sizeof control->name - 1);
    atomic_store(&control->failed, 1);
    if (getenv("FAULTS_TRACE") != NULL) {
        tell(name);
    }
    return true;
}

/* --- memory --- */

/* What is asked for while the real functions are being looked up. */
static _Alignas(64) char early[1 << 16];
static _Atomic size_t early_used;
static bool looking_up;

static void *take_early(size_t size) {
    size_t at = atomic_fetch_add(&early_used, (size + 63) / 64 * 64);
    return at + size <= sizeof early ? early + at : NULL;
}

static bool is_early(const void *memory) {
    return (const char *)memory >= early && (const char *)memory < early + sizeof early;
}

static void *(*real_malloc)(size_t);
static void *(*real_calloc)(size_t, size_t);
static void *(*real_realloc)(void *, size_t);
static void *(*real_aligned_alloc)(size_t, size_t);
static int (*real_posix_memalign)(void **, size_t, size_t);
static void (*real_free)(void *);

static void look_up(void) {
    looking_up = true;
    *(void **)&real_malloc = dlsym(RTLD_NEXT, "malloc");
    *(void **)&real_calloc = dlsym(RTLD_NEXT, "calloc");
    *(void **)&real_realloc = dlsym(RTLD_NEXT, "realloc");
    *(void **)&real_aligned_alloc = dlsym(RTLD_NEXT, "aligned_alloc");
    *(void **)&real_posix_memalign = dlsym(RTLD_NEXT, "posix_memalign");
    *(void **)&real_free = dlsym(RTLD_NEXT, "free");
    looking_up = false;
}

static bool is_too_early(void) {
    if (real_free == NULL && !looking_up) {
        look_up();
    }
    return looking_up;
}

#define FAIL_AS(name, reason, result)                                                              \
    if (is_due(name, __builtin_return_address(0))) {                                               \
        errno = (reason);                                                                          \
        return result;                                                                             \
    }

static void *count(void *memory) {
    if (memory != NULL && control != NULL) {
        atomic_fetch_add(&control->live, 1);
    }
    return memory;
}

void *malloc(size_t size) {
    if (is_too_early()) {
        return take_early(size);
    }
    FAIL_AS("malloc", ENOMEM, NULL)
    return count(real_malloc(size));
}

void *calloc(size_t members, size_t size) {
    if (is_too_early()) {
        return take_early(members * size);
    }
    FAIL_AS("calloc", ENOMEM, NULL)
    return count(real_calloc(members, size));
}

void *realloc(void *memory, size_t size) {
    if (is_early(memory)) {
        void *moved = malloc(size);
        size_t rest = (size_t)(early + sizeof early - (char *)memory);
        return moved == NULL ? NULL : memcpy(moved, memory, size < rest ? size : rest);
    }
    if (is_too_early()) {
        return take_early(size);
    }
    FAIL_AS("realloc", ENOMEM, NULL)
    return memory == NULL ? count(real_realloc(memory, size)) : real_realloc(memory, size);
}

void *reallocarray(void *memory, size_t members, size_t size) {
    size_t bytes;
    if (__builtin_mul_overflow(members, size, &bytes)) {
        errno = ENOMEM;
        return NULL;
    }
    return realloc(memory, bytes);
}

void *aligned_alloc(size_t alignment, size_t size) {
    FAIL_AS("aligned_alloc", ENOMEM, NULL)
    return is_too_early() ? NULL : count(real_aligned_alloc(alignment, size));
}

int posix_memalign(void **memory, size_t alignment, size_t size) {
    FAIL_AS("posix_memalign", ENOMEM, ENOMEM)
    int failure = is_too_early() ? ENOMEM : real_posix_memalign(memory, alignment, size);
    if (failure == 0) {
        (void)count(*memory);
    }
    return failure;
}

void free(void *memory) {
    if (memory != NULL && !is_early(memory) && !is_too_early()) {
        if (control != NULL) {
            atomic_fetch_sub(&control->live, 1);
        }
        real_free(memory);
    }
}

/* --- the operating system --- */

/* name, what errno says, what is returned, its type, parameters, arguments */
#define CALL(name, reason, failure, type, parameters, arguments)                                   \
    type name parameters {                                                                         \
        static type(*real) parameters;                                                             \
        if (real == NULL) {                                                                        \
            *(void **)&real = dlsym(RTLD_NEXT, #name);                                             \
        }                                                                                          \
        FAIL_AS(#name, reason, failure)                                                            \
        return real arguments;                                                                     \
    }

#define OPEN(name)                                                                                 \
    int name(const char *path, int flags, ...) {                                                   \
        static int (*real)(const char *, int, ...);                                                \
        va_list rest;                                                                              \
        va_start(rest, flags);                                                                     \
        mode_t mode = (flags & (O_CREAT | __O_TMPFILE)) != 0 ? va_arg(rest, mode_t) : 0;           \
        va_end(rest);                                                                              \
        if (real == NULL) {                                                                        \
            *(void **)&real = dlsym(RTLD_NEXT, #name);                                             \
        }                                                                                          \
        FAIL_AS(#name, EMFILE, -1)                                                                 \
        return real(path, flags, mode);                                                            \
    }

#define OPENAT(name)                                                                               \
    int name(int folder, const char *path, int flags, ...) {                                       \
        static int (*real)(int, const char *, int, ...);                                           \
        va_list rest;                                                                              \
        va_start(rest, flags);                                                                     \
        mode_t mode = (flags & (O_CREAT | __O_TMPFILE)) != 0 ? va_arg(rest, mode_t) : 0;           \
        va_end(rest);                                                                              \
        if (real == NULL) {                                                                        \
            *(void **)&real = dlsym(RTLD_NEXT, #name);                                             \
        }                                                                                          \
        FAIL_AS(#name, EMFILE, -1)                                                                 \
        return real(folder, path, flags, mode);                                                    \
    }

OPEN(open)
OPEN(open64)
OPENAT(openat)
OPENAT(openat64)
CALL(fopen, EMFILE, NULL, FILE *, (const char *path, const char *mode), (path, mode))
CALL(fopen64, EMFILE, NULL, FILE *, (const char *path, const char *mode), (path, mode))
CALL(fdopen, ENOMEM, NULL, FILE *, (int file, const char *mode), (file, mode))
CALL(opendir, EMFILE, NULL, DIR *, (const char *path), (path))
CALL(fdopendir, ENOMEM, NULL, DIR *, (int file), (file))
CALL(read, EIO, -1, ssize_t, (int file, void *to, size_t size), (file, to, size))
CALL(pread, EIO, -1, ssize_t, (int file, void *to, size_t size, off_t at), (file, to, size, at))
CALL(pread64, EIO, -1, ssize_t, (int file, void *to, size_t size, off_t at), (file, to, size, at))
CALL(readv, EIO, -1, ssize_t, (int file, const struct iovec *to, int count), (file, to, count))
CALL(write, EIO, -1, ssize_t, (int file, const void *from, size_t size), (file, from, size))
CALL(pwrite, EIO, -1, ssize_t, (int file, const void *from, size_t size, off_t at),
     (file, from, size, at))
CALL(pwrite64, EIO, -1, ssize_t, (int file, const void *from, size_t size, off_t at),
     (file, from, size, at))
CALL(writev, EIO, -1, ssize_t, (int file, const struct iovec *from, int count), (file, from, count))

size_t fwrite(const void *from, size_t size, size_t members, FILE *file) {
    static size_t (*real)(const void *, size_t, size_t, FILE *);
    if (real == NULL) {
        *(void **)&real = dlsym(RTLD_NEXT, "fwrite");
    }
    if (is_due("fwrite", __builtin_return_address(0))) {
        file->_flags |= 0x20; /* what ferror looks at */
        errno = EIO;
        return 0;
    }
    return real(from, size, members, file);
}

CALL(fsync, EIO, -1, int, (int file), (file))
CALL(fdatasync, EIO, -1, int, (int file), (file))
CALL(ftruncate, EIO, -1, int, (int file, off_t size), (file, size))
CALL(ftruncate64, EIO, -1, int, (int file, off_t size), (file, size))
CALL(posix_fallocate, ENOSPC, ENOSPC, int, (int file, off_t at, off_t size), (file, at, size))
CALL(fallocate, ENOSPC, -1, int, (int file, int mode, off_t at, off_t size), (file, mode, at, size))
CALL(lseek, EIO, -1, off_t, (int file, off_t at, int from), (file, at, from))
CALL(lseek64, EIO, -1, off_t, (int file, off_t at, int from), (file, at, from))
CALL(rename, EIO, -1, int, (const char *from, const char *to), (from, to))
CALL(unlink, EIO, -1, int, (const char *path), (path))
CALL(mkdir, EIO, -1, int, (const char *path, mode_t mode), (path, mode))
CALL(symlink, EIO, -1, int, (const char *to, const char *path), (to, path))
CALL(link, EIO, -1, int, (const char *from, const char *to), (from, to))
CALL(flock, ENOLCK, -1, int, (int file, int how), (file, how))
CALL(stat, EIO, -1, int, (const char *path, struct stat *status), (path, status))
CALL(lstat, EIO, -1, int, (const char *path, struct stat *status), (path, status))
CALL(fstat, EIO, -1, int, (int file, struct stat *status), (file, status))
CALL(stat64, EIO, -1, int, (const char *path, struct stat64 *status), (path, status))
CALL(lstat64, EIO, -1, int, (const char *path, struct stat64 *status), (path, status))
CALL(fstat64, EIO, -1, int, (int file, struct stat64 *status), (file, status))
CALL(posix_fallocate64, ENOSPC, ENOSPC, int, (int file, off64_t at, off64_t size), (file, at, size))
CALL(fallocate64, ENOSPC, -1, int, (int file, int mode, off64_t at, off64_t size),
     (file, mode, at, size))
CALL(realpath, EIO, NULL, char *, (const char *path, char *to), (path, to))
CALL(mmap, ENOMEM, MAP_FAILED, void *,
     (void *at, size_t size, int access, int flags, int file, off_t from),
     (at, size, access, flags, file, from))
CALL(mmap64, ENOMEM, MAP_FAILED, void *,
     (void *at, size_t size, int access, int flags, int file, off_t from),
     (at, size, access, flags, file, from))
CALL(mprotect, ENOMEM, -1, int, (void *at, size_t size, int access), (at, size, access))
CALL(madvise, ENOMEM, -1, int, (void *at, size_t size, int advice), (at, size, advice))
CALL(socket, EMFILE, -1, int, (int family, int type, int protocol), (family, type, protocol))
CALL(connect, ECONNREFUSED, -1, int, (int file, const struct sockaddr *to, socklen_t size),
     (file, to, size))
CALL(accept4, EMFILE, -1, int, (int file, struct sockaddr *from, socklen_t *size, int flags),
     (file, from, size, flags))
CALL(send, ECONNRESET, -1, ssize_t, (int file, const void *from, size_t size, int flags),
     (file, from, size, flags))
CALL(recv, ECONNRESET, -1, ssize_t, (int file, void *to, size_t size, int flags),
     (file, to, size, flags))
CALL(setsockopt, EINVAL, -1, int,
     (int file, int level, int name, const void *value, socklen_t size),
     (file, level, name, value, size))
CALL(getsockname, ENOBUFS, -1, int, (int file, struct sockaddr *name, socklen_t *size),
     (file, name, size))
CALL(epoll_ctl, ENOMEM, -1, int, (int epoll, int what, int file, struct epoll_event *event),
     (epoll, what, file, event))
CALL(pipe, EMFILE, -1, int, (int ends[2]), (ends))
CALL(pipe2, EMFILE, -1, int, (int ends[2], int flags), (ends, flags))
CALL(pthread_create, EAGAIN, EAGAIN, int,
     (pthread_t * thread, const pthread_attr_t *attributes, void *(*run)(void *), void *context),
     (thread, attributes, run, context))

/* NOLINTEND(bugprone-reserved-identifier,readability-identifier-naming,cert-dcl37-c,cert-dcl51-cpp)
 */
