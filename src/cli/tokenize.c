/* tokenize.c - mistral tokenize: the tokens a text becomes. Reads the vocabulary only, no weights.
 */
#include "base/utf8.h"
#include "cli/cli.h"
#include "cli/input.h"
#include "cli/json_output.h"
#include "cli/terminal.h"
#include "convert/prepare.h"
#include "engine/vocabulary.h"
#include "model/gguf.h"

#include <stdio.h>

static struct {
    bool json;
    bool ids;
    bool add_special;
    bool parse_special;
} options = {.add_special = true};

static const struct argument_option option_table[] = {
    {"add-special", 0, ARGUMENT_SWITCH, &options.add_special, 0, 0, NULL,
     "add the tokens the model wants around a text, as run --raw does (on; --no-add-special)"},
    {"special", 0, ARGUMENT_SWITCH, &options.parse_special, 0, 0, NULL,
     "control tokens written out in the text (<|im_start|>) become themselves"},
    {"ids", 0, ARGUMENT_SWITCH, &options.ids, 0, 0, NULL, "the numbers only, on one line"},
    {"json", 0, ARGUMENT_SWITCH, &options.json, 0, 0, NULL,
     "as JSON; bytes that are no whole character are given as numbers too"},
    {0},
};

static json_t *token_to_json(const struct tokenizer *tokenizer, int32_t id) {
    struct string_view piece = tokenizer_piece(tokenizer, id, true);
    json_t *token = json_pack("{s:i, s:o}", "id", (int)id, "text", json_output_text(piece));
    json_t *bytes = json_array();
    for (size_t i = 0; i < piece.length; i++) {
        json_array_append_new(bytes, json_integer((unsigned char)piece.data[i]));
    }
    json_object_set_new(token, "bytes", bytes);
    return token;
}

/* The piece between quotes; what is not printable ASCII or UTF-8 text as \xHH. */
static void print_piece(struct string_view piece) {
    bool is_text = utf8_validate(piece.data, piece.length, NULL);
    putchar('"');
    for (size_t i = 0; i < piece.length; i++) {
        unsigned char c = (unsigned char)piece.data[i];
        if (c == '\n') {
            fputs("\\n", stdout);
        } else if (c == '"' || c == '\\') {
            printf("\\%c", c);
        } else if (c < 0x20 || c == 0x7f || (c >= 0x80 && !is_text)) {
            printf("\\x%02x", c);
        } else {
            putchar(c);
        }
    }
    putchar('"');
}

static bool print_tokens(const struct tokenizer *tokenizer, const struct token_list *tokens,
                         struct error *error) {
    if (options.json) {
        json_t *array = json_array();
        for (size_t i = 0; i < tokens->count; i++) {
            json_array_append_new(array, token_to_json(tokenizer, tokens->ids[i]));
        }
        return json_output_print(
            json_pack("{s:I, s:o}", "count", (json_int_t)tokens->count, "tokens", array), error);
    }
    for (size_t i = 0; i < tokens->count; i++) {
        if (options.ids) {
            printf("%s%d", i == 0 ? "" : " ", tokens->ids[i]);
        } else {
            printf("%8d  ", tokens->ids[i]);
            print_piece(tokenizer_piece(tokenizer, tokens->ids[i], true));
            putchar('\n');
        }
    }
    if (options.ids) {
        putchar('\n');
    }
    return true;
}

static bool tokenize(struct cli *cli, struct error *error) {
    struct string_buffer path = {0};
    struct string_buffer text = {0};
    struct outline outline = {0};
    struct tokenizer *tokenizer = NULL;
    struct token_list tokens = {0};
    bool done = cli_find_model(cli, &path, error) &&
                outline_open(&cli->config, string_buffer_text(&path), false, &outline, error) &&
                vocabulary_load(outline.gguf, &tokenizer, error) &&
                input_read(&cli->operands, 1, &text, error) &&
                tokenizer_encode(tokenizer, string_buffer_text(&text), text.length,
                                 options.add_special, options.parse_special, &tokens, error) &&
                print_tokens(tokenizer, &tokens, error);
    token_list_deinit(&tokens);
    tokenizer_free(tokenizer);
    outline_close(&outline);
    string_buffer_deinit(&text);
    string_buffer_deinit(&path);
    return done;
}

const struct cli_command cli_tokenize_command = {
    .name = "tokenize",
    .usage = "MODEL [TEXT...]",
    .summary = "show the tokens a text becomes",
    .details = "Without TEXT, or for '-' among its words, the text comes from standard input.\n",
    .reader = READ_BY_TOKENIZE,
    .minimum_operands = 1,
    .maximum_operands = SIZE_MAX,
    .options = option_table,
    .run = tokenize,
};
