/*
 * grammar_draw.h - one token from logits, among those that a grammar allows next.
 *
 * First the sampler draws as if there were no grammar. What the grammar allows of that is taken:
 * finding out costs a walk over one token's bytes. Only what it does not allow is drawn again,
 * among the allowed tokens alone, which asks for the mask of the whole vocabulary. Greedy and plain
 * sampling choose by this exactly as among the allowed tokens at once: with A the probability of
 * all allowed tokens, one of probability p comes with p + (1 - A) p/A = p/A. Where top-k, top-p,
 * min-p or typical narrow the choice, the first draw narrows among all tokens, the second among the
 * allowed ones. Which of the two a token came from depends on logits and seed alone. Engine thread.
 */
#ifndef MISTRAL_ENGINE_GRAMMAR_DRAW_H
#define MISTRAL_ENGINE_GRAMMAR_DRAW_H

#include "engine/sampler.h"
#include "grammar/grammar_matcher.h"

/* logits: [vocabulary_size] f32; masked: the same, scratch. The matcher stays where it was. Fails
 * as grammar_matcher_mask does. */
bool grammar_draw(struct sampler *sampler, struct grammar_matcher *matcher, const float *logits,
                  float *masked, size_t vocabulary_size, int32_t *token, struct error *error);

#endif
