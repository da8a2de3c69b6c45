/* download.c - see download.h. */
#include "hub/download.h"

#include "base/bytes.h"
#include "hub/ranges.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

enum {
    HASH_BUFFER_BYTES = 1 << 18,
    ENOUGH_PROGRESS = 1 << 16, /* bytes after which earlier failures are forgotten */
};

/* A download under way. */
struct part {
    struct hub_session *session;
    const struct download *download;
    const char *name;    /* of the file, for progress */
    char path[PATH_MAX]; /* of the .part */
    int file;            /* locked; -1: none */
    uint64_t size;       /* bytes in the part, all of them in the digest */
    struct digest *digest;
    struct error *error;
    bool failed;    /* on_bytes has set *error */
    bool restarted; /* after a 416 */
    bool in_ranges; /* the part has a journal, and is hashed when it is whole */
};

static const char *name_of(const char *path) {
    const char *slash = strrchr(path, '/');
    return slash == NULL ? path : slash + 1;
}

static void report(const struct part *part, enum hub_stage stage) {
    session_report(part->session, stage, part->name, part->size, part->download->bytes, NULL);
}

/* Disk errors. */

/* A file-size limit (EFBIG) is a full disk to whoever runs into it. */
static bool fail_write(struct part *part, int reason) {
    bool full = reason == ENOSPC || reason == EDQUOT || reason == EFBIG;
    if (!full) {
        return error_set_errno(part->error, reason, "cannot write '%s'", part->path);
    }
    return error_set(part->error, ERROR_NO_SPACE,
                     "cannot write '%s': %s. %llu of %llu bytes are kept: make room and pull again "
                     "to go on from there, or remove that file",
                     part->path, strerror(reason), (unsigned long long)part->size,
                     (unsigned long long)part->download->bytes);
}

static bool check_space(struct part *part) {
    struct statvfs status;
    uint64_t needed = part->download->bytes - part->size;
    if (fstatvfs(part->file, &status) != 0 || status.f_frsize == 0) {
        return true; /* not every file system tells; writing will show */
    }
    uint64_t available = (uint64_t)status.f_bavail * status.f_frsize;
    if (available >= needed) {
        return true;
    }
    return error_set(
        part->error, ERROR_NO_SPACE,
        "%s needs %.2f GiB more and %s has %.2f GiB free: make room, or choose another "
        "folder with --models-path",
        part->name, (double)needed * 0x1p-30, part->session->folder, (double)available * 0x1p-30);
}

/* The part file. */

/* Another process may have finished and renamed the file between open and lock; then the path no
 * longer leads to what was opened. */
static bool is_still_there(const struct part *part) {
    struct stat opened;
    struct stat named;
    return fstat(part->file, &opened) == 0 && stat(part->path, &named) == 0 &&
           opened.st_ino == named.st_ino && opened.st_dev == named.st_dev;
}

static bool open_part(struct part *part) {
    do {
        if (part->file >= 0) {
            close(part->file);
        }
        part->file = open(part->path, O_RDWR | O_CREAT | O_CLOEXEC, 0644);
        if (part->file < 0) {
            return error_set_errno(part->error, errno, "cannot create '%s'", part->path);
        }
        if (flock(part->file, LOCK_EX | LOCK_NB) != 0 && errno == EWOULDBLOCK) {
            return error_set(part->error, ERROR_BUSY, "another pull of %s is under way",
                             part->name);
        }
    } while (!is_still_there(part));
    return true;
}

static bool restart_part(struct part *part) {
    part->size = 0;
    if (!digest_restart(part->digest)) {
        return error_set(part->error, ERROR_OUT_OF_MEMORY, "no memory for a checksum");
    }
    if (ftruncate(part->file, 0) != 0 || lseek(part->file, 0, SEEK_SET) < 0) {
        return error_set_errno(part->error, errno, "cannot empty '%s'", part->path);
    }
    return true;
}

static bool hash_rest(struct part *part, uint64_t limit) {
    char *buffer = malloc(HASH_BUFFER_BYTES);
    if (buffer == NULL) {
        return error_set(part->error, ERROR_OUT_OF_MEMORY, "no memory for a checksum");
    }
    bool done = true;
    while (done && part->size < limit) {
        ssize_t count = read(part->file, buffer,
                             (size_t)(limit - part->size < HASH_BUFFER_BYTES ? limit - part->size
                                                                             : HASH_BUFFER_BYTES));
        if (count < 0 && errno == EINTR) {
            continue;
        }
        if (count <= 0) {
            done = error_set_errno(part->error, count == 0 ? EIO : errno, "cannot read '%s'",
                                   part->path);
        } else if (session_is_cancelled(part->session)) {
            done = error_set(part->error, ERROR_CANCELLED, "cancelled");
        } else if (!digest_update(part->digest, buffer, (size_t)count)) {
            done = error_set(part->error, ERROR_OUT_OF_MEMORY, "no memory for a checksum");
        } else {
            part->size += (uint64_t)count;
            report(part, HUB_CHECKING);
        }
    }
    free(buffer);
    return done;
}

/* Takes over what an earlier run left, if it can be trusted to be of the same file. */
static bool resume_part(struct part *part) {
    struct stat status;
    if (fstat(part->file, &status) != 0) {
        return error_set_errno(part->error, errno, "cannot read '%s'", part->path);
    }
    uint64_t there = S_ISREG(status.st_mode) ? (uint64_t)status.st_size : 0;
    if (part->download->sha256[0] == '\0') {
        return restart_part(part);
    }
    if (ranges_have_journal(part->download, part->file, there) ||
        (ranges_are_worth(part->download) && there < part->download->bytes)) {
        part->in_ranges = true;
        part->size = there;
        return true;
    }
    return there <= part->download->bytes ? hash_rest(part, there) : restart_part(part);
}

/* Fetching. */

static bool write_fully(struct part *part, const char *bytes, size_t length) {
    while (length > 0) {
        ssize_t count = write(part->file, bytes, length);
        if (count < 0 && errno == EINTR) {
            continue;
        }
        if (count < 0) {
            return fail_write(part, errno);
        }
        if (!digest_update(part->digest, bytes, (size_t)count)) {
            return error_set(part->error, ERROR_OUT_OF_MEMORY, "no memory for a checksum");
        }
        part->size += (uint64_t)count;
        bytes += count;
        length -= (size_t)count;
    }
    return true;
}

static bool take_bytes(struct part *part, const struct http_response *response, const char *bytes,
                       size_t length, bool first) {
    if (first && response->status == 200 && part->size > 0 && !restart_part(part)) {
        return false; /* the server knows no ranges */
    }
    if (first && response->status == 206 && response->range_start != (int64_t)part->size) {
        return error_set(part->error, ERROR_NETWORK,
                         "%s: the server sent another range than was asked for", part->name);
    }
    if (length > part->download->bytes - part->size) {
        return error_set(part->error, ERROR_NETWORK,
                         "%s: the server sent more than the %llu bytes it had announced",
                         part->name, (unsigned long long)part->download->bytes);
    }
    return write_fully(part, bytes, length);
}

/* The context of one request. */
struct attempt {
    struct part *part;
    bool started; /* the first bytes have come */
};

static bool on_bytes(void *context, const struct http_response *response, const char *bytes,
                     size_t length) {
    struct attempt *attempt = context;
    struct part *part = attempt->part;
    if (!take_bytes(part, response, bytes, length, !attempt->started)) {
        part->failed = true;
        return false;
    }
    attempt->started = true;
    report(part, HUB_FETCHING);
    return true;
}

static bool on_cancelled(void *context) {
    const struct attempt *attempt = context;
    return session_is_cancelled(attempt->part->session);
}

/* What one request left undone: go on (true), or give up. */
static bool handle_failure(struct part *part, const struct http_response *response, bool answered,
                           size_t *failures) {
    if (part->failed || (!answered && !response->transient)) {
        return false; /* *error is set */
    }
    if (answered && response->status == 416) { /* the file ends before what is asked for */
        bool again = part->size > 0 && !part->restarted;
        part->restarted = true;
        return again
                   ? restart_part(part)
                   : error_set(part->error, ERROR_NETWORK,
                               "%s: the server has fewer bytes than it had announced", part->name);
    }
    bool is_short = answered && (response->status == 200 || response->status == 206);
    if (answered && !response->transient && !is_short) {
        return part->download->refused(part->session, part->download->repository, response,
                                       part->error);
    }
    struct http_response failure = *response;
    if (is_short) {
        snprintf(failure.reason, sizeof failure.reason, "the server ended the file early");
    }
    return session_wait_to_retry(part->session, &failure, failures, part->name, part->size,
                                 part->download->bytes, part->error);
}

static bool fetch(struct part *part) {
    size_t failures = 0;
    uint64_t most = part->size; /* that the part has ever had: fetching it again is no progress */
    while (part->size < part->download->bytes) {
        struct attempt attempt = {.part = part};
        struct http_request request = session_request(part->session, part->download->url);
        request.range_start = part->size;
        request.body = on_bytes;
        request.cancelled = on_cancelled;
        request.context = &attempt;
        report(part, HUB_FETCHING);
        struct http_response response;
        bool answered = http_get(&request, &response, part->error);
        if (part->size == part->download->bytes && !part->failed) {
            break;
        }
        if (part->size >= most + ENOUGH_PROGRESS) {
            failures = 0;
            most = part->size;
        }
        if (!handle_failure(part, &response, answered, &failures)) {
            return false;
        }
    }
    return true;
}

/* Over several connections; then the whole is hashed. */
static bool fetch_ranges(struct part *part) {
    struct ranges *ranges = NULL;
    const struct download *download = part->download;
    if (!ranges_create(download, part->file, part->size, &ranges, part->error)) {
        return false;
    }
    part->size = ranges_done_bytes(ranges);
    enum ranges_outcome outcome =
        check_space(part) ? ranges_fetch(ranges, part->name, part->error) : RANGES_FAILED;
    part->size = ranges_done_bytes(ranges);
    ranges_free(ranges);
    if (outcome == RANGES_NOT_OFFERED) {
        part->in_ranges = false;
        return restart_part(part) && fetch(part);
    }
    if (outcome == RANGES_FAILED) {
        return false;
    }
    part->size = 0;
    if (lseek(part->file, 0, SEEK_SET) < 0 || ftruncate(part->file, (off_t)download->bytes) != 0) {
        return error_set_errno(part->error, errno, "cannot read '%s'", part->path);
    }
    return hash_rest(part, download->bytes);
}

static bool fetch_all(struct part *part) {
    return part->in_ranges ? fetch_ranges(part) : check_space(part) && fetch(part);
}

/* The end. */

static bool finish(struct part *part, char sha256[DIGEST_HEX_BYTES]) {
    const struct download *download = part->download;
    if (!digest_finish(part->digest, sha256)) {
        return error_set(part->error, ERROR_OUT_OF_MEMORY, "no memory for a checksum");
    }
    if (download->sha256[0] != '\0' && strcmp(download->sha256, sha256) != 0) {
        unlink(part->path);
        return error_set(
            part->error, ERROR_FORMAT,
            "%s arrived with a wrong checksum (%.12s…, expected %.12s…) and was "
            "removed: pull again; if it happens twice, the source or a proxy on the way "
            "is broken",
            part->name, sha256, download->sha256);
    }
    if (fsync(part->file) != 0) {
        return fail_write(part, errno);
    }
    if (rename(part->path, download->path) != 0) {
        return error_set_errno(part->error, errno, "cannot rename '%s' to '%s'", part->path,
                               download->path);
    }
    return true;
}

/* What has arrived stays, and the message says so. */
static void mention_part(struct part *part) {
    bool keeps = part->error != NULL && part->size > 0 && part->download->sha256[0] != '\0' &&
                 (part->error->code == ERROR_CANCELLED || part->error->code == ERROR_NETWORK ||
                  (part->error->code == ERROR_NO_SPACE && part->in_ranges));
    if (keeps) {
        struct error reason = *part->error;
        error_set(part->error, reason.code,
                  "%s; %llu of %llu bytes are kept, and the next pull "
                  "goes on from there",
                  reason.message, (unsigned long long)part->size,
                  (unsigned long long)part->download->bytes);
    } else if (part->file >= 0 && part->size == 0) {
        unlink(part->path);
    }
}

bool download_run(const struct download *download, char sha256[DIGEST_HEX_BYTES],
                  struct error *error) {
    struct error unwanted;
    struct part part = {.session = download->session,
                        .download = download,
                        .name = download->label,
                        .file = -1,
                        .digest = digest_create(),
                        .error = error == NULL ? &unwanted : error};
    int length = snprintf(part.path, sizeof part.path, "%s.%.12s%spart", download->path,
                          download->sha256, download->sha256[0] == '\0' ? "" : ".");
    bool done = false;
    bool locked = false;
    if (part.digest == NULL) {
        error_set(error, ERROR_OUT_OF_MEMORY, "no memory for a checksum");
    } else if (length < 0 || (size_t)length >= sizeof part.path) {
        error_set(error, ERROR_INVALID_ARGUMENT, "the path '%.200s' is too long", download->path);
    } else {
        locked = open_part(&part);
        done = locked && resume_part(&part) && fetch_all(&part) && finish(&part, sha256);
    }
    if (locked && !done) {
        mention_part(&part);
    }
    if (part.file >= 0) {
        close(part.file);
    }
    digest_free(part.digest);
    return done;
}

bool download_hash_file(struct hub_session *session, const char *path,
                        char sha256[DIGEST_HEX_BYTES], struct error *error) {
    struct download download = {.path = path};
    struct part part = {.session = session,
                        .download = &download,
                        .name = name_of(path),
                        .digest = digest_create(),
                        .error = error};
    snprintf(part.path, sizeof part.path, "%s", path);
    part.file = open(path, O_RDONLY | O_CLOEXEC);
    struct stat status;
    bool done = false;
    if (part.digest == NULL) {
        error_set(error, ERROR_OUT_OF_MEMORY, "no memory for a checksum");
    } else if (part.file < 0 || fstat(part.file, &status) != 0) {
        error_set_errno(error, errno, "cannot read '%s'", path);
    } else {
        download.bytes = (uint64_t)status.st_size;
        done = hash_rest(&part, download.bytes) && digest_finish(part.digest, sha256);
    }
    if (part.file >= 0) {
        close(part.file);
    }
    digest_free(part.digest);
    return done;
}
