/*
 * ollama_registry.h - fetching from Ollama's registry, or one that speaks its protocol, into our
 * store. Private to hub/.
 *
 * GET /v2/<namespace>/<model>/manifests/<tag> lists the model's layers by checksum; GET
 * /v2/<namespace>/<model>/blobs/<digest>, which redirects, has their bytes. A registry that answers
 * 401 names where a token is to be had
 * (https://distribution.github.io/distribution/spec/auth/token).
 */
#ifndef MISTRAL_HUB_OLLAMA_REGISTRY_H
#define MISTRAL_HUB_OLLAMA_REGISTRY_H

#include "hub/ollama_store.h"
#include "hub/session.h"

/* session->endpoint is the registry. */
bool ollama_registry_pull(struct hub_session *session, const struct ollama_name *name,
                          struct hub_pull_result *result, struct error *error);

#endif
