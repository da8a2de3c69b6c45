/*
 * fuzz_settings.c - any bytes as a settings file: the first byte chooses .env or TOML, the rest is
 * the text. What was read is walked, so that every pointer in it is followed.
 */
#include "fuzz.h"

#include "config/dotenv.h"
#include "config/knob.h"
#include "config/toml.h"

#include <stdlib.h>

/* Each value also goes through each kind of setting. */
static void convert(const struct toml_value *value) {
    struct arena arena = {0};
    for (size_t i = 0; i < KNOB_COUNT; i++) {
        struct knob_value converted = {0};
        struct error error;
        (void)knob_convert(&knob_rows[i], value, &arena, &converted, &error);
    }
    arena_deinit(&arena);
}

static void walk(const struct toml_document *document, const struct toml_value *value,
                 size_t *budget) {
    size_t line;
    size_t column;
    if (*budget > 0) { /* a position costs a pass over the text, a conversion an arena */
        (*budget)--;
        toml_position(document, value->offset, &line, &column);
        convert(value);
    }
    if (value->kind != TOML_TABLE && value->kind != TOML_ARRAY) {
        return;
    }
    size_t count = 0;
    for (const struct toml_value *child = value->first; child != NULL; child = child->next) {
        if (value->kind == TOML_TABLE && toml_find(document, value, child->key) != child) {
            abort(); /* two keys of one name, or one that cannot be found */
        }
        walk(document, child, budget);
        count++;
    }
    if (count != value->count) {
        abort();
    }
}

static void read_toml(const char *text, size_t size) {
    struct toml_document *document = NULL;
    struct error error;
    size_t budget = 50;
    if (toml_parse("fuzz", text, size, &document, &error)) {
        walk(document, toml_root(document), &budget);
    }
    toml_free(document);
}

static void read_dotenv(const char *text, size_t size) {
    struct arena arena = {0};
    struct dotenv_entry *entry = NULL;
    struct error error;
    if (dotenv_parse("fuzz", text, size, &arena, &entry, &error)) {
        for (; entry != NULL; entry = entry->next) {
            if (entry->name[0] == '\0' || entry->line == 0 || entry->column == 0) {
                abort();
            }
        }
    }
    arena_deinit(&arena);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    if (size == 0) {
        return 0;
    }
    if (data[0] % 2 == 0) {
        read_toml((const char *)data + 1, size - 1);
    } else {
        read_dotenv((const char *)data + 1, size - 1);
    }
    return 0;
}
