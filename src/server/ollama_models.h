/* ollama_models.h - the members that listing and showing models have in common. */
#ifndef MISTRAL_SERVER_OLLAMA_MODELS_H
#define MISTRAL_SERVER_OLLAMA_MODELS_H

#include "base/json_writer.h"
#include "hub/hub.h"
#include "server/model_facts.h"

void ollama_write_details(struct json_writer *json, const struct model_facts *facts);
void ollama_write_capabilities(struct json_writer *json, const struct model_facts *facts);
/* The store's checksum; where it has none, 64 digits that change with the file's path, size and
 * time: clients cut it to twelve. */
void ollama_write_digest(struct json_writer *json, const struct hub_model *entry);

#endif
