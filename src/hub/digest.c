/* digest.c - see digest.h. */
#include "hub/digest.h"

#include <openssl/evp.h>
#include <stdio.h>
#include <stdlib.h>

struct digest {
    EVP_MD_CTX *context;
};

struct digest *digest_create(void) {
    struct digest *digest = calloc(1, sizeof *digest);
    if (digest == NULL) {
        return NULL;
    }
    digest->context = EVP_MD_CTX_new();
    if (digest->context == NULL || !digest_restart(digest)) {
        digest_free(digest);
        return NULL;
    }
    return digest;
}

void digest_free(struct digest *digest) {
    if (digest != NULL) {
        EVP_MD_CTX_free(digest->context);
        free(digest);
    }
}

bool digest_restart(struct digest *digest) {
    return EVP_DigestInit_ex(digest->context, EVP_sha256(), NULL) == 1;
}

bool digest_update(struct digest *digest, const void *bytes, size_t length) {
    return EVP_DigestUpdate(digest->context, bytes, length) == 1;
}

bool digest_finish(struct digest *digest, char hex[DIGEST_HEX_BYTES]) {
    unsigned char bytes[EVP_MAX_MD_SIZE];
    unsigned int length = 0;
    if (EVP_DigestFinal_ex(digest->context, bytes, &length) != 1 ||
        length * 2 + 1 != DIGEST_HEX_BYTES) {
        return false;
    }
    for (unsigned int i = 0; i < length; i++) {
        snprintf(hex + (size_t)i * 2, 3, "%02x", bytes[i]);
    }
    return true;
}

bool digest_of(const void *bytes, size_t length, char hex[DIGEST_HEX_BYTES]) {
    struct digest *digest = digest_create();
    bool done =
        digest != NULL && digest_update(digest, bytes, length) && digest_finish(digest, hex);
    digest_free(digest);
    return done;
}
