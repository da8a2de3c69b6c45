/* callgrind.c - see callgrind.h. Callgrind writes a profile each time the function returns, with
 * what was executed since the last; their numbers are the calls'. */
#include "bench/callgrind.h"

#include "base/file.h"

#include <errno.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

extern char **environ; // NOLINT(readability-redundant-declaration): macOS declares none

enum { MOST_ARGUMENTS = 32, PROFILE_LIMIT = 1 << 26 };

static bool run_to_end(char *const *arguments, struct error *error) {
    pid_t process;
    int status = posix_spawnp(&process, arguments[0], NULL, NULL, arguments, environ);
    if (status == ENOENT) {
        return error_set(error, ERROR_NOT_FOUND,
                         "counting instructions needs valgrind, which is not installed (Debian, "
                         "Ubuntu: apt install valgrind)");
    }
    if (status != 0) {
        return error_set_errno(error, status, "cannot start valgrind");
    }
    int result;
    while (waitpid(process, &result, 0) < 0) {
        if (errno != EINTR) {
            return error_set_errno(error, errno, "cannot wait for valgrind");
        }
    }
    if (WIFEXITED(result) && WEXITSTATUS(result) == 0) {
        return true;
    }
    bool interrupted = WIFSIGNALED(result) || WEXITSTATUS(result) == 130;
    return error_set(error, interrupted ? ERROR_CANCELLED : ERROR_IO,
                     interrupted ? "interrupted" : "the program failed under valgrind");
}

static bool read_total(const char *path, uint64_t *total, struct error *error) {
    char *text = NULL;
    size_t length = 0;
    if (!file_read_all(path, PROFILE_LIMIT, &text, &length, error)) {
        return error_prefix(error, "callgrind left too few profiles");
    }
    const char *line = strstr(text, "\ntotals: ");
    const char *digits = line == NULL ? "" : line + strlen("\ntotals: ");
    char *end = NULL;
    errno = 0;
    *total = strtoull(digits, &end, 10);
    bool done = (end != digits && errno == 0) ||
                error_set(error, ERROR_FORMAT, "%s: callgrind's profile has no totals", path);
    free(text);
    return done;
}

/* Reads the profiles that are wanted and removes all there are. */
static bool read_profiles(const char *folder, uint64_t *counts, size_t count, struct error *error) {
    char path[512];
    bool done = true;
    for (size_t i = 1;; i++) {
        snprintf(path, sizeof path, "%s/profile.%zu", folder, i);
        if (!file_exists(path)) {
            break;
        }
        done = done && (i > count || read_total(path, &counts[i - 1], error));
        unlink(path);
        if (i == count) {
            count = SIZE_MAX; /* all are there */
        }
    }
    snprintf(path, sizeof path, "%s/profile", folder);
    unlink(path);
    return done && (count == SIZE_MAX ||
                    error_set(error, ERROR_FORMAT, "callgrind saw fewer calls than there are"));
}

bool callgrind_count(const char *const *arguments, const char *function, uint64_t *counts,
                     size_t count, struct error *error) {
    char folder[256], out[320], toggle[128], dump[128];
    const char *temporary = getenv("TMPDIR");
    snprintf(folder, sizeof folder, "%.200s/mistral-callgrind-XXXXXX",
             temporary == NULL ? "/tmp" : temporary);
    if (mkdtemp(folder) == NULL) {
        return error_set_errno(error, errno, "cannot make the folder '%s'", folder);
    }
    snprintf(out, sizeof out, "--callgrind-out-file=%s/profile", folder);
    snprintf(toggle, sizeof toggle, "--toggle-collect=%s", function);
    snprintf(dump, sizeof dump, "--dump-after=%s", function);
    const char *all[MOST_ARGUMENTS] = {"valgrind", "--quiet", "--tool=callgrind",
                                       out,        toggle,    dump};
    size_t used = 6;
    while (*arguments != NULL && used < MOST_ARGUMENTS - 1) {
        all[used++] = *arguments++;
    }
    bool done = run_to_end((char *const *)all, error);
    done = read_profiles(folder, counts, count, done ? error : NULL) && done;
    rmdir(folder);
    return done;
}
