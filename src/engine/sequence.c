/* sequence.c - see sequence.h. */
#include "engine/sequence.h"

#include "base/bytes.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

bool sequence_create(const int32_t *prompt, size_t prompt_count,
                     const struct sequence_options *options, struct sequence **sequence,
                     struct error *error) {
    *sequence = NULL;
    if (prompt_count == 0 || prompt_count > options->capacity) {
        return error_set(error, ERROR_INVALID_ARGUMENT,
                         "a sequence of %zu tokens cannot start with %zu", options->capacity,
                         prompt_count);
    }
    size_t block_capacity = size_divide_up(options->capacity, KV_BLOCK_TOKENS);
    struct sequence *created = calloc(1, sizeof *created);
    if (created != NULL) {
        created->tokens = calloc(options->capacity, sizeof *created->tokens);
        created->blocks = calloc(block_capacity, sizeof *created->blocks);
    }
    if (created == NULL || created->tokens == NULL || created->blocks == NULL) {
        sequence_free(created);
        return error_set(error, ERROR_OUT_OF_MEMORY, "no memory for a sequence of %zu tokens",
                         options->capacity);
    }
    memcpy(created->tokens, prompt, prompt_count * sizeof *prompt);
    created->user = options->user;
    created->capacity = options->capacity;
    created->window = options->window;
    created->prompt_count = created->token_count = prompt_count;
    created->logits_from = options->prompt_logits ? 0 : prompt_count - 1;
    if (options->hidden_only) {
        created->logits_from = SIZE_MAX;
        created->is_uncached = true;
    }
    *sequence = created;
    return true;
}

void sequence_free(struct sequence *sequence) {
    if (sequence == NULL) {
        return;
    }
    assert(sequence->state == SEQUENCE_NEW || sequence->state == SEQUENCE_FINISHED);
    free(sequence->tokens);
    free(sequence->blocks);
    free(sequence);
}

size_t sequence_set_draft(struct sequence *sequence, const int32_t *tokens, size_t count) {
    size_t room = sequence->capacity - sequence->token_count;
    if (sequence->state != SEQUENCE_RUNNING || !sequence_is_decoding(sequence) || room == 0) {
        return 0;
    }
    count = size_min(count, room - 1);
    memcpy(sequence->tokens + sequence->token_count, tokens, count * sizeof *tokens);
    sequence->draft_count = count;
    return count;
}

bool sequence_append(struct sequence *sequence, int32_t token) {
    assert(sequence->state == SEQUENCE_RUNNING && sequence->token_count < sequence->capacity);
    assert(sequence->computed == sequence->token_count);
    bool guessed = sequence->verify_count > 0 && sequence->tokens[sequence->token_count] == token;
    sequence->tokens[sequence->token_count++] = token;
    if (guessed) {
        sequence->computed++;
        sequence->logits_from++;
        sequence->verify_count--;
    } else {
        sequence->verify_count = 0;
    }
    return guessed;
}
