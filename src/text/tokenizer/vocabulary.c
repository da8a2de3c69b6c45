/* vocabulary.c - see vocabulary.h. */
#include "text/tokenizer/vocabulary.h"

#include "base/bytes.h"

#include <stdlib.h>
#include <string.h>

/* Texts that end an answer, or the tool call or code infill it consists of, in published chat
 * formats: ChatML, Llama 3, Phi, Gemma, OpenChat, Command R, DeepSeek, Granite, SmolVLM, gpt-oss,
 * MiniMax, Solar, Qwen's infill, GPT-2 and SentencePiece's own. */
static const char *const end_texts[] = {
    "</s>",
    "<eos>",
    "<|endoftext|>",
    "<|end_of_text|>",
    "<|im_end|>",
    "<|eot_id|>",
    "<|eom_id|>",
    "<|end|>",
    "<|end_of_turn|>",
    "<end_of_turn>",
    "<turn|>",
    "<|tool_response>",
    "<|return|>",
    "<|call|>",
    "<|flush|>",
    "<|calls|>",
    "[e~[",
    "<|END_OF_TURN_TOKEN|>",
    "<end_of_utterance>",
    "<EOT>",
    "_<EOT>",
    "[EOT]",
    "[EOS]",
    "<\357\275\234end\342\226\201of\342\226\201sentence\357\275\234>",
    "<|fim_pad|>",
    "<|repo_name|>",
    "<|file_sep|>",
};

/* Gemma 4's marks, which converters file under user-defined so that other programs show them. */
static const char *const marks[] = {
    "<|tool_call>", "<tool_call|>", "<tool_response|>", "<|channel>", "<channel|>", "<|\"|>",
};

static bool is_one_of(struct string_view text, const char *const *texts, size_t count) {
    for (size_t i = 0; i < count; i++) {
        if (string_view_is(text, texts[i])) {
            return true;
        }
    }
    return false;
}

static bool is_end_text(struct string_view text) {
    return is_one_of(text, end_texts, sizeof end_texts / sizeof end_texts[0]);
}

static bool check_id(const char *name, int32_t id, size_t count, struct error *error) {
    if (id == TOKEN_NONE || (id >= 0 && (size_t)id < count)) {
        return true;
    }
    return error_set(error, ERROR_FORMAT, "the vocabulary's %s token is %d, but it has %zu tokens",
                     name, (int)id, count);
}

static bool check_source(const struct tokenizer_source *source, size_t *text_bytes,
                         struct error *error) {
    if (source->token_count == 0 || source->token_count > INT32_MAX) {
        return error_set(error, ERROR_FORMAT, "a vocabulary of %zu tokens is not possible",
                         source->token_count);
    }
    for (size_t i = 0; i < source->token_count; i++) {
        size_t length = source->tokens[i].length;
        if (length > VOCABULARY_TOKEN_BYTES_MAX) {
            return error_set(error, ERROR_FORMAT, "token %zu has %zu bytes; at most %d are allowed",
                             i, length, (int)VOCABULARY_TOKEN_BYTES_MAX);
        }
        *text_bytes += length; /* at most 2^31 times 2^16: fits */
        int32_t type = source->types == NULL ? TOKEN_NORMAL : source->types[i];
        if (type < 0 || type > TOKEN_BYTE) {
            return error_set(error, ERROR_FORMAT, "token %zu has the unknown type %d", i,
                             (int)type);
        }
    }
    size_t count = source->token_count;
    return check_id("BOS", source->bos, count, error) &&
           check_id("EOS", source->eos, count, error) &&
           check_id("unknown", source->unknown, count, error) &&
           check_id("padding", source->pad, count, error) &&
           check_id("end-of-turn", source->eot, count, error) &&
           check_id("end-of-message", source->eom, count, error);
}

static bool is_end_id(const struct tokenizer_source *source, int32_t id) {
    return id == source->eos || id == source->eot || id == source->eom;
}

/* Whether a user-defined token is a control token all the same: otherwise a user could write it
 * into a prompt. Where another token ends a text, "</s>" is HTML's (Gemma has such tokens). */
static bool is_disguised(const struct tokenizer_source *source, size_t index) {
    struct string_view text = source->tokens[index];
    return is_end_id(source, (int32_t)index) ||
           (is_end_text(text) && !string_view_is(text, "</s>")) ||
           is_one_of(text, marks, sizeof marks / sizeof marks[0]);
}

/* The file's type, with two corrections: a file without types still names its special tokens, and
 * converters file some control tokens under user-defined. */
static uint8_t type_of(const struct tokenizer_source *source, size_t index) {
    int32_t id = (int32_t)index;
    if (source->types == NULL) {
        if (id == source->unknown) {
            return TOKEN_UNKNOWN;
        }
        bool special = id == source->bos || id == source->pad || is_end_id(source, id);
        return special ? TOKEN_CONTROL : TOKEN_NORMAL;
    }
    int32_t type = source->types[index];
    if (type == TOKEN_USER_DEFINED && is_disguised(source, index)) {
        return TOKEN_CONTROL;
    }
    return (uint8_t)(type == 0 ? TOKEN_NORMAL : type);
}

static struct vocabulary_token *find_end(struct vocabulary *vocabulary, const char *text) {
    for (size_t i = 0; i < vocabulary->count; i++) {
        if (vocabulary->tokens[i].is_end && string_view_is(vocabulary->tokens[i].text, text)) {
            return &vocabulary->tokens[i];
        }
    }
    return NULL;
}

/* Phi's answers end with <|end|>; in the formats of gpt-oss and Solar it ends one message of
 * several, and other tokens the answer. */
static void correct_ends(struct vocabulary *vocabulary) {
    static const char *const enders[][2] = {
        {"<|return|>", "<|call|>"}, {"<|flush|>", "<|call|>"}, {"<|flush|>", "<|calls|>"}};
    struct vocabulary_token *end = find_end(vocabulary, "<|end|>");
    for (size_t i = 0; end != NULL && i < sizeof enders / sizeof enders[0]; i++) {
        if (find_end(vocabulary, enders[i][0]) != NULL &&
            find_end(vocabulary, enders[i][1]) != NULL) {
            end->is_end = false;
        }
    }
}

bool vocabulary_init(struct vocabulary *vocabulary, const struct tokenizer_source *source,
                     vocabulary_piece_writer write_piece, struct error *error) {
    size_t text_bytes = 0;
    if (!check_source(source, &text_bytes, error)) {
        return false;
    }
    *vocabulary = (struct vocabulary){
        .tokens = calloc(source->token_count, sizeof *vocabulary->tokens),
        .count = source->token_count,
        .bytes = malloc(2 * text_bytes + 1), /* a piece is never longer than its text */
        .bos = source->bos,
        .eos = source->eos,
        .unknown = source->unknown,
    };
    if (vocabulary->tokens == NULL || vocabulary->bytes == NULL) {
        vocabulary_deinit(vocabulary);
        return error_set(error, ERROR_OUT_OF_MEMORY, "no memory for a vocabulary of %zu tokens",
                         source->token_count);
    }
    char *text_at = vocabulary->bytes;
    char *piece_at = vocabulary->bytes + text_bytes;
    for (size_t i = 0; i < vocabulary->count; i++) {
        struct vocabulary_token *token = &vocabulary->tokens[i];
        size_t length = source->tokens[i].length;
        if (length > 0) {
            memcpy(text_at, source->tokens[i].data, length);
        }
        token->text = (struct string_view){text_at, length};
        text_at += length;
        token->type = type_of(source, i);
        if (token->type == TOKEN_CONTROL || token->type == TOKEN_UNKNOWN) {
            token->piece = token->text;
        } else {
            size_t piece_length = write_piece(token->type, token->text.data, length, piece_at);
            token->piece = (struct string_view){piece_at, piece_length};
            piece_at += piece_length;
        }
        token->is_end = is_end_id(source, (int32_t)i) ||
                        (token->type == TOKEN_CONTROL && is_end_text(token->text));
    }
    correct_ends(vocabulary);
    return true;
}

void vocabulary_deinit(struct vocabulary *vocabulary) {
    free(vocabulary->tokens);
    free(vocabulary->bytes);
    *vocabulary = (struct vocabulary){0};
}

bool vocabulary_is_plain(const struct vocabulary *vocabulary, size_t id) {
    uint8_t type = vocabulary->tokens[id].type;
    return type == TOKEN_NORMAL || type == TOKEN_USER_DEFINED || type == TOKEN_UNUSED;
}
