/*
 * digest.h - SHA-256, by OpenSSL's libcrypto (which libcurl brings along anyway). Private to hub/.
 */
#ifndef MISTRAL_HUB_DIGEST_H
#define MISTRAL_HUB_DIGEST_H

#include <stdbool.h>
#include <stddef.h>

enum { DIGEST_HEX_BYTES = 65 }; /* 64 digits and the NUL */

struct digest;

struct digest *digest_create(void);      /* NULL when memory runs out */
void digest_free(struct digest *digest); /* NULL allowed */
bool digest_restart(struct digest *digest);
bool digest_update(struct digest *digest, const void *bytes, size_t length);
/* Lower-case digits. The digest must be restarted before it is used again. */
bool digest_finish(struct digest *digest, char hex[DIGEST_HEX_BYTES]);
/* All at once. */
bool digest_of(const void *bytes, size_t length, char hex[DIGEST_HEX_BYTES]);

#endif
