#!/usr/bin/env python3
"""mistralrs_server.py - mistral.rs as the Python package mistralrs carries it, behind OpenAI's streaming chat.

    bench/mistralrs_server.py MODEL.gguf --port 18083
    mistral bench serve http://127.0.0.1:8080 --baseline http://127.0.0.1:18083 --baseline-name mistral.rs

The package has the engine and no server, so this stands between: a thread a connection, each waiting for the
engine's next piece and passing it on. What it costs is told on /cost: the processor time of its own threads, which a
server in Rust would not take. The model, its tokenizer and its template come from the one file; nothing is fetched.
Only for measuring. Needs the package in the Python that runs it.
"""

import argparse
import http.server
import json
import os
import pathlib
import threading
import time

import mistralrs


class Cost:
    """The processor time of the threads that answer, and the pieces they passed on."""

    def __init__(self):
        self.lock = threading.Lock()
        self.seconds, self.pieces = 0.0, 0

    def add(self, seconds, pieces):
        with self.lock:
            self.seconds += seconds
            self.pieces += pieces

    def told(self):
        with self.lock:
            return {"pieces": self.pieces, "seconds": round(self.seconds, 4),
                    "microseconds_a_piece": round(1e6 * self.seconds / max(self.pieces, 1), 1)}


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    runner = name = None
    sending = threading.Lock()  # the package refuses a second request while one is handed over
    cost = Cost()

    def log_message(self, *_):
        pass

    def send_json(self, status, value):
        body = json.dumps(value).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def do_GET(self):
        if self.path == "/v1/models":
            self.send_json(200, {"object": "list", "data": [{"id": self.name, "object": "model", "owned_by": "mistral.rs"}]})
        elif self.path == "/cost":
            self.send_json(200, self.cost.told())
        else:
            self.send_json(404, {"error": {"message": f"no route {self.path}"}})

    def send_event(self, value):
        text = value if isinstance(value, str) else json.dumps(value)
        data = f"data: {text}\n\n".encode()
        self.wfile.write(b"%x\r\n%b\r\n" % (len(data), data))

    def do_POST(self):
        asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        if self.path != "/v1/chat/completions" or not asked.get("stream"):
            self.send_json(404, {"error": {"message": "only /v1/chat/completions, streamed"}})
            return
        request = mistralrs.ChatCompletionRequest(
            model="default", messages=asked["messages"], stream=True, temperature=asked.get("temperature"),
            top_p=asked.get("top_p"), max_tokens=asked.get("max_tokens") or asked.get("max_completion_tokens"),
            ignore_eos=bool(asked.get("ignore_eos")))
        with self.sending:
            answer = self.runner.send_chat_completion_request(request)
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream")
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        self.pass_on(answer)

    def pass_on(self, answer):
        started, pieces = time.thread_time(), 0
        for piece in answer:
            self.send_piece(piece)
            pieces += 1
        self.send_event("[DONE]")
        self.wfile.write(b"0\r\n\r\n")
        self.cost.add(time.thread_time() - started, pieces)

    def send_piece(self, piece):
        choices = [{"index": choice.index, "delta": {"content": choice.delta.content or ""}, "finish_reason": choice.finish_reason}
                   for choice in piece.choices]
        event = {"id": piece.id, "object": "chat.completion.chunk", "model": self.name, "choices": choices}
        if piece.usage is not None:
            event["usage"] = {"prompt_tokens": piece.usage.prompt_tokens, "completion_tokens": piece.usage.completion_tokens,
                              "total_tokens": piece.usage.total_tokens}
        self.send_event(event)


class Server(http.server.ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", type=pathlib.Path, metavar="MODEL.gguf")
    parser.add_argument("--port", type=int, default=18083, help="0 takes a free one [18083]")
    arguments = parser.parse_args()
    os.environ["HF_HUB_OFFLINE"] = "1"
    which = mistralrs.Which.GGUF(quantized_model_id=str(arguments.model.parent), quantized_filename=arguments.model.name)
    Handler.runner = mistralrs.Runner(which=which)
    Handler.name = arguments.model.stem
    with Server(("127.0.0.1", arguments.port), Handler) as server:
        print(f"listening on http://127.0.0.1:{server.server_port}", flush=True)
        server.serve_forever()


if __name__ == "__main__":
    main()
