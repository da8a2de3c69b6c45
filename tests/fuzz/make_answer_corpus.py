#!/usr/bin/env python3
"""Writes the seeds of fuzz_answer: tests/fuzz/make_answer_corpus.py"""

from pathlib import Path

CORPUS = Path(__file__).resolve().parent / "corpus" / "answer"

# In the order of src/text/chat/forms.c.
CALLS = ["mistral_list", "mistral_ids", "mistral_names", "hermes", "qwen_xml", "seed_xml", "glm_lines", "glm", "minimax_xml",
         "deepseek_v3", "deepseek_v31", "kimi", "gemma", "harmony", "phi4_mini", "nemotron_list", "apriel_list", "cohere_list",
         "llama3"]
THOUGHTS = ["mistral", "harmony", "gemma", "seed", "cohere", "tags"]
PLAIN, CONTROL, OPEN, SINGLE = 8, 16, 32, 64  # PLAIN: no thoughts


def mark(token):
    return f"\ufdd0{token}\ufdd1"


SEEDS = {  # name: (form of the calls, form of the thoughts or None, flags, answer)
    "mistral_list": ("mistral_list", None, CONTROL, mark("[TOOL_CALLS]") + ' [{"name": "f", "arguments": {"a": [1.5e3, null]}}, {}]'),
    "mistral_ids": ("mistral_ids", "mistral", CONTROL,
                    mark("[THINK]") + "Hm " + mark("[/THINK]") + mark("[TOOL_CALLS]") + "f" + mark("[CALL_ID]")
                    + "abcdefgh1" + mark("[ARGS]") + '{"x": "\\u00e9"}' + mark("[TOOL_CALLS]") + "add{}"),
    "mistral_text": ("mistral_names", None, 0, '[TOOL_CALLS]f[ARGS]{}\n[TOOL_CALLS][{"name":"f"}] so'),
    "hermes": ("hermes", "tags", 0,
               '<think>\nHm\n</think>\n\n<tool_call>\n{"name": "f", "arguments": "{}"}\n</tool_call>\n'
               '<tool_call>{"id": "i", "function": {"name": "add", "parameters": {"a": 1}}}</tool_call>'),
    "hermes_broken": ("hermes", None, 0, '<tool_call>{"name": "f", "arguments": {"a": oops}}</tool_call> <tool_'),
    "hermes_single": ("hermes", "tags", SINGLE | OPEN,
                      'x</think><tool_call>{"name":"f"}</tool_call><tool_call>{"name":"f"}'),
    "qwen_xml": ("qwen_xml", "tags", 0,
                 "So.\n<tool_call>\n<function=f>\n<parameter=text>\na \"b\"\n\nc\n</parameter>\n<parameter=n>\n3\n</parameter>\n"
                 "<parameter=o>\n{\"x\": [True]}\n</parameter>\n</function>\n</tool_call>\n<function=add>\n</function>"),
    "seed_xml": ("seed_xml", "seed", 0, "<seed:think>a</seed:think><seed:tool_call>\n<function=f>\n<parameter=n>x</parameter>\n"
                 "</function>\n</seed:tool_call>"),
    "glm_lines": ("glm_lines", "tags", 0, "<tool_call>f\n<arg_key>text</arg_key>\n<arg_value>5</arg_value>\n</tool_call>\n"
                  "<tool_call>add\n</tool_call>"),
    "glm": ("glm", "tags", CONTROL | OPEN, "Hm" + mark("</think>") + mark("<tool_call>") + "f" + mark("<arg_key>") + "n"
            + mark("</arg_key>") + mark("<arg_value>") + "null" + mark("</arg_value>") + mark("</tool_call>")),
    "minimax_xml": ("minimax_xml", None, 0, '<minimax:tool_call>\n<invoke name="f">\n<parameter name="text">a</parameter>\n</invoke>\n'
                    '<invoke name="add">\n</invoke>\n</minimax:tool_call> so'),
    "deepseek_v3": ("deepseek_v3", "tags", 0, "<｜tool▁calls▁begin｜><｜tool▁call▁begin｜>function<｜tool▁sep｜>f\n```json\n{\"a\": 1}\n```"
                    "<｜tool▁call▁end｜>\n<｜tool▁call▁begin｜>function<｜tool▁sep｜>add\n```json\n{}\n```<｜tool▁call▁end｜><｜tool▁calls▁end｜>"),
    "deepseek_v31": ("deepseek_v31", "tags", CONTROL, mark("<｜tool▁calls▁begin｜>") + mark("<｜tool▁call▁begin｜>") + "f"
                     + mark("<｜tool▁sep｜>") + "{}" + mark("<｜tool▁call▁end｜>") + mark("<｜tool▁calls▁end｜>")),
    "kimi": ("kimi", None, 0, "<|tool_calls_section_begin|><|tool_call_begin|>functions.f:0<|tool_call_argument_begin|>{}"
             "<|tool_call_end|><|tool_calls_section_end|>"),
    "gemma": ("gemma", "gemma", CONTROL, mark("<|channel>") + "thought\nHm\n" + mark("<channel|>") + mark("<|tool_call>")
              + "call:f{text:" + mark('<|"|>') + "a, {b}" + mark('<|"|>') + ",n:-1.5,o:{x:[1,None,true],y:{}}}" + mark("<tool_call|>")),
    "gemma_text": ("gemma", "gemma", 0, '<|tool_call>call:add{<|"|>k<|"|>: word, l:[]}<tool_call|> so <|tool_call>call:f{a'),
    "harmony": ("harmony", "harmony", CONTROL, mark("<|channel|>") + "analysis" + mark("<|message|>") + "Hm." + mark("<|end|>")
                + mark("<|start|>") + "assistant" + mark("<|channel|>") + "commentary to=functions.f " + mark("<|constrain|>") + "json"
                + mark("<|message|>") + '{"n": 1}' + mark("<|call|>")),
    "harmony_text": ("harmony", "harmony", 0, "<|channel|>analysis<|message|>a<|end|><|start|>assistant to=functions.add<|channel|>"
                     "commentary json<|message|>{}<|end|><|start|>assistant<|channel|>final<|message|>b"),
    "phi4_mini": ("phi4_mini", None, 0, 'functools[{"name": "f", "arguments": {}}] <|tool_call|>[{"name": "add"}]<|/tool_call|>'),
    "cohere_list": ("cohere_list", "cohere", 0, '<|START_THINKING|>a<|END_THINKING|><|START_ACTION|>[\n    {"tool_call_id": "0", '
                    '"tool_name": "f", "parameters": {}}\n]<|END_ACTION|>'),
    "llama": ("llama3", None, CONTROL, mark("<|python_tag|>") + '{"name": "f", "parameters": {}}; {"type": 1, "function": "add"}'),
    "llama_bare": ("llama3", "tags", 0, ' {"name": "add", "parameters": {"a": "b"}}'),
    "llama_json": ("llama3", None, 0, '{"city": "Rome"}'),
}


def main():
    CORPUS.mkdir(parents=True, exist_ok=True)
    for name, (calls, thoughts, flags, text) in SEEDS.items():
        second = flags | (PLAIN if thoughts is None else THOUGHTS.index(thoughts))
        (CORPUS / name).write_bytes(bytes([CALLS.index(calls), second]) + text.encode())


if __name__ == "__main__":
    main()
