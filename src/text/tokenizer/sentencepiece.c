/* sentencepiece.c - see sentencepiece.h. */
#include "text/tokenizer/sentencepiece.h"

#include "base/bytes.h"
#include "base/utf8.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* U+2581, which stands for a space in the vocabulary. */
#define SPACE_MARK "\xe2\x96\x81"
enum { SPACE_MARK_BYTES = 3 };

static const uint32_t NO_TOKEN = UINT32_MAX;

static int hex_digit(char digit) {
    if (digit >= '0' && digit <= '9') {
        return digit - '0';
    }
    return digit >= 'A' && digit <= 'F' ? digit - 'A' + 10 : -1;
}

/* A byte token is spelled "<0x0A>"; -1 for anything else. */
static int parse_byte_token(struct string_view text) {
    if (text.length != 6 || memcmp(text.data, "<0x", 3) != 0 || text.data[5] != '>') {
        return -1;
    }
    int high = hex_digit(text.data[3]);
    int low = hex_digit(text.data[4]);
    return high < 0 || low < 0 ? -1 : high * 16 + low;
}

static bool is_mark(const char *text, size_t length) {
    return length >= SPACE_MARK_BYTES && memcmp(text, SPACE_MARK, SPACE_MARK_BYTES) == 0;
}

size_t sentencepiece_piece(uint8_t type, const char *text, size_t length, char *out) {
    int byte = type == TOKEN_BYTE ? parse_byte_token((struct string_view){text, length}) : -1;
    if (byte >= 0) {
        out[0] = (char)byte;
        return 1;
    }
    size_t written = 0;
    for (size_t at = 0; at < length;) {
        if (is_mark(text + at, length - at)) {
            out[written++] = ' ';
            at += SPACE_MARK_BYTES;
        } else {
            out[written++] = text[at++];
        }
    }
    return written;
}

/* Where the text's first word ends: before the first mark that follows anything but a mark, unless
 * a token has a mark after such a byte. */
static size_t word_end(const struct sentencepiece *model, const char *text, size_t length) {
    bool inside = false; /* a word has begun, and may end here */
    for (size_t at = 0; at < length;) {
        bool mark = is_mark(text + at, length - at);
        if (mark && inside) {
            return at;
        }
        at += mark ? SPACE_MARK_BYTES : 1;
        inside = !mark && !model->before_mark[(unsigned char)text[at - 1]];
    }
    return length;
}

/* Notes the bytes that stand before a mark inside a token: no word may be cut there. */
static void note_marks_inside(struct sentencepiece *model, struct string_view text) {
    for (size_t at = 1; at < text.length; at++) {
        bool after_mark =
            at >= SPACE_MARK_BYTES && is_mark(text.data + at - SPACE_MARK_BYTES, SPACE_MARK_BYTES);
        if (!after_mark && is_mark(text.data + at, text.length - at)) {
            model->before_mark[(unsigned char)text.data[at - 1]] = true;
        }
    }
}

static bool map_tokens(struct sentencepiece *model, const struct vocabulary *vocabulary) {
    if (!hash_map_reserve(&model->tokens, vocabulary->count)) {
        return false;
    }
    for (size_t i = 0; i < vocabulary->count; i++) {
        struct string_view text = vocabulary->tokens[i].text;
        if (!vocabulary_is_plain(vocabulary, i) || text.length == 0 ||
            hash_map_get(&model->tokens, text) != NULL) {
            continue;
        }
        if (!hash_map_set(&model->tokens, text, i)) {
            return false;
        }
        model->longest = size_max(model->longest, text.length);
        note_marks_inside(model, text);
    }
    return true;
}

/* A token that is just the byte serves where the vocabulary has no byte token for it. */
static void map_bytes(struct sentencepiece *model, const struct vocabulary *vocabulary) {
    for (size_t i = 0; i < 256; i++) {
        char byte = (char)(unsigned char)i;
        const uint64_t *id = hash_map_get(&model->tokens, (struct string_view){&byte, 1});
        model->byte_tokens[i] = id == NULL ? TOKEN_NONE : (int32_t)*id;
    }
    for (size_t i = vocabulary->count; i > 0; i--) {
        int byte = vocabulary->tokens[i - 1].type == TOKEN_BYTE
                       ? parse_byte_token(vocabulary->tokens[i - 1].text)
                       : -1;
        if (byte >= 0) {
            model->byte_tokens[byte] = (int32_t)(i - 1);
        }
    }
}

static int compare_scores_descending(const void *left, const void *right) {
    float a = *(const float *)left;
    float b = *(const float *)right;
    return a > b ? -1 : a < b;
}

/* Scores become small integers in the same order, so that the merge loop compares integers. */
static bool rank_scores(uint32_t *priorities, const float *scores, size_t count,
                        struct error *error) {
    for (size_t i = 0; i < count; i++) {
        if (isnan(scores[i])) {
            return error_set(error, ERROR_FORMAT, "the score of token %zu is not a number", i);
        }
    }
    float *sorted = malloc(count * sizeof *sorted);
    if (sorted == NULL) {
        return error_set(error, ERROR_OUT_OF_MEMORY, "no memory for %zu scores", count);
    }
    memcpy(sorted, scores, count * sizeof *sorted);
    qsort(sorted, count, sizeof *sorted, compare_scores_descending);
    size_t distinct = 0;
    for (size_t i = 0; i < count; i++) {
        if (distinct == 0 || sorted[i] < sorted[distinct - 1]) {
            sorted[distinct++] = sorted[i];
        }
    }
    for (size_t i = 0; i < count; i++) {
        const float *place =
            bsearch(&scores[i], sorted, distinct, sizeof *sorted, compare_scores_descending);
        priorities[i] = (uint32_t)(place - sorted);
    }
    free(sorted);
    return true;
}

static uint32_t find_token(const struct sentencepiece *model, const char *text, size_t length) {
    if (length > model->longest) {
        return NO_TOKEN;
    }
    const uint64_t *id = hash_map_get(&model->tokens, (struct string_view){text, length});
    return id == NULL ? NO_TOKEN : (uint32_t)*id;
}

/* A merge_resolver: the tokens are spelled as in the vocabulary. */
static bool resolve_merge(const void *context, struct string_view left, struct string_view right,
                          char *bytes, struct merge_ids *ids) {
    const struct sentencepiece *model = context;
    memcpy(bytes, left.data, left.length);
    memcpy(bytes + left.length, right.data, right.length);
    *ids = (struct merge_ids){
        .left = find_token(model, left.data, left.length),
        .right = find_token(model, right.data, right.length),
        .merged = find_token(model, bytes, left.length + right.length),
    };
    return ids->left != NO_TOKEN && ids->right != NO_TOKEN && ids->merged != NO_TOKEN;
}

bool sentencepiece_init(struct sentencepiece *model, const struct vocabulary *vocabulary,
                        const struct tokenizer_source *source, struct error *error) {
    *model = (struct sentencepiece){
        .priorities = calloc(vocabulary->count, sizeof *model->priorities),
        .unknown = vocabulary->unknown,
        .remove_extra_whitespaces = source->remove_extra_whitespaces,
        .by_rank = string_view_is(source->model, "gemma4"),
    };
    if (model->priorities == NULL || !map_tokens(model, vocabulary)) {
        sentencepiece_deinit(model);
        return error_set(error, ERROR_OUT_OF_MEMORY, "no memory for a vocabulary of %zu tokens",
                         vocabulary->count);
    }
    map_bytes(model, vocabulary);
    bool done = true;
    if (model->by_rank) {
        done = merge_table_init(&model->merges, source, resolve_merge, model, error);
    } else if (source->scores != NULL) {
        done = rank_scores(model->priorities, source->scores, vocabulary->count, error);
    }
    if (!done) {
        sentencepiece_deinit(model);
    }
    return done;
}

void sentencepiece_deinit(struct sentencepiece *model) {
    hash_map_deinit(&model->tokens);
    merge_table_deinit(&model->merges);
    free(model->priorities);
    *model = (struct sentencepiece){0};
}

void sentencepiece_scratch_deinit(struct sentencepiece_scratch *scratch) {
    string_buffer_deinit(&scratch->escaped);
    merge_list_deinit(&scratch->list);
}

static size_t without_trailing_spaces(const char *text, size_t length) {
    for (;;) {
        if (length > 0 && text[length - 1] == ' ') {
            length--;
        } else if (length >= SPACE_MARK_BYTES &&
                   is_mark(text + length - SPACE_MARK_BYTES, SPACE_MARK_BYTES)) {
            length -= SPACE_MARK_BYTES;
        } else {
            return length;
        }
    }
}

/* Spaces become marks. With remove_extra, leading and trailing ones go and runs shrink to one,
 * before the space in front is added; of marks in the text itself only trailing ones go. */
static void escape(struct string_buffer *out, const char *text, size_t length, bool space_before,
                   bool remove_extra) {
    if (remove_extra) {
        while (length > 0 && text[0] == ' ') {
            text++;
            length--;
        }
        length = without_trailing_spaces(text, length);
    }
    string_buffer_clear(out);
    string_buffer_reserve(out, length + SPACE_MARK_BYTES);
    if (space_before && length > 0) {
        string_buffer_append(out, SPACE_MARK, SPACE_MARK_BYTES);
    }
    for (size_t at = 0; at < length;) {
        const char *space = memchr(text + at, ' ', length - at);
        size_t end = space == NULL ? length : (size_t)(space - text);
        string_buffer_append(out, text + at, end - at);
        if (space != NULL) {
            string_buffer_append(out, SPACE_MARK, SPACE_MARK_BYTES);
            end++;
            while (remove_extra && text[end] == ' ') {
                end++; /* stops before the end: the text does not end with a space */
            }
        }
        at = end;
    }
}

/* The merge_lookup of models with scores: any two whose joined text is a token. */
static bool find_by_score(const void *context, const char *text, const struct merge_symbol *left,
                          const struct merge_symbol *right, uint32_t *priority, uint32_t *merged) {
    const struct sentencepiece *model = context;
    uint32_t id = find_token(model, text + left->start, left->length + right->length);
    if (id == NO_TOKEN) {
        return false;
    }
    *priority = model->priorities[id];
    *merged = id;
    return true;
}

/* The merge_lookup of models with a list of merges. */
static bool find_by_rank(const void *context, const char *text, const struct merge_symbol *left,
                         const struct merge_symbol *right, uint32_t *priority, uint32_t *merged) {
    (void)text;
    const struct sentencepiece *model = context;
    return left->id != NO_TOKEN && right->id != NO_TOKEN &&
           merge_table_find(&model->merges, left->id, right->id, priority, merged);
}

static bool push_characters(const struct sentencepiece *model, struct merge_list *list,
                            const char *text, size_t length) {
    merge_list_clear(list);
    for (size_t at = 0; at < length;) {
        uint32_t code_point;
        size_t taken = size_max(utf8_decode(text + at, length - at, &code_point), 1);
        if (!merge_list_push(list, (uint32_t)at, (uint32_t)taken,
                             find_token(model, text + at, taken))) {
            return false;
        }
        at += taken;
    }
    return true;
}

/* Appends what a symbol without a token is spelled with. *unknown_run: the last token was the
 * unknown one. */
static bool emit_bytes(const struct sentencepiece *model, const char *text, size_t length,
                       bool *unknown_run, struct token_list *out) {
    for (size_t i = 0; i < length; i++) {
        int32_t id = model->byte_tokens[(unsigned char)text[i]];
        bool is_unknown = id == TOKEN_NONE;
        if (is_unknown) {
            id = *unknown_run ? TOKEN_NONE : model->unknown;
        }
        if (id != TOKEN_NONE && !token_list_append(out, id)) {
            return false;
        }
        *unknown_run = is_unknown;
    }
    return true;
}

static bool emit(const struct sentencepiece *model, const struct merge_list *list, const char *text,
                 bool *unknown_run, struct token_list *out) {
    for (int32_t i = list->symbol_count > 0 ? 0 : MERGE_END; i != MERGE_END;
         i = list->symbols[i].next) {
        const struct merge_symbol *symbol = &list->symbols[i];
        bool done;
        if (symbol->id != NO_TOKEN) {
            *unknown_run = false;
            done = token_list_append(out, (int32_t)symbol->id);
        } else {
            done = emit_bytes(model, text + symbol->start, symbol->length, unknown_run, out);
        }
        if (!done) {
            return false;
        }
    }
    return true;
}

/* Word by word where that makes no difference: short lists are much faster than one long one. */
static bool encode_escaped(const struct sentencepiece *model, struct merge_list *list,
                           const char *text, size_t length, struct token_list *out) {
    merge_lookup find_merge = model->by_rank ? find_by_rank : find_by_score;
    bool unknown_run = false;
    for (size_t at = 0; at < length;) {
        const char *word = text + at;
        size_t size = word_end(model, word, length - at);
        if (!push_characters(model, list, word, size) ||
            !merge_list_run(list, word, find_merge, model) ||
            !emit(model, list, word, &unknown_run, out)) {
            return false;
        }
        at += size;
    }
    return true;
}

bool sentencepiece_encode(const struct sentencepiece *model, struct sentencepiece_scratch *scratch,
                          const char *text, size_t length, bool space_before,
                          struct token_list *out, struct error *error) {
    escape(&scratch->escaped, text, length, space_before, model->remove_extra_whitespaces);
    const char *escaped = string_buffer_text(&scratch->escaped);
    if (scratch->escaped.failed ||
        !encode_escaped(model, &scratch->list, escaped, scratch->escaped.length, out)) {
        return error_set(error, ERROR_OUT_OF_MEMORY, "no memory to encode a text of %zu bytes",
                         length);
    }
    return true;
}
