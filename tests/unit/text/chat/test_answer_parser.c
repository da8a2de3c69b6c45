/* test_answer_parser.c - each form of call and thought, cut at every byte: what comes out must be
 * the same, and must be what the form means. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/string_buffer.h"
#include "text/chat/answer_parser.h"
#include "text/chat/json_scanner.h"
#include "text/chat/tool_schema.h"

#include <stdio.h>
#include <string.h>

/* A control token in the text. */
#define M(token) "\xef\xb7\x90" token "\xef\xb7\x91"

/* The events as text, pieces of one kind joined: C(content) T(thought) B(name) A(arguments)
 * E(name|arguments) X(text|from where it is new). */
struct transcript {
    struct string_buffer text;
    char last; /* the kind that is still open */
    char ids[8][80];
    size_t id_count;
};

static void write_event(void *context, const struct answer_event *event) {
    struct transcript *transcript = context;
    static const char kinds[] = "CTBAEX";
    char kind = kinds[event->kind];
    bool joins = strchr("CTA", kind) != NULL;
    if (transcript->last != 0 && (!joins || kind != transcript->last)) {
        string_buffer_append_char(&transcript->text, ')');
        transcript->last = 0;
    }
    if (transcript->last == 0) {
        string_buffer_append_format(&transcript->text, "%c(", kind);
    }
    if (kind == 'B' || kind == 'E') {
        string_buffer_append_format(&transcript->text, "%zu ", event->call);
        string_buffer_append(&transcript->text, event->name.data, event->name.length);
        if (kind == 'B') {
            snprintf(transcript->ids[transcript->id_count++ % 8], 80, "%s", event->id);
        } else {
            string_buffer_append_char(&transcript->text, '|');
        }
    }
    string_buffer_append(&transcript->text, event->text.data, event->text.length);
    if (kind == 'X') {
        string_buffer_append_format(&transcript->text, "|%.*s",
                                    (int)(event->text.length - event->shown),
                                    event->text.data + event->shown);
    }
    if (joins) {
        transcript->last = kind;
    } else {
        string_buffer_append_char(&transcript->text, ')');
        transcript->last = 0;
    }
}

static const struct answer_parameter weather_parameters[] = {
    {{"city", 4}, KIND_TEXT},      {{"days", 4}, KIND_NUMBER},
    {{"wet", 3}, KIND_BOOLEAN},    {{"unit", 4}, KIND_TEXT | KIND_NULL},
    {{"options", 7}, KIND_OBJECT},
};
static const struct answer_tool tools[] = {{{"add", 3}, NULL, 0},
                                           {{"get_weather", 11}, weather_parameters, 5}};

/* What a vocabulary may have as control tokens, one or another. */
static const char *const control_texts[] = {
    "[TOOL_CALLS]",   "[CALL_ID]",  "[ARGS]",        "<tool_call>",  "</tool_call>",
    "<|python_tag|>", "[THINK]",    "[/THINK]",      "<|channel|>",  "<|message|>",
    "<|start|>",      "<|end|>",    "<|constrain|>", "<|tool_call>", "<tool_call|>",
    "<|\"|>",         "<|channel>", "<channel|>",
};

static struct answer_options options_of(const char *calls, const char *thoughts, bool control) {
    struct answer_options options = {
        .traits = {.calls = tool_call_form_named(calls),
                   .thinking = thoughts == NULL ? NULL : thinking_form_named(thoughts)},
        .tools = tools,
        .tool_count = 2,
        .id_seed = 1,
        .sink = write_event,
    };
    assert_non_null(options.traits.calls);
    for (size_t i = 0; control && i < sizeof control_texts / sizeof control_texts[0]; i++) {
        options.traits.controls[options.traits.control_count++] = string_view_of(control_texts[i]);
    }
    return options;
}

/* Fed in pieces of `piece` bytes after a first one of `first`. */
static struct transcript parse(struct answer_options options, const char *text, size_t first,
                               size_t piece) {
    struct transcript transcript = {0};
    options.context = &transcript;
    struct answer_parser *parser = answer_parser_create(&options);
    assert_non_null(parser);
    size_t length = strlen(text);
    for (size_t at = 0, take = first; at < length; at += take, take = piece) {
        take = take < length - at ? take : length - at;
        answer_parser_feed(parser, text + at, take);
    }
    answer_parser_finish(parser);
    assert_false(answer_parser_failed(parser));
    answer_parser_free(parser);
    if (transcript.last != 0) {
        string_buffer_append_char(&transcript.text, ')');
    }
    return transcript;
}

static void check(struct answer_options options, const char *text, const char *expected) {
    size_t length = strlen(text);
    for (size_t first = 0; first <= length; first++) {
        bool bytes = first == 0; /* one by one */
        struct transcript got = parse(options, text, bytes ? 1 : first, bytes ? 1 : length);
        if (strcmp(string_buffer_text(&got.text), expected) != 0) {
            fail_msg("%s\ncut at %zu\n  gives    %s\n  expected %s", text, first,
                     string_buffer_text(&got.text), expected);
        }
        string_buffer_deinit(&got.text);
    }
}

static void check_calls(const char *form, bool control, const char *text, const char *expected) {
    check(options_of(form, NULL, control), text, expected);
}

static void test_mistral_lists(void **state) {
    (void)state;
    const char *const form = "mistral_list";
    check_calls(form, true, M("[TOOL_CALLS]") " [{\"name\": \"add\", \"arguments\": {\"a\": 1}}]",
                "B(0 add)A({\"a\": 1})E(0 add|{\"a\": 1})");
    check_calls(
        form, true,
        M("[TOOL_CALLS]") "[{\"name\": \"add\", \"arguments\": {\"a\": [1, {\"b\": \"]}\"}]}, "
                          "\"id\": \"abcdefgh1\"}, {\"arguments\": {}, \"name\": \"x\"}]",
        "B(0 add)A({\"a\": [1, {\"b\": \"]}\"}]})E(0 add|{\"a\": [1, {\"b\": \"]}\"}]})"
        "B(1 x)A({})E(1 x|{})");
    /* The text of the tag, where the vocabulary has no token for it, and where it has one. */
    check_calls(form, false, "Look: [TOOL_CALLS][{\"name\":\"add\",\"arguments\":{}}]",
                "C(Look:)B(0 add)A({})E(0 add|{})");
    check_calls(form, true, "Look: [TOOL_CALLS][{\"name\":\"add\",\"arguments\":{}}]",
                "C(Look: [TOOL_CALLS][{\"name\":\"add\",\"arguments\":{}}])");
}

static void test_mistral_names(void **state) {
    (void)state;
    const char *const form = "mistral_names";
    check_calls("mistral_ids", true,
                "Hm. " M("[TOOL_CALLS]") "get_weather" M("[CALL_ID]") "abcdefgh1" M(
                    "[ARGS]") "{\"city\": \"Z\xc3\xbcrich\"}",
                "C(Hm.)B(0 get_weather)A({\"city\": \"Z\xc3\xbcrich\"})"
                "E(0 get_weather|{\"city\": \"Z\xc3\xbcrich\"})");
    check_calls(form, true,
                M("[TOOL_CALLS]") "add" M("[ARGS]") "{\"a\":1}" M("[TOOL_CALLS]") "add" M(
                    "[ARGS]") "{\"a\":2}",
                "B(0 add)A({\"a\":1})E(0 add|{\"a\":1})B(1 add)A({\"a\":2})E(1 add|{\"a\":2})");
    check_calls("mistral_ids", false, "[TOOL_CALLS]add[CALL_ID]123456789[ARGS]{}",
                "B(0 add)A({})E(0 add|{})");
    check_calls(form, true, M("[TOOL_CALLS]") "add{}", "B(0 add)A({})E(0 add|{})");
    /* No calls: nothing is lost. */
    check_calls(form, true, M("[TOOL_CALLS]") "is a token, you know",
                "C([TOOL_CALLS]is a token, you know)");
    check_calls(form, true, M("[TOOL_CALLS]") "add" M("[ARGS]") "[1]",
                "C([TOOL_CALLS]add[ARGS][1])");
    check_calls(form, true, M("[TOOL_CALLS]"), "C([TOOL_CALLS])");
    check_calls(form, true, M("[TOOL_CALLS]") "add" M("[TOOL_CALLS]") "add" M("[ARGS]") "{}",
                "C([TOOL_CALLS]add)B(0 add)A({})E(0 add|{})");
}

static void test_hermes(void **state) {
    (void)state;
    const char *const form = "hermes";
    check_calls(
        form, false,
        "I look.\n\n<tool_call>\n{\"name\": \"add\", \"arguments\": {\"a\": 1}}\n</tool_call>\n"
        "<tool_call>\n{\"name\": \"get_weather\", \"arguments\": {\"s\": \"</tool_call>\"}}\n"
        "</tool_call>",
        "C(I look.)B(0 add)A({\"a\": 1})E(0 add|{\"a\": 1})"
        "B(1 get_weather)A({\"s\": \"</tool_call>\"})E(1 get_weather|{\"s\": \"</tool_call>\"})");
    /* Arguments as text, as null, left out; other keys; text behind. */
    check_calls(
        form, false,
        "<tool_call>{\"id\":7,\"name\":\"add\",\"arguments\":\"{\\\"a\\\":1}\"}</tool_call> so",
        "B(0 add)A({\"a\":1})E(0 add|{\"a\":1})C(so)");
    check_calls(form, false, "<tool_call>{\"name\":\"add\",\"arguments\":null}</tool_call>",
                "B(0 add)A({})E(0 add|{})");
    check_calls(form, false, "<tool_call>{\"x\": -1.5e3, \"name\":\"add\"}",
                "B(0 add)A({})E(0 add|{})");
    check_calls(form, false, "<tool_call>{\"function\": {\"name\":\"f\", \"arguments\":{\"b\":2}}}",
                "B(0 f)A({\"b\":2})E(0 f|{\"b\":2})");
    check_calls(form, true, M("<tool_call>") "{\"name\":\"add\"}" M("</tool_call>") "ok",
                "B(0 add)A({})E(0 add|{})C(ok)");
}

static void test_what_is_no_call_is_content(void **state) {
    (void)state;
    const char *const form = "hermes";
    static const char *const texts[] = {
        "a < b, <tool, <tool_cal",
        "<tool_call>",
        "<tool_call>\nfoo</tool_call>",
        "<tool_call>{\"name\": \"add\"",
        "<tool_call>{\"name\": 3}</tool_call>",
        "<tool_call>{\"arguments\": {}}</tool_call>",
        "<tool_call>{\"name\": \"add\", 1}</tool_call>",
        "<tool_call>{\"name\": \"a\", \"name\": \"b\"}",
        "<tool_call>{\"name\": \"\"}",
        "<tool_call>{\"arguments\": [1], \"name\": \"add\"}",
        " \n ",
        "  x \n",
        "<tool_call>{\"name\": \"a\nb\"}",
        "<tool_call>{\"x\": 01}",
        "<tool_call>{\"x\": +1}",
    };
    for (size_t i = 0; i < sizeof texts / sizeof texts[0]; i++) {
        struct string_buffer expected = {0};
        string_buffer_append_format(&expected, "C(%s)", texts[i]);
        check_calls(form, false, texts[i], string_buffer_text(&expected));
        string_buffer_deinit(&expected);
    }
    check_calls(form, false, "", "");
    /* Broken after it was shown: the whole text, and what is new of it. */
    check_calls(
        form, false, "<tool_call>{\"name\": \"add\", \"arguments\": {\"a\": 1, oops}} end",
        "B(0 add)A({\"a\": 1, )X(<tool_call>{\"name\": \"add\", \"arguments\": {\"a\": 1, |)"
        "C(oops}} end)");
    check_calls(form, false, "<tool_call>{\"name\": \"add\", \"arguments\": {}, \"name\": \"b\"}",
                "B(0 add)A({})X(<tool_call>{\"name\": \"add\", \"arguments\": {}, \"name\": \"b|"
                ", \"name\": \"b)C(\"})");
    check_calls(form, false, "<tool_call><tool_call>{\"name\":\"add\"}",
                "C(<tool_call>)B(0 add)A({})E(0 add|{})");
}

static void test_llama(void **state) {
    (void)state;
    const char *const form = "llama3";
    check_calls(form, true, "{\"name\": \"add\", \"parameters\": {\"a\": \"1\"}}",
                "B(0 add)A({\"a\": \"1\"})E(0 add|{\"a\": \"1\"})");
    check_calls(
        form, true,
        "\n" M("<|python_tag|>") "{\"type\": \"function\", \"function\": \"add\", "
                                 "\"parameters\": {}}; {\"name\": \"add\", \"parameters\": {}}",
        "B(0 add)A({})E(0 add|{})B(1 add)A({})E(1 add|{})");
    /* JSON that is an answer. */
    check_calls(form, true, "{\"city\": \"Rome\"}", "C({\"city\": \"Rome\"})");
    check_calls(form, true, " {\"name\": \"Rome\", \"parameters\": {}}",
                "C( {\"name\": \"Rome\", \"parameters\": {}})");
    check_calls(form, true, "So {\"name\": \"add\", \"parameters\": {}}",
                "C(So {\"name\": \"add\", \"parameters\": {}})");
    check_calls(form, true, M("<|python_tag|>") "search.call(x=1)",
                "C(<|python_tag|>search.call(x=1))");
}

/* --- values between tags --- */

#define WEATHER "{\"city\": \"Z\xc3\xbcrich \\\"Nord\\\"\", \"days\": 3, \"wet\": true}"

static void test_qwen_xml(void **state) {
    (void)state;
    const char *const form = "qwen_xml";
    check_calls(form, false,
                "I look.\n<tool_call>\n<function=get_weather>\n<parameter=city>\nZ\xc3\xbcrich "
                "\"Nord\"\n</parameter>\n<parameter=days>\n3\n</parameter>\n<parameter=wet>\nTrue\n"
                "</parameter>\n</function>\n</tool_call>",
                "C(I look.)B(0 get_weather)A(" WEATHER ")E(0 get_weather|" WEATHER ")");
    /* Without arguments, without the tag around it, on one line. */
    check_calls(form, false, "<tool_call>\n<function=add>\n</function>\n</tool_call>",
                "B(0 add)A({})E(0 add|{})");
    check_calls(form, false,
                "<function=add>\n<parameter=x>1</parameter>\n</function>\n</tool_call>",
                "B(0 add)A({\"x\": 1})E(0 add|{\"x\": 1})");
    check_calls(form, true,
                M("<tool_call>") "<function=add></function>" M("</tool_call>") "\n" M(
                    "<tool_call>") "<function=add></function>" M("</tool_call>") "so",
                "B(0 add)A({})E(0 add|{})B(1 add)A({})E(1 add|{})C(so)");
    /* Two functions within one pair of tags; a tag that never closes. */
    check_calls(form, false,
                "<tool_call>\n<function=add>\n</function>\n<function=add>\n</function>\n"
                "</tool_call>",
                "B(0 add)A({})E(0 add|{})B(1 add)A({})E(1 add|{})");
    check_calls(form, false, "<tool_call>\n<function=add>\n</function>",
                "B(0 add)A({})E(0 add|{})");
    /* A text keeps its lines and its tags; one line break at either end is the form's. */
    check_calls(form, false,
                "<tool_call><function=get_weather><parameter=city>\n\n a <b>\n</parameter x>\n\n"
                "</parameter></function></tool_call>",
                "B(0 get_weather)A({\"city\": \"\\n a <b>\\n</parameter x>\\n\"})"
                "E(0 get_weather|{\"city\": \"\\n a <b>\\n</parameter x>\\n\"})");
    /* The schema says what a text is; without one JSON is JSON. */
    check_calls(form, false,
                "<tool_call><function=get_weather><parameter=city>5</parameter><parameter=unit>null"
                "</parameter><parameter=days>many</parameter><parameter=options>{\"a\": [1]}"
                "</parameter><parameter=new>[1, \"x\"]</parameter></function></tool_call>",
                "B(0 get_weather)A({\"city\": \"5\", \"unit\": null, \"days\": \"many\", "
                "\"options\": {\"a\": [1]}, \"new\": [1, \"x\"]})"
                "E(0 get_weather|{\"city\": \"5\", \"unit\": null, \"days\": \"many\", "
                "\"options\": {\"a\": [1]}, \"new\": [1, \"x\"]})");
    /* Cut off, and none. */
    check_calls(form, false, "<tool_call>\n<function=add>\n<parameter=x>\n1",
                "B(0 add)A({\"x\": )X(<tool_call>\n<function=add>\n<parameter=x>\n1|\n1)");
    check_calls(form, false, "<tool_call>\n<function=", "C(<tool_call>\n<function=)");
    check_calls(form, false, "x <tool_call> is a tag", "C(x <tool_call> is a tag)");
}

static void test_glm(void **state) {
    (void)state;
    check_calls(
        "glm_lines", false,
        "<tool_call>get_weather\n<arg_key>city</arg_key>\n<arg_value>Z\xc3\xbcrich \"Nord\""
        "</arg_value>\n<arg_key>days</arg_key>\n<arg_value>3</arg_value>\n<arg_key>wet"
        "</arg_key>\n<arg_value>true</arg_value>\n</tool_call>\n<tool_call>add\n</tool_call>",
        "B(0 get_weather)A(" WEATHER ")E(0 get_weather|" WEATHER ")"
        "B(1 add)A({})E(1 add|{})");
    check_calls("glm", true,
                M("<tool_call>") "add<arg_key>x</arg_key><arg_value>\n\n</arg_value>" M(
                    "</tool_call>") "ok",
                "B(0 add)A({\"x\": \"\\n\\n\"})E(0 add|{\"x\": \"\\n\\n\"})C(ok)");
    check_calls("glm", false, "<tool_call>add</tool_call>", "B(0 add)A({})E(0 add|{})");
    check_calls("glm", false, "<tool_call>add<arg_key>x</arg_key>oops",
                "B(0 add)A({\"x\": )X(<tool_call>add<arg_key>x</arg_key>|)C(oops)");
    check_calls("glm", false, "<tool_call>a b</tool_call>", "C(<tool_call>a b</tool_call>)");
}

static void test_tags_around_all_calls(void **state) {
    (void)state;
    check_calls("minimax_xml", false,
                "So.\n<minimax:tool_call>\n<invoke name=\"get_weather\">\n<parameter name=\"city\">"
                "Rome</parameter>\n</invoke>\n<invoke name=\"add\">\n</invoke>\n"
                "</minimax:tool_call>end",
                "C(So.)B(0 get_weather)A({\"city\": \"Rome\"})E(0 get_weather|{\"city\": \"Rome\"})"
                "B(1 add)A({})E(1 add|{})C(end)");
    check_calls(
        "deepseek_v31", false,
        "So.<｜tool▁calls▁begin｜><｜tool▁call▁begin｜>get_weather<｜tool▁sep｜>{\"city\": "
        "\"Rome\"}<｜tool▁call▁end｜><｜tool▁call▁begin｜>add<｜tool▁sep｜>{}<｜tool▁call▁end｜>"
        "<｜tool▁calls▁end｜>",
        "C(So.)B(0 get_weather)A({\"city\": \"Rome\"})E(0 get_weather|{\"city\": \"Rome\"})"
        "B(1 add)A({})E(1 add|{})");
    check_calls(
        "deepseek_v3", false,
        "<｜tool▁calls▁begin｜><｜tool▁call▁begin｜>function<｜tool▁sep｜>get_weather\n"
        "```json\n{\"city\": \"Rome\"}\n```<｜tool▁call▁end｜>\n<｜tool▁call▁begin｜>function"
        "<｜tool▁sep｜>add\n```json\n{}\n```<｜tool▁call▁end｜><｜tool▁calls▁end｜>",
        "B(0 get_weather)A({\"city\": \"Rome\"})E(0 get_weather|{\"city\": \"Rome\"})"
        "B(1 add)A({})E(1 add|{})");
    check_calls("deepseek_v31", false, "<｜tool▁calls▁begin｜>none",
                "C(<｜tool▁calls▁begin｜>none)");
    check_calls("kimi", false,
                "<|tool_calls_section_begin|><|tool_call_begin|>functions.add:0"
                "<|tool_call_argument_begin|>{\"a\": 1}<|tool_call_end|><|tool_calls_section_end|>",
                "B(0 add)A({\"a\": 1})E(0 add|{\"a\": 1})");
    check_calls("phi4_mini", false,
                "<|tool_call|>[{\"name\": \"add\", \"arguments\": {}}]<|/tool_call|>",
                "B(0 add)A({})E(0 add|{})");
    check_calls("phi4_mini", false,
                "functools[{\"name\": \"add\", \"arguments\": {}}, {\"name\": \"x\"}]",
                "B(0 add)A({})E(0 add|{})B(1 x)A({})E(1 x|{})");
    check_calls("phi4_mini", false, "import functools\nfunctools.reduce",
                "C(import functools\nfunctools.reduce)");
    check_calls("cohere_list", false,
                "<|START_ACTION|>[\n {\"tool_call_id\": \"0\", \"tool_name\": \"add\", "
                "\"parameters\": {\"a\": 1}}\n]<|END_ACTION|>",
                "B(0 add)A({\"a\": 1})E(0 add|{\"a\": 1})");
}

static void test_gemma(void **state) {
    (void)state;
    const char *const form = "gemma";
    check_calls(form, true,
                M("<|tool_call>") "call:get_weather{city:" M("<|\"|>") "Z\xc3\xbcrich \"Nord\"" M(
                    "<|\"|>") ",days:3,wet:true}" M("<tool_call|>"),
                "B(0 get_weather)A(" WEATHER ")E(0 get_weather|" WEATHER ")");
    check_calls(form, true,
                M("<|tool_call>") "call:add{a:[1,-2.5e3,None,{b:[],c:{}}], <k>: " M(
                    "<|\"|>") "{x:1},]\n" M("<|\"|>") "}" M("<tool_call|>")
                    M("<|tool_call>") "call:add{}" M("<tool_call|>"),
                "B(0 add)A({\"a\": [1, -2.5e3, null, {\"b\": [], \"c\": {}}], \"<k>\": "
                "\"{x:1},]\\n\"})E(0 add|{\"a\": [1, -2.5e3, null, {\"b\": [], \"c\": {}}], "
                "\"<k>\": \"{x:1},]\\n\"})B(1 add)A({})E(1 add|{})");
    /* In plain text; a text without marks; a key with them. */
    check_calls(form, false, "<|tool_call>call:add{<|\"|>k 1<|\"|>:two words}<tool_call|>",
                "B(0 add)A({\"k 1\": \"two words\"})E(0 add|{\"k 1\": \"two words\"})");
    /* No notation of an object. */
    check_calls(form, false, "<|tool_call>call:add{a:1,,}<tool_call|>",
                "B(0 add)A({\"a\": 1, )X(<|tool_call>call:add{a:1,|)C(,}<tool_call|>)");
    check_calls(form, false, "<|tool_call>call:add{a:[1}",
                "B(0 add)A({\"a\": [)X(<|tool_call>call:add{a:[1|1)C(})");
    check_calls(form, false, "<|tool_call>call:add", "C(<|tool_call>call:add)");
    check_calls(form, false, "<|tool_call>call:add(a)", "C(<|tool_call>call:add(a))");
    struct answer_options thinks = options_of(form, "gemma", true);
    check(thinks, M("<|channel>") "thought\nHm.\n" M("<channel|>") "Four.", "T(Hm.)C(Four.)");
    check(thinks, M("<|channel>") "thought\n" M("<channel|>") "Four.", "C(Four.)");
}

/* --- channels --- */

#define ANALYSIS M("<|channel|>") "analysis" M("<|message|>")
#define FINAL    M("<|channel|>") "final" M("<|message|>")
#define NEXT     M("<|end|>") M("<|start|>") "assistant"

static void test_harmony(void **state) {
    (void)state;
    struct answer_options options = options_of("harmony", "harmony", true);
    check(options, ANALYSIS "Hm.\n\nYes." NEXT FINAL "Four.\n", "T(Hm.\n\nYes.)C(Four.\n)");
    check(options, FINAL "Four.", "C(Four.)");
    /* The recipient behind the channel, and before it. */
    check(options,
          ANALYSIS "Hm." NEXT M("<|channel|>") "commentary to=functions.add " M(
              "<|constrain|>") "json" M("<|message|>") "{\"a\": 1}" M("<|call|>"),
          "T(Hm.)B(0 add)A({\"a\": 1})E(0 add|{\"a\": 1})");
    check(options,
          " to=functions.add" M("<|channel|>") "commentary json" M("<|message|>") "{}" NEXT FINAL
                                                                                  "So.",
          "B(0 add)A({})E(0 add|{})C(So.)");
    /* What is said before a call; two thoughts; a message without its beginning. */
    check(options,
          M("<|channel|>") "commentary" M(
              "<|message|>") "I look." NEXT ANALYSIS "a" NEXT ANALYSIS
                             "b" NEXT M("<|channel|>") "commentary to=functions.add" M(
                                 "<|message|>") "{}",
          "C(I look.)T(a\n\nb)B(0 add)A({})E(0 add|{})");
    check(options, ANALYSIS "a" FINAL "b", "T(a)C(b)");
    /* Cut off: in a header, in a thought, in a call. */
    check(options, ANALYSIS "a" NEXT M("<|channel|>") "comm", "T(a)");
    check(options, ANALYSIS "a", "T(a)");
    check(options, M("<|channel|>") "commentary to=functions.add" M("<|message|>") "{\"a\": ",
          "B(0 add)A({\"a\": )X({\"a\": |)");
    check(options,
          M("<|channel|>") "commentary to=functions.add" M("<|message|>") "[1]" NEXT FINAL "x",
          "C([1]\n\nx)");
    /* No headers at all, and marks that are none. */
    check(options, "Plain words.\n", "C(Plain words.\n)");
    check(options, FINAL "<|channel|>analysis<|message|>x<|end|>",
          "C(<|channel|>analysis<|message|>x<|end|>)");
    options.tool_count = 0;
    assert_false(answer_is_plain(&options));
    check(options, M("<|channel|>") "commentary to=functions.add" M("<|message|>") "{}", "C({})");
}

static void test_thoughts(void **state) {
    (void)state;
    struct answer_options tags = options_of("hermes", "tags", false);
    check(tags, "<think>\nHm, <b>.\n\nYes.\n</think>\n\nFour.", "T(Hm, <b>.\n\nYes.)C(Four.)");
    check(tags, " <think></think>\n\nFour.\n", "C(Four.\n)");
    check(tags, "So <think> is a tag.</think>", "C(So <think> is a tag.</think>)");
    check(tags, "<think>never ends </thin", "T(never ends </thin)");
    check(tags, "<think>a</think>\n<tool_call>{\"name\":\"add\"}</tool_call>",
          "T(a)B(0 add)A({})E(0 add|{})");
    check(tags, "<think><tool_call>{}</think>x", "T(<tool_call>{})C(x)");
    struct answer_options open = tags;
    open.thinking_open = true;
    check(open, "\nHm.</think>Four.", "T(Hm.)C(Four.)");
    struct answer_options mistral = options_of("mistral_names", "mistral", true);
    check(mistral, M("[THINK]") "Hm [/THINK]." M("[/THINK]") "Four." M("[UNK]") "!",
          "T(Hm [/THINK].)C(Four.!)");
    check(mistral, M("[THINK]") "Hm." M("[TOOL_CALLS]") "add" M("[ARGS]") "{}",
          "T(Hm.)B(0 add)A({})E(0 add|{})");
    check(mistral, "\xef\xb7\x90 \xef\xb7 no mark", "C(\xef\xb7\x90 \xef\xb7 no mark)");
}

static void test_no_calls_without_tools_and_one_with_single_call(void **state) {
    (void)state;
    struct answer_options options = options_of("hermes", NULL, false);
    assert_false(answer_is_plain(&options));
    options.single_call = true;
    check(options,
          "<tool_call>{\"name\":\"add\"}</tool_call><tool_call>{\"name\":\"add\",\"arguments\":{}}"
          "</tool_call>!",
          "B(0 add)A({})E(0 add|{})C(!)");
    options.tool_count = 0;
    check(options, "<tool_call>{\"name\":\"add\"}", "C(<tool_call>{\"name\":\"add\"})");
    assert_true(answer_is_plain(&options));
}

static void test_ids(void **state) {
    (void)state;
    static const struct {
        const char *form, *text, *prefix, *exactly;
        size_t length;
    } rows[] = {
        {"mistral_ids", M("[TOOL_CALLS]") "add" M("[ARGS]") "{}", "", NULL, 9},
        {"mistral_ids", M("[TOOL_CALLS]") "add" M("[CALL_ID]") "abcdefgh1" M("[ARGS]") "{}", "",
         "abcdefgh1", 9},
        {"mistral_ids", M("[TOOL_CALLS]") "add" M("[CALL_ID]") "short" M("[ARGS]") "{}", "", NULL,
         9},
        {"hermes", M("<tool_call>") "{\"name\":\"add\"}", "call_", NULL, 29},
        {"hermes", M("<tool_call>") "{\"id\":\"mine-1\",\"name\":\"add\"}", "", "mine-1", 6},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        struct answer_options options = options_of(rows[i].form, NULL, true);
        struct transcript one = parse(options, rows[i].text, 1, 1);
        options.id_seed = 2;
        struct transcript other = parse(options, rows[i].text, 1, 1);
        assert_int_equal(one.id_count, 1);
        assert_int_equal(strlen(one.ids[0]), rows[i].length);
        assert_memory_equal(one.ids[0], rows[i].prefix, strlen(rows[i].prefix));
        if (rows[i].exactly != NULL) {
            assert_string_equal(one.ids[0], rows[i].exactly);
        } else {
            assert_string_not_equal(one.ids[0], other.ids[0]);
        }
        string_buffer_deinit(&one.text);
        string_buffer_deinit(&other.text);
    }
}

static void test_the_scanner_knows_json(void **state) {
    (void)state;
    static const struct {
        const char *text;
        enum json_scan_state end;
    } rows[] = {
        {"{}", JSON_SCAN_DONE},
        {" { \"a\" : [ ] , \"b\" : { } }", JSON_SCAN_DONE},
        {"{\"a\":[1,-0,0.5,1e9,1E-9,-12.25e+3,true,false,null,\"\\u00e9\\n\\\"\"]}",
         JSON_SCAN_DONE},
        {"{\"a\":[1,{\"b\":[[]]}]", JSON_SCAN_NEXT},
        {"{\"a\":1", JSON_SCAN_IN_NUMBER},
        {"[]", JSON_SCAN_BAD},
        {"{,}", JSON_SCAN_BAD},
        {"{\"a\"}", JSON_SCAN_BAD},
        {"{\"a\":}", JSON_SCAN_BAD},
        {"{\"a\":1,}", JSON_SCAN_BAD},
        {"{\"a\":[1,]}", JSON_SCAN_BAD},
        {"{\"a\":[1}", JSON_SCAN_BAD},
        {"{\"a\":01}", JSON_SCAN_BAD},
        {"{\"a\":1.}", JSON_SCAN_BAD},
        {"{\"a\":.5}", JSON_SCAN_BAD},
        {"{\"a\":1e}", JSON_SCAN_BAD},
        {"{\"a\":-}", JSON_SCAN_BAD},
        {"{\"a\":1-2}", JSON_SCAN_BAD},
        {"{\"a\":tru}", JSON_SCAN_BAD},
        {"{\"a\":truee}", JSON_SCAN_BAD},
        {"{\"a\":\"\\x\"}", JSON_SCAN_BAD},
        {"{\"a\":\"\\u12g4\"}", JSON_SCAN_BAD},
        {"{\"a\":\"\n\"}", JSON_SCAN_BAD},
        {"{} ", JSON_SCAN_BAD},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        struct json_scanner scanner = {0};
        enum json_scan_state end = JSON_SCAN_BEGIN;
        for (const char *at = rows[i].text; *at != '\0'; at++) {
            end = json_scanner_push(&scanner, *at);
        }
        if (end != rows[i].end) {
            fail_msg("%s ends in state %d, not %d", rows[i].text, (int)end, (int)rows[i].end);
        }
    }
    struct json_scanner deep = {0};
    enum json_scan_state end = json_scanner_push(&deep, '{');
    for (const char *at = "\"a\":"; *at != '\0'; at++) {
        end = json_scanner_push(&deep, *at);
    }
    for (int i = 0; i < 63; i++) {
        end = json_scanner_push(&deep, '[');
    }
    assert_int_equal(end, JSON_SCAN_VALUE_OR_END);
    assert_int_equal(json_scanner_push(&deep, '['), JSON_SCAN_BAD);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_mistral_lists),
        cmocka_unit_test(test_mistral_names),
        cmocka_unit_test(test_hermes),
        cmocka_unit_test(test_what_is_no_call_is_content),
        cmocka_unit_test(test_llama),
        cmocka_unit_test(test_qwen_xml),
        cmocka_unit_test(test_glm),
        cmocka_unit_test(test_tags_around_all_calls),
        cmocka_unit_test(test_gemma),
        cmocka_unit_test(test_harmony),
        cmocka_unit_test(test_thoughts),
        cmocka_unit_test(test_no_calls_without_tools_and_one_with_single_call),
        cmocka_unit_test(test_ids),
        cmocka_unit_test(test_the_scanner_knows_json),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
