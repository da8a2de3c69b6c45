/*
 * file_guard.c - see file_guard.h. The handler may interrupt any code on any thread. It reads a
 * list whose blocks are never freed, through atomics, and calls nothing but mmap and sigaction.
 */
#include "base/file_guard.h"

#include "base/file.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

enum { GUARDS_A_BLOCK = 64 };

struct file_guard {
    _Atomic uintptr_t begin, end; /* whole pages; begin 0: guards nothing */
    atomic_bool is_lost;
    bool is_taken; /* under `lock`, like all below */
    int file;
    off_t size; /* when it was mapped */
    struct timespec modified;
};

struct guard_block {
    struct file_guard guards[GUARDS_A_BLOCK];
    _Atomic(struct guard_block *) next;
};

static struct guard_block first_block;
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_once_t once = PTHREAD_ONCE_INIT;

static const int fault_signals[] = {
    SIGBUS,
#ifdef __APPLE__
    SIGSEGV,
#endif
};
enum { FAULT_SIGNAL_COUNT = sizeof fault_signals / sizeof fault_signals[0] };
static struct sigaction previous[FAULT_SIGNAL_COUNT]; /* constant once the handler is there */
static uintptr_t page_bytes;                          /* likewise */

/* ---- in the handler ---- */

/* The guard whose map holds the address. A guard that is being made or removed cannot be the one
 * that is looked for: somebody reads its map. Another one's begin and end may belong to two maps,
 * one after the other; then its begin has changed between two looks. */
static struct file_guard *find(uintptr_t address) {
    for (struct guard_block *block = &first_block; block != NULL;
         block = atomic_load(&block->next)) {
        for (size_t i = 0; i < GUARDS_A_BLOCK; i++) {
            struct file_guard *guard = &block->guards[i];
            uintptr_t begin = atomic_load(&guard->begin);
            uintptr_t end = atomic_load(&guard->end);
            if (begin != 0 && address >= begin && address < end &&
                atomic_load(&guard->begin) == begin) {
                return guard;
            }
        }
    }
    return NULL;
}

/* Zeros in the place of the map. All of it: a map a page would soon be more than the system has. */
static bool lose(struct file_guard *guard) {
    uintptr_t begin = atomic_load(&guard->begin), end = atomic_load(&guard->end);
    atomic_store(&guard->is_lost, true); /* before anybody can read a zero */
    return mmap((void *)begin, end - begin, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1,
                0) != MAP_FAILED;
}

/* As if there were no handler here. */
static void pass_on(int number, bool was_sent, siginfo_t *info, void *context) {
    const struct sigaction *action = &previous[0];
    for (size_t i = 0; i < FAULT_SIGNAL_COUNT; i++) {
        action = fault_signals[i] == number ? &previous[i] : action;
    }
    if ((action->sa_flags & SA_SIGINFO) != 0) {
        action->sa_sigaction(number, info, context);
    } else if (action->sa_handler != SIG_DFL && action->sa_handler != SIG_IGN) {
        action->sa_handler(number);
    } else if (!was_sent || action->sa_handler == SIG_DFL) {
        /* The instruction that faulted runs again, and ends the process where it stands. */
        const struct sigaction by_default = {.sa_handler = SIG_DFL};
        sigaction(number, &by_default, NULL);
        if (was_sent) {
            raise(number);
        }
    }
}

static void on_fault(int number, siginfo_t *info, void *context) {
    int kept = errno;
    bool was_sent = info->si_code <= 0 || info->si_code == SI_USER || info->si_code == SI_QUEUE;
    struct file_guard *guard = was_sent ? NULL : find((uintptr_t)info->si_addr);
    if (guard == NULL || !lose(guard)) {
        pass_on(number, was_sent, info, context);
    }
    errno = kept;
}

static void install(void) {
    page_bytes = (uintptr_t)sysconf(_SC_PAGESIZE);
    struct sigaction action = {.sa_sigaction = on_fault,
                               .sa_flags = SA_SIGINFO | SA_ONSTACK | SA_RESTART};
    sigemptyset(&action.sa_mask);
    for (size_t i = 0; i < FAULT_SIGNAL_COUNT; i++) {
        sigaction(fault_signals[i], NULL, &previous[i]); /* known before it can be asked for */
        sigaction(fault_signals[i], &action, NULL);
    }
}

/* ---- for everybody else ---- */

/* Under the lock. NULL: no memory. */
static struct file_guard *take(void) {
    for (struct guard_block *block = &first_block;; block = atomic_load(&block->next)) {
        for (size_t i = 0; i < GUARDS_A_BLOCK; i++) {
            if (!block->guards[i].is_taken) {
                block->guards[i].is_taken = true;
                return &block->guards[i];
            }
        }
        if (atomic_load(&block->next) == NULL) {
            struct guard_block *more = calloc(1, sizeof *more);
            if (more == NULL) {
                return NULL;
            }
            atomic_store(&block->next, more);
        }
    }
}

struct file_guard *file_guard_add(const void *begin, size_t length, int file, struct error *error) {
    struct stat status;
    if (fstat(file, &status) != 0) {
        error_set_errno(error, errno, "cannot read the status of a file");
        return NULL;
    }
    pthread_once(&once, install);
    pthread_mutex_lock(&lock);
    struct file_guard *guard = take();
    pthread_mutex_unlock(&lock);
    if (guard == NULL) {
        error_set(error, ERROR_OUT_OF_MEMORY, "no memory for a mapped file");
        return NULL;
    }
    guard->file = file;
    guard->size = status.st_size;
    guard->modified = file_modified(&status);
    atomic_store(&guard->is_lost, false);
    uintptr_t end = (uintptr_t)begin + length;
    atomic_store(&guard->end, (end + page_bytes - 1) / page_bytes * page_bytes);
    atomic_store(&guard->begin, (uintptr_t)begin); /* last: now it is found */
    return guard;
}

void file_guard_remove(struct file_guard *guard) {
    atomic_store(&guard->begin, 0);
    close(guard->file);
    pthread_mutex_lock(&lock);
    guard->is_taken = false;
    pthread_mutex_unlock(&lock);
}

void file_guard_begin_at(struct file_guard *guard, const void *begin) {
    atomic_store(&guard->begin, (uintptr_t)begin);
}

bool file_guard_check(const struct file_guard *guard, const char *path, struct error *error) {
    struct stat now;
    bool is_lost = atomic_load(&guard->is_lost);
    if (fstat(guard->file, &now) != 0) {
        return error_set(error, ERROR_IO, "'%s' can no longer be read: %s", path, strerror(errno));
    }
    if (now.st_size < guard->size) {
        return error_set(error, ERROR_IO,
                         "'%s' was cut short while it was in use: it had %lld bytes and has %lld",
                         path, (long long)guard->size, (long long)now.st_size);
    }
    struct timespec modified = file_modified(&now);
    if (now.st_size != guard->size || modified.tv_sec != guard->modified.tv_sec ||
        modified.tv_nsec != guard->modified.tv_nsec) {
        return error_set(error, ERROR_IO, "'%s' was overwritten while it was in use", path);
    }
    return !is_lost || error_set(error, ERROR_IO,
                                 "'%s' can no longer be read: part of it was cut off, or its disk "
                                 "failed, while it was in use",
                                 path);
}

void file_guard_thread(void) {
    sigset_t taken;
    sigemptyset(&taken);
    for (size_t i = 0; i < FAULT_SIGNAL_COUNT; i++) {
        sigaddset(&taken, fault_signals[i]);
    }
    pthread_sigmask(SIG_UNBLOCK, &taken, NULL);
}
