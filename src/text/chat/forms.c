/* forms.c - see forms.h. Of two forms that a text could show, the first one is taken. */
#include "text/chat/forms.h"

#include <string.h>

const struct tool_call_form tool_call_forms[] = {
    {.name = "mistral_list", /* Mistral 7B v0.3, Nemo */
     .codec = CALL_JSON,
     .is_list = true,
     .has_short_ids = true,
     .section_open = "[TOOL_CALLS]",
     .between = ", ",
     .name_key = "name",
     .arguments_key = "arguments"},
    {.name = "mistral_ids", /* Mistral Small 3.1 and 3.2 */
     .codec = CALL_NAMED,
     .has_short_ids = true,
     .open = "[TOOL_CALLS]",
     .id_open = "[CALL_ID]",
     .after_name = "[ARGS]"},
    {.name = "mistral_names", /* Devstral, Magistral, Ministral 3 */
     .codec = CALL_NAMED,
     .has_short_ids = true,
     .open = "[TOOL_CALLS]",
     .after_name = "[ARGS]"},
    {.name = "hermes", /* Hermes, Qwen 2.5, Qwen 3, SmolLM3, Granite 4 */
     .codec = CALL_JSON,
     .open = "<tool_call>\n",
     .close = "\n</tool_call>",
     .between = "\n",
     .name_key = "name",
     .arguments_key = "arguments"},
    {.name = "qwen_xml", /* Qwen3-Coder, Qwen 3.5, Nemotron 3 */
     .codec = CALL_TAGGED,
     .open = "<tool_call>\n",
     .before_name = "<function=",
     .after_name = ">\n",
     .key_open = "<parameter=",
     .key_close = ">\n",
     .value_close = "\n</parameter>\n",
     .after_arguments = "</function>",
     .close = "\n</tool_call>",
     .between = "\n",
     .other_open = "<function="},
    {.name = "seed_xml", /* Seed-OSS */
     .codec = CALL_TAGGED,
     .open = "<seed:tool_call>\n",
     .before_name = "<function=",
     .after_name = ">\n",
     .key_open = "<parameter=",
     .key_close = ">",
     .value_close = "</parameter>\n",
     .after_arguments = "</function>",
     .close = "\n</seed:tool_call>",
     .between = "\n"},
    {.name = "glm_lines", /* GLM 4.5, 4.6 */
     .codec = CALL_TAGGED,
     .open = "<tool_call>",
     .after_name = "\n",
     .key_open = "<arg_key>",
     .key_close = "</arg_key>\n",
     .value_open = "<arg_value>",
     .value_close = "</arg_value>\n",
     .close = "</tool_call>",
     .between = "\n"},
    {.name = "glm", /* GLM 4.7 */
     .codec = CALL_TAGGED,
     .open = "<tool_call>",
     .key_open = "<arg_key>",
     .key_close = "</arg_key>",
     .value_open = "<arg_value>",
     .value_close = "</arg_value>",
     .close = "</tool_call>"},
    {.name = "minimax_xml", /* MiniMax M2 */
     .codec = CALL_TAGGED,
     .section_open = "<minimax:tool_call>\n",
     .section_close = "</minimax:tool_call>",
     .open = "<invoke name=\"",
     .after_name = "\">\n",
     .key_open = "<parameter name=\"",
     .key_close = "\">",
     .value_close = "</parameter>\n",
     .close = "</invoke>\n"},
    {.name = "deepseek_v3", /* V3, R1 */
     .codec = CALL_NAMED,
     .section_open = "<｜tool▁calls▁begin｜>",
     .section_close = "<｜tool▁calls▁end｜>",
     .open = "<｜tool▁call▁begin｜>",
     .before_name = "function<｜tool▁sep｜>",
     .after_name = "\n```json\n",
     .after_arguments = "\n```",
     .close = "<｜tool▁call▁end｜>",
     .between = "\n"},
    {.name = "deepseek_v31",
     .codec = CALL_NAMED,
     .section_open = "<｜tool▁calls▁begin｜>",
     .section_close = "<｜tool▁calls▁end｜>",
     .open = "<｜tool▁call▁begin｜>",
     .after_name = "<｜tool▁sep｜>",
     .close = "<｜tool▁call▁end｜>"},
    {.name = "kimi", /* K2 */
     .codec = CALL_NAMED,
     .section_open = "<|tool_calls_section_begin|>",
     .section_close = "<|tool_calls_section_end|>",
     .open = "<|tool_call_begin|>",
     .before_name = "functions.",
     .id_open = ":",
     .after_name = "<|tool_call_argument_begin|>",
     .close = "<|tool_call_end|>"},
    {.name = "gemma", /* Gemma 4 */
     .codec = CALL_GEMMA,
     .open = "<|tool_call>",
     .before_name = "call:",
     .close = "<tool_call|>",
     .text_mark = "<|\"|>"},
    {.name = "harmony", /* gpt-oss: an answer in channels, see thinking_forms */
     .codec = CALL_NAMED,
     .open = "<|channel|>commentary to=",
     .before_name = "functions.",
     .after_name = " <|constrain|>json<|message|>",
     .sign = "to=functions."},
    {.name = "phi4_mini",
     .codec = CALL_JSON,
     .is_list = true,
     .section_open = "<|tool_call|>",
     .section_close = "<|/tool_call|>",
     .between = ", ",
     .name_key = "name",
     .arguments_key = "arguments",
     .other_open = "functools"},
    {.name = "nemotron_list", /* Nemotron Nano 2 */
     .codec = CALL_JSON,
     .is_list = true,
     .section_open = "<TOOLCALL>",
     .section_close = "</TOOLCALL>",
     .between = ", ",
     .name_key = "name",
     .arguments_key = "arguments"},
    {.name = "apriel_list",
     .codec = CALL_JSON,
     .is_list = true,
     .section_open = "<tool_calls>",
     .section_close = "</tool_calls>",
     .between = ", ",
     .name_key = "name",
     .arguments_key = "arguments"},
    {.name = "cohere_list", /* Command R7B, Command A */
     .codec = CALL_JSON,
     .is_list = true,
     .section_open = "<|START_ACTION|>",
     .section_close = "<|END_ACTION|>",
     .between = ", ",
     .name_key = "tool_name",
     .arguments_key = "parameters"},
    {.name = "llama3", /* a tag may be left out, and is */
     .codec = CALL_JSON,
     .between = "; ",
     .name_key = "name",
     .arguments_key = "parameters",
     .other_open = "<|python_tag|>"},
};
const size_t tool_call_form_count = sizeof tool_call_forms / sizeof tool_call_forms[0];

const struct thinking_form thinking_forms[] = {
    {.name = "mistral", .open = "[THINK]", .close = "[/THINK]"},
    {.name = "harmony",
     .open = "<|channel|>analysis<|message|>",
     .close = "<|end|><|start|>assistant",
     .content_open = "<|channel|>final<|message|>"},
    {.name = "gemma", .open = "<|channel>thought\n", .close = "\n<channel|>"},
    {.name = "seed", .open = "<seed:think>", .close = "</seed:think>"},
    {.name = "cohere", .open = "<|START_THINKING|>", .close = "<|END_THINKING|>"},
    {.name = "tags", .open = "<think>", .close = "</think>"},
};
const size_t thinking_form_count = sizeof thinking_forms / sizeof thinking_forms[0];

const struct tool_call_form *tool_call_form_named(const char *name) {
    for (size_t i = 0; i < tool_call_form_count; i++) {
        if (strcmp(tool_call_forms[i].name, name) == 0) {
            return &tool_call_forms[i];
        }
    }
    return NULL;
}

const struct thinking_form *thinking_form_named(const char *name) {
    for (size_t i = 0; i < thinking_form_count; i++) {
        if (strcmp(thinking_forms[i].name, name) == 0) {
            return &thinking_forms[i];
        }
    }
    return NULL;
}

const char *tool_call_form_opening(const struct tool_call_form *form) {
    return form->section_open != NULL ? form->section_open : form->open;
}
