/*
 * own_store.h - changing the store in the models folder. Private to hub/.
 *
 * The store is <models folder>/.ollama, laid out as ollama_store.h says. A blob of weights may be a
 * symbolic link to a GGUF file elsewhere. Everything appears under its name whole, by renaming, so
 * a kill leaves nothing but temporary files. Whoever writes manifests or removes blobs holds the
 * store's lock, over all processes; a manifest is written only while its blobs are there.
 */
#ifndef MISTRAL_HUB_OWN_STORE_H
#define MISTRAL_HUB_OWN_STORE_H

#include "hub/digest.h"
#include "hub/ollama_store.h"

/* Layers that are mentioned and not kept: what sees pictures is of no use here. */
bool own_store_needs(const struct ollama_layer *layer);

struct own_store {
    struct string_buffer root;
    int lock; /* -1: not held */
};

/* Makes the folders. Release with own_store_close, also after a failure. */
bool own_store_open(const struct config *config, struct own_store *store, struct error *error);
/* Waits for its turn: for as long as others write manifests, not for downloads. */
bool own_store_lock(struct own_store *store, struct error *error);
void own_store_unlock(struct own_store *store);
void own_store_close(struct own_store *store);

/* The size of a blob that is there and whole as far as that can be told; false: there is none. */
bool own_store_has_blob(const struct own_store *store, const char *digest, uint64_t *bytes);

/* Puts a text into the store; *existed (may be NULL): it was there. */
bool own_store_put_text(const struct own_store *store, const char *text, size_t length,
                        char digest[DIGEST_HEX_BYTES], bool *existed, struct error *error);

/* With the lock held: replaces the manifest of that name, and removes the blobs that nothing
 * mentions any more. ERROR_NOT_FOUND when a blob that it mentions, and that is needed, is not
 * there. */
bool own_store_put_manifest(const struct own_store *store, const struct ollama_name *name,
                            const char *text, size_t length, struct error *error);

/* With the lock held: removes the blobs that a manifest mentions which is not there, unless another
 * one mentions them. */
void own_store_forget(const struct own_store *store, const struct ollama_manifest *manifest);

/* With the lock held: removes a manifest, given by its path, and what nothing else mentions. */
bool own_store_remove(const struct own_store *store, const char *manifest_path,
                      struct error *error);

#endif
