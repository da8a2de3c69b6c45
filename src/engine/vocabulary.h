/* vocabulary.h - from a GGUF file's tokenizer.* keys to a tokenizer. Runs once, while loading. */
#ifndef MISTRAL_ENGINE_VOCABULARY_H
#define MISTRAL_ENGINE_VOCABULARY_H

#include "base/error.h"
#include "model/gguf.h"
#include "text/tokenizer/tokenizer.h"

bool vocabulary_load(const struct gguf *gguf, struct tokenizer **tokenizer, struct error *error);

#endif
