#!/usr/bin/env python3
"""Writes the seeds of fuzz_answer: tests/fuzz/make_answer_corpus.py"""

from pathlib import Path

CORPUS = Path(__file__).resolve().parent / "corpus" / "answer"

MISTRAL, HERMES, LLAMA = 1, 2, 3
TAGS, THINK = 4, 8
CONTROL, OPEN, SINGLE = 16, 32, 64


def mark(token):
    return f"\ufdd0{token}\ufdd1"


SEEDS = {
    "mistral_list": (MISTRAL | CONTROL, mark("[TOOL_CALLS]") + ' [{"name": "f", "arguments": {"a": [1.5e3, null]}}, {}]'),
    "mistral_names": (MISTRAL | CONTROL | THINK,
                      mark("[THINK]") + "Hm " + mark("[/THINK]") + mark("[TOOL_CALLS]") + "f" + mark("[CALL_ID]")
                      + "abcdefgh1" + mark("[ARGS]") + '{"x": "\\u00e9"}' + mark("[TOOL_CALLS]") + "add{}"),
    "mistral_text": (MISTRAL, '[TOOL_CALLS]f[ARGS]{}\n[TOOL_CALLS][{"name":"f"}] so'),
    "hermes": (HERMES | TAGS, '<think>\nHm\n</think>\n\n<tool_call>\n{"name": "f", "arguments": "{}"}\n</tool_call>\n'
                              '<tool_call>{"id": "i", "function": {"name": "add", "parameters": {"a": 1}}}</tool_call>'),
    "hermes_broken": (HERMES, '<tool_call>{"name": "f", "arguments": {"a": oops}}</tool_call> <tool_'),
    "hermes_single": (HERMES | SINGLE | OPEN | TAGS, 'x</think><tool_call>{"name":"f"}</tool_call><tool_call>{"name":"f"}'),
    "llama": (LLAMA | CONTROL, mark("<|python_tag|>") + '{"name": "f", "parameters": {}}; {"type": 1, "function": "add"}'),
    "llama_bare": (LLAMA | TAGS, ' {"name": "add", "parameters": {"a": "b"}}'),
    "llama_json": (LLAMA, '{"city": "Rome"}'),
}


def main():
    CORPUS.mkdir(parents=True, exist_ok=True)
    for name, (first, text) in SEEDS.items():
        (CORPUS / name).write_bytes(bytes([first]) + text.encode())


if __name__ == "__main__":
    main()
