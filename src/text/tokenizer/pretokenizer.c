/*
 * pretokenizer.c - see pretokenizer.h: compiles a row's patterns with PCRE2 and runs them.
 */
#include "text/tokenizer/pretokenizer.h"

#include "base/log.h"
#include "base/string_buffer.h"
#include "text/tokenizer/pretokenizer_table.h"

#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>

#include <stdlib.h>

struct pretokenizer {
    pcre2_code *codes[PRETOKENIZER_PATTERNS_MAX];
    size_t code_count;
};

struct pretokenizer_scratch {
    pcre2_match_data *match;
    pcre2_match_context *limits;
};

bool pretokenizer_traits_of(struct string_view name, struct pretokenizer_traits *traits) {
    const struct pretokenizer_row *row = pretokenizer_row_of(name);
    if (row == NULL) {
        return false;
    }
    *traits = (struct pretokenizer_traits){
        .ignore_merges = (row->flags & PRETOKENIZER_IGNORES_MERGES) != 0,
        .adds_bos = (row->flags & PRETOKENIZER_ADDS_BOS) != 0,
        .normalize_nfc = (row->flags & PRETOKENIZER_NORMALIZES) != 0,
    };
    return true;
}

static bool regex_failed(int code, const char *what, struct error *error) {
    PCRE2_UCHAR reason[128] = "unknown";
    pcre2_get_error_message(code, reason, sizeof reason);
    return error_set(error, code == PCRE2_ERROR_NOMEMORY ? ERROR_OUT_OF_MEMORY : ERROR_UNSUPPORTED,
                     "a pre-tokenizer pattern cannot be %s: %s (PCRE2 %d)", what,
                     (const char *)reason, code);
}

static bool compile(const char *pattern, pcre2_code **code, struct error *error) {
    int reason;
    PCRE2_SIZE offset;
    *code = pcre2_compile((PCRE2_SPTR)pattern, PCRE2_ZERO_TERMINATED, PCRE2_UTF | PCRE2_UCP,
                          &reason, &offset, NULL);
    if (*code == NULL) {
        return regex_failed(reason, "compiled", error);
    }
    if (pcre2_jit_compile(*code, PCRE2_JIT_COMPLETE) != 0) {
        log_event(LOG_WARN, "pretokenizer_interpreted",
                  log_text("reason", "PCRE2 has no JIT here; tokenizing is several times slower"));
    }
    return true;
}

static bool refuse(struct string_view name, struct error *error) {
    struct string_buffer known = {0};
    pretokenizer_list_kinds(&known);
    int shown = name.length < 100 ? (int)name.length : 100;
    error_set(error, ERROR_UNSUPPORTED,
              "the pre-tokenizer '%.*s' (tokenizer.ggml.pre) is not supported; known are %s, and "
              "other names for these, listed in docs/tokenizers.md",
              shown, name.data, string_buffer_text(&known));
    string_buffer_deinit(&known);
    return false;
}

bool pretokenizer_create(struct string_view name, struct pretokenizer **created,
                         struct error *error) {
    const struct pretokenizer_row *row = pretokenizer_row_of(name);
    if (row == NULL) {
        return refuse(name, error);
    }
    struct pretokenizer *pretokenizer = calloc(1, sizeof *pretokenizer);
    if (pretokenizer == NULL) {
        return error_set(error, ERROR_OUT_OF_MEMORY, "no memory for a pre-tokenizer");
    }
    const char *const *patterns = pretokenizer_patterns(row);
    for (size_t i = 0; i < PRETOKENIZER_PATTERNS_MAX && patterns[i] != NULL; i++) {
        if (!compile(patterns[i], &pretokenizer->codes[i], error)) {
            pretokenizer_free(pretokenizer);
            return false;
        }
        pretokenizer->code_count++;
    }
    *created = pretokenizer;
    return true;
}

void pretokenizer_free(struct pretokenizer *pretokenizer) {
    if (pretokenizer == NULL) {
        return;
    }
    for (size_t i = 0; i < PRETOKENIZER_PATTERNS_MAX; i++) {
        pcre2_code_free(pretokenizer->codes[i]);
    }
    free(pretokenizer);
}

bool pretokenizer_scratch_create(const struct pretokenizer *pretokenizer,
                                 struct pretokenizer_scratch **created, struct error *error) {
    (void)pretokenizer; /* every pattern set needs the same: one pair of offsets */
    struct pretokenizer_scratch *scratch = calloc(1, sizeof *scratch);
    if (scratch == NULL) {
        return error_set(error, ERROR_OUT_OF_MEMORY, "no memory to split a text");
    }
    scratch->match = pcre2_match_data_create(1, NULL);
    scratch->limits = pcre2_match_context_create(NULL);
    if (scratch->match == NULL || scratch->limits == NULL) {
        pretokenizer_scratch_free(scratch);
        return error_set(error, ERROR_OUT_OF_MEMORY, "no memory to split a text");
    }
    /* One match gives back at most as many characters as it took, so the limit that stops run-away
     * patterns would only stop long runs of one letter case. */
    pcre2_set_match_limit(scratch->limits, UINT32_MAX);
    *created = scratch;
    return true;
}

void pretokenizer_scratch_free(struct pretokenizer_scratch *scratch) {
    if (scratch == NULL) {
        return;
    }
    pcre2_match_data_free(scratch->match);
    pcre2_match_context_free(scratch->limits);
    free(scratch);
}

struct split {
    const struct pretokenizer *pretokenizer;
    struct pretokenizer_scratch *scratch;
    pretokenizer_word word;
    void *context;
};

/* One pattern over one piece. Look-aheads end at the piece, as the pieces are separate strings to
 * the implementations the models were trained with. Recursion is as deep as there are patterns. */
static bool split_piece(const struct split *split, size_t level, const char *piece, size_t length,
                        struct error *error) {
    if (length == 0) {
        return true;
    }
    if (level == split->pretokenizer->code_count) {
        return split->word(split->context, piece, length, error);
    }
    const PCRE2_SIZE *offsets = pcre2_get_ovector_pointer(split->scratch->match);
    for (size_t at = 0; at < length;) {
        int found = pcre2_match(split->pretokenizer->codes[level], (PCRE2_SPTR)piece, length, at,
                                PCRE2_NO_UTF_CHECK, split->scratch->match, split->scratch->limits);
        if (found < 0 && found != PCRE2_ERROR_NOMATCH) {
            return regex_failed(found, "matched", error);
        }
        size_t start = found < 0 ? length : offsets[0];
        size_t end = found < 0 ? length : offsets[1];
        if (!split_piece(split, level + 1, piece + at, start - at, error) ||
            !split_piece(split, level + 1, piece + start, end - start, error)) {
            return false;
        }
        at = end;
    }
    return true;
}

bool pretokenizer_split(const struct pretokenizer *pretokenizer,
                        struct pretokenizer_scratch *scratch, const char *text, size_t length,
                        pretokenizer_word word, void *context, struct error *error) {
    struct split split = {pretokenizer, scratch, word, context};
    return split_piece(&split, 0, text, length, error);
}
