/* answer_blocks.c - see answer_blocks.h. */
#include "server/answer_blocks.h"

#include "base/string_buffer.h"
#include "server/chat_turn.h"

#include <string.h>

struct string_view answer_block_text(const struct answer_blocks *blocks,
                                     const struct answer_block *block) {
    return (struct string_view){string_buffer_text(&blocks->choice->text) + block->start,
                                block->length};
}

static void close_last(struct answer_blocks *blocks) {
    if (blocks->is_open) {
        blocks->is_open = false;
        if (blocks->sink != NULL) {
            blocks->sink->closed(blocks, blocks->last);
        }
    }
}

/* The block that takes text of this kind: the last one, or a new one. NULL: no memory. */
static struct answer_block *open_block(struct answer_blocks *blocks, enum answer_block_kind kind,
                                       const char *id, const char *name) {
    struct generation_choice *choice = blocks->choice;
    if (blocks->is_open && blocks->last->kind == kind && kind != BLOCK_CALL) {
        return blocks->last;
    }
    close_last(blocks);
    struct answer_block *block = arena_alloc(&choice->generation->arena, 1, sizeof *block);
    if (block == NULL) {
        choice->text.failed = true; /* which ends the request */
        return NULL;
    }
    *block = (struct answer_block){.kind = kind,
                                   .index = blocks->count++,
                                   .start = choice->text.length,
                                   .id = id,
                                   .name = name};
    *(blocks->last == NULL ? &blocks->first : &blocks->last->next) = block;
    blocks->last = block;
    blocks->is_open = true;
    if (blocks->sink != NULL) {
        blocks->sink->opened(blocks, block);
    }
    return block;
}

static void grow(struct answer_blocks *blocks, struct answer_block *block,
                 struct string_view text) {
    string_buffer_append(&blocks->choice->text, text.data, text.length);
    block->length += text.length;
    if (blocks->sink != NULL && !blocks->choice->text.failed) {
        blocks->sink->grew(blocks, block, text);
    }
}

static void add_text(struct answer_blocks *blocks, enum answer_block_kind kind,
                     struct string_view text) {
    struct answer_block *block = text.length == 0 ? NULL : open_block(blocks, kind, NULL, NULL);
    if (block != NULL) {
        grow(blocks, block, text);
    }
}

/* answer_sink: a part of the answer goes to its block. Of calls only whole ones do. */
static void add_part(void *context, const struct answer_event *event) {
    struct answer_blocks *blocks = context;
    struct arena *arena = &blocks->choice->generation->arena;
    switch (event->kind) {
    case ANSWER_CONTENT:
    case ANSWER_CALL_BROKEN:
        add_text(blocks, BLOCK_TEXT, event->text);
        break;
    case ANSWER_THINKING:
        add_text(blocks, BLOCK_THINKING, event->text);
        break;
    case ANSWER_CALL_END: {
        const char *id = arena_copy_text(arena, event->id, strlen(event->id));
        const char *name = arena_copy_text(arena, event->name.data, event->name.length);
        struct answer_block *block =
            id == NULL || name == NULL ? NULL : open_block(blocks, BLOCK_CALL, id, name);
        if (block == NULL) {
            blocks->choice->text.failed = true; /* which ends the request */
            break;
        }
        blocks->has_calls = true;
        grow(blocks, block, event->text);
        close_last(blocks);
        break;
    }
    case ANSWER_CALL_BEGIN:
    case ANSWER_CALL_ARGUMENTS:
        break;
    }
}

void answer_blocks_feed(struct answer_blocks *blocks, const struct engine_event *event) {
    chat_turn_feed(blocks->choice, event->text, event->text_length, add_part, blocks);
}

void answer_blocks_end(struct answer_blocks *blocks) {
    chat_turn_finish(blocks->choice, add_part, blocks);
    blocks->is_over = true;
    close_last(blocks);
}
