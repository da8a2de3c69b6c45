/* text.c - see text.h. Characters' properties come from utf8proc. */
#include "text/jinja/text.h"

#include "base/bytes.h"
#include "base/utf8.h"

#include <string.h>
#include <utf8proc.h>

/* Letters whose upper case is several code points: the unconditional mappings of Unicode's
 * SpecialCasing.txt, which utf8proc's simple mapping leaves out. Ordered by letter. */
static const struct {
    uint32_t letter;
    uint32_t upper[3]; /* ends early with 0 */
} special_upper[] = {
    // clang-format off
    {0x00df, {0x0053, 0x0053}}, {0x0149, {0x02bc, 0x004e}}, {0x01f0, {0x004a, 0x030c}},
    {0x0390, {0x0399, 0x0308, 0x0301}}, {0x03b0, {0x03a5, 0x0308, 0x0301}},
    {0x0587, {0x0535, 0x0552}}, {0x1e96, {0x0048, 0x0331}}, {0x1e97, {0x0054, 0x0308}},
    {0x1e98, {0x0057, 0x030a}}, {0x1e99, {0x0059, 0x030a}}, {0x1e9a, {0x0041, 0x02be}},
    {0x1f50, {0x03a5, 0x0313}}, {0x1f52, {0x03a5, 0x0313, 0x0300}},
    {0x1f54, {0x03a5, 0x0313, 0x0301}}, {0x1f56, {0x03a5, 0x0313, 0x0342}},
    {0x1f80, {0x1f08, 0x0399}}, {0x1f81, {0x1f09, 0x0399}}, {0x1f82, {0x1f0a, 0x0399}},
    {0x1f83, {0x1f0b, 0x0399}}, {0x1f84, {0x1f0c, 0x0399}}, {0x1f85, {0x1f0d, 0x0399}},
    {0x1f86, {0x1f0e, 0x0399}}, {0x1f87, {0x1f0f, 0x0399}}, {0x1f88, {0x1f08, 0x0399}},
    {0x1f89, {0x1f09, 0x0399}}, {0x1f8a, {0x1f0a, 0x0399}}, {0x1f8b, {0x1f0b, 0x0399}},
    {0x1f8c, {0x1f0c, 0x0399}}, {0x1f8d, {0x1f0d, 0x0399}}, {0x1f8e, {0x1f0e, 0x0399}},
    {0x1f8f, {0x1f0f, 0x0399}}, {0x1f90, {0x1f28, 0x0399}}, {0x1f91, {0x1f29, 0x0399}},
    {0x1f92, {0x1f2a, 0x0399}}, {0x1f93, {0x1f2b, 0x0399}}, {0x1f94, {0x1f2c, 0x0399}},
    {0x1f95, {0x1f2d, 0x0399}}, {0x1f96, {0x1f2e, 0x0399}}, {0x1f97, {0x1f2f, 0x0399}},
    {0x1f98, {0x1f28, 0x0399}}, {0x1f99, {0x1f29, 0x0399}}, {0x1f9a, {0x1f2a, 0x0399}},
    {0x1f9b, {0x1f2b, 0x0399}}, {0x1f9c, {0x1f2c, 0x0399}}, {0x1f9d, {0x1f2d, 0x0399}},
    {0x1f9e, {0x1f2e, 0x0399}}, {0x1f9f, {0x1f2f, 0x0399}}, {0x1fa0, {0x1f68, 0x0399}},
    {0x1fa1, {0x1f69, 0x0399}}, {0x1fa2, {0x1f6a, 0x0399}}, {0x1fa3, {0x1f6b, 0x0399}},
    {0x1fa4, {0x1f6c, 0x0399}}, {0x1fa5, {0x1f6d, 0x0399}}, {0x1fa6, {0x1f6e, 0x0399}},
    {0x1fa7, {0x1f6f, 0x0399}}, {0x1fa8, {0x1f68, 0x0399}}, {0x1fa9, {0x1f69, 0x0399}},
    {0x1faa, {0x1f6a, 0x0399}}, {0x1fab, {0x1f6b, 0x0399}}, {0x1fac, {0x1f6c, 0x0399}},
    {0x1fad, {0x1f6d, 0x0399}}, {0x1fae, {0x1f6e, 0x0399}}, {0x1faf, {0x1f6f, 0x0399}},
    {0x1fb2, {0x1fba, 0x0399}}, {0x1fb3, {0x0391, 0x0399}}, {0x1fb4, {0x0386, 0x0399}},
    {0x1fb6, {0x0391, 0x0342}}, {0x1fb7, {0x0391, 0x0342, 0x0399}}, {0x1fbc, {0x0391, 0x0399}},
    {0x1fc2, {0x1fca, 0x0399}}, {0x1fc3, {0x0397, 0x0399}}, {0x1fc4, {0x0389, 0x0399}},
    {0x1fc6, {0x0397, 0x0342}}, {0x1fc7, {0x0397, 0x0342, 0x0399}}, {0x1fcc, {0x0397, 0x0399}},
    {0x1fd2, {0x0399, 0x0308, 0x0300}}, {0x1fd3, {0x0399, 0x0308, 0x0301}},
    {0x1fd6, {0x0399, 0x0342}}, {0x1fd7, {0x0399, 0x0308, 0x0342}},
    {0x1fe2, {0x03a5, 0x0308, 0x0300}}, {0x1fe3, {0x03a5, 0x0308, 0x0301}},
    {0x1fe4, {0x03a1, 0x0313}}, {0x1fe6, {0x03a5, 0x0342}}, {0x1fe7, {0x03a5, 0x0308, 0x0342}},
    {0x1ff2, {0x1ffa, 0x0399}}, {0x1ff3, {0x03a9, 0x0399}}, {0x1ff4, {0x038f, 0x0399}},
    {0x1ff6, {0x03a9, 0x0342}}, {0x1ff7, {0x03a9, 0x0342, 0x0399}}, {0x1ffc, {0x03a9, 0x0399}},
    {0xfb00, {0x0046, 0x0046}}, {0xfb01, {0x0046, 0x0049}}, {0xfb02, {0x0046, 0x004c}},
    {0xfb03, {0x0046, 0x0046, 0x0049}}, {0xfb04, {0x0046, 0x0046, 0x004c}},
    {0xfb05, {0x0053, 0x0054}}, {0xfb06, {0x0053, 0x0054}}, {0xfb13, {0x0544, 0x0546}},
    {0xfb14, {0x0544, 0x0535}}, {0xfb15, {0x0544, 0x053b}}, {0xfb16, {0x054e, 0x0546}},
    {0xfb17, {0x0544, 0x053d}},
    // clang-format on
};

size_t jinja_text_length(struct string_view text) {
    size_t count = 0;
    for (size_t i = 0; i < text.length; i++) {
        count += ((unsigned char)text.data[i] & 0xc0) != 0x80;
    }
    return count;
}

size_t jinja_character_bytes(const char *text, size_t length) {
    uint32_t code_point;
    size_t bytes = utf8_decode(text, length, &code_point);
    return bytes == 0 ? size_min(length, 1) : bytes;
}

size_t jinja_text_offset(struct string_view text, size_t index) {
    size_t offset = 0;
    while (index > 0 && offset < text.length) {
        offset += jinja_character_bytes(text.data + offset, text.length - offset);
        index--;
    }
    return offset;
}

struct string_view jinja_text_from(struct string_view text, size_t byte_offset) {
    if (byte_offset >= text.length) {
        return (struct string_view){"", 0};
    }
    return (struct string_view){text.data + byte_offset, text.length - byte_offset};
}

struct string_view jinja_text_until(struct string_view text, size_t byte_end) {
    return (struct string_view){text.data, size_min(byte_end, text.length)};
}

/* The character at the start; bytes that are not UTF-8 read as U+FFFD. */
static uint32_t first_character(struct string_view text, size_t *bytes) {
    uint32_t code_point;
    *bytes = utf8_decode(text.data, text.length, &code_point);
    if (*bytes == 0) {
        *bytes = size_min(text.length, 1);
        return 0xfffd;
    }
    return code_point;
}

static uint32_t last_character(struct string_view text, size_t *bytes) {
    size_t start = text.length;
    do {
        start--;
    } while (start > 0 && text.length - start < 4 &&
             ((unsigned char)text.data[start] & 0xc0) == 0x80);
    uint32_t code_point = first_character(jinja_text_from(text, start), bytes);
    if (start + *bytes != text.length) {
        *bytes = 1;
        return 0xfffd;
    }
    return code_point;
}

bool jinja_is_space(uint32_t code_point) {
    return (code_point >= 0x09 && code_point <= 0x0d) ||
           (code_point >= 0x1c && code_point <= 0x20) || code_point == 0x85 || code_point == 0xa0 ||
           code_point == 0x1680 || (code_point >= 0x2000 && code_point <= 0x200a) ||
           code_point == 0x2028 || code_point == 0x2029 || code_point == 0x202f ||
           code_point == 0x205f || code_point == 0x3000;
}

static bool in_set(uint32_t code_point, const struct string_view *characters) {
    if (characters == NULL) {
        return jinja_is_space(code_point);
    }
    size_t bytes;
    for (size_t at = 0; at < characters->length; at += bytes) {
        if (first_character(jinja_text_from(*characters, at), &bytes) == code_point) {
            return true;
        }
    }
    return false;
}

struct string_view jinja_text_strip(struct string_view text, const struct string_view *characters,
                                    enum jinja_strip_sides sides) {
    size_t bytes;
    while ((sides & JINJA_STRIP_LEFT) != 0 && text.length > 0 &&
           in_set(first_character(text, &bytes), characters)) {
        text = jinja_text_from(text, bytes);
    }
    while ((sides & JINJA_STRIP_RIGHT) != 0 && text.length > 0 &&
           in_set(last_character(text, &bytes), characters)) {
        text.length -= bytes;
    }
    return text;
}

bool jinja_text_strip_paid(struct jinja_render *render, struct string_view *text,
                           const struct string_view *characters, enum jinja_strip_sides sides) {
    size_t price = characters == NULL ? 1 : 1 + characters->length / 8;
    size_t bytes;
    while ((sides & JINJA_STRIP_LEFT) != 0 && text->length > 0) {
        if (!jinja_spend(render, price)) {
            return false;
        }
        if (!in_set(first_character(*text, &bytes), characters)) {
            break;
        }
        *text = jinja_text_from(*text, bytes);
    }
    while ((sides & JINJA_STRIP_RIGHT) != 0 && text->length > 0) {
        if (!jinja_spend(render, price)) {
            return false;
        }
        if (!in_set(last_character(*text, &bytes), characters)) {
            break;
        }
        text->length -= bytes;
    }
    return true;
}

size_t jinja_leading_space(struct string_view text) {
    return text.length - jinja_text_strip(text, NULL, JINJA_STRIP_LEFT).length;
}

size_t jinja_trailing_space(struct string_view text) {
    return text.length - jinja_text_strip(text, NULL, JINJA_STRIP_RIGHT).length;
}

size_t jinja_text_find(struct string_view text, struct string_view needle, size_t from) {
    if (from > text.length || needle.length > text.length - from) {
        return JINJA_NOT_FOUND;
    }
    if (needle.length == 0) {
        return from;
    }
    const char *found = memmem(text.data + from, text.length - from, needle.data, needle.length);
    return found == NULL ? JINJA_NOT_FOUND : (size_t)(found - text.data);
}

size_t jinja_text_find_last(struct string_view text, struct string_view needle) {
    if (needle.length > text.length) {
        return JINJA_NOT_FOUND;
    }
    for (size_t at = text.length - needle.length + 1; at-- > 0;) {
        if (needle.length == 0 || memcmp(text.data + at, needle.data, needle.length) == 0) {
            return at;
        }
    }
    return JINJA_NOT_FOUND;
}

enum { SEARCH_WINDOW = 256 * 1024, LAST_WINDOW = 64 * 1024 };

bool jinja_search(struct jinja_render *render, struct string_view text, struct string_view needle,
                  size_t from, size_t *found) {
    size_t window = size_max(SEARCH_WINDOW, 2 * needle.length);
    for (;;) {
        size_t end = from + size_min(window, text.length - size_min(from, text.length));
        *found = jinja_text_find(jinja_text_until(text, end), needle, from);
        size_t until = *found == JINJA_NOT_FOUND ? end : *found + needle.length;
        if (!jinja_spend_search(render, until - from)) {
            return false;
        }
        if (*found != JINJA_NOT_FOUND || end >= text.length) {
            return true;
        }
        from = end - (needle.length - 1); /* an empty needle is found at once */
    }
}

bool jinja_search_last(struct jinja_render *render, struct string_view text,
                       struct string_view needle, size_t *found) {
    size_t places = size_max(LAST_WINDOW / (1 + needle.length / 64), 16);
    for (;;) {
        size_t window = size_min(places + needle.length, text.length);
        size_t start = text.length - window;
        *found = jinja_text_find_last(jinja_text_from(text, start), needle);
        size_t looked_at = *found == JINJA_NOT_FOUND ? size_min(places, window) : window - *found;
        if (!jinja_spend_search_last(render, looked_at, needle.length)) {
            return false;
        }
        if (*found != JINJA_NOT_FOUND) {
            *found += start;
            return true;
        }
        if (start == 0) {
            return true;
        }
        text.length = start + needle.length - 1; /* an empty needle is found at once */
    }
}

bool jinja_text_starts_with(struct string_view text, struct string_view prefix) {
    return string_view_equals(jinja_text_until(text, prefix.length), prefix);
}

bool jinja_text_ends_with(struct string_view text, struct string_view suffix) {
    return suffix.length <= text.length &&
           string_view_equals(jinja_text_from(text, text.length - suffix.length), suffix);
}

static bool is_line_break(uint32_t code_point) {
    return (code_point >= 0x0a && code_point <= 0x0d) ||
           (code_point >= 0x1c && code_point <= 0x1e) || code_point == 0x85 ||
           code_point == 0x2028 || code_point == 0x2029;
}

bool jinja_next_line(struct string_view *rest, struct string_view *line,
                     struct string_view *ending) {
    if (rest->length == 0) {
        return false;
    }
    size_t at = 0, bytes = 0;
    while (at < rest->length &&
           !is_line_break(first_character(jinja_text_from(*rest, at), &bytes))) {
        at += bytes;
        bytes = 0;
    }
    if (at + 1 < rest->length && rest->data[at] == '\r' && rest->data[at + 1] == '\n') {
        bytes = 2;
    }
    *line = jinja_text_until(*rest, at);
    *ending = jinja_text_until(jinja_text_from(*rest, at), bytes);
    *rest = jinja_text_from(*rest, at + bytes);
    return true;
}

static utf8proc_category_t category(uint32_t code_point) {
    return utf8proc_category((utf8proc_int32_t)code_point);
}

bool jinja_is_alpha(uint32_t code_point) {
    utf8proc_category_t kind = category(code_point);
    return kind >= UTF8PROC_CATEGORY_LU && kind <= UTF8PROC_CATEGORY_LO;
}

bool jinja_is_decimal(uint32_t code_point) {
    return category(code_point) == UTF8PROC_CATEGORY_ND;
}

bool jinja_is_alphanumeric(uint32_t code_point) {
    utf8proc_category_t kind = category(code_point);
    return jinja_is_alpha(code_point) ||
           (kind >= UTF8PROC_CATEGORY_ND && kind <= UTF8PROC_CATEGORY_NO);
}

bool jinja_is_upper(uint32_t code_point) {
    return category(code_point) == UTF8PROC_CATEGORY_LU;
}

bool jinja_is_lower(uint32_t code_point) {
    return category(code_point) == UTF8PROC_CATEGORY_LL;
}

bool jinja_is_printable(uint32_t code_point) {
    if (code_point < 0x7f) {
        return code_point >= 0x20;
    }
    switch (category(code_point)) {
    case UTF8PROC_CATEGORY_CN:
    case UTF8PROC_CATEGORY_CC:
    case UTF8PROC_CATEGORY_CF:
    case UTF8PROC_CATEGORY_CS:
    case UTF8PROC_CATEGORY_CO:
    case UTF8PROC_CATEGORY_ZS:
    case UTF8PROC_CATEGORY_ZL:
    case UTF8PROC_CATEGORY_ZP:
        return false;
    default:
        return true;
    }
}

bool jinja_is_name(uint32_t code_point) {
    if (code_point < 0x80) {
        return (code_point >= '0' && code_point <= '9') || code_point == '_' ||
               ((code_point | 0x20) >= 'a' && (code_point | 0x20) <= 'z');
    }
    utf8proc_category_t kind = category(code_point);
    return (kind >= UTF8PROC_CATEGORY_LU && kind <= UTF8PROC_CATEGORY_MC) ||
           kind == UTF8PROC_CATEGORY_ND || kind == UTF8PROC_CATEGORY_PC;
}

static const uint32_t *find_special_upper(uint32_t code_point) {
    size_t low = 0, high = sizeof special_upper / sizeof special_upper[0];
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (special_upper[middle].letter == code_point) {
            return special_upper[middle].upper;
        }
        if (special_upper[middle].letter < code_point) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    return NULL;
}

static uint32_t simple_lower(uint32_t code_point) {
    return (uint32_t)utf8proc_tolower((utf8proc_int32_t)code_point);
}

static void append_upper_character(struct jinja_builder *builder, uint32_t code_point) {
    const uint32_t *special = code_point < 0x80 ? NULL : find_special_upper(code_point);
    if (special == NULL) {
        jinja_append_code_point(builder, (uint32_t)utf8proc_toupper((utf8proc_int32_t)code_point));
        return;
    }
    for (size_t i = 0; i < 3 && special[i] != 0; i++) {
        jinja_append_code_point(builder, special[i]);
    }
}

static bool is_cased(uint32_t code_point) {
    utf8proc_category_t kind = category(code_point);
    return kind >= UTF8PROC_CATEGORY_LU && kind <= UTF8PROC_CATEGORY_LT;
}

static void append_title_character(struct jinja_builder *builder, uint32_t code_point) {
    enum { SMALL_SHARP_S = 0xdf, CAPITAL_IOTA = 0x399, IOTA_BELOW = 0x345 };
    uint32_t title = (uint32_t)utf8proc_totitle((utf8proc_int32_t)code_point);
    const uint32_t *special = code_point < 0x80 ? NULL : find_special_upper(code_point);
    /* utf8proc has a capital sharp s as the title case of the small one; Unicode has "Ss". */
    if (special == NULL || category(code_point) == UTF8PROC_CATEGORY_LT ||
        (title != code_point && code_point != SMALL_SHARP_S)) {
        jinja_append_code_point(builder, title);
        return;
    }
    bool lower = false;
    for (size_t i = 0; i < 3 && special[i] != 0; i++) {
        uint32_t rest = special[i] == CAPITAL_IOTA ? IOTA_BELOW : simple_lower(special[i]);
        jinja_append_code_point(builder, lower ? rest : special[i]);
        lower = lower || is_cased(special[i]);
    }
}

/* Marks and format characters do not end a word for the rule of the final sigma. */
static bool is_case_ignorable(uint32_t code_point) {
    utf8proc_category_t kind = category(code_point);
    return kind == UTF8PROC_CATEGORY_MN || kind == UTF8PROC_CATEGORY_ME ||
           kind == UTF8PROC_CATEGORY_CF || kind == UTF8PROC_CATEGORY_LM ||
           kind == UTF8PROC_CATEGORY_SK || code_point == '\'' || code_point == '.' ||
           code_point == ':' || code_point == 0xb7 || code_point == 0x2019;
}

/* Unicode's Final_Sigma: a cased letter before, none after. Looks at most 32 characters away. */
static bool is_final_sigma(struct string_view text, size_t at, size_t bytes) {
    struct string_view before = jinja_text_until(text, at),
                       after = jinja_text_from(text, at + bytes);
    uint32_t code_point = 0;
    size_t taken;
    for (int i = 0; i < 32 && before.length > 0; i++) {
        code_point = last_character(before, &taken);
        if (!is_case_ignorable(code_point)) {
            break;
        }
        before.length -= taken;
    }
    if (before.length == 0 || !is_cased(code_point)) {
        return false;
    }
    for (int i = 0; i < 32 && after.length > 0; i++) {
        code_point = first_character(after, &taken);
        if (!is_case_ignorable(code_point)) {
            return !is_cased(code_point);
        }
        after = jinja_text_from(after, taken);
    }
    return true;
}

static void append_lower_character(struct jinja_builder *builder, struct string_view text,
                                   size_t at, uint32_t code_point, size_t bytes) {
    if (code_point == 0x130) { /* I with a dot above: i and a combining dot */
        jinja_append_text(builder, "i\xcc\x87");
    } else if (code_point == 0x3a3 && is_final_sigma(text, at, bytes)) {
        jinja_append_code_point(builder, 0x3c2);
    } else {
        jinja_append_code_point(builder, simple_lower(code_point));
    }
}

void jinja_append_upper(struct jinja_builder *builder, struct string_view text) {
    size_t bytes;
    for (size_t at = 0; at < text.length && !builder->render->failed; at += bytes) {
        append_upper_character(builder, first_character(jinja_text_from(text, at), &bytes));
    }
}

void jinja_append_lower(struct jinja_builder *builder, struct string_view text) {
    size_t bytes;
    for (size_t at = 0; at < text.length && !builder->render->failed; at += bytes) {
        uint32_t code_point = first_character(jinja_text_from(text, at), &bytes);
        append_lower_character(builder, text, at, code_point, bytes);
    }
}

void jinja_append_capitalized(struct jinja_builder *builder, struct string_view text) {
    size_t bytes;
    for (size_t at = 0; at < text.length && !builder->render->failed; at += bytes) {
        uint32_t code_point = first_character(jinja_text_from(text, at), &bytes);
        if (at == 0) {
            append_title_character(builder, code_point);
        } else {
            append_lower_character(builder, text, at, code_point, bytes);
        }
    }
}

void jinja_append_title(struct jinja_builder *builder, struct string_view text) {
    size_t bytes;
    bool in_word = false;
    for (size_t at = 0; at < text.length && !builder->render->failed; at += bytes) {
        uint32_t code_point = first_character(jinja_text_from(text, at), &bytes);
        if (in_word) {
            append_lower_character(builder, text, at, code_point, bytes);
        } else {
            append_title_character(builder, code_point);
        }
        in_word = is_cased(code_point);
    }
}
