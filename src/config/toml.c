/*
 * toml.c - see toml.h. Keys, tables and arrays; toml_scalar.c reads what stands behind the equals
 * sign.
 *
 * All values of a document lie in one arena. One hash map finds a key in its table: its keys are
 * the table's address followed by the key's bytes, so that a hostile file with very many keys still
 * takes linear time.
 */
#include "config/toml.h"

#include "base/hash_map.h"
#include "base/utf8.h"
#include "config/toml_cursor.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

enum {
    TOML_MAX_NESTING = 64,   /* arrays and inline tables within one value */
    TOML_MAX_KEY_PARTS = 64, /* a.b.c: three */
};

struct toml_document {
    struct arena arena;
    char *text; /* [length + 1], in the arena */
    struct toml_value *root;
    struct hash_map index; /* (table address, key) → struct toml_value * */
};

struct parser {
    struct toml_cursor cursor;
    struct toml_document *document;
    struct toml_value *table; /* where key = value lines go */
    size_t body;              /* number of the current body of such lines */
    size_t body_count;
    size_t nesting;
};

/* One key: the parts between its dots. */
struct key_path {
    size_t count;
    struct string_view parts[TOML_MAX_KEY_PARTS];
    size_t offsets[TOML_MAX_KEY_PARTS];
};

/* Positions and errors. */

void toml_text_position(const char *text, size_t offset, size_t *line, size_t *column) {
    *line = 1;
    *column = 1;
    for (size_t i = 0; i < offset; i++) {
        if (text[i] == '\n') {
            (*line)++;
            *column = 1;
        } else if (((unsigned char)text[i] & 0xc0) != 0x80) {
            (*column)++; /* continuation bytes do not count */
        }
    }
}

void toml_position(const struct toml_document *document, size_t offset, size_t *line,
                   size_t *column) {
    toml_text_position(document->text, offset, line, column);
}

bool toml_fail(const struct toml_cursor *cursor, size_t offset, const char *format, ...) {
    char reason[512];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(reason, sizeof reason, format, arguments);
    va_end(arguments);
    size_t line;
    size_t column;
    toml_text_position(cursor->text, offset, &line, &column);
    return error_set(cursor->error, ERROR_FORMAT, "%s:%zu:%zu: %s", cursor->name, line, column,
                     reason);
}

static bool no_memory(struct parser *parser) {
    return error_set(parser->cursor.error, ERROR_OUT_OF_MEMORY, "no memory for '%s'",
                     parser->cursor.name);
}

const char *toml_kind_name(enum toml_kind kind) {
    static const char *const names[] = {
        [TOML_STRING] = "a string",
        [TOML_INTEGER] = "an integer",
        [TOML_FLOAT] = "a float",
        [TOML_BOOL] = "a boolean",
        [TOML_OFFSET_DATE_TIME] = "a date and time",
        [TOML_LOCAL_DATE_TIME] = "a date and time",
        [TOML_LOCAL_DATE] = "a date",
        [TOML_LOCAL_TIME] = "a time",
        [TOML_ARRAY] = "an array",
        [TOML_TABLE] = "a table",
    };
    return names[kind];
}

/* The tree. */

/* The index key of (table, key), appended to an empty buffer. */
static struct string_view index_key(struct string_buffer *buffer, const struct toml_value *table,
                                    struct string_view key) {
    uintptr_t address = (uintptr_t)table;
    string_buffer_append(buffer, &address, sizeof address);
    string_buffer_append(buffer, key.data, key.length);
    return (struct string_view){string_buffer_text(buffer), buffer->length};
}

const struct toml_value *toml_find(const struct toml_document *document,
                                   const struct toml_value *table, struct string_view key) {
    struct string_buffer buffer = {0};
    struct string_view name = index_key(&buffer, table, key);
    const uint64_t *found = buffer.failed ? NULL : hash_map_get(&document->index, name);
    string_buffer_deinit(&buffer);
    return found == NULL ? NULL : (const struct toml_value *)(uintptr_t)*found;
}

static struct toml_value *find(struct parser *parser, struct toml_value *table,
                               struct string_view key) {
    /* The document is this parser's own, so its values may be changed. */
    return (struct toml_value *)(uintptr_t)toml_find(parser->document, table, key);
}

static struct toml_value *new_value(struct parser *parser, enum toml_kind kind, size_t offset) {
    struct toml_value *value = arena_alloc(&parser->document->arena, 1, sizeof *value);
    if (value == NULL) {
        no_memory(parser);
        return NULL;
    }
    value->kind = kind;
    value->offset = offset;
    value->key_offset = offset;
    return value;
}

static void append_child(struct toml_value *parent, struct toml_value *child) {
    if (parent->last == NULL) {
        parent->first = child;
    } else {
        parent->last->next = child;
    }
    parent->last = child;
    parent->count++;
}

/* The key must not be in the table yet. */
static bool add_to_table(struct parser *parser, struct toml_value *table, struct string_view key,
                         size_t key_offset, struct toml_value *value) {
    struct string_buffer buffer = {0};
    struct string_view name = index_key(&buffer, table, key);
    char *kept =
        buffer.failed ? NULL : arena_copy_text(&parser->document->arena, name.data, name.length);
    bool done = kept != NULL &&
                hash_map_set(&parser->document->index, (struct string_view){kept, name.length},
                             (uint64_t)(uintptr_t)value);
    string_buffer_deinit(&buffer);
    if (!done) {
        return no_memory(parser);
    }
    value->key = key;
    value->key_offset = key_offset;
    append_child(table, value);
    return true;
}

static struct toml_value *add_table(struct parser *parser, struct toml_value *parent,
                                    const struct key_path *path, size_t part,
                                    enum toml_table_origin origin) {
    struct toml_value *table = new_value(parser, TOML_TABLE, path->offsets[part]);
    if (table == NULL ||
        !add_to_table(parser, parent, path->parts[part], path->offsets[part], table)) {
        return NULL;
    }
    table->table.origin = origin;
    table->table.body = parser->body;
    return table;
}

/* White space, comments, newlines. */

bool toml_skip_newline(struct toml_cursor *cursor) {
    if (toml_peek(cursor, 0) == '\n') {
        cursor->at++;
        return true;
    }
    if (toml_peek(cursor, 0) == '\r' && toml_peek(cursor, 1) == '\n') {
        cursor->at += 2;
        return true;
    }
    return false;
}

static void skip_blanks(struct toml_cursor *cursor) {
    while (toml_peek(cursor, 0) == ' ' || toml_peek(cursor, 0) == '\t') {
        cursor->at++;
    }
}

/* Blanks and a comment, up to the end of the line. */
static bool skip_comment(struct toml_cursor *cursor) {
    skip_blanks(cursor);
    if (toml_peek(cursor, 0) != '#') {
        return true;
    }
    while (cursor->at < cursor->length && toml_peek(cursor, 0) != '\n') {
        unsigned char c = (unsigned char)cursor->text[cursor->at];
        if (c == '\r' && toml_peek(cursor, 1) == '\n') {
            break;
        }
        if ((c < 0x20 && c != '\t') || c == 0x7f) {
            return toml_fail(cursor, cursor->at, "control character 0x%02x in a comment", c);
        }
        cursor->at++;
    }
    return true;
}

static bool expect_end_of_line(struct toml_cursor *cursor) {
    if (!skip_comment(cursor)) {
        return false;
    }
    if (cursor->at == cursor->length || toml_skip_newline(cursor)) {
        return true;
    }
    return toml_fail(cursor, cursor->at, "the line goes on after its value");
}

/* Blanks, comments and newlines, as they may stand between the elements of an array. */
static bool skip_space(struct toml_cursor *cursor) {
    do {
        if (!skip_comment(cursor)) {
            return false;
        }
    } while (toml_skip_newline(cursor));
    return true;
}

/* Keys. */

static bool is_bare_key_char(char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_' ||
           c == '-';
}

static bool read_key_part(struct toml_cursor *cursor, struct string_view *part) {
    char c = toml_peek(cursor, 0);
    if (c == '"' || c == '\'') {
        return toml_read_string(cursor, false, part);
    }
    size_t length = 0;
    while (is_bare_key_char(toml_peek(cursor, length))) {
        length++;
    }
    if (length == 0) {
        return toml_fail(cursor, cursor->at, "a key is missing");
    }
    *part = (struct string_view){cursor->text + cursor->at, length};
    cursor->at += length;
    return true;
}

/* a . "b c" . d, with blanks around each part. */
static bool read_key(struct toml_cursor *cursor, struct key_path *path) {
    for (;;) {
        skip_blanks(cursor);
        if (path->count == TOML_MAX_KEY_PARTS) {
            return toml_fail(cursor, cursor->at, "a key has at most %d parts", TOML_MAX_KEY_PARTS);
        }
        path->offsets[path->count] = cursor->at;
        if (!read_key_part(cursor, &path->parts[path->count])) {
            return false;
        }
        path->count++;
        skip_blanks(cursor);
        if (toml_peek(cursor, 0) != '.') {
            return true;
        }
        cursor->at++;
    }
}

static bool fail_redefined(struct parser *parser, const struct key_path *path, size_t part,
                           const struct toml_value *earlier) {
    size_t line;
    size_t column;
    toml_text_position(parser->cursor.text, earlier->key_offset, &line, &column);
    return toml_fail(&parser->cursor, path->offsets[part], "'%.*s' is already defined at line %zu",
                     (int)path->parts[part].length, path->parts[part].data, line);
}

/* Values. */

static struct toml_value *read_value(struct parser *parser);

/* The table that holds the last part of a dotted key, made where missing. */
static struct toml_value *walk_dotted_key(struct parser *parser, struct toml_value *table,
                                          const struct key_path *path) {
    for (size_t i = 0; i + 1 < path->count; i++) {
        struct toml_value *next = find(parser, table, path->parts[i]);
        if (next == NULL) {
            next = add_table(parser, table, path, i, TOML_TABLE_DOTTED);
            if (next == NULL) {
                return NULL;
            }
        } else if (next->kind == TOML_TABLE && next->table.origin == TOML_TABLE_IMPLIED) {
            next->table.origin = TOML_TABLE_DOTTED;
            next->table.body = parser->body;
        } else if (next->kind != TOML_TABLE || next->table.origin != TOML_TABLE_DOTTED ||
                   next->table.body != parser->body) {
            fail_redefined(parser, path, i, next);
            return NULL;
        }
        table = next;
    }
    return table;
}

/* key = value, into `base` (the current table, or an inline one). */
static bool read_key_value(struct parser *parser, struct toml_value *base) {
    struct toml_cursor *cursor = &parser->cursor;
    struct key_path path = {.count = 0};
    if (!read_key(cursor, &path)) {
        return false;
    }
    if (toml_peek(cursor, 0) != '=') {
        return toml_fail(cursor, cursor->at, "an equals sign is missing after the key");
    }
    cursor->at++;
    skip_blanks(cursor);
    struct toml_value *table = walk_dotted_key(parser, base, &path);
    if (table == NULL) {
        return false;
    }
    size_t last = path.count - 1;
    const struct toml_value *earlier = find(parser, table, path.parts[last]);
    if (earlier != NULL) {
        return fail_redefined(parser, &path, last, earlier);
    }
    struct toml_value *value = read_value(parser);
    return value != NULL &&
           add_to_table(parser, table, path.parts[last], path.offsets[last], value);
}

static bool read_array(struct parser *parser, struct toml_value *array) {
    struct toml_cursor *cursor = &parser->cursor;
    cursor->at++;
    for (;;) {
        if (!skip_space(cursor)) {
            return false;
        }
        if (toml_peek(cursor, 0) == ']') {
            cursor->at++;
            return true;
        }
        struct toml_value *element = read_value(parser);
        if (element == NULL) {
            return false;
        }
        append_child(array, element);
        if (!skip_space(cursor)) {
            return false;
        }
        if (toml_peek(cursor, 0) == ',') {
            cursor->at++;
        } else if (toml_peek(cursor, 0) != ']') {
            return toml_fail(cursor, cursor->at, "a comma or ] is missing in the array");
        }
    }
}

/* { a = 1, b.c = 2 }: on one line, no comma at the end (TOML 1.0). */
static bool read_inline_table(struct parser *parser, struct toml_value *table) {
    struct toml_cursor *cursor = &parser->cursor;
    size_t outer_body = parser->body;
    parser->body = ++parser->body_count;
    table->table.origin = TOML_TABLE_INLINE;
    cursor->at++;
    skip_blanks(cursor);
    bool done = toml_peek(cursor, 0) == '}';
    while (!done) {
        if (!read_key_value(parser, table)) {
            return false;
        }
        skip_blanks(cursor);
        done = toml_peek(cursor, 0) == '}';
        if (!done && toml_peek(cursor, 0) != ',') {
            return toml_fail(cursor, cursor->at, "a comma or } is missing in the inline table");
        }
        cursor->at += done ? 0 : 1;
    }
    cursor->at++;
    parser->body = outer_body;
    return true;
}

static struct toml_value *read_value(struct parser *parser) {
    struct toml_cursor *cursor = &parser->cursor;
    struct toml_value *value = new_value(parser, TOML_STRING, cursor->at);
    if (value == NULL) {
        return NULL;
    }
    char c = toml_peek(cursor, 0);
    if (c == '"' || c == '\'') {
        return toml_read_string(cursor, true, &value->text) ? value : NULL;
    }
    if (c != '[' && c != '{') {
        return toml_read_plain_scalar(cursor, value) ? value : NULL;
    }
    if (parser->nesting == TOML_MAX_NESTING) {
        toml_fail(cursor, cursor->at, "values are nested more than %d deep", TOML_MAX_NESTING);
        return NULL;
    }
    parser->nesting++;
    value->kind = c == '[' ? TOML_ARRAY : TOML_TABLE;
    bool done = c == '[' ? read_array(parser, value) : read_inline_table(parser, value);
    parser->nesting--;
    return done ? value : NULL;
}

/* Headers. */

/* The table that the last part of a header is looked up in. Through an array of tables the way
 * leads into its newest element. */
static struct toml_value *walk_header(struct parser *parser, const struct key_path *path) {
    struct toml_value *table = parser->document->root;
    for (size_t i = 0; i + 1 < path->count; i++) {
        struct toml_value *next = find(parser, table, path->parts[i]);
        if (next == NULL) {
            next = add_table(parser, table, path, i, TOML_TABLE_IMPLIED);
            if (next == NULL) {
                return NULL;
            }
        } else if (next->kind == TOML_ARRAY && next->of_tables) {
            next = next->last;
        } else if (next->kind != TOML_TABLE || next->table.origin == TOML_TABLE_INLINE) {
            fail_redefined(parser, path, i, next);
            return NULL;
        }
        table = next;
    }
    return table;
}

static bool open_table(struct parser *parser, struct toml_value *parent,
                       const struct key_path *path) {
    size_t last = path->count - 1;
    struct toml_value *table = find(parser, parent, path->parts[last]);
    if (table == NULL) {
        table = add_table(parser, parent, path, last, TOML_TABLE_HEADER);
    } else if (table->kind == TOML_TABLE && table->table.origin == TOML_TABLE_IMPLIED) {
        table->table.origin = TOML_TABLE_HEADER;
        table->key_offset = path->offsets[last];
    } else {
        return fail_redefined(parser, path, last, table);
    }
    parser->table = table;
    return table != NULL;
}

static bool open_array_element(struct parser *parser, struct toml_value *parent,
                               const struct key_path *path) {
    size_t last = path->count - 1;
    struct toml_value *array = find(parser, parent, path->parts[last]);
    if (array == NULL) {
        array = new_value(parser, TOML_ARRAY, path->offsets[last]);
        if (array == NULL ||
            !add_to_table(parser, parent, path->parts[last], path->offsets[last], array)) {
            return false;
        }
        array->of_tables = true;
    } else if (array->kind != TOML_ARRAY || !array->of_tables) {
        return fail_redefined(parser, path, last, array);
    }
    struct toml_value *element = new_value(parser, TOML_TABLE, path->offsets[last]);
    if (element == NULL) {
        return false;
    }
    element->table.origin = TOML_TABLE_HEADER;
    append_child(array, element);
    parser->table = element;
    return true;
}

/* [a.b] or [[a.b]]; the cursor is on the first bracket. */
static bool read_header(struct parser *parser) {
    struct toml_cursor *cursor = &parser->cursor;
    bool is_array = toml_peek(cursor, 1) == '[';
    cursor->at += is_array ? 2 : 1;
    struct key_path path = {.count = 0};
    if (!read_key(cursor, &path)) {
        return false;
    }
    if (toml_peek(cursor, 0) != ']' || (is_array && toml_peek(cursor, 1) != ']')) {
        return toml_fail(cursor, cursor->at, "%s is missing", is_array ? "]]" : "]");
    }
    cursor->at += is_array ? 2 : 1;
    parser->body = ++parser->body_count;
    struct toml_value *parent = walk_header(parser, &path);
    if (parent == NULL) {
        return false;
    }
    bool opened =
        is_array ? open_array_element(parser, parent, &path) : open_table(parser, parent, &path);
    return opened && expect_end_of_line(cursor);
}

/* Documents. */

static bool read_lines(struct parser *parser) {
    struct toml_cursor *cursor = &parser->cursor;
    for (;;) {
        if (!skip_space(cursor)) {
            return false;
        }
        if (cursor->at == cursor->length) {
            return true;
        }
        if (toml_peek(cursor, 0) == '[') {
            if (!read_header(parser)) {
                return false;
            }
        } else if (!read_key_value(parser, parser->table) || !expect_end_of_line(cursor)) {
            return false;
        }
    }
}

static bool check_utf8(struct toml_cursor *cursor) {
    size_t bad_at;
    if (!utf8_validate(cursor->text, cursor->length, &bad_at)) {
        return toml_fail(cursor, bad_at, "the bytes here are not UTF-8");
    }
    if (cursor->length >= 3 && memcmp(cursor->text, "\xef\xbb\xbf", 3) == 0) {
        cursor->at = 3; /* a byte order mark, as some editors leave */
    }
    return true;
}

bool toml_parse(const char *name, const char *text, size_t length, struct toml_document **document,
                struct error *error) {
    struct toml_document *made = calloc(1, sizeof *made);
    if (made == NULL) {
        return error_set(error, ERROR_OUT_OF_MEMORY, "no memory for '%s'", name);
    }
    struct parser parser = {.document = made};
    made->text = arena_copy_text(&made->arena, text, length);
    bool done = made->text != NULL;
    if (!done) {
        error_set(error, ERROR_OUT_OF_MEMORY, "no memory for '%s'", name);
        goto cleanup;
    }
    parser.cursor = (struct toml_cursor){
        .name = name, .text = made->text, .length = length, .arena = &made->arena, .error = error};
    made->root = new_value(&parser, TOML_TABLE, 0);
    done = made->root != NULL;
    if (done) {
        made->root->table.origin = TOML_TABLE_HEADER;
        parser.table = made->root;
        done = check_utf8(&parser.cursor) && read_lines(&parser);
    }
cleanup:
    if (done) {
        *document = made;
    } else {
        toml_free(made);
    }
    return done;
}

void toml_free(struct toml_document *document) {
    if (document != NULL) {
        hash_map_deinit(&document->index);
        arena_deinit(&document->arena);
        free(document);
    }
}

const struct toml_value *toml_root(const struct toml_document *document) {
    return document->root;
}
