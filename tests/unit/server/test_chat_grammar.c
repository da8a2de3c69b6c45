/* test_chat_grammar.c - what may be answered to a chat, form by form, to the letter: calls as the
 * templates write them, thoughts before them, text where it is left open. Tags are plain text here;
 * as tokens they are in tests/python/test_tool_choice.py. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "grammar/grammar_automaton.h"
#include "server/chat_grammar.h"

#include <string.h>

enum verdict { NO, BEGINS, WHOLE };

static const struct answer_format no_format = {0};

/* A form's traits, and its thoughts' where it has some. */
static const struct chat_traits *traits_of(const char *calls, const char *thoughts) {
    static struct chat_traits made[64];
    static size_t count;
    struct chat_traits *traits = &made[count++ % 64];
    *traits = (struct chat_traits){
        .calls = tool_call_form_named(calls),
        .thinking = thoughts == NULL ? NULL : thinking_form_named(thoughts),
        .single_calls = strcmp(calls, "llama3") == 0 || strcmp(calls, "harmony") == 0,
    };
    assert_non_null(traits->calls);
    return traits;
}

/* Two functions: `add` takes a number, `ping` nothing. */
static json_t *two_functions(bool strict) {
    return json_pack("[{s:s, s:b, s:{s:s, s:{s:{s:s}}, s:[s]}}, {s:s, s:b}]", "name", "add",
                     "strict", strict, "parameters", "type", "object", "properties", "n", "type",
                     "integer", "required", "n", "name", "ping", "strict", strict);
}

static enum verdict judge(const struct grammar *grammar, const char *text) {
    struct automaton automaton;
    assert_true(automaton_init(&automaton, grammar));
    uint32_t state = AUTOMATON_START;
    for (const char *at = text; *at != '\0' && state != AUTOMATON_DEAD; at++) {
        automaton.work = AUTOMATON_STEP_WORK;
        state = automaton_next(&automaton, state, (uint8_t)*at);
    }
    assert_false(automaton.has_failed);
    enum verdict verdict = state == AUTOMATON_DEAD                ? NO
                           : automaton_accepts(&automaton, state) ? WHOLE
                                                                  : BEGINS;
    automaton_deinit(&automaton);
    return verdict;
}

struct row {
    const char *text;
    enum verdict verdict;
};

static void expect(struct chat_grammar_source source, bool strict, const struct row *rows,
                   size_t count) {
    struct grammar *grammar = NULL;
    struct api_error error = {0};
    json_t *functions = two_functions(strict);
    source.functions = functions;
    source.format = source.format == NULL ? &no_format : source.format;
    if (!chat_grammar_compile(&source, &grammar, &error)) {
        fail_msg("%s", error.message);
    }
    assert_non_null(grammar);
    for (size_t i = 0; i < count; i++) {
        enum verdict verdict = judge(grammar, rows[i].text);
        if (verdict != rows[i].verdict) {
            fail_msg("%s: expected %d, came %d", rows[i].text, rows[i].verdict, verdict);
        }
    }
    grammar_unref(grammar);
    json_decref(functions);
}

#define EXPECT(source, strict, ...)                                                                \
    do {                                                                                           \
        const struct row rows[] = {__VA_ARGS__};                                                   \
        expect(source, strict, rows, sizeof rows / sizeof rows[0]);                                \
    } while (0)

#define ADD "{\"name\": \"add\", \"arguments\": {\"n\": 7}}"

static void hermes_calls(void **state) {
    (void)state;
    struct chat_grammar_source source = {.traits = traits_of("hermes", NULL),
                                         .call_is_forced = true};
    EXPECT(source, false, {"", BEGINS}, {"<tool_call>\n" ADD "\n</tool_call>", WHOLE},
           {" <tool_call>\n" ADD "\n</tool_call>\n<tool_call>\n" ADD "\n</tool_call>", WHOLE},
           {"<tool_call>\n{\"name\": \"ping\", \"arguments\": {}}\n</tool_call>", WHOLE},
           {"<tool_call>\n" ADD, BEGINS}, {"I ", NO}, {"<think>", NO}, {ADD, NO},
           {"<tool_call>\n{\"name\": \"pong", NO},
           {"<tool_call>\n{\"name\": \"ping\", \"arguments\": {\"n", NO},
           {"<tool_call>\n{\"name\": \"add\", \"arguments\": {\"n\": \"", NO},
           {"<tool_call>\n{\"name\": \"add\", \"arguments\": {}", NO});
    source.single_call = true;
    EXPECT(source, false, {"<tool_call>\n" ADD "\n</tool_call>", WHOLE},
           {"<tool_call>\n" ADD "\n</tool_call>\n", NO});
    source.chosen_tool = "ping";
    EXPECT(source, false, {"<tool_call>\n{\"name\": \"a", NO},
           {"<tool_call>\n{\"name\": \"ping\", \"arguments\": {}}\n</tool_call>", WHOLE});
}

static void mistral_calls(void **state) {
    (void)state;
    struct chat_grammar_source source = {.traits = traits_of("mistral_list", NULL),
                                         .call_is_forced = true};
    EXPECT(source, false, {"[TOOL_CALLS][" ADD "]", WHOLE}, {"[TOOL_CALLS] [" ADD "]", WHOLE},
           {"[TOOL_CALLS][" ADD ", " ADD "]", WHOLE}, {"[TOOL_CALLS][]", NO},
           {"[TOOL_CALLS]add", NO}, {"[TOOL_CALLS][" ADD "][TOOL", NO});
    source.single_call = true;
    EXPECT(source, false, {"[TOOL_CALLS][" ADD "]", WHOLE}, {"[TOOL_CALLS][" ADD ",", NO});
    source = (struct chat_grammar_source){.traits = traits_of("mistral_ids", NULL),
                                          .call_is_forced = true};
    EXPECT(source, false, {"[TOOL_CALLS]add[CALL_ID]abcDEF123[ARGS]{\"n\": 7}", WHOLE},
           {"[TOOL_CALLS]ping[CALL_ID]abcDEF123[ARGS]{}[TOOL_CALLS]p", BEGINS},
           {"[TOOL_CALLS]add[CALL_ID]abc[", NO}, {"[TOOL_CALLS]add[ARGS]", NO},
           {"[TOOL_CALLS]pong", NO}, {"[TOOL_CALLS][", NO});
    source.traits = traits_of("mistral_names", "mistral");
    EXPECT(source, false, {"[TOOL_CALLS]add[ARGS]{\"n\": 7}", WHOLE}, {"[TOOL_CALLS]add[C", NO});
}

#define ADD_3 "{\"name\": \"add\", \"parameters\": {\"n\": 7}}"

static void llama3_calls(void **state) {
    (void)state;
    struct chat_traits several = *traits_of("llama3", NULL);
    struct chat_grammar_source source = {.traits = traits_of("llama3", NULL),
                                         .call_is_forced = true};
    EXPECT(source, false, {ADD_3, WHOLE}, {ADD_3 ";", NO}, {"{\"name\": \"add\", \"a", NO});
    several.single_calls = false;
    source.traits = &several;
    EXPECT(source, false, {ADD_3 "; " ADD_3, WHOLE});
}

/* A function with a value of every kind. */
static json_t *one_function(void) {
    return json_loads("[{\"name\": \"set\", \"parameters\": {\"type\": \"object\", \"properties\": "
                      "{\"text\": {\"type\": \"string\"}, \"n\": {\"type\": \"integer\"}, "
                      "\"kind\": {\"enum\": [\"a\", \"b c\"]}, \"list\": {\"type\": \"array\", "
                      "\"items\": {\"$ref\": \"#/$defs/flag\"}, \"maxItems\": 2}, \"o\": "
                      "{\"type\": \"object\", \"properties\": {\"x\": {\"type\": \"null\"}}}}, "
                      "\"required\": [\"text\", \"n\"], \"$defs\": {\"flag\": "
                      "{\"type\": \"boolean\"}}}}]",
                      0, NULL);
}

static void expect_set(const char *form, const struct row *rows, size_t count) {
    json_t *functions = one_function();
    struct grammar *grammar = NULL;
    struct api_error error = {0};
    const struct chat_grammar_source source = {.traits = traits_of(form, NULL),
                                               .functions = functions,
                                               .call_is_forced = true,
                                               .single_call = true,
                                               .format = &no_format};
    assert_non_null(functions);
    if (!chat_grammar_compile(&source, &grammar, &error)) {
        fail_msg("%s: %s", form, error.message);
    }
    for (size_t i = 0; i < count; i++) {
        enum verdict verdict = judge(grammar, rows[i].text);
        if (verdict != rows[i].verdict) {
            fail_msg("%s: %s: expected %d, came %d", form, rows[i].text, rows[i].verdict, verdict);
        }
    }
    grammar_unref(grammar);
    json_decref(functions);
}

#define EXPECT_SET(form, ...)                                                                      \
    do {                                                                                           \
        const struct row rows[] = {__VA_ARGS__};                                                   \
        expect_set(form, rows, sizeof rows / sizeof rows[0]);                                      \
    } while (0)

#define Q(key, value)    "<parameter=" key ">\n" value "\n</parameter>\n"
#define QWEN(arguments)  "<tool_call>\n<function=set>\n" arguments "</function>\n</tool_call>"
#define GLM(arguments)   "<tool_call>set" arguments "</tool_call>"
#define G(key, value)    "<arg_key>" key "</arg_key><arg_value>" value "</arg_value>"
#define GEMMA(arguments) "<|tool_call>call:set{" arguments "}<tool_call|>"
#define T(text)          "<|\"|>" text "<|\"|>"

static void values_without_quotes_follow_their_schema(void **state) {
    (void)state;
    EXPECT_SET(
        "qwen_xml", {QWEN(Q("text", "any </p> \"text\"\n\n") Q("n", "7")), WHOLE},
        {QWEN(Q("text", "") Q("n", "-7") Q("kind", "b c") Q("list", "[true, false]")
                  Q("o", "{\"x\": null}")),
         WHOLE},
        {"<tool_call>\n<function=set>\n" Q("text", "x") "</function>", NO},
        {"<tool_call>\n<function=set>\n" Q("n", "7"), NO},
        {"<tool_call>\n<function=set>\n" Q("text", "x") "<parameter=n>\nx", NO},
        {"<tool_call>\n<function=set>\n" Q("text", "x") Q("n", "1") "<parameter=kind>\nc", NO},
        {"<tool_call>\n<function=set>\n" Q("text", "x") Q("n", "1") "<parameter=list>\n[1", NO},
        {"<tool_call>\n<function=other", NO});
    EXPECT_SET("glm", {GLM(G("text", "a < b</arg_val") G("n", "7")), WHOLE},
               {GLM(G("text", "a")), NO},
               {"<tool_call>set" G("text", "a") "<arg_key>n</arg_key><arg_value>x", NO});
    EXPECT_SET("gemma", {GEMMA("text:" T("a, {b}") ",n:7"), WHOLE},
               {GEMMA("text:" T("") ",n:7,kind:" T("b c") ",list:[true,false],o:{x:null}"), WHOLE},
               {GEMMA("text:" T("") ",n:7,o:{}"), WHOLE}, {GEMMA("text:" T("")), NO},
               {"<|tool_call>call:set{n:7", NO}, {"<|tool_call>call:set{text:" T("") ",n:x", NO},
               {"<|tool_call>call:set{text:" T("") ",n:1,kind:" T("d"), NO},
               {"<|tool_call>call:set{text:" T("") ",n:1,list:[true,true,", NO});
}

static void forms_with_a_name_and_json(void **state) {
    (void)state;
    struct chat_grammar_source source = {.traits = traits_of("deepseek_v31", NULL),
                                         .call_is_forced = true};
#define V31(name, arguments)                                                                       \
    "<｜tool▁call▁begin｜>" name "<｜tool▁sep｜>" arguments "<｜tool▁call▁end｜>"
    EXPECT(source, false,
           {"<｜tool▁calls▁begin｜>" V31("add", "{\"n\": 7}") "<｜tool▁calls▁end｜>", WHOLE},
           {"<｜tool▁calls▁begin｜>" V31("add", "{\"n\": 7}")
                V31("ping", "{}") "<｜tool▁calls▁end｜>",
            WHOLE},
           {V31("ping", "{}"), NO}, {"<｜tool▁calls▁begin｜><｜tool▁calls▁end｜>", NO});
    source.traits = traits_of("deepseek_v3", NULL);
    EXPECT(source, false,
           {"<｜tool▁calls▁begin｜><｜tool▁call▁begin｜>function<｜tool▁sep｜>add\n```json\n"
            "{\"n\": 7}\n```<｜tool▁call▁end｜><｜tool▁calls▁end｜>",
            WHOLE});
    source.traits = traits_of("kimi", NULL);
    EXPECT(source, false,
           {"<|tool_calls_section_begin|><|tool_call_begin|>functions.ping:0"
            "<|tool_call_argument_begin|>{}<|tool_call_end|><|tool_calls_section_end|>",
            WHOLE});
    source.traits = traits_of("phi4_mini", NULL);
    EXPECT(source, false, {"<|tool_call|>[" ADD ", " ADD "]<|/tool_call|>", WHOLE});
    source.traits = traits_of("cohere_list", NULL);
    EXPECT(
        source, false,
        {"<|START_ACTION|>[{\"tool_name\": \"ping\", \"parameters\": {}}]<|END_ACTION|>", WHOLE});
}

#define HARMONY_CALL "<|channel|>commentary to=functions.add <|constrain|>json<|message|>{\"n\": 7}"
#define HARMONY_HM   "<|channel|>analysis<|message|>Hm.<|end|><|start|>assistant"

static void an_answer_in_channels(void **state) {
    (void)state;
    json_t *pattern = json_string("[a-z]{2}!");
    const struct answer_format format = {.regex = pattern};
    /* It thinks, even where it is asked not to. */
    struct chat_grammar_source source = {.traits = traits_of("harmony", "harmony"),
                                         .call_is_forced = true};
    EXPECT(source, false, {HARMONY_CALL, WHOLE}, {HARMONY_HM HARMONY_CALL, WHOLE},
           {HARMONY_HM "<|channel|>final", NO}, {HARMONY_CALL "<", NO}, {"Hm", NO});
    source.call_is_forced = false;
    source.format = &format;
    EXPECT(source, false, {"<|channel|>final<|message|>ab!", WHOLE},
           {HARMONY_HM "<|channel|>final<|message|>ab!", WHOLE},
           {HARMONY_HM "<|channel|>final<|message|>a!", NO}, {"ab!", NO},
           {HARMONY_HM "<|channel|>commentary to=functions.add <|constrain|>json<|message|>{}",
            WHOLE});
    source.format = NULL;
    EXPECT(
        source, true, {HARMONY_HM "<|channel|>final<|message|>Any text.", WHOLE},
        {HARMONY_HM HARMONY_CALL, WHOLE},
        {HARMONY_HM "<|channel|>commentary to=functions.add <|constrain|>json<|message|>{}", NO});
    json_decref(pattern);
}

static void a_strict_call_is_held_to_its_schema_once_it_has_begun(void **state) {
    (void)state;
    struct chat_grammar_source source = {.traits = traits_of("hermes", NULL)};
    EXPECT(source, true, {"", WHOLE}, {"Any <tool> text {\"n\": ", WHOLE},
           {"Well. <tool_call>", BEGINS}, {"Well. <tool_call>\n" ADD "\n</tool_call>", WHOLE},
           {"<tool_call>\n{\"name\": \"add\", \"arguments\": {\"n\": \"", NO},
           {"<tool_call>\n{\"name\": \"pong", NO});
    source.traits = traits_of("llama3", NULL);
    EXPECT(source, true, {"", WHOLE}, {"Text. " ADD_3, WHOLE}, {"{\"city\": 1}", WHOLE},
           {"{\"name", WHOLE}, {"{\"name\": 1}", WHOLE}, {"{\"name\": \"add", BEGINS},
           {ADD_3, WHOLE}, {" \n" ADD_3, WHOLE}, {"{\"name\": \"pong", NO},
           {" {\"name\": \"add\", \"parameters\": {\"n\": \"", NO});
}

static void thoughts_come_before_calls(void **state) {
    (void)state;
    struct chat_grammar_source source = {
        .traits = traits_of("hermes", "tags"), .call_is_forced = true, .may_think = true};
    EXPECT(source, false,
           {"<think>\nHm. <tool_call>\n</think>\n\n<tool_call>\n" ADD "\n</tool_call>", WHOLE},
           {"<tool_call>\n" ADD "\n</tool_call>", WHOLE}, {"<think>\nHm.", BEGINS},
           {"<think>\n</think>\n\nSo", NO}, {"Hm.", NO});
    source.thinking_open = true;
    EXPECT(source, false, {"Hm.", BEGINS},
           {"Hm.</think>\n\n<tool_call>\n" ADD "\n</tool_call>", WHOLE}, {"Hm.</think>So", NO});
    source.thinking_open = source.may_think = false;
    EXPECT(source, false, {"<think>", NO}, {"<tool_call>\n" ADD "\n</tool_call>", WHOLE});
}

static void a_format_stands_beside_calls_and_after_thoughts(void **state) {
    (void)state;
    json_t *pattern = json_string("[a-z]{2}!");
    const struct answer_format format = {.regex = pattern};
    struct chat_grammar_source source = {
        .traits = traits_of("hermes", "tags"), .thinking_open = true, .format = &format};
    EXPECT(source, false, {"Hm.", BEGINS}, {"Hm.</think>\n\nab!", WHOLE}, {"ab!", BEGINS},
           {"Hm.</think><tool_call>\n" ADD "\n</tool_call>", WHOLE}, {"Hm.</think>a!", NO},
           /* not strict: any object */
           {"</think><tool_call>\n{\"name\": \"add\", \"arguments\": {\"x\": \"y\"}}\n</tool_call>",
            WHOLE});
    source.call_is_forced = true;
    EXPECT(source, false, {"</think>ab", NO});
    json_decref(pattern);
}

static void nothing_asked_is_no_grammar(void **state) {
    (void)state;
    json_t *functions = two_functions(false);
    struct grammar *grammar = NULL;
    struct api_error error;
    const struct chat_grammar_source source = {.traits = traits_of("hermes", NULL),
                                               .functions = functions,
                                               .may_think = true,
                                               .format = &no_format};
    assert_true(chat_grammar_compile(&source, &grammar, &error));
    assert_null(grammar);
    json_decref(functions);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(hermes_calls),
        cmocka_unit_test(mistral_calls),
        cmocka_unit_test(llama3_calls),
        cmocka_unit_test(values_without_quotes_follow_their_schema),
        cmocka_unit_test(forms_with_a_name_and_json),
        cmocka_unit_test(an_answer_in_channels),
        cmocka_unit_test(a_strict_call_is_held_to_its_schema_once_it_has_begun),
        cmocka_unit_test(thoughts_come_before_calls),
        cmocka_unit_test(a_format_stands_beside_calls_and_after_thoughts),
        cmocka_unit_test(nothing_asked_is_no_grammar),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
