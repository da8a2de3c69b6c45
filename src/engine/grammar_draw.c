/* grammar_draw.c - see grammar_draw.h. */
#include "engine/grammar_draw.h"

#include "base/bytes.h"

#include <math.h>
#include <string.h>

static bool is_in(const uint64_t *mask, int32_t token) {
    return (mask[(size_t)token / 64] >> ((size_t)token % 64) & 1) != 0;
}

/* The logits of the tokens in the mask, -INFINITY for the others. */
static void apply_mask(const uint64_t *mask, const float *logits, float *masked, size_t count) {
    for (size_t start = 0; start < count; start += 64) {
        uint64_t word = mask[start / 64];
        size_t length = size_min(64, count - start);
        if (word == UINT64_MAX) {
            memcpy(masked + start, logits + start, length * sizeof *masked);
            continue;
        }
        for (size_t i = 0; i < length; i++) {
            masked[start + i] = -INFINITY;
        }
        for (; word != 0; word &= word - 1) {
            size_t i = start + (size_t)__builtin_ctzll(word);
            masked[i] = logits[i];
        }
    }
}

bool grammar_draw(struct sampler *sampler, struct grammar_matcher *matcher, const float *logits,
                  float *masked, size_t vocabulary_size, int32_t *token, struct error *error) {
    *token = sampler_sample(sampler, logits);
    if (grammar_matcher_allows(matcher, *token)) {
        return true;
    }
    const uint64_t *mask;
    if (!grammar_matcher_mask(matcher, &mask, error)) {
        return false;
    }
    apply_mask(mask, logits, masked, vocabulary_size);
    *token = sampler_sample(sampler, masked);
    /* Where every allowed token's logit is -INFINITY itself, or not a number. */
    for (int32_t i = 0; !is_in(mask, *token); i++) {
        *token = is_in(mask, i) ? i : *token;
    }
    return true;
}
