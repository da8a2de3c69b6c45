/* test_log.c - every log line is one whole JSON object (or one line of text), whatever its values.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/log.h"
#include "base/random.h"
#include "base/utf8.h"

#include <jansson.h>
#include <limits.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { MOST_LINE = 4096 };

/* What log_write writes, without its newline. */
static const char *written(const struct log_field *fields, enum log_format format) {
    static char line[2 * MOST_LINE];
    FILE *file = tmpfile();
    int kept = dup(STDERR_FILENO);
    dup2(fileno(file), STDERR_FILENO);
    log_configure(LOG_INFO, format);
    log_write(LOG_INFO, "what_happened", fields);
    dup2(kept, STDERR_FILENO);
    close(kept);
    rewind(file);
    size_t length = fread(line, 1, sizeof line - 1, file);
    fclose(file);
    line[length] = '\0';
    assert_true(length > 0 && length <= MOST_LINE);
    assert_ptr_equal(strchr(line, '\n'), line + length - 1);
    line[length - 1] = '\0';
    assert_true(utf8_validate(line, length - 1, NULL));
    return line;
}

static json_t *parsed(const struct log_field *fields) {
    const char *line = written(fields, LOG_FORMAT_JSON);
    json_error_t where;
    json_t *json = json_loads(line, JSON_REJECT_DUPLICATES, &where);
    if (!json_is_object(json)) {
        fail_msg("no JSON object: %s in %s", where.text, line);
    }
    return json;
}

static void a_long_value_is_cut_inside_its_quotes(void **state) {
    (void)state;
    static char name[5001];
    memset(name, 'n', sizeof name - 1);
    const struct log_field fields[] = {log_text("model", name),
                                       log_bool("created", true),
                                       log_number("seconds", 1.5),
                                       {.name = NULL}};
    json_t *json = parsed(fields);
    const char *shown = json_string_value(json_object_get(json, "model"));
    assert_true(strlen(shown) >= 1000 && strncmp(shown, name, 1000) == 0);
    assert_string_equal(shown + strlen(shown) - 3, "…");
    assert_true(json_is_true(json_object_get(json, "created")));
    assert_true(json_real_value(json_object_get(json, "seconds")) == 1.5);
    json_decref(json);
    assert_non_null(strstr(written(fields, LOG_FORMAT_TEXT), "…\" created=true seconds=1.5"));
}

static void a_value_of_usual_length_is_whole(void **state) {
    (void)state;
    char text[3001];
    memset(text, 't', sizeof text - 1);
    text[sizeof text - 1] = '\0';
    const struct log_field fields[] = {
        log_text("id", "short"), log_text("reason", text), log_text("model", "m"), {.name = NULL}};
    json_t *json = parsed(fields);
    assert_string_equal(json_string_value(json_object_get(json, "reason")), text);
    json_decref(json);
}

/* As many fields as a line may have, each as long as it can be. */
static void all_fields_are_there_however_long_they_are(void **state) {
    (void)state;
    static char long_text[10000];
    memset(long_text, '"', sizeof long_text - 1);
    char names[32][16];
    struct log_field fields[33] = {{.name = NULL}};
    for (size_t i = 0; i < 32; i++) {
        snprintf(names[i], sizeof names[i], "field_%zu", i);
        fields[i] = i % 4 == 0   ? log_integer(names[i], INT64_MIN)
                    : i % 4 == 1 ? log_number(names[i], i == 1 ? (double)NAN : -1.23456789e-300)
                                 : log_text(names[i], long_text);
    }
    json_t *json = parsed(fields);
    assert_int_equal(json_object_size(json), 3 + 32);
    json_decref(json);
    written(fields, LOG_FORMAT_TEXT);
}

static void any_bytes_give_a_whole_line(void **state) {
    (void)state;
    struct random_state random;
    random_seed(&random, 1);
    for (int i = 0; i < 600; i++) {
        char texts[6][2000];
        struct log_field fields[7] = {{.name = NULL}};
        static const char *const names[] = {"a", "b", "c", "d", "e", "f"};
        size_t count = 1 + (size_t)(random_next(&random) % 6);
        for (size_t j = 0; j < count; j++) {
            size_t length = (size_t)(random_next(&random) % sizeof texts[j]);
            int kind = (int)(random_next(&random) % 3);
            for (size_t k = 0; k < length; k++) {
                uint64_t byte = random_next(&random);
                texts[j][k] = (char)(kind == 0   ? 1 + byte % 255
                                     : kind == 1 ? 0xe2 - k % 3
                                                 : 1 + byte % 40);
            }
            texts[j][length] = '\0';
            fields[j] = log_text(names[j], texts[j]);
        }
        json_t *json = parsed(fields);
        assert_int_equal(json_object_size(json), 3 + count);
        json_decref(json);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_long_value_is_cut_inside_its_quotes),
        cmocka_unit_test(a_value_of_usual_length_is_whole),
        cmocka_unit_test(all_fields_are_there_however_long_they_are),
        cmocka_unit_test(any_bytes_give_a_whole_line),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
