/*
 * download.h - one file from the network to the disk, so that what appears under its name is whole
 * and right. Private to hub/.
 *
 * Bytes go into <name>.<first 12 digits of its checksum>.part, which one process at a time may
 * write (a lock). A part left by an earlier run is hashed and continued by a ranged request; since
 * the name holds the checksum, it can only be a part of the same content, and the checksum of the
 * whole is compared at the end whatever happened on the way. A large file comes over several
 * connections, see ranges.h, where the server offers ranges.
 */
#ifndef MISTRAL_HUB_DOWNLOAD_H
#define MISTRAL_HUB_DOWNLOAD_H

#include "hub/digest.h"
#include "hub/session.h"

struct download {
    struct hub_session *session;
    const char *repository; /* for messages */
    const char *label;      /* what progress and messages call the file */
    const char *url;
    const char *path;   /* the file to make */
    uint64_t bytes;     /* its size */
    const char *sha256; /* 64 lower-case digits, or "": then only the size is checked, and a part
                           of an earlier run is not used */
    /* Turns an answer that is neither 200 nor 206 into an error with advice. Returns false. Any
     * thread. */
    bool (*refused)(const struct hub_session *session, const char *repository,
                    const struct http_response *response, struct error *error);
};

bool download_run(const struct download *download, char sha256[DIGEST_HEX_BYTES],
                  struct error *error);

/* The checksum of a file that is there already. */
bool download_hash_file(struct hub_session *session, const char *path,
                        char sha256[DIGEST_HEX_BYTES], struct error *error);

#endif
