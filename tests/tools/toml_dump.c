/*
 * toml_dump.c - reads TOML from standard input and writes it as JSON with a type beside each value,
 * {"type": "integer", "value": "1"}: the form in which TOML readers are compared with each other.
 * Exits with 1 and the reason on standard error when the text is refused.
 */
#include "config/toml.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>

static void put_text(struct string_view text) {
    putchar('"');
    for (size_t i = 0; i < text.length; i++) {
        unsigned char c = (unsigned char)text.data[i];
        if (c == '"' || c == '\\') {
            printf("\\%c", c);
        } else if (c < 0x20) {
            printf("\\u%04x", c);
        } else {
            putchar(c);
        }
    }
    putchar('"');
}

static void put_time(const struct toml_value *value) {
    const struct toml_time *time = &value->time;
    bool has_date = value->kind != TOML_LOCAL_TIME;
    bool has_time = value->kind != TOML_LOCAL_DATE;
    if (has_date) {
        printf("%04d-%02d-%02d%s", time->year, time->month, time->day, has_time ? "T" : "");
    }
    if (has_time) {
        printf("%02d:%02d:%02d", time->hour, time->minute, time->second);
    }
    if (has_time && time->nanosecond != 0) {
        printf(".%09d", time->nanosecond);
    }
    if (value->kind == TOML_OFFSET_DATE_TIME) {
        int minutes = abs(time->offset_minutes);
        printf("%c%02d:%02d", time->offset_minutes < 0 ? '-' : '+', minutes / 60, minutes % 60);
    }
}

static void put_scalar(const struct toml_value *value) {
    static const char *const types[] = {
        [TOML_STRING] = "string",
        [TOML_INTEGER] = "integer",
        [TOML_FLOAT] = "float",
        [TOML_BOOL] = "bool",
        [TOML_OFFSET_DATE_TIME] = "datetime",
        [TOML_LOCAL_DATE_TIME] = "datetime-local",
        [TOML_LOCAL_DATE] = "date-local",
        [TOML_LOCAL_TIME] = "time-local",
    };
    printf("{\"type\":\"%s\",\"value\":", types[value->kind]);
    if (value->kind == TOML_STRING) {
        put_text(value->text);
        putchar('}');
        return;
    }
    putchar('"');
    if (value->kind == TOML_INTEGER) {
        printf("%lld", (long long)value->integer);
    } else if (value->kind == TOML_FLOAT) {
        if (isfinite(value->number)) {
            printf("%.17g", value->number);
        } else {
            fputs(isnan(value->number) ? "nan" : value->number > 0 ? "inf" : "-inf", stdout);
        }
    } else if (value->kind == TOML_BOOL) {
        fputs(value->boolean ? "true" : "false", stdout);
    } else {
        put_time(value);
    }
    fputs("\"}", stdout);
}

static void put_value(const struct toml_value *value) {
    if (value->kind != TOML_TABLE && value->kind != TOML_ARRAY) {
        put_scalar(value);
        return;
    }
    putchar(value->kind == TOML_TABLE ? '{' : '[');
    for (const struct toml_value *child = value->first; child != NULL; child = child->next) {
        if (value->kind == TOML_TABLE) {
            put_text(child->key);
            putchar(':');
        }
        put_value(child);
        if (child->next != NULL) {
            putchar(',');
        }
    }
    putchar(value->kind == TOML_TABLE ? '}' : ']');
}

int main(void) {
    enum { LIMIT = 1 << 20 };
    char *text = malloc(LIMIT);
    if (text == NULL) {
        return 2;
    }
    size_t length = fread(text, 1, LIMIT, stdin);
    struct toml_document *document = NULL;
    struct error error = {0};
    bool good = toml_parse("stdin", text, length, &document, &error);
    if (good) {
        put_value(toml_root(document));
        putchar('\n');
    } else {
        fprintf(stderr, "%s\n", error.message);
    }
    toml_free(document);
    free(text);
    return good ? 0 : 1;
}
