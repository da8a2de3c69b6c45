/*
 * test_request_body.c - JSON bodies with bounds, conversations in every form, and JSON going out.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/json_writer.h"
#include "server/json_body.h"
#include "server/openai_messages.h"
#include "server/request_fields.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct text {
    const char *data;
    size_t length;
};
#define TEXT(literal) {literal, sizeof(literal) - 1}

static void what_is_no_json_object_is_refused(void **state) {
    (void)state;
    static const struct text bodies[] = {
        TEXT(""),
        TEXT("{"),
        TEXT("[]"),
        TEXT("3"),
        TEXT("null"),
        TEXT("{} {}"),
        TEXT("{\"a\":1,}"),
        TEXT("{'a':1}"),
        TEXT("{\"a\":\"\xff\"}"),
        TEXT("{\"a\":\"\xed\xa0\x80\"}"), /* a surrogate in UTF-8 */
        TEXT("{\"a\":\"\xc0\xaf\"}"),     /* overlong */
        TEXT("{\"a\":\"\\ud800\"}"),      /* half a pair */
        TEXT("{\"a\":\"x\0y\"}"),         /* NUL */
        TEXT("{\"a\":\"\\u0000\"}"),      /* NUL, written out */
        TEXT("{\"a\\u0000\":1}"),         /* in a key */
        TEXT("{}\0"),
        TEXT("{\"a\":1e999}"),               /* past any double */
        TEXT("{\"a\":9223372036854775808}"), /* past any int64_t */
        TEXT("{\"a\":01}"),
        TEXT("{\"a\":NaN}"),
    };
    for (size_t i = 0; i < sizeof bodies / sizeof bodies[0]; i++) {
        json_t *object = NULL;
        struct api_error error = {0};
        if (json_body_parse(bodies[i].data, bodies[i].length, &object, &error)) {
            fail_msg("body %zu should be refused: %s", i, bodies[i].data);
        }
        assert_int_equal(error.status, 400);
        assert_true(error.message[0] != '\0');
    }
}

/* `count` times `piece`, between `start` and `end`. */
static char *repeat(const char *start, const char *piece, size_t count, const char *end,
                    size_t *length) {
    struct string_buffer text = {0};
    string_buffer_append_text(&text, start);
    for (size_t i = 0; i < count; i++) {
        string_buffer_append_text(&text, piece);
    }
    string_buffer_append_text(&text, end);
    *length = text.length;
    return string_buffer_take(&text);
}

static void deep_and_wide_bodies_are_refused_before_they_are_built(void **state) {
    (void)state;
    static const struct {
        const char *start, *piece;
        size_t count;
        const char *end, *code;
    } cases[] = {
        {"{\"a\":", "[", 10000, "", "json_too_deep"},
        {"", "{\"a\":", 10000, "", "json_too_deep"},
        {"{\"a\":[", "[],", JSON_BODY_MAX_VALUES, "[]]}", "json_too_large"},
        {"{\"a\":[", "0,", JSON_BODY_MAX_VALUES, "0]}", "json_too_large"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        size_t length;
        char *body = repeat(cases[i].start, cases[i].piece, cases[i].count, cases[i].end, &length);
        json_t *object = NULL;
        struct api_error error = {0};
        assert_false(json_body_parse(body, length, &object, &error));
        assert_int_equal(error.status, 400);
        assert_string_equal(error.code, cases[i].code);
        free(body);
    }
    /* Brackets inside strings are no nesting, however they are escaped. */
    static const char quoted[] = "{\"a\":\"\\\"[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[["
                                 "[[[[[[[[[[[[[[[[[[[[[[[[\\\\\"}";
    json_t *object = NULL;
    struct api_error error = {0};
    assert_true(json_body_parse(quoted, sizeof quoted - 1, &object, &error));
    json_decref(object);
}

static json_t *parse(const char *text) {
    json_error_t reason;
    json_t *value = json_loads(text, JSON_DECODE_ANY, &reason);
    if (value == NULL) {
        fail_msg("test's own JSON: %s", reason.text);
    }
    return value;
}

static void messages_become_what_templates_expect(void **state) {
    (void)state;
    static const struct {
        const char *sent, *normal;
    } cases[] = {
        {"[{\"role\":\"user\",\"content\":\"hi\"}]", "[{\"role\":\"user\",\"content\":\"hi\"}]"},
        {"[{\"role\":\"developer\",\"content\":\"be brief\",\"x\":1}]",
         "[{\"role\":\"system\",\"content\":\"be brief\"}]"},
        {"[{\"role\":\"assistant\",\"content\":null,\"tool_calls\":[{\"id\":\"a\"}]}]",
         "[{\"role\":\"assistant\",\"content\":\"\",\"tool_calls\":[{\"id\":\"a\"}]}]"},
        {"[{\"role\":\"assistant\"},{\"role\":\"tool\",\"tool_call_id\":\"a\",\"name\":null}]",
         "[{\"role\":\"assistant\",\"content\":\"\"},"
         "{\"role\":\"tool\",\"content\":\"\",\"tool_call_id\":\"a\"}]"},
        {"[{\"role\":\"user\",\"name\":\"Ann\",\"content\":[{\"type\":\"text\",\"text\":\"a\"},"
         "{\"type\":\"text\",\"text\":\"b\"}]}]",
         "[{\"role\":\"user\",\"content\":\"a\\nb\",\"name\":\"Ann\"}]"},
        {"[{\"role\":\"user\",\"content\":[]}]", "[{\"role\":\"user\",\"content\":\"\"}]"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        json_t *sent = parse(cases[i].sent);
        json_t *expected = parse(cases[i].normal);
        json_t *normal = NULL;
        struct api_error error = {0};
        if (!openai_messages_read(sent, &normal, &error) || !json_equal(normal, expected)) {
            char *got = normal == NULL ? NULL : json_dumps(normal, JSON_COMPACT);
            fail_msg("%s\nexpected %s\ngot %s (%s)", cases[i].sent, cases[i].normal, got,
                     error.message);
        }
        json_decref(normal);
        json_decref(expected);
        json_decref(sent);
    }
}

static void bad_messages_are_refused_by_name(void **state) {
    (void)state;
    static const struct {
        const char *sent, *param;
    } cases[] = {
        {"[]", "messages"},
        {"\"hi\"", "messages"},
        {"{}", "messages"},
        {"[\"hi\"]", "messages[0]"},
        {"[{\"content\":\"hi\"}]", "messages[0].role"},
        {"[{\"role\":\"user\",\"content\":\"hi\"},{\"role\":\"robot\"}]", "messages[1].role"},
        {"[{\"role\":7}]", "messages[0].role"},
        {"[{\"role\":\"user\",\"content\":7}]", "messages[0].content"},
        {"[{\"role\":\"user\",\"content\":[\"a\"]}]", "messages[0].content"},
        {"[{\"role\":\"user\",\"content\":[{\"type\":\"text\"}]}]", "messages[0].content"},
        {"[{\"role\":\"user\",\"content\":[{\"type\":\"image_url\"}]}]", "messages[0].content"},
        {"[{\"role\":\"user\",\"tool_calls\":{}}]", "messages[0].tool_calls"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        json_t *sent = parse(cases[i].sent);
        json_t *normal = NULL;
        struct api_error error = {0};
        assert_false(openai_messages_read(sent, &normal, &error));
        assert_int_equal(error.status, 400);
        assert_string_equal(error.param, cases[i].param);
        json_decref(sent);
    }
    struct api_error error = {0};
    json_t *normal = NULL;
    assert_false(openai_messages_read(NULL, &normal, &error));
    assert_string_equal(error.param, "messages");
}

struct target {
    bool flag;
    int64_t count;
    float ratio;
    const char *name;
};

static const struct request_field fields[] = {
    {"flag", FIELD_BOOL, .target = offsetof(struct target, flag)},
    {"count", FIELD_INTEGER, 1, 10, offsetof(struct target, count)},
    {"ratio", FIELD_NUMBER, 0, 2, offsetof(struct target, ratio)},
    {"name", FIELD_TEXT, .target = offsetof(struct target, name)},
    {.name = NULL},
};

static void fields_are_checked_for_type_and_range(void **state) {
    (void)state;
    static const struct {
        const char *body, *code, *param;
    } cases[] = {
        {"{\"flag\":1}", "invalid_type", "flag"},
        {"{\"flag\":\"true\"}", "invalid_type", "flag"},
        {"{\"count\":\"3\"}", "invalid_type", "count"},
        {"{\"count\":2.5}", "invalid_type", "count"},
        {"{\"count\":1e300}", "invalid_type", "count"},
        {"{\"count\":0}", "integer_below_min_value", "count"},
        {"{\"count\":11}", "integer_above_max_value", "count"},
        {"{\"ratio\":true}", "invalid_type", "ratio"},
        {"{\"ratio\":-0.1}", "decimal_below_min_value", "ratio"},
        {"{\"ratio\":1e40}", "decimal_above_max_value", "ratio"},
        {"{\"name\":{}}", "invalid_type", "name"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        json_t *body = parse(cases[i].body);
        struct target target = {0};
        struct api_error error = {0};
        if (request_fields_read(fields, body, &target, &error)) {
            fail_msg("%s should be refused", cases[i].body);
        }
        assert_int_equal(error.status, 400);
        assert_string_equal(error.code, cases[i].code);
        assert_string_equal(error.param, cases[i].param);
        json_decref(body);
    }
    json_t *body =
        parse("{\"flag\":true,\"count\":3.0,\"ratio\":2,\"name\":null,\"unknown\":[1,{}]}");
    struct target target = {.name = "kept"};
    struct api_error error = {0};
    assert_true(request_fields_read(fields, body, &target, &error));
    assert_true(target.flag);
    assert_int_equal(target.count, 3);
    assert_float_equal(target.ratio, 2.0f, 0.0f);
    assert_string_equal(target.name, "kept");
    json_decref(body);
}

static void an_error_reads_as_openai_writes_it(void **state) {
    (void)state;
    struct api_error error;
    struct string_buffer text = {0};
    assert_false(api_error_set(&error, 400, "some_code", "n", "say \"%s\"\n", "\xff"));
    api_error_write(&error, &text);
    assert_string_equal(string_buffer_text(&text),
                        "{\"error\":{\"message\":\"say \\\"\xef\xbf\xbd\\\"\\n\","
                        "\"type\":\"invalid_request_error\",\"param\":\"n\","
                        "\"code\":\"some_code\"}}");
    string_buffer_clear(&text);
    struct error cause = {.code = ERROR_BUSY, .message = "full"};
    assert_false(api_error_from(&error, &cause, "prompt"));
    assert_int_equal(error.status, 503);
    api_error_write(&error, &text);
    assert_string_equal(string_buffer_text(&text),
                        "{\"error\":{\"message\":\"full\",\"type\":\"server_error\","
                        "\"param\":null,\"code\":\"queue_full\"}}");
    string_buffer_deinit(&text);
}

static void written_json_is_read_back_as_it_was(void **state) {
    (void)state;
    static const char text[] = "\"\\/\b\f\n\r\t\x01\x1f\x7f \xc3\xa4\xf0\x9f\x98\x80";
    struct string_buffer out = {0};
    struct json_writer json = {.out = &out};
    json_write_object_begin(&json);
    json_write_key(&json, "text");
    json_write_text(&json, text, sizeof text - 1);
    json_write_integer_member(&json, "integer", INT64_MIN);
    json_write_key(&json, "numbers");
    json_write_array_begin(&json);
    json_write_number(&json, (double)0.1f);
    json_write_number(&json, -1e-30);
    json_write_number(&json, (double)NAN);
    json_write_number(&json, (double)INFINITY);
    json_write_raw(&json, "1,2", 3);
    json_write_raw(&json, "", 0);
    json_write_array_begin(&json);
    json_write_array_end(&json);
    json_write_bool(&json, false);
    json_write_array_end(&json);
    json_write_text_member(&json, "none", NULL);
    json_write_object_end(&json);
    assert_false(out.failed);
    json_t *value = parse(string_buffer_text(&out));
    assert_string_equal(json_string_value(json_object_get(value, "text")), text);
    assert_true(json_integer_value(json_object_get(value, "integer")) == INT64_MIN);
    json_t *numbers = json_object_get(value, "numbers");
    assert_int_equal(json_array_size(numbers), 8);
    assert_true((float)json_real_value(json_array_get(numbers, 0)) == 0.1f);
    assert_true(json_is_null(json_array_get(numbers, 2)));
    assert_int_equal(json_integer_value(json_array_get(numbers, 5)), 2);
    assert_true(json_is_null(json_object_get(value, "none")));
    json_decref(value);
    string_buffer_deinit(&out);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_is_no_json_object_is_refused),
        cmocka_unit_test(deep_and_wide_bodies_are_refused_before_they_are_built),
        cmocka_unit_test(messages_become_what_templates_expect),
        cmocka_unit_test(bad_messages_are_refused_by_name),
        cmocka_unit_test(fields_are_checked_for_type_and_range),
        cmocka_unit_test(an_error_reads_as_openai_writes_it),
        cmocka_unit_test(written_json_is_read_back_as_it_was),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
