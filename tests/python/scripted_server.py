#!/usr/bin/env python3
"""A language model's server that does what the prompt says, and writes down when it did it.

    scripted_server.py [--serve-requests N] [--port N]

Speaks OpenAI's chat completions and Ollama's chat, streamed. A prompt holds its script, "[[first=200 gap=20
tokens=5]]": milliseconds before the first token, between two, and how many there are. Further words:

    stall=MS       a pause in the middle          lie=N        usage tells N tokens
    nousage        no usage at all                nodone       the stream ends without its end
    cut            the connection is cut in the middle         status=N   answers with this status
    error          an error in the middle         garbage      no JSON in the middle
    silent         never a byte after the head

Prints {"port": N} first, and one line a request when it is over: "at" is when its head had come, "writes" when
each token was written, by the monotonic clock. With --serve-requests N the process dies in the middle of the
N-th. SIGTERM ends it.
"""

import argparse
import asyncio
import json
import os
import re
import signal
import time

parser = argparse.ArgumentParser()
parser.add_argument("--serve-requests", type=int, default=0)
parser.add_argument("--port", type=int, default=0)
options = parser.parse_args()
served = 0


def number(script, name, otherwise=0):
    found = re.search(rf"\b{name}=(\d+)", script)
    return int(found[1]) if found else otherwise


def word(script, name):
    return re.search(rf"\b{name}\b", script) is not None


class Answer:
    def __init__(self, writer, is_ollama):
        self.writer, self.is_ollama = writer, is_ollama

    def chunk(self, data):
        self.writer.write(b"%x\r\n%s\r\n" % (len(data), data))

    def event(self, value):
        text = json.dumps(value).encode()
        self.chunk(text + b"\n" if self.is_ollama else b"data: " + text + b"\n\n")

    def token(self, text):
        if self.is_ollama:
            self.event({"message": {"role": "assistant", "content": text}, "done": False})
        else:
            self.event({"choices": [{"index": 0, "delta": {"content": text}}]})

    def end(self, tokens, script):
        usage = {} if word(script, "nousage") else {"prompt_tokens": 7, "completion_tokens": number(script, "lie", tokens)}
        if self.is_ollama:
            counts = {"prompt_eval_count": 7, "eval_count": usage["completion_tokens"]} if usage else {}
            self.event({"message": {"role": "assistant", "content": ""}, "done": True, **counts})
            return
        self.event({"choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]})
        if usage:
            self.event({"choices": [], "usage": usage})
        if not word(script, "nodone"):
            self.chunk(b"data: [DONE]\n\n")


def plain(writer, status, value):
    body = json.dumps(value).encode()
    writer.write(b"HTTP/1.1 %d X\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%s" % (status, len(body), body))


async def generate(writer, is_ollama, script, record):
    """False: the connection is over."""
    tokens = number(script, "tokens", 5)
    if status := number(script, "status"):
        plain(writer, status, {"error": {"message": "as the script wants it"}})
        return True
    writer.write(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n")
    answer = Answer(writer, is_ollama)
    due = record["at"] + number(script, "first", 1) / 1000
    if word(script, "silent"):
        await asyncio.sleep(3600)
    for i in range(tokens):
        await asyncio.sleep(due - time.monotonic())
        if i == (tokens + 1) // 2 and word(script, "cut"):
            writer.transport.abort()
            return False
        if i == (tokens + 1) // 2 and word(script, "error"):
            answer.event({"error": {"message": "out of luck"}})
        if i == (tokens + 1) // 2 and word(script, "garbage"):
            answer.chunk(b"data: {nonsense\n\n")
        record["writes"].append(time.monotonic())
        answer.token("word ")
        if options.serve_requests and served == options.serve_requests and i == tokens // 2:
            os._exit(1)
        due += (number(script, "gap", 1) + (number(script, "stall") if i == tokens // 2 else 0)) / 1000
    answer.end(tokens, script)
    writer.write(b"0\r\n\r\n")
    return True


async def serve(reader, writer):
    global served
    try:
        while True:
            head = (await reader.readuntil(b"\r\n\r\n")).decode()
            method, path, _ = head.split(" ", 2)
            length = re.search(r"content-length: (\d+)", head, re.IGNORECASE)
            body = await reader.readexactly(int(length[1])) if length else b""
            if method == "GET":
                models = {"/v1/models": {"data": [{"id": "scripted"}]}, "/api/tags": {"models": [{"name": "scripted:latest"}]}}
                plain(writer, 200 if path in models else 404, models.get(path, {"error": "no such page"}))
                continue
            served += 1
            asked = json.loads(body)
            found = re.search(r"\[\[(.*)\]\]", asked["messages"][0]["content"])
            record = {"at": time.monotonic(), "path": path, "body": asked, "writes": []}
            goes_on = await generate(writer, path == "/api/chat", found[1] if found else "", record)
            record["end"] = time.monotonic()
            print(json.dumps(record), flush=True)
            if not goes_on:
                return
    except (asyncio.IncompleteReadError, ConnectionError):
        pass
    finally:
        writer.close()


async def main():
    server = await asyncio.start_server(serve, "127.0.0.1", options.port, backlog=4096)
    print(json.dumps({"port": server.sockets[0].getsockname()[1]}), flush=True)
    stopping = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stopping.set)
    await stopping.wait()
    os._exit(0)


if __name__ == "__main__":
    asyncio.run(main())
