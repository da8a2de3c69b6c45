#!/usr/bin/env python3
"""Writes the seeds of fuzz_http_request and fuzz_openai_body: tests/fuzz/make_server_corpus.py"""

import json
from pathlib import Path

CORPUS = Path(__file__).resolve().parent / "corpus"

# The first byte is the size of the pieces the rest arrives in, less one.
HTTP = {
    "get": b"\xffGET /v1/models/a%2Fb?x=1 HTTP/1.1\r\nHost: localhost:8080\r\nAccept: */*\r\n\r\n",
    "old": b"\x02\r\nGET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n",
    "body": b"\x10POST /v1/completions HTTP/1.1\r\nHost: a\r\nContent-Length: 14\r\n\r\n"
            b'{"prompt":"x"}GET http://b/c HTTP/1.1\r\nHost: a\r\n\r\n',
    "chunked": b"\x00POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n"
               b"Expect: 100-continue\r\n\r\n2;a=\"b\"\r\n{}\r\n0\r\nTrailer: x\r\n\r\n",
    "both": b"\x07POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n"
            b"Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "returns": b"\x07\r\r\nX\r\n\r\n",
    "folded": b"\x07GET / HTTP/1.1\r\nHost: a\r\nX: 1\r\n 2\r\n\r\n",
}

BODIES = {
    "chat": {"model": "model", "stream": True, "stream_options": {"include_usage": True},
             "messages": [{"role": "developer", "content": "a"},
                          {"role": "user", "name": "n", "content": [
                              {"type": "text", "text": "b"}, {"type": "text", "text": "\u00e4"}]},
                          {"role": "assistant", "content": None, "tool_calls": [{"id": "c"}]},
                          {"role": "tool", "tool_call_id": "c", "content": "d"}]},
    "fields": {"n": 2, "temperature": 0.5, "top_p": 0.9, "top_k": 40, "min_p": 0.1, "seed": -1,
               "stop": ["a", "b"], "logit_bias": {"1": -100, "49": 5.5}, "ignore_eos": True,
               "repetition_penalty": 1.1, "response_format": {"type": "text"}, "grammar": "",
               "messages": [{"role": "user", "content": "x"}]},
    "message": {"model": "model", "max_tokens": 9, "system": [{"type": "text", "text": "s"}], "messages": [
        {"role": "user", "content": "a"},
        {"role": "assistant", "content": [{"type": "thinking", "thinking": "t", "signature": ""},
                                          {"type": "text", "text": "b"},
                                          {"type": "tool_use", "id": "i", "name": "f", "input": {"x": [1]}}]},
        {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "i", "is_error": True,
                                      "content": [{"type": "text", "text": "r"}]}, {"type": "text", "text": "c"}]}],
        "tools": [{"name": "f", "description": "d", "input_schema": {"type": "object"}}],
        "tool_choice": {"type": "tool", "name": "f", "disable_parallel_tool_use": True},
        "thinking": {"type": "enabled", "budget_tokens": 5}, "stop_sequences": ["x"],
        "output_config": {"format": {"type": "json_schema", "schema": {}}}},
    "response": {"instructions": "i", "max_output_tokens": 9, "input": [
        {"role": "user", "content": [{"type": "input_text", "text": "a"}]},
        {"type": "reasoning", "summary": [], "content": [{"type": "reasoning_text", "text": "t"}]},
        {"type": "function_call", "call_id": "c", "name": "f", "arguments": "{}"},
        {"type": "function_call_output", "call_id": "c", "output": "r"}],
        "tools": [{"type": "function", "name": "f", "parameters": {}}],
        "tool_choice": {"type": "function", "name": "f"}, "reasoning": {"effort": "low"},
        "text": {"format": {"type": "json_schema", "name": "n", "schema": {}}}},
    "refused": {"temperature": 9, "stop": "", "logit_bias": {"x": 1}, "n": 1.5},
}

for name, data in HTTP.items():
    folder = CORPUS / "http_request"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / name).write_bytes(data)
for name, body in BODIES.items():
    folder = CORPUS / "openai_body"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / f"{name}.json").write_text(json.dumps(body), encoding="utf-8")
(CORPUS / "openai_body" / "deep.json").write_text('{"messages":' + "[" * 80, encoding="utf-8")
