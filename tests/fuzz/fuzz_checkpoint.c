/*
 * fuzz_checkpoint.c - any bytes as a file of a Hugging Face folder: behind a first byte 's' a
 * safetensors file, whose tensors are then read; behind any other a tokenizer.model.
 */
#include "fuzz.h"

#include "convert/safetensors.h"
#include "convert/sentencepiece_model.h"

static void read_safetensors(const uint8_t *data, size_t size, struct arena *arena) {
    struct safetensor *tensors;
    struct error error = {0};
    size_t count = 0;
    if (!safetensors_read("fuzz", data, size, arena, &tensors, &count, &error)) {
        return;
    }
    volatile uint8_t sum = 0;
    for (size_t i = 0; i < count; i++) {
        for (size_t j = 0; j < tensors[i].bytes; j++) {
            sum = (uint8_t)(sum + tensors[i].data[j]);
        }
    }
}

static void read_pieces(const uint8_t *data, size_t size, struct arena *arena) {
    struct sentencepiece_model model;
    struct error error = {0};
    if (!sentencepiece_model_read("fuzz", data, size, arena, &model, &error)) {
        return;
    }
    volatile char sum = 0;
    for (size_t i = 0; i < model.count; i++) {
        for (size_t j = 0; j < model.pieces[i].length; j++) {
            sum = (char)(sum ^ model.pieces[i].data[j]);
        }
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    struct arena arena = {0};
    if (size > 0 && data[0] == 's') {
        read_safetensors(data + 1, size - 1, &arena);
    } else if (size > 0) {
        read_pieces(data + 1, size - 1, &arena);
    }
    arena_deinit(&arena);
    return 0;
}
