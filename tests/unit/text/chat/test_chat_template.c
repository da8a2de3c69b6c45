/*
 * test_chat_template.c - the template language by itself: each operator, statement, filter, test
 * and method once with its expected text, errors with their lines, and the bounds that a hostile
 * template meets. tests/python/test_chat_template_*.py compare far more with jinja2.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/clock.h"
#include "base/work_limit.h"
#include "text/chat/template_internal.h"
#include "text/jinja/render.h"

#include <jansson.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char context_text[] =
    "{\"n\": 7, \"f\": 2.5, \"s\": \"Hello, World\", \"u\": \"\xc3\x89t\xc3\xa9 \xe4\xbd\xa0\","
    " \"no\": null, \"yes\": true, \"list\": [3, 1, 2], \"words\": [\"b\", \"A\", \"b\"],"
    " \"d\": {\"b\": 1, \"a\": \"x\", \"items\": [5]},"
    " \"rows\": [{\"name\": \"Bob\", \"age\": 30}, {\"name\": \"alice\", \"age\": 25}],"
    " \"messages\": [{\"role\": \"user\", \"content\": \"hi\"},"
    " {\"role\": \"assistant\", \"content\": \"yo\"}]}";

static json_t *load_context(void) {
    json_t *context = json_loads(context_text, 0, NULL);
    assert_non_null(context);
    return context;
}

/* Renders; the text is the caller's to free. NULL: the error is set. */
static char *render(const char *source, struct error *error) {
    struct chat_template *chat_template = NULL;
    struct string_buffer out = {0};
    *error = (struct error){0};
    if (!chat_template_create(source, strlen(source), &chat_template, error)) {
        return NULL;
    }
    json_t *context = load_context();
    bool done = chat_template_render_at(chat_template, context, 0, &out, error);
    json_decref(context);
    chat_template_free(chat_template);
    if (!done) {
        assert_int_equal(out.length, 0);
        string_buffer_deinit(&out);
        return NULL;
    }
    return string_buffer_take(&out);
}

struct row {
    const char *source, *expected;
};

static void check_rows(const struct row *rows, size_t count) {
    size_t wrong = 0;
    for (size_t i = 0; i < count; i++) {
        struct error error;
        char *text = render(rows[i].source, &error);
        if (text == NULL || strcmp(text, rows[i].expected) != 0) {
            print_error("template  %s\nexpected  %s\ncame      %s\n", rows[i].source,
                        rows[i].expected, text == NULL ? error.message : text);
            wrong++;
        }
        free(text);
    }
    assert_int_equal(wrong, 0);
}

#define CHECK_ROWS(rows) check_rows((rows), sizeof(rows) / sizeof(rows)[0])

static void white_space_is_controlled(void **state) {
    (void)state;
    static const struct row rows[] = {
        {"a {{ n }} b", "a 7 b"},
        {"a {{- n -}} b", "a7b"},
        {"a\n  {% if yes %}\n  b\n  {% endif %}\nc\n", "a\n  b\nc"},
        {"  {%+ if yes +%}\nx{% endif %}", "  \nx"},
        {"a\n  {# note #}\nb {#- note -#}  c", "a\nbc"},
        {"{% raw %}{{ n }} {% if %}{% endraw %}", "{{ n }} {% if %}"},
        {"{{ {'a': {}} }}{{ '}}' }}", "{'a': {}}}}"},
        {"a\r\nb\rc\n\n", "a\nb\nc\n"},
    };
    CHECK_ROWS(rows);
}

static void literals_print_as_in_python(void **state) {
    (void)state;
    static const struct row rows[] = {
        {"{{ 1 }} {{ 1_000 }} {{ 0x1f }} {{ 0b11 }} {{ 0o17 }}", "1 1000 31 3 15"},
        {"{{ 1.0 }} {{ 1e16 }} {{ 1e-5 }} {{ 0.1 + 0.2 }}", "1.0 1e+16 1e-05 0.30000000000000004"},
        {"{{ true }} {{ None }} {{ missing }}|", "True None |"},
        {"{{ 'a\\n\\x41\\u00e9' 'b' }}", "a\nA\xc3\xa9"
                                         "b"},
        {"{{ [1, 'it\\'s', none] }} {{ (1,) }} {{ () }}", "[1, \"it's\", None] (1,) ()"},
        {"{{ {'a': 1, 2: [true]} }}", "{'a': 1, 2: [True]}"},
        {"{{ ['\\t\\x07\\u200b\\u00e9'] }}", "['\\t\\x07\\u200b\xc3\xa9']"},
    };
    CHECK_ROWS(rows);
}

static void operators_compute_as_in_python(void **state) {
    (void)state;
    static const struct row rows[] = {
        {"{{ 7 + 2 }} {{ 7 - 2 }} {{ 7 * 2 }} {{ 7 / 2 }}", "9 5 14 3.5"},
        {"{{ -7 // 2 }} {{ -7 % 3 }} {{ 7 % -3 }} {{ 7.5 // 2 }}", "-4 2 -2 3.0"},
        {"{{ 2 ** 10 }} {{ 2 ** -1 }} {{ -n }} {{ +n }}", "1024 0.5 -7 7"},
        {"{{ 'a' + 'b' }} {{ 'ab' * 2 }} {{ [1] + [2] }} {{ 'x' ~ 1 ~ no }}",
         "ab abab [1, 2] x1None"},
        {"{{ 1 == 1.0 }} {{ 1 == true }} {{ [1] == (1,) }} {{ 'a' != 'b' }}",
         "True True False True"},
        {"{{ 1 < 2 < 3 }} {{ 1 < 3 < 2 }} {{ 'a' < 'b' }} {{ [1, 2] < [1, 3] }}",
         "True False True True"},
        {"{{ 3 in list }} {{ 'a' in d }} {{ 'World' in s }} {{ 9 not in list }}",
         "True True True True"},
        {"{{ 0 or 'x' }} {{ n and s }} {{ not n }} {{ no or missing or 5 }}",
         "x Hello, World False 5"},
        {"{{ 'y' if yes else 'n' }}{{ 'z' if no }}", "y"},
        {"{{ '%s-%03d-%.1f' % ('a', 5, 2.25) }}", "a-005-2.2"},
    };
    CHECK_ROWS(rows);
}

static void elements_and_slices_are_found(void **state) {
    (void)state;
    static const struct row rows[] = {
        {"{{ d.a }} {{ d['b'] }} {{ d['items'] }} {{ d.zz }}|", "x 1 [5] |"},
        {"{{ list[0] }} {{ list[-1] }} {{ list[9] }}| {{ u[0] }}{{ u[-1] }}",
         "3 2 | \xc3\x89\xe4\xbd\xa0"},
        {"{{ list[1:] }} {{ list[::-1] }} {{ list[:-1] }} {{ s[7:] }} {{ s[::-3] }}",
         "[1, 2] [2, 1, 3] [3, 1] World do,l"},
        {"{{ rows[1].name }} {{ rows.0.age }} {{ messages[-1]['content'] }}", "alice 30 yo"},
        {"{{ d.get('a') }} {{ d.get('q', 2) }} {{ d.keys() | list }} {{ d.items() | list | length "
         "}}",
         "x 2 ['b', 'a', 'items'] 3"},
    };
    CHECK_ROWS(rows);
}

static void statements_run(void **state) {
    (void)state;
    static const struct row rows[] = {
        {"{% if n > 9 %}a{% elif n > 5 %}b{% else %}c{% endif %}", "b"},
        {"{% for x in list %}{{ loop.index }}{{ x }}{{ ',' if not loop.last }}{% endfor %}",
         "13,21,32"},
        {"{% for x in list if x > 1 %}{{ x }}/{{ loop.length }} {% else %}-{% endfor %}",
         "3/2 2/2 "},
        {"{% for x in [] %}{% else %}none{% endfor %}", "none"},
        {"{% for k, v in d.items() %}{{ k }}{% if loop.first %}{% continue %}{% endif %}={{ v }};"
         "{% break %}{% endfor %}",
         "ba=x;"},
        {"{% for x in list %}{{ loop.revindex0 }}{{ loop.previtem }}{{ loop.nextitem }}"
         "{{ loop.cycle('o', 'e') }} {% endfor %}",
         "21o 132e 01o "},
        {"{% set x, y = 1, 2 %}{% set z %}<{{ x }}{% endset %}{{ y }}{{ z }}", "2<1"},
        {"{% set x = 1 %}{% for i in list %}{% set x = i %}{% endfor %}{{ x }}", "1"},
        {"{% set ns = namespace(a=1) %}{% for i in list %}{% set ns.a = ns.a + i %}{% endfor %}"
         "{{ ns.a }}",
         "7"},
        {"{% macro m(a, b='B', c=a) %}{{ a }}{{ b }}{{ c }} {% endmacro %}{{ m(1) }}{{ m(1, c=3) "
         "}}",
         "1B1 1B3 "},
        {"{% macro f(i) %}{{ i }}{{ f(i - 1) if i > 0 }}{% endmacro %}{{ f(3) }}", "3210"},
        {"{% filter upper | trim %} a{{ s }} {% endfilter %}", "AHELLO, WORLD"},
        {"{% with a = 1 %}{{ a }}{% endwith %}{{ a }}", "1"},
        {"{% generation %}{% set g = 1 %}{{ g }}{% endgeneration %}{{ g }}", "1"},
        {"{{ range(2, 8, 3) | list }} {{ dict(a=1) }} {{ strftime_now('%%') }}",
         "[2, 5] {'a': 1} %"},
    };
    CHECK_ROWS(rows);
}

static void filters_give_what_jinja_gives(void **state) {
    (void)state;
    static const struct row rows[] = {
        {"[{{ ' a ' | trim }}] {{ 'xax' | trim('x') }}", "[a] a"},
        {"{{ u | length }} {{ d | count }} {{ missing | length }}", "5 3 0"},
        {"{{ list | join('-') }} {{ rows | join(',', attribute='name') }}", "3-1-2 Bob,alice"},
        {"{{ u | upper }} {{ u | lower }} {{ 'ab CD' | capitalize }} {{ 'ab-cd' | title }}",
         "\xc3\x89T\xc3\x89 \xe4\xbd\xa0 \xc3\xa9t\xc3\xa9 \xe4\xbd\xa0 Ab cd Ab-Cd"},
        {"{{ s | replace('l', 'L', 2) }}", "HeLLo, World"},
        {"{{ missing | default('x') }} {{ '' | d('y', true) }} {{ no | default('z') }}",
         "x y None"},
        {"{{ 'ab' | list }} {{ list | first }} {{ list | last }} {{ [] | first }}|",
         "['a', 'b'] 3 2 |"},
        {"{{ d | items | list | length }} {{ {'b': 1, 'A': 2} | dictsort }}",
         "3 [('A', 2), ('b', 1)]"},
        {"{{ rows | selectattr('age', 'gt', 26) | map(attribute='name') | list }}", "['Bob']"},
        {"{{ rows | rejectattr('age', 'gt', 26) | list | length }}", "1"},
        {"{{ list | select('odd') | list }} {{ list | reject('odd') | list }}", "[3, 1] [2]"},
        {"{{ words | map('upper') | join }} {{ [[1, 2]] | map(attribute=1) | list }}", "BAB [2]"},
        {"{{ d | tojson }} {{ '<\\u00e9\\n' | tojson }}",
         "{\"b\": 1, \"a\": \"x\", \"items\": [5]} \"<\xc3\xa9\\n\""},
        {"{{ {'a': [1, {}]} | tojson(indent=2) }}", "{\n  \"a\": [\n    1,\n    {}\n  ]\n}"},
        {"{{ {'b': '\\u00e9', 'a': 1} | tojson(ensure_ascii=true, separators=(',', ':'),"
         " sort_keys=true) }}",
         "{\"a\":1,\"b\":\"\\u00e9\"}"},
        {"{{ '[1, {\"a\": null}]' | from_json }}", "[1, {'a': None}]"},
        {"{{ n | string ~ 'x' }} {{ '12' | int + 1 }} {{ 'x' | int(5) }} {{ '1.5' | float }}",
         "7x 13 5 1.5"},
        {"{{ -5 | abs }} {{ 2.5 | round }} {{ 2.675 | round(2) }} {{ 1.1 | round(0, 'ceil') }}",
         "5 2.0 2.67 2.0"},
        {"{{ 'a\\nb\\n\\nc' | indent(2) }}|{{ 'a\\nb' | indent('> ', true) }}",
         "a\n  b\n\n  c|> a\n> b"},
        {"{{ '<b>' | e }} {{ ('<' | safe) + '<' }} {{ '<' + '<' }}", "&lt;b&gt; <&lt; <<"},
        {"{{ words | unique | list }} {{ words | sort }} {{ list | sort(reverse=true) }}",
         "['b', 'A'] ['A', 'b', 'b'] [3, 2, 1]"},
        {"{{ rows | sort(attribute='age') | map(attribute='name') | list }}", "['alice', 'Bob']"},
        {"{{ list | reverse | list }} {{ s | reverse }}", "[2, 1, 3] dlroW ,olleH"},
        {"{{ list | sum }} {{ list | min }} {{ rows | map(attribute='age') | max }}", "6 1 30"},
        {"{{ list | batch(2, 0) | list }} {{ '%s' | format(n) }}", "[[3, 1], [2, 0]] 7"},
    };
    CHECK_ROWS(rows);
}

static void tests_tell_kinds_apart(void **state) {
    (void)state;
    static const struct row rows[] = {
        {"{{ n is defined }}{{ missing is defined }}{{ missing is undefined }}", "TrueFalseTrue"},
        {"{{ no is none }}{{ n is number }}{{ n is integer }}{{ f is float }}{{ yes is boolean }}",
         "TrueTrueTrueTrueTrue"},
        {"{{ s is string }}{{ d is mapping }}{{ list is sequence }}{{ s is iterable }}{{ n is "
         "iterable }}",
         "TrueTrueTrueTrueFalse"},
        {"{{ yes is true }}{{ n is true }}{{ 3 is odd }}{{ 3 is even }}{{ 9 is divisibleby 3 }}",
         "TrueFalseTrueFalseTrue"},
        {"{{ 1 is in list }}{{ 1 is eq 1 }}{{ 1 is ne 1 }}{{ 1 is gt 0 }}{{ 'a' is equalto 'a' }}",
         "TrueTrueFalseTrueTrue"},
        {"{{ n is not string }}{{ 'a' is lower }}{{ 'A' is upper }}{{ m is callable }}",
         "TrueTrueTrueTrue"},
    };
    CHECK_ROWS(rows);
}

static void string_methods_are_those_of_python(void **state) {
    (void)state;
    static const struct row rows[] = {
        {"[{{ ' a '.strip() }}] [{{ ' a '.lstrip() }}] [{{ 'axa'.rstrip('a') }}]", "[a] [a ] [ax]"},
        {"{{ 'a b  c'.split() }} {{ 'a,b,c'.split(',', 1) }} {{ 'a,b,c'.rsplit(',', 1) }}",
         "['a', 'b', 'c'] ['a', 'b,c'] ['a,b', 'c']"},
        {"{{ s.startswith('He') }} {{ s.endswith(('x', 'd')) }}", "True True"},
        {"{{ s.upper() }} {{ s.lower() }} {{ \"it's\".title() }} {{ 'aB'.capitalize() }}",
         "HELLO, WORLD hello, world It'S Ab"},
        {"{{ s.replace('l', '') }} {{ s.find('o') }} {{ s.find('zz') }} {{ s.count('l') }}",
         "Heo, Word 4 -1 3"},
        {"{{ '-'.join(words) }} {{ '{} {a:>3}'.format(1, a='x') }}", "b-A-b 1   x"},
        {"{{ 'a\\nb'.splitlines() }} {{ '12'.isdigit() }} {{ 'x=1'.partition('=') }}",
         "['a', 'b'] True ('x', '=', '1')"},
        {"{% set l = [1] %}{{ l.append(2) }}{{ l }}{{ l.pop(0) }}{{ l }}", "None[1, 2]1[2]"},
    };
    CHECK_ROWS(rows);
}

static void errors_name_their_line(void **state) {
    (void)state;
    static const struct row rows[] = {
        {"a\n{{ missing.x }}", "line 2: 'missing' is undefined"},
        {"{{ d.zz.x }}", "line 1: 'dict' object has no attribute or element 'zz'"},
        {"\n\n{{ 'a' + 1 }}", "line 3: unsupported operand types for +: 'str' and 'int'"},
        {"{% if yes %}\n{{ 1 // 0 }}{% endif %}", "line 2: division by zero"},
        {"{% macro m() %}\n\n{{ no[1:] }}{% endmacro %}{{ m() }}",
         "line 3: 'None' object cannot be sliced"},
        {"{{ n | nosuch }}", "line 1: no filter named 'nosuch'"},
        {"x\n{% if yes %}{{ n is nosuch }}{% endif %}", "line 2: no test named 'nosuch'"},
        {"{{ s.upper(1) }}", "line 1: upper() takes at most 0 arguments (1 given)"},
        {"{{ s | trim(foo=1) }}", "line 1: trim() got an unexpected keyword argument 'foo'"},
        {"{{ s | replace('a') }}", "line 1: replace() is missing its argument 'new'"},
        {"{% for a, b in list %}{% endfor %}", "line 1: 'int' object is not iterable"},
        {"{% set a, b = [1] %}", "line 1: not enough values to unpack (expected 2)"},
        {"{{ 9223372036854775807 + 1 }}", "line 1: an integer does not fit in 64 bits"},
        {"{{ missing | tojson }}", "line 1: Object of type Undefined is not JSON serializable"},
        {"a\n{% if yes %}\nb", "line 2: this tag is never closed"},
        {"{% nosuch %}", "line 1: unknown tag 'nosuch'"},
        {"\n{{ 1 + }}", "line 2: expected an expression, got the end of the tag"},
        {"{{ (1 ]", "line 1: unexpected ']'"},
        {"{{ 'x }}", "line 1: unexpected char '''"},
        {"\n{# x", "line 2: missing end of comment"},
        {"{% break %}", "line 1: 'break' outside of a loop"},
        {"{% for x in list recursive %}{% endfor %}", "line 1: recursive loops are not supported"},
        {"a\n\xff", "line 2: the chat template is not UTF-8"},
    };
    size_t wrong = 0;
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        struct error error;
        char *text = render(rows[i].source, &error);
        if (text != NULL || strcmp(error.message, rows[i].expected) != 0 ||
            error.code != ERROR_FORMAT) {
            print_error("template  %s\nexpected  %s\ncame      %s\n", rows[i].source,
                        rows[i].expected, text == NULL ? error.message : text);
            wrong++;
        }
        free(text);
    }
    assert_int_equal(wrong, 0);
}

static void a_refusal_is_the_templates_own_message(void **state) {
    (void)state;
    struct error error;
    assert_null(render("a\n{{ raise_exception('roles must\nalternate: ' ~ n) }}", &error));
    assert_int_equal(error.code, ERROR_INVALID_ARGUMENT);
    assert_string_equal(error.message, "roles must alternate: 7");
    /* Longer than a message can be: cut between characters. */
    assert_null(render("{{ raise_exception('\xc3\xa9' * 2000) }}", &error));
    assert_int_equal(error.code, ERROR_INVALID_ARGUMENT);
    assert_int_equal(strlen(error.message), sizeof error.message - 2);
}

static void text_is_appended_and_a_failure_leaves_nothing(void **state) {
    (void)state;
    struct chat_template *good = NULL, *bad = NULL;
    assert_true(chat_template_create("{{ n }}", 7, &good, NULL));
    assert_true(chat_template_create("abc{{ no.x.y }}", 15, &bad, NULL));
    struct string_buffer out = {0};
    json_t *context = load_context();
    string_buffer_append_text(&out, "n=");
    assert_true(chat_template_render(good, context, &out, NULL));
    assert_false(chat_template_render(bad, context, &out, NULL));
    assert_true(chat_template_render(good, context, &out, NULL));
    assert_string_equal(out.data, "n=77");
    string_buffer_deinit(&out);
    json_decref(context);
    chat_template_free(good);
    chat_template_free(bad);
    chat_template_free(NULL);
}

static void the_context_is_never_changed(void **state) {
    (void)state;
    struct chat_template *chat_template = NULL;
    static const char source[] = "{% set _ = list.append(4) %}{% set n = 8 %}{{ list }}{{ n }}";
    assert_true(chat_template_create(source, strlen(source), &chat_template, NULL));
    json_t *context = load_context();
    for (int i = 0; i < 2; i++) {
        struct string_buffer out = {0};
        assert_true(chat_template_render(chat_template, context, &out, NULL));
        assert_string_equal(out.data, "[3, 1, 2, 4]8");
        string_buffer_deinit(&out);
    }
    json_t *again = load_context();
    assert_true(json_equal(context, again));
    json_decref(again);
    json_decref(context);
    chat_template_free(chat_template);
}

static void a_hostile_template_meets_a_bound(void **state) {
    (void)state;
    static const struct row rows[] = {
        {"{% for i in range(99999) %}{% for j in range(99999) %}{% endfor %}{% endfor %}",
         "line 1: the template takes too many steps"},
        {"{{ range(100001) }}",
         "line 1: Range too big. The sandbox blocks ranges larger than 100000."},
        {"{{ 'x' * 999999999999 }}", "line 1: the template uses more than 256 MiB"},
        {"{{ [1] * 999999999999 }}", "line 1: the template uses more than 256 MiB"},
        {"{% set ns = namespace(s='x') %}{% for i in range(99) %}{% set ns.s = ns.s ~ ns.s %}"
         "{% endfor %}",
         "line 1: the template uses more than 256 MiB"},
        {"{{ '%999999999d' % 1 }}", "line 1: format: the width or precision is too large"},
        {"{{ '{:999999999}'.format(1) }}", "line 1: format: the width is too large"},
        {"{{ 'a'.center(99999999999) }}", "line 1: the template uses more than 256 MiB"},
        {"{{ [1] | tojson(indent=99999999999) }}", "line 1: the template uses more than 256 MiB"},
        {"{% macro f() %}{{ f() }}{% endmacro %}{{ f() }}",
         "line 1: the template or its data is nested too deeply"},
        {"{% set l = [] %}{% set _ = l.append(l) %}{{ l }}",
         "line 1: the template or its data is nested too deeply"},
        {"{% set l = [] %}{% set _ = l.append(l) %}{{ l | tojson }}",
         "line 1: the template or its data is nested too deeply"},
        {"{% set l = [] %}{% set m = [] %}{% set _ = l.append(l) %}{% set _ = m.append(m) %}{{ l "
         "== m }}",
         "line 1: the template or its data is nested too deeply"},
        {"{{ strftime_now('%99999999Y') }}", "line 1: strftime_now: the result is too long"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        struct error error;
        char *text = render(rows[i].source, &error);
        assert_null(text);
        assert_string_equal(error.message, rows[i].expected);
    }
}

static double seconds_to_fail(const char *source, struct error *error) {
    int64_t started = clock_now_ns();
    char *text = render(source, error);
    assert_null(text);
    return clock_seconds(clock_now_ns() - started);
}

/* Each took from 5 seconds to hours while a call cost the same whatever it looked at. */
static void a_built_in_costs_what_it_looks_at(void **state) {
    (void)state;
    static const char *const sources[] = {
        "{% set s = 'a' * 1000000 %}{% for i in range(99999) %}{{ s.find('aab') }}{% endfor %}",
        "{% set s = 'a' * 1000000 %}{{ s.strip('b' * 1000000 ~ 'a') }}"
        "{% for i in range(99999) %}{{ s.title() | length }}{% endfor %}",
        "{% set s = ' ' * 1000000 %}{% for i in range(99999) %}{{ s | int }}{% endfor %}",
        "{% set t = ([1, 2] * 500000) | batch(1) | map('first') | list %}"
        "{% for i in range(99999) %}{{ [t, [t]] | tojson | length }}{% endfor %}",
    };
    for (size_t i = 0; i < sizeof sources / sizeof sources[0]; i++) {
        struct error error;
        double seconds = seconds_to_fail(sources[i], &error);
        if (strstr(error.message, "too many steps") == NULL &&
            strstr(error.message, "longer than 2 s") == NULL &&
            strstr(error.message, "more than 256 MiB") == NULL) {
            fail_msg("%s: %s", sources[i], error.message);
        }
        if (seconds > 8) { /* 2, but for what a crowded machine adds */
            fail_msg("%s: %.1f s", sources[i], seconds);
        }
    }
}

static void a_search_finds_what_lies_across_its_windows(void **state) {
    (void)state;
    static const struct row rows[] = {
        {"{{ ('a' * 262143 ~ 'xyz' ~ 'a' * 300000).find('xyz') }}", "262143"},
        {"{{ ('a' * 262142 ~ 'xyz').find('xyz') }}", "262142"},
        {"{{ ('a' * 700000 ~ 'xyz').index('xyz') }}", "700000"},
        {"{{ ('xyz' ~ 'a' * 65535 ~ 'bb').rfind('xyz') }}", "0"},
        {"{{ ('xyz' ~ 'a' * 200000).rfind('xyz') }}", "0"},
        {"{{ ('aaxyz' ~ 'a' * 65534).rfind('xyz') }}", "2"},
        {"{{ ('a' * 600000 ~ 'b') in ('a' * 600001 ~ 'b') }}", "True"},
        {"{{ 'ab'.rfind('abc') }}", "-1"},
        {"{{ 'ab'.find('abc') }}", "-1"},
        {"{{ ''.find('') }}{{ 'ab'.rfind('') }}{{ 'ab'.find('', 5) }}", "02-1"},
        {"{{ ('ab' * 200000).count('ba') }}", "199999"},
        {"{{ ('ab' * 200000).replace('ba', '').replace('', '-') }}", "-a-b-"},
        {"{{ ('x,' * 150000).split(',') | length }} {{ ('x,' * 150000).rsplit(',', 2) | length }}",
         "150001 3"},
        {"{{ ('ab' * 5).ljust(13, 'xy'[0]) }}{{ 'é' * 3 }}", "abababababxxxééé"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        struct error error = {0};
        char *text = render(rows[i].source, &error);
        if (text == NULL || strcmp(text, rows[i].expected) != 0) {
            fail_msg("%s: %s, not %s", rows[i].source, text == NULL ? error.message : text,
                     rows[i].expected);
        }
        free(text);
    }
}

static void a_template_that_nobody_waits_for_ends(void **state) {
    (void)state;
    static const char source[] = "{% for i in range(99999) %}{% for j in range(99) %}{{ i * j }}"
                                 "{% endfor %}{% endfor %}";
    atomic_bool is_unwanted = true;
    const struct work_limit limits[] = {{.is_unwanted = &is_unwanted},
                                        {.is_ending = &is_unwanted},
                                        {.deadline_ns = clock_now_ns()}};
    for (size_t i = 0; i < sizeof limits / sizeof limits[0]; i++) {
        struct error error;
        work_limit_set(&limits[i]);
        char *text = render(source, &error);
        work_limit_set(NULL);
        assert_null(text);
        assert_string_equal(error.message, limits[i].deadline_ns == 0
                                               ? "line 1: nobody waits for the template any more"
                                               : "line 1: the template takes longer than 2 s");
    }
}

static void nesting_is_bounded_when_compiled(void **state) {
    (void)state;
    enum { MANY = 20000 };
    static const struct {
        const char *start, *repeated;
    } rows[] = {
        {"", "{% if n %}"},
        {"", "{% for x in list %}"},
        {"", "{% macro m() %}"},
        {"", "{% set x %}"},
        {"{{ ", "("},
        {"{{ ", "["},
        {"{{ ", "{1:"},
        {"{{ ", "-"},
        {"{{ ", "not "},
        {"{{ ", "1 + "},
        {"{{ ", "f("},
        {"{{ ", "1 if n else "},
        {"{{ ", "n["},
        {"{{ n", ".x"},
        {"{{ n", "|e"},
        {"{{ n", " is defined and n"},
        {"{{ n", "()"},
        {"{{ n", "[0]"},
        {"{% set ", "("},
        {"{{ n|d", "(n|d"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        struct string_buffer source = {0};
        string_buffer_append_text(&source, rows[i].start);
        for (size_t j = 0; j < MANY; j++) {
            string_buffer_append_text(&source, rows[i].repeated);
        }
        struct error error;
        assert_null(render(string_buffer_text(&source), &error));
        if (strstr(error.message, "nested") == NULL) {
            fail_msg("'%s' many times: %s", rows[i].repeated, error.message);
        }
        string_buffer_deinit(&source);
    }
}

static void a_deep_context_is_refused(void **state) {
    (void)state;
    json_t *inner = json_integer(1);
    for (int i = 0; i < JINJA_MAX_DEPTH + 10; i++) {
        json_t *outer = json_array();
        assert_int_equal(json_array_append_new(outer, inner), 0);
        inner = outer;
    }
    json_t *context = json_pack("{s:o}", "deep", inner);
    struct chat_template *chat_template = NULL;
    struct string_buffer out = {0};
    struct error error = {0};
    assert_true(chat_template_create("{{ deep }}", 10, &chat_template, &error));
    assert_false(chat_template_render(chat_template, context, &out, &error));
    assert_string_equal(error.message, "line 1: the template or its data is nested too deeply");
    string_buffer_deinit(&out);
    chat_template_free(chat_template);
    json_decref(context);
}

static void *render_often(void *chat_template) {
    json_t *context = load_context();
    uintptr_t wrong = 0;
    for (int i = 0; i < 200; i++) {
        struct string_buffer out = {0};
        bool done = chat_template_render(chat_template, context, &out, NULL);
        wrong += !done || strcmp(string_buffer_text(&out), "1b2A3b") != 0;
        string_buffer_deinit(&out);
    }
    json_decref(context);
    return (void *)wrong;
}

static void one_template_renders_on_many_threads(void **state) {
    (void)state;
    enum { THREADS = 4 };
    static const char source[] = "{% for w in words %}{{ loop.index }}{{ w }}{% endfor %}";
    struct chat_template *chat_template = NULL;
    pthread_t threads[THREADS];
    assert_true(chat_template_create(source, strlen(source), &chat_template, NULL));
    for (size_t i = 0; i < THREADS; i++) {
        assert_int_equal(pthread_create(&threads[i], NULL, render_often, chat_template), 0);
    }
    for (size_t i = 0; i < THREADS; i++) {
        void *wrong;
        pthread_join(threads[i], &wrong);
        assert_ptr_equal(wrong, NULL);
    }
    chat_template_free(chat_template);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(white_space_is_controlled),
        cmocka_unit_test(literals_print_as_in_python),
        cmocka_unit_test(operators_compute_as_in_python),
        cmocka_unit_test(elements_and_slices_are_found),
        cmocka_unit_test(statements_run),
        cmocka_unit_test(filters_give_what_jinja_gives),
        cmocka_unit_test(tests_tell_kinds_apart),
        cmocka_unit_test(string_methods_are_those_of_python),
        cmocka_unit_test(errors_name_their_line),
        cmocka_unit_test(a_refusal_is_the_templates_own_message),
        cmocka_unit_test(text_is_appended_and_a_failure_leaves_nothing),
        cmocka_unit_test(the_context_is_never_changed),
        cmocka_unit_test(a_hostile_template_meets_a_bound),
        cmocka_unit_test(a_built_in_costs_what_it_looks_at),
        cmocka_unit_test(a_search_finds_what_lies_across_its_windows),
        cmocka_unit_test(a_template_that_nobody_waits_for_ends),
        cmocka_unit_test(nesting_is_bounded_when_compiled),
        cmocka_unit_test(a_deep_context_is_refused),
        cmocka_unit_test(one_template_renders_on_many_threads),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
