/*
 * pretokenizer_table.c - see pretokenizer_table.h.
 *
 * The names, and which of them share patterns, are those that llama.cpp's converter writes into
 * files; the patterns are those of the models' own tokenizer.json (Split and ByteLevel steps).
 */
#include "text/tokenizer/pretokenizer_table.h"

#include "text/tokenizer/unicode_additions.h"

/* For the inside of a class. SPACE is Unicode's White_Space property: PCRE2's own \s also takes
 * U+180E, which the regular expression engines these patterns were written for do not. */
#define SPACE                                                                                      \
    "\\t-\\r \\x{85}\\x{a0}\\x{1680}\\x{2000}-\\x{200a}\\x{2028}\\x{2029}\\x{202f}\\x{205f}"       \
    "\\x{3000}"
#define LETTER    "\\p{L}" NEW_LETTERS
#define NUMBER    "\\p{N}" NEW_NUMBERS
#define MARK      "\\p{M}" NEW_MARKS
#define SIGN      "\\p{P}\\p{S}" NEW_SIGNS
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
/* The shape that many share: they differ in what a word is made of, how digits are grouped and what
 * may follow symbols. */
#define CONTRACTION "(?i:" ENGLISH_SUFFIX ")"
#define WHITE_SPACE NEWLINES "|" TRAILING_SPACES "|" SPACES
#define CASELESS_REST(digits)                                                                      \
    LETTER_PREFIX "[" LETTER "]+|" digits "|" SYMBOLS "[\\r\\n]*|" WHITE_SPACE
#define CASELESS_WORDS(digits) CONTRACTION "|" CASELESS_REST(digits)
/* Qwen 3.5 counts marks among the letters. */
#define MARKED_WORDS                                                                               \
    CONTRACTION "|" LETTER_PREFIX "[" LETTER MARK "]+|" DIGIT "| ?[^" SPACE LETTER MARK NUMBER     \
                "]+[\\r\\n]*|" WHITE_SPACE
/* Words begin anew where a capital follows a small letter: Tekken; with contractions, o200k. */
#define CASED_WORDS(suffix, digits)                                                                \
    LETTER_PREFIX "[" UPPER_ISH "]*[" LOWER_ISH "]+" suffix "|" LETTER_PREFIX "[" UPPER_ISH        \
                  "]+[" LOWER_ISH "]*" suffix "|" digits "|" SYMBOLS "[\\r\\n/]*|" WHITE_SPACE
#define BAILING_WORDS                                                                              \
    "'(?i:[sdmt]|ll|ve|re)|" LETTER_PREFIX "[" LETTER "]+|" DIGIT "|" SYMBOLS "[\\r\\n]*|[" SPACE  \
    "]*[\\r\\n]|" TRAILING_SPACES "|" SPACES
#define SEED_WORDS CONTRACTION "|" LETTER_PREFIX "[" LETTER "]+|" DIGIT "|" SYMBOLS "|" WHITE_SPACE

/* DeepSeek V3: a sign of ASCII goes with the letters after it. */
#define DEEPSEEK3_CJK "[\\x{4e00}-\\x{9fa5}\\x{3040}-\\x{30ff}]+"
#define DEEPSEEK3_WORDS                                                                            \
    "[!-/:-@\\[-`{-~][A-Za-z]+|[^\\r\\n" LETTER SIGN "]?[" LETTER MARK "]+| ?[" SIGN               \
    "]+[\\r\\n]*|" WHITE_SPACE

/* Youtu cuts out runs of one East Asian script each. */
#define YOUTU_RUNS                                                                                 \
    "[\\x{ac00}-\\x{d7a3}\\x{3131}-\\x{318e}]+|[\\x{ff01}\\x{2026}\\x{201c}\\x{201d}\\x{2018}"     \
    "\\x{2019}\\x{2014}\\x{ff1a}\\x{ff1b}\\x{ff0c}\\x{3001}-\\x{303f}\\x{fe30}-\\x{fe4f}]+|"       \
    "[\\x{3105}-\\x{312f}]+|" DEEPSEEK3_CJK

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

enum kind {
    KIND_DEFAULT,
    KIND_GPT2,
    KIND_STARCODER,
    KIND_LLAMA3,
    KIND_QWEN2,
    KIND_QWEN35,
    KIND_TEKKEN,
    KIND_O200K,
    KIND_FALCON,
    KIND_DEEPSEEK_LLM,
    KIND_DEEPSEEK_CODER,
    KIND_DEEPSEEK_V3,
    KIND_BAILING,
    KIND_SEED_CODER,
    KIND_MINICPM5,
    KIND_UFAKZEKA,
    KIND_LAGUNA,
    KIND_YOUTU,
    KIND_COUNT,
};

static const char *const patterns[][PRETOKENIZER_PATTERNS_MAX] = {
    [KIND_DEFAULT] = {"[\\p{P}$+<=>^~|]+", GPT2_WORDS, DIGIT "+", "[0-9][0-9][0-9]"},
    [KIND_GPT2] = {GPT2_WORDS},
    [KIND_STARCODER] = {DIGIT, GPT2_WORDS},
    [KIND_LLAMA3] = {CASELESS_WORDS(DIGIT "{1,3}")},
    [KIND_QWEN2] = {CASELESS_WORDS(DIGIT)},
    [KIND_QWEN35] = {MARKED_WORDS},
    [KIND_TEKKEN] = {CASED_WORDS("", DIGIT)},
    [KIND_O200K] = {CASED_WORDS(CONTRACTION "?", DIGIT "{1,3}")},
    [KIND_FALCON] = {"[\\p{P}$+<=>^~|`]+", GPT2_WORDS, "[0-9][0-9][0-9]"},
    /* The look-behind keeps a long run of spaces inside a line from being tried at every start. */
    [KIND_DEEPSEEK_LLM] = {"[\\r\\n]", "[" SPACE "]?[" DEEPSEEK_CASED_LETTERS "]+",
                           "[" SPACE "]?[!-/:-~\\x{ff01}-\\x{ff0f}\\x{ff1a}-\\x{ff5e}"
                           "\\x{2018}-\\x{201f}\\x{3000}-\\x{3002}]+",
                           "(?<![" SPACE "])" SPACES "\\z", DEEPSEEK_CJK, DIGIT "+"},
    [KIND_DEEPSEEK_CODER] = {"[\\r\\n]", "[" SPACE "]?[" LETTER "]+", "[" SPACE "]?\\p{P}+",
                             DEEPSEEK_CJK, DIGIT},
    [KIND_DEEPSEEK_V3] = {DIGIT "{1,3}", DEEPSEEK3_CJK, DEEPSEEK3_WORDS},
    [KIND_BAILING] = {BAILING_WORDS},
    [KIND_SEED_CODER] = {SEED_WORDS},
    [KIND_MINICPM5] = {DIGIT "{1,3}", CASELESS_WORDS(DIGIT "+")},
    [KIND_UFAKZEKA] = {CASELESS_REST(DIGIT)},
    [KIND_LAGUNA] = {"[^\\n]+|\\n+", CASELESS_WORDS(DIGIT)},
    [KIND_YOUTU] = {YOUTU_RUNS, CASED_WORDS(CONTRACTION "?", DIGIT)},
};

/* Short names for the rows below. */
enum {
    IGNORE_MERGES = PRETOKENIZER_IGNORES_MERGES,
    ADDS_BOS = PRETOKENIZER_ADDS_BOS,
    NORMALIZE_NFC = PRETOKENIZER_NORMALIZES,
};

/* The first row of a kind has the name that stands for it in messages. */
static const struct pretokenizer_row rows[] = {
    {"default", KIND_DEFAULT, 0},
    {"gpt-2", KIND_GPT2, 0},
    {"phi-2", KIND_GPT2, 0},
    {"mpt", KIND_GPT2, 0},
    {"olmo", KIND_GPT2, 0},
    {"jais", KIND_GPT2, 0},
    {"gigachat", KIND_GPT2, 0},
    {"a.x-4.0", KIND_GPT2, 0},
    {"mellum", KIND_GPT2, 0},
    {"exaone4", KIND_GPT2, 0},
    {"trillion", KIND_GPT2, 0},
    {"granite-docling", KIND_GPT2, 0},
    {"starcoder", KIND_STARCODER, 0},
    {"refact", KIND_STARCODER, 0},
    {"command-r", KIND_STARCODER, 0},
    {"smollm", KIND_STARCODER, 0},
    {"codeshell", KIND_STARCODER, 0},
    {"exaone", KIND_STARCODER, 0},
    {"minerva-7b", KIND_STARCODER, 0},
    {"mellum2", KIND_STARCODER, 0},
    {"llama-bpe", KIND_LLAMA3, IGNORE_MERGES | ADDS_BOS},
    {"llama3", KIND_LLAMA3, IGNORE_MERGES | ADDS_BOS},
    {"llama-v3", KIND_LLAMA3, IGNORE_MERGES | ADDS_BOS},
    {"falcon3", KIND_LLAMA3, IGNORE_MERGES | ADDS_BOS},
    {"falcon-h1", KIND_LLAMA3, IGNORE_MERGES | ADDS_BOS},
    {"pixtral", KIND_LLAMA3, IGNORE_MERGES | ADDS_BOS},
    {"midm-2.0", KIND_LLAMA3, IGNORE_MERGES | ADDS_BOS},
    {"lfm2", KIND_LLAMA3, IGNORE_MERGES | ADDS_BOS},
    {"dbrx", KIND_LLAMA3, 0},
    {"smaug-bpe", KIND_LLAMA3, 0},
    {"chatglm-bpe", KIND_LLAMA3, 0},
    {"glm4", KIND_LLAMA3, IGNORE_MERGES},
    {"glm5", KIND_LLAMA3, IGNORE_MERGES},
    {"qwen2", KIND_QWEN2, NORMALIZE_NFC},
    {"deepseek-r1-qwen", KIND_QWEN2, 0},
    {"stablelm2", KIND_QWEN2, 0},
    {"megrez", KIND_QWEN2, 0},
    {"hunyuan", KIND_QWEN2, 0},
    {"kormo", KIND_QWEN2, 0},
    {"solar-open", KIND_QWEN2, 0},
    {"grok-2", KIND_QWEN2, 0},
    {"tekken", KIND_TEKKEN, IGNORE_MERGES | ADDS_BOS},
    {"qwen35", KIND_QWEN35, NORMALIZE_NFC},
    {"gpt-4o", KIND_O200K, IGNORE_MERGES},
    {"llama4", KIND_O200K, IGNORE_MERGES},
    {"kanana2", KIND_O200K, 0},
    {"talkie", KIND_O200K, 0},
    {"minimax-m2", KIND_O200K, 0},
    {"falcon", KIND_FALCON, 0},
    {"deepseek-llm", KIND_DEEPSEEK_LLM, 0},
    {"deepseek-coder", KIND_DEEPSEEK_CODER, 0},
    {"deepseek-v3", KIND_DEEPSEEK_V3, 0},
    {"hunyuan-dense", KIND_DEEPSEEK_V3, 0},
    {"joyai-llm", KIND_DEEPSEEK_V3, 0},
    {"hy_v4", KIND_DEEPSEEK_V3, 0},
    {"bailingmoe", KIND_BAILING, 0},
    {"bailingmoe2", KIND_BAILING, 0},
    {"llada-moe", KIND_BAILING, 0},
    {"seed-coder", KIND_SEED_CODER, 0},
    {"minicpm5", KIND_MINICPM5, IGNORE_MERGES},
    {"ufakzeka", KIND_UFAKZEKA, 0},
    {"laguna", KIND_LAGUNA, 0},
    {"youtu", KIND_YOUTU, IGNORE_MERGES},
};

const struct pretokenizer_row *pretokenizer_row_of(struct string_view name) {
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

const char *const *pretokenizer_patterns(const struct pretokenizer_row *row) {
    return patterns[row->kind];
}

void pretokenizer_list_kinds(struct string_buffer *out) {
    bool named[KIND_COUNT] = {false};
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        if (!named[rows[i].kind]) {
            string_buffer_append_format(out, "%s%s", i == 0 ? "" : ", ", rows[i].name);
        }
        named[rows[i].kind] = true;
    }
}
