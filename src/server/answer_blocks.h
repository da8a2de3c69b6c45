/*
 * answer_blocks.h - an answer as a row of blocks: text, thoughts, calls of tools, one after
 * another.
 *
 * Anthropic's messages and OpenAI's responses are told block by block, in streams and at the end.
 * The texts lie in the choice's `text`, one behind the other; the list is in the generation's
 * arena. Loop thread.
 */
#ifndef MISTRAL_SERVER_ANSWER_BLOCKS_H
#define MISTRAL_SERVER_ANSWER_BLOCKS_H

#include "base/string_view.h"
#include "server/generation.h"

#include <stdbool.h>
#include <stddef.h>

enum answer_block_kind { BLOCK_TEXT, BLOCK_THINKING, BLOCK_CALL };

struct answer_block {
    enum answer_block_kind kind;
    size_t index;
    size_t start, length;  /* in the choice's text; of a call: its arguments, a JSON object */
    const char *id, *name; /* of a call */
    struct answer_block *next;
};

struct answer_blocks;

/* What a stream does as the answer grows. A call comes whole: opened, grown once, closed. */
struct answer_block_sink {
    void (*opened)(struct answer_blocks *blocks, const struct answer_block *block);
    void (*grew)(struct answer_blocks *blocks, const struct answer_block *block,
                 struct string_view text);
    void (*closed)(struct answer_blocks *blocks, const struct answer_block *block);
};

/* Zeroed, with the first two set, it is ready. */
struct answer_blocks {
    struct generation_choice *choice;
    const struct answer_block_sink *sink; /* NULL: nobody is told before the end */
    struct answer_block *first, *last;
    size_t count;
    bool is_open; /* the last one may still grow */
    bool has_calls;
    bool is_over; /* nothing more will come */
};

/* The text of an event of the engine, the last one included, taken apart. */
void answer_blocks_feed(struct answer_blocks *blocks, const struct engine_event *event);
/* The answer is over. */
void answer_blocks_end(struct answer_blocks *blocks);

struct string_view answer_block_text(const struct answer_blocks *blocks,
                                     const struct answer_block *block);

#endif
