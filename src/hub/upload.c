/*
 * upload.c - a file that a client sends, whose checksum it knows; see hub.h.
 *
 * It arrives in blobs/upload-<process>-<number>, held by a lock for as long as somebody writes it.
 * What a killed process left behind is removed when the next upload begins.
 */
#include "base/bytes.h"
#include "hub/own_store.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

struct hub_upload {
    struct own_store store;
    struct string_buffer path;
    int file;
    struct digest *digest;
    char sha256[DIGEST_HEX_BYTES]; /* what it must be */
};

static const char prefix[] = "upload-";

static void free_upload(struct hub_upload *upload) {
    if (upload->file >= 0) {
        close(upload->file);
    }
    digest_free(upload->digest);
    own_store_close(&upload->store);
    string_buffer_deinit(&upload->path);
    free(upload);
}

/* With the store's lock held, so that no upload is between its creation and its lock. */
static void sweep(const struct own_store *store) {
    struct string_buffer folder = {0};
    string_buffer_append_format(&folder, "%s/blobs", string_buffer_text(&store->root));
    DIR *directory = opendir(string_buffer_text(&folder));
    const struct dirent *entry;
    while (directory != NULL && (entry = readdir(directory)) != NULL) {
        if (strncmp(entry->d_name, prefix, sizeof prefix - 1) == 0) {
            int file = openat(dirfd(directory), entry->d_name, O_RDWR | O_CLOEXEC | O_NOFOLLOW);
            if (file >= 0 && flock(file, LOCK_EX | LOCK_NB) == 0) {
                unlinkat(dirfd(directory), entry->d_name, 0);
            }
            if (file >= 0) {
                close(file);
            }
        }
    }
    if (directory != NULL) {
        closedir(directory);
    }
    string_buffer_deinit(&folder);
}

static bool check_space(const struct hub_upload *upload, uint64_t bytes, struct error *error) {
    struct statvfs status;
    if (fstatvfs(upload->file, &status) != 0 || status.f_frsize == 0) {
        return true; /* writing will show */
    }
    uint64_t available = (uint64_t)status.f_bavail * status.f_frsize;
    return available >= bytes ||
           error_set(error, ERROR_NO_SPACE,
                     "the file has %.2f GiB and the models folder's disk has %.2f GiB free",
                     (double)bytes * 0x1p-30, (double)available * 0x1p-30);
}

static bool create_file(struct hub_upload *upload, struct error *error) {
    static atomic_uint number;
    if (!own_store_lock(&upload->store, error)) {
        return false;
    }
    sweep(&upload->store);
    string_buffer_append_format(&upload->path, "%s/blobs/%s%ld-%u",
                                string_buffer_text(&upload->store.root), prefix, (long)getpid(),
                                atomic_fetch_add(&number, 1));
    upload->file =
        open(string_buffer_text(&upload->path), O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0644);
    bool done = upload->file >= 0 && flock(upload->file, LOCK_EX | LOCK_NB) == 0;
    if (!done) {
        error_set_errno(error, errno, "cannot create '%s'", string_buffer_text(&upload->path));
    }
    own_store_unlock(&upload->store);
    return done;
}

bool hub_upload_begin(const struct config *config, const char *sha256, uint64_t bytes,
                      struct hub_upload **upload, struct error *error) {
    struct hub_upload *made = calloc(1, sizeof *made);
    uint64_t there;
    *upload = NULL;
    if (made == NULL) {
        return error_set(error, ERROR_OUT_OF_MEMORY, "no memory for an upload");
    }
    made->file = -1;
    made->digest = digest_create();
    memcpy(made->sha256, sha256, sizeof made->sha256);
    bool done = (made->digest != NULL ||
                 error_set(error, ERROR_OUT_OF_MEMORY, "no memory for an upload")) &&
                own_store_open(config, &made->store, error);
    if (done && own_store_has_blob(&made->store, sha256, &there)) {
        free_upload(made);
        return true;
    }
    done = done && create_file(made, error) && check_space(made, bytes, error);
    if (done) {
        *upload = made;
    } else {
        hub_upload_abandon(made);
    }
    return done;
}

bool hub_upload_write(struct hub_upload *upload, const void *bytes, size_t length,
                      struct error *error) {
    const char *rest = bytes;
    if (!digest_update(upload->digest, bytes, length)) {
        return error_set(error, ERROR_OUT_OF_MEMORY, "no memory for a checksum");
    }
    while (length > 0) {
        ssize_t count = write(upload->file, rest, length);
        if (count < 0 && errno != EINTR) {
            return error_set_errno(error, errno, "cannot write '%s'",
                                   string_buffer_text(&upload->path));
        }
        rest += count > 0 ? count : 0;
        length -= count > 0 ? (size_t)count : 0;
    }
    return true;
}

static bool put_in_place(struct hub_upload *upload, struct error *error) {
    struct string_buffer path = {0};
    ollama_append_blob(string_buffer_text(&upload->store.root), upload->sha256, &path);
    bool done = (fsync(upload->file) == 0 && !path.failed &&
                 rename(string_buffer_text(&upload->path), string_buffer_text(&path)) == 0) ||
                error_set_errno(error, errno, "cannot write '%s'", string_buffer_text(&path));
    string_buffer_deinit(&path);
    return done;
}

bool hub_upload_finish(struct hub_upload *upload, struct error *error) {
    char sha256[DIGEST_HEX_BYTES];
    bool done = digest_finish(upload->digest, sha256) ||
                error_set(error, ERROR_OUT_OF_MEMORY, "no memory for a checksum");
    if (done && strcmp(sha256, upload->sha256) != 0) {
        done = error_set(error, ERROR_INVALID_ARGUMENT,
                         "digest mismatch, expected \"sha256:%s\", got \"sha256:%s\"",
                         upload->sha256, sha256);
    }
    done = done && put_in_place(upload, error);
    if (done) {
        free_upload(upload);
    } else {
        hub_upload_abandon(upload);
    }
    return done;
}

void hub_upload_abandon(struct hub_upload *upload) {
    if (upload != NULL) {
        if (upload->file >= 0) {
            unlink(string_buffer_text(&upload->path));
        }
        free_upload(upload);
    }
}
