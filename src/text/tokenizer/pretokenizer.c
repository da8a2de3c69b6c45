/*
 * pretokenizer.c - see pretokenizer.h.
 *
 * The names, and which of them share patterns, are those that llama.cpp's converter writes into
 * files; the patterns are those of the models' own tokenizer.json (Split and ByteLevel steps).
 */
#include "text/tokenizer/pretokenizer.h"

#include "base/log.h"
#include "text/tokenizer/unicode_additions.h"

#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>

#include <stdlib.h>

/* For the inside of a class. SPACE is Unicode's White_Space property: PCRE2's own \s also takes
 * U+180E, which the regular expression engines these patterns were written for do not. */
#define SPACE                                                                                      \
    "\\t-\\r \\x{85}\\x{a0}\\x{1680}\\x{2000}-\\x{200a}\\x{2028}\\x{2029}\\x{202f}\\x{205f}"       \
    "\\x{3000}"
#define LETTER    "\\p{L}" NEW_LETTERS
#define NUMBER    "\\p{N}" NEW_NUMBERS
#define UPPER_ISH "\\p{Lu}\\p{Lt}\\p{Lm}\\p{Lo}\\p{M}" NEW_UPPER_ISH
#define LOWER_ISH "\\p{Ll}\\p{Lm}\\p{Lo}\\p{M}" NEW_LOWER_ISH

#define SPACES          "[" SPACE "]+"
#define TRAILING_SPACES SPACES "(?![^" SPACE "])" /* all but the last before a word */
#define ENGLISH_SUFFIX  "'s|'t|'re|'ve|'m|'ll|'d"
#define SYMBOLS         " ?[^" SPACE LETTER NUMBER "]+"
#define LETTER_PREFIX   "[^\\r\\n" LETTER NUMBER "]?"
#define NEWLINES        "[" SPACE "]*[\\r\\n]+"
#define DIGIT           "[" NUMBER "]"

#define GPT2_WORDS                                                                                 \
    ENGLISH_SUFFIX "| ?[" LETTER "]+| ?" DIGIT "+|" SYMBOLS "|" TRAILING_SPACES "|" SPACES
/* The shape Llama 3 and Qwen 2 share: they differ in how digits are grouped. */
#define CASELESS_WORDS(digits)                                                                     \
    "(?i:" ENGLISH_SUFFIX ")|" LETTER_PREFIX "[" LETTER "]+|" digits "|" SYMBOLS                   \
    "[\\r\\n]*|" NEWLINES "|" TRAILING_SPACES "|" SPACES
#define TEKKEN_WORDS                                                                               \
    LETTER_PREFIX "[" UPPER_ISH "]*[" LOWER_ISH "]+|" LETTER_PREFIX "[" UPPER_ISH "]+[" LOWER_ISH  \
                  "]*|" DIGIT "|" SYMBOLS "[\\r\\n/]*|" NEWLINES "|" TRAILING_SPACES "|" SPACES

/* DeepSeek LLM spells out the letters of the alphabets that have case. */
#define DEEPSEEK_CASED_LETTERS                                                                     \
    "A-Za-z\\x{b5}\\x{c0}-\\x{d6}\\x{d8}-\\x{f6}\\x{f8}-\\x{1ba}\\x{1bc}-\\x{1bf}\\x{1c4}-"        \
    "\\x{293}\\x{295}-\\x{2af}\\x{370}-\\x{373}\\x{376}\\x{377}\\x{37b}-\\x{37d}\\x{37f}\\x{386}"  \
    "\\x{388}-\\x{38a}\\x{38c}\\x{38e}-\\x{3a1}\\x{3a3}-\\x{3f5}\\x{3f7}-\\x{481}\\x{48a}-"        \
    "\\x{52f}\\x{531}-\\x{556}\\x{10a0}-\\x{10c5}\\x{13a0}-\\x{13f5}\\x{13f8}-\\x{13fd}"           \
    "\\x{1c90}-\\x{1cba}\\x{1cbd}-\\x{1cbf}\\x{1d00}-\\x{1d2b}\\x{1d6b}-\\x{1d77}\\x{1d79}-"       \
    "\\x{1d9a}\\x{1e00}-\\x{1f15}\\x{1f18}-\\x{1f1d}\\x{1f20}-\\x{1f45}\\x{1f48}-\\x{1f4d}"        \
    "\\x{1f50}-\\x{1f57}\\x{1f59}\\x{1f5b}\\x{1f5d}\\x{1f5f}-\\x{1f7d}\\x{1f80}-\\x{1fb4}"         \
    "\\x{1fb6}-\\x{1fbc}\\x{1fbe}\\x{1fc2}-\\x{1fc4}\\x{1fc6}-\\x{1fcc}\\x{1fd0}-\\x{1fd3}"        \
    "\\x{1fd6}-\\x{1fdb}\\x{1fe0}-\\x{1fec}\\x{1ff2}-\\x{1ff4}\\x{1ff6}-\\x{1ffc}\\x{2102}"        \
    "\\x{2107}\\x{210a}-\\x{2113}\\x{2115}\\x{2119}-\\x{211d}\\x{2124}\\x{2126}\\x{2128}\\x{212a}" \
    "-\\x{212d}\\x{212f}-\\x{2134}\\x{2139}\\x{213c}-\\x{213f}\\x{2145}-\\x{2149}\\x{214e}"        \
    "\\x{2183}\\x{2184}\\x{2c00}-\\x{2c7b}\\x{2c7e}-\\x{2ce4}\\x{2ceb}-\\x{2cee}\\x{2cf2}"         \
    "\\x{2cf3}\\x{a640}-\\x{a66d}\\x{a680}-\\x{a69b}\\x{a722}-\\x{a76f}\\x{a771}-\\x{a787}"        \
    "\\x{a78b}-\\x{a78e}\\x{ab70}-\\x{abbf}\\x{fb00}-\\x{fb06}\\x{fb13}-\\x{fb17}\\x{ff21}-"       \
    "\\x{ff3a}\\x{ff41}-\\x{ff5a}\\x{10400}-\\x{1044f}\\x{104b0}-\\x{104d3}\\x{104d8}-\\x{104fb}"  \
    "\\x{10c80}-\\x{10cb2}\\x{10cc0}-\\x{10cf2}\\x{118a0}-\\x{118df}\\x{1e900}-\\x{1e943}"
#define DEEPSEEK_CJK "[\\x{4e00}-\\x{9fa5}\\x{800}-\\x{4e00}\\x{ac00}-\\x{d7ff}]+"

enum { PATTERN_COUNT_MAX = 6 };

enum pattern_set {
    PATTERNS_DEFAULT,
    PATTERNS_GPT2,
    PATTERNS_STARCODER,
    PATTERNS_LLAMA3,
    PATTERNS_QWEN2,
    PATTERNS_TEKKEN,
    PATTERNS_FALCON,
    PATTERNS_DEEPSEEK_LLM,
    PATTERNS_DEEPSEEK_CODER,
};

static const char *const pattern_sets[][PATTERN_COUNT_MAX] = {
    [PATTERNS_DEFAULT] = {"[\\p{P}$+<=>^~|]+", GPT2_WORDS, DIGIT "+", "[0-9][0-9][0-9]"},
    [PATTERNS_GPT2] = {GPT2_WORDS},
    [PATTERNS_STARCODER] = {DIGIT, GPT2_WORDS},
    [PATTERNS_LLAMA3] = {CASELESS_WORDS(DIGIT "{1,3}")},
    [PATTERNS_QWEN2] = {CASELESS_WORDS(DIGIT)},
    [PATTERNS_TEKKEN] = {TEKKEN_WORDS},
    [PATTERNS_FALCON] = {"[\\p{P}$+<=>^~|`]+", GPT2_WORDS, "[0-9][0-9][0-9]"},
    /* The look-behind keeps a long run of spaces inside a line from being tried at every start. */
    [PATTERNS_DEEPSEEK_LLM] = {"[\\r\\n]", "[" SPACE "]?[" DEEPSEEK_CASED_LETTERS "]+",
                               "[" SPACE "]?[!-/:-~\\x{ff01}-\\x{ff0f}\\x{ff1a}-\\x{ff5e}"
                               "\\x{2018}-\\x{201f}\\x{3000}-\\x{3002}]+",
                               "(?<![" SPACE "])" SPACES "\\z", DEEPSEEK_CJK, DIGIT "+"},
    [PATTERNS_DEEPSEEK_CODER] = {"[\\r\\n]", "[" SPACE "]?[" LETTER "]+", "[" SPACE "]?\\p{P}+",
                                 DEEPSEEK_CJK, DIGIT},
};

enum { IGNORE_MERGES = 1, ADDS_BOS = 2, NORMALIZE_NFC = 4 };

static const struct row {
    const char *name;
    enum pattern_set patterns;
    unsigned flags;
} rows[] = {
    {"default", PATTERNS_DEFAULT, 0},
    {"gpt-2", PATTERNS_GPT2, 0},
    {"phi-2", PATTERNS_GPT2, 0},
    {"mpt", PATTERNS_GPT2, 0},
    {"olmo", PATTERNS_GPT2, 0},
    {"jais", PATTERNS_GPT2, 0},
    {"gigachat", PATTERNS_GPT2, 0},
    {"a.x-4.0", PATTERNS_GPT2, 0},
    {"mellum", PATTERNS_GPT2, 0},
    {"exaone4", PATTERNS_GPT2, 0},
    {"trillion", PATTERNS_GPT2, 0},
    {"granite-docling", PATTERNS_GPT2, 0},
    {"starcoder", PATTERNS_STARCODER, 0},
    {"refact", PATTERNS_STARCODER, 0},
    {"command-r", PATTERNS_STARCODER, 0},
    {"smollm", PATTERNS_STARCODER, 0},
    {"codeshell", PATTERNS_STARCODER, 0},
    {"exaone", PATTERNS_STARCODER, 0},
    {"minerva-7b", PATTERNS_STARCODER, 0},
    {"mellum2", PATTERNS_STARCODER, 0},
    {"llama-bpe", PATTERNS_LLAMA3, IGNORE_MERGES | ADDS_BOS},
    {"llama3", PATTERNS_LLAMA3, IGNORE_MERGES | ADDS_BOS},
    {"llama-v3", PATTERNS_LLAMA3, IGNORE_MERGES | ADDS_BOS},
    {"falcon3", PATTERNS_LLAMA3, IGNORE_MERGES | ADDS_BOS},
    {"falcon-h1", PATTERNS_LLAMA3, IGNORE_MERGES | ADDS_BOS},
    {"pixtral", PATTERNS_LLAMA3, IGNORE_MERGES | ADDS_BOS},
    {"midm-2.0", PATTERNS_LLAMA3, IGNORE_MERGES | ADDS_BOS},
    {"lfm2", PATTERNS_LLAMA3, IGNORE_MERGES | ADDS_BOS},
    {"dbrx", PATTERNS_LLAMA3, 0},
    {"smaug-bpe", PATTERNS_LLAMA3, 0},
    {"chatglm-bpe", PATTERNS_LLAMA3, 0},
    {"glm4", PATTERNS_LLAMA3, IGNORE_MERGES},
    {"glm5", PATTERNS_LLAMA3, IGNORE_MERGES},
    {"qwen2", PATTERNS_QWEN2, NORMALIZE_NFC},
    {"deepseek-r1-qwen", PATTERNS_QWEN2, 0},
    {"stablelm2", PATTERNS_QWEN2, 0},
    {"megrez", PATTERNS_QWEN2, 0},
    {"hunyuan", PATTERNS_QWEN2, 0},
    {"kormo", PATTERNS_QWEN2, 0},
    {"solar-open", PATTERNS_QWEN2, 0},
    {"grok-2", PATTERNS_QWEN2, 0},
    {"tekken", PATTERNS_TEKKEN, IGNORE_MERGES | ADDS_BOS},
    {"falcon", PATTERNS_FALCON, 0},
    {"deepseek-llm", PATTERNS_DEEPSEEK_LLM, 0},
    {"deepseek-coder", PATTERNS_DEEPSEEK_CODER, 0},
};

struct pretokenizer {
    pcre2_code *codes[PATTERN_COUNT_MAX];
    size_t code_count;
};

struct pretokenizer_scratch {
    pcre2_match_data *match;
    pcre2_match_context *limits;
};

static const struct row *find_row(struct string_view name) {
    if (name.length == 0) {
        return &rows[0];
    }
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        if (string_view_is(name, rows[i].name)) {
            return &rows[i];
        }
    }
    return NULL;
}

bool pretokenizer_traits_of(struct string_view name, struct pretokenizer_traits *traits) {
    const struct row *row = find_row(name);
    if (row == NULL) {
        return false;
    }
    *traits = (struct pretokenizer_traits){
        .ignore_merges = (row->flags & IGNORE_MERGES) != 0,
        .adds_bos = (row->flags & ADDS_BOS) != 0,
        .normalize_nfc = (row->flags & NORMALIZE_NFC) != 0,
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

bool pretokenizer_create(struct string_view name, struct pretokenizer **created,
                         struct error *error) {
    const struct row *row = find_row(name);
    if (row == NULL) {
        int shown = name.length < 100 ? (int)name.length : 100;
        return error_set(error, ERROR_UNSUPPORTED,
                         "the pre-tokenizer '%.*s' (tokenizer.ggml.pre) is not supported", shown,
                         name.data);
    }
    struct pretokenizer *pretokenizer = calloc(1, sizeof *pretokenizer);
    if (pretokenizer == NULL) {
        return error_set(error, ERROR_OUT_OF_MEMORY, "no memory for a pre-tokenizer");
    }
    const char *const *patterns = pattern_sets[row->patterns];
    for (size_t i = 0; i < PATTERN_COUNT_MAX && patterns[i] != NULL; i++) {
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
    for (size_t i = 0; i < PATTERN_COUNT_MAX; i++) {
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
