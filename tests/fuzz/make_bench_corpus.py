#!/usr/bin/env python3
"""Writes corpus/bench_answer: answers as servers give them, for fuzz_bench_answer.c."""

import json
from pathlib import Path

OPENAI, OLLAMA = bytes([6]), bytes([7])
FOLDER = Path(__file__).with_name("corpus") / "bench_answer"


def sse(*values):
    return b"".join(b"data: " + (json.dumps(v).encode() if v != "[DONE]" else b"[DONE]") + b"\n\n" for v in values)


def lines(*values):
    return b"".join(json.dumps(v).encode() + b"\n" for v in values)


def chunked(body, size=40):
    pieces = [body[i : i + size] for i in range(0, len(body), size)]
    return b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + b"".join(
        b"%x\r\n%s\r\n" % (len(p), p) for p in pieces) + b"0\r\n\r\n"


def sized(body, status=b"200 OK"):
    return b"HTTP/1.1 %s\r\nContent-Length: %d\r\n\r\n%s" % (status, len(body), body)


chat = sse({"choices": [{"delta": {"content": "grün "}}]}, {"choices": [{"delta": {"reasoning_content": "x"}}]},
           {"choices": [], "usage": {"prompt_tokens": 3, "completion_tokens": 2}}, "[DONE]")
ollama = lines({"message": {"content": "a"}, "done": False}, {"response": "b"},
               {"message": {"content": ""}, "done": True, "prompt_eval_count": 1, "eval_count": 2})
SEEDS = {
    "openai_chunked": OPENAI + chunked(chat),
    "openai_until_close": OPENAI + b"HTTP/1.0 200 OK\r\n\r\n" + chat,
    "openai_error": OPENAI + chunked(sse({"error": {"message": "no"}})),
    "openai_crlf": OPENAI + sized(chat.replace(b"\n", b"\r\n") + b": ping\r\n"),
    "ollama_sized": OLLAMA + sized(ollama),
    "ollama_error": OLLAMA + sized(b'{"error":"no such model"}', b"404 Not Found"),
    "interim": OPENAI + b"HTTP/1.1 100 Continue\r\n\r\n" + sized(chat),
    "after_the_end": OLLAMA + sized(ollama + ollama),
    "no_content": OPENAI + b"HTTP/1.1 204 No Content\r\n\r\n",
}
FOLDER.mkdir(parents=True, exist_ok=True)
for name, seed in SEEDS.items():
    (FOLDER / name).write_bytes(seed)
