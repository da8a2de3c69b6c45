"""Every allocation, and every call of the system, of a request fails once, one after the other: no crash, no half
answer, no leak, a clean error, and the next request is answered as ever (as SQLite's tests do).

FAULTS_STRIDE=N lets only every Nth fail, each test beginning at another one; 1 is the whole (scripts/test.sh --only
faults)."""

import json
import os
import re
import socket
import subprocess
import sys
import time

import pytest
from fault_injection import Faults
from make_model import make_model
from server_harness import Server, make_request

# The sanitizers have an allocator of their own; what leaks is seen without them.
pytestmark = [pytest.mark.release_only,
              pytest.mark.skipif(not sys.platform.startswith("linux"), reason="LD_PRELOAD")]

STRIDE = int(os.environ.get("FAULTS_STRIDE", "13"))
WAIT = float(os.environ.get("FAULTS_WAIT", "20"))  # seconds for one answer
TEMPLATE = (
    "{%- if tools %}[TOOLS]{{ tools | tojson }}[/TOOLS]{% endif -%}"
    "{%- for message in messages %}<{{ message.role }}>"
    "{% if message.content is string %}{{ message.content }}{% endif %}"
    "{% for call in message.tool_calls or [] %}[CALL]{{ call.function | tojson }}{% endfor %}{% endfor -%}"
    "<assistant>")

USER = [{"role": "user", "content": "the water is long"}]
SCHEMA = {"type": "object", "properties": {"a": {"type": "integer"}, "b": {"enum": ["x", "y"]}},
          "required": ["a"], "additionalProperties": False, "allOf": [{"properties": {"a": {"maximum": 9}}}]}
TOOL = {"type": "function", "function": {"name": "look", "description": "looks", "parameters": SCHEMA}}
CALL = {"id": "call_1", "type": "function", "function": {"name": "look", "arguments": "{\"a\": 1}"}}
PAST = USER + [{"role": "assistant", "content": None, "tool_calls": [CALL]},
               {"role": "tool", "tool_call_id": "call_1", "content": "seen"}]
GREEDY = {"temperature": 0, "max_tokens": 3}
OPTIONS = {"options": {"temperature": 0, "num_predict": 3, "stop": ["zzz"]}}
CLAUDE_TOOL = {"name": "look", "description": "looks", "input_schema": SCHEMA}

# What is asked for: a name, the method, the path, the body.
REQUESTS = [
    ("health", "GET", "/health", None),
    ("page", "GET", "/", None),
    ("metrics", "GET", "/metrics", None),
    ("models", "GET", "/v1/models", None),
    ("model", "GET", "/v1/models/tiny", None),
    ("tags", "GET", "/api/tags", None),
    ("ps", "GET", "/api/ps", None),
    ("version", "GET", "/api/version", None),
    ("show", "POST", "/api/show", {"model": "tiny", "verbose": True}),
    ("completions", "POST", "/v1/completions",
     {"prompt": ["the water", "long"], "logprobs": 2, "echo": True, "stop": ["zzz"], "logit_bias": {"5": 1}, **GREEDY}),
    ("chat", "POST", "/v1/chat/completions", {"messages": USER, "logprobs": True, "top_logprobs": 2, "n": 2, **GREEDY}),
    ("chat stream", "POST", "/v1/chat/completions",
     {"messages": USER, "stream": True, "stream_options": {"include_usage": True}, **GREEDY}),
    ("chat tools", "POST", "/v1/chat/completions", {"messages": PAST, "tools": [TOOL], "tool_choice": "required",
                                                   **GREEDY, "max_tokens": 60}),
    ("chat schema", "POST", "/v1/chat/completions",
     {"messages": USER, "response_format": {"type": "json_schema", "json_schema": {"name": "s", "schema": SCHEMA}},
      **GREEDY, "max_tokens": 30}),
    ("embeddings", "POST", "/v1/embeddings", {"input": ["the water", "long"], "encoding_format": "base64"}),
    ("responses", "POST", "/v1/responses",
     {"input": [{"role": "user", "content": [{"type": "input_text", "text": "water"}]},
                {"type": "function_call", "call_id": "c", "name": "look", "arguments": "{}"},
                {"type": "function_call_output", "call_id": "c", "output": "seen"}],
      "instructions": "short", "tools": [{"type": "function", "name": "look", "parameters": SCHEMA}],
      "temperature": 0, "max_output_tokens": 3}),
    ("responses stream", "POST", "/v1/responses",
     {"input": "water", "stream": True, "temperature": 0, "max_output_tokens": 3}),
    ("messages", "POST", "/v1/messages",
     {"messages": [{"role": "user", "content": [{"type": "text", "text": "water"}]},
                   {"role": "assistant", "content": [{"type": "tool_use", "id": "t", "name": "look", "input": {"a": 1}}]},
                   {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "t", "content": "seen"}]}],
      "system": "short", "tools": [CLAUDE_TOOL], "temperature": 0, "max_tokens": 3}),
    ("messages stream", "POST", "/v1/messages", {"messages": USER, "stream": True, "temperature": 0, "max_tokens": 3}),
    ("count tokens", "POST", "/v1/messages/count_tokens", {"messages": USER, "tools": [CLAUDE_TOOL]}),
    ("ollama generate", "POST", "/api/generate", {"prompt": "water", "stream": False, "system": "short", **OPTIONS}),
    ("ollama generate stream", "POST", "/api/generate", {"prompt": "water", "raw": True, **OPTIONS}),
    ("ollama chat", "POST", "/api/chat",
     {"messages": USER + [{"role": "assistant", "content": "", "tool_calls": [
         {"function": {"name": "look", "arguments": {"a": 1}}}]}, {"role": "tool", "content": "seen"}],
      "tools": [TOOL], "stream": False, **OPTIONS}),
    ("ollama chat stream", "POST", "/api/chat", {"messages": USER, "format": SCHEMA, **OPTIONS}),
    ("ollama embed", "POST", "/api/embed", {"input": ["the water", "long"]}),
    ("ollama embeddings", "POST", "/api/embeddings", {"prompt": "water"}),
    ("tokenize", "POST", "/tokenize", {"content": "the water", "with_pieces": True}),
    ("detokenize", "POST", "/detokenize", {"tokens": [300, 301, 302]}),
    ("apply template", "POST", "/apply-template", {"messages": PAST, "tools": [TOOL]}),
    ("completion", "POST", "/completion", {"prompt": "water", "n_predict": 3, "temperature": 0, "n_probs": 2}),
    ("props", "GET", "/props", None),
    ("slots", "GET", "/slots", None),
    ("no such path", "GET", "/no/such", None),
    ("no JSON", "POST", "/v1/chat/completions", b"{\"messages\": [1, 2"),
    ("no such model", "POST", "/v1/chat/completions", {"model": "nobody", "messages": USER}),
    ("create", "POST", "/api/create", {"model": "made", "from": "tiny", "system": "short", "stream": False,
                                      "parameters": {"temperature": 0.2, "stop": ["zzz"]}, "messages": USER}),
    ("copy", "POST", "/api/copy", {"source": "tiny", "destination": "again"}),
    ("delete", "DELETE", "/api/delete", {"model": "again"}),
]

VOLATILE = re.compile(
    rb'"(id|created|created_at|modified_at|expires_at|completed_at|last_activity|started_at|response_id|item_id|'
    rb'[a-z_]*duration|[a-z_]*_ms|[a-z_]*_per_second|cached_tokens|cache_read_input_tokens|input_tokens|cache_n|'
    rb'prompt_n|tokens_cached|tokens_evaluated|digest|obfuscation|call_id|sequence_number)":\s*("[^"]*"|[-0-9.e+]+)')


def plain(body):
    return VOLATILE.sub(rb'"\1":0', body)


class Answer:
    """What came: `status` 0: not even a whole head. `whole`: to its last byte, by its own framing."""

    def __init__(self, data):
        head, separator, rest = data.partition(b"\r\n\r\n")
        self.data, self.status, self.body, self.whole = data, 0, b"", False
        match = re.match(rb"HTTP/1\.1 (\d{3}) [ -~]+\r\n", head + b"\r\n")
        if not separator or match is None:
            return
        self.status = int(match[1])
        length = re.search(rb"\r\nContent-Length: (\d+)", head)
        if b"\r\nTransfer-Encoding: chunked" in head:
            while (line := re.match(rb"([0-9a-f]+)\r\n", rest)) is not None:
                size, rest = int(line[1], 16), rest[line.end():]
                if len(rest) < size + 2:
                    break
                self.body, rest = self.body + rest[:size], rest[size + 2:]
                if size == 0:
                    self.whole = rest == b""
        elif length is not None:
            self.body, self.whole = rest, len(rest) == int(length[1])
        else:
            self.whole = rest == b""

    def __repr__(self):
        return f"{self.data[:60]!r}...{self.data[-300:]!r}"


def ask(port, request):
    with socket.socket() as connection:
        connection.settimeout(WAIT)
        received = b""
        try:
            connection.connect(("127.0.0.1", port))
            connection.sendall(request)
            while piece := connection.recv(65536):
                received += piece
        except (ConnectionResetError, BrokenPipeError, ConnectionRefusedError):
            pass
    return Answer(received)


# What a failed call of the network leaves of an answer is not for the server to choose.
NETWORK = ("writev", "readv", "send", "recv", "write", "read", "epoll_ctl", "accept4")


# The system did not tell something of a file: the lists pass over what cannot be read.
UNREADABLE = ("stat64", "lstat64", "fstat64", "realpath", "open64", "openat64", "opendir", "fopen64", "read", "mmap64")


def is_allowed(answer, expected, failed, streams):
    """Another answer of status 200 than usual: it tells of the error, or numbers, or leaves out what cannot be read."""
    if streams and b"error" in answer.body or answer.body.startswith(b"# HELP"):
        return True
    return failed in UNREADABLE and re.match(rb'{"(object":"list|models)', answer.body) is not None


def judge(answer, expected, failed):
    """What is wrong with an answer that came while something failed; None: nothing."""
    if answer.data == b"":
        return None  # the connection was closed: the client knows that there is no answer
    if answer.status == 0:
        return None if failed in NETWORK and b"HTTP/1.1 ".startswith(answer.data[:9]) else "no status line"
    if answer.status == expected.status and plain(answer.body) == plain(expected.body):
        return None
    streams = b"\r\nTransfer-Encoding: chunked" in answer.data.partition(b"\r\n\r\n")[0]
    if not answer.whole:
        return None if streams or failed in NETWORK else "half an answer"
    if answer.status == expected.status == 200:
        return None if is_allowed(answer, expected, failed, streams) else "another answer"
    if answer.status not in (400, 404, 500, 503, 507):
        return "another status"
    try:
        return None if "error" in json.loads(answer.body) else "an error without a message"
    except ValueError:
        return "an error that is no JSON"


class Sweep:
    """A server whose calls fail. `findings` are the requests whose answer was wrong."""

    def __init__(self, mistral, build_dir, folder):
        self.mistral, self.build_dir, self.folder = mistral, build_dir, folder
        self.faults = Faults(folder)
        self.models = folder / "models"
        self.models.mkdir()
        make_model(self.models / "tiny.gguf", layers=1, chat_template=TEMPLATE)
        self.findings, self.failures, self.server = [], 0, None

    def start(self):
        self.server = Server(
            [self.mistral, "serve", self.models / "tiny.gguf", "--models-path", self.models, "--port", "0",
             "--ollama-port", "0", "--log-level", "info", "--log-format", "json", "--num-threads", "1",
             "--drain-timeout", "2", "--max-total-tokens", "4096", "--kernels", "portable"],
            {"HOME": str(self.folder), **self.faults.environment(self.build_dir)})
        self.port = self.server.wait_log(lambda e: e["event"] == "listening")["port"]

    def ensure(self):
        if self.server is not None and self.server.process.poll() is not None:
            self.crashed()
        if self.server is None:
            self.start()

    def stop(self):
        self.faults.disarm()
        if self.server is not None:
            self.server.stop()
            self.server = None

    def crashed(self):
        """Waits for a server that does not answer; what it said. It is gone afterwards."""
        self.faults.disarm()
        server, self.server = self.server, None
        end = time.monotonic() + 5
        while server.process.poll() is None and time.monotonic() < end:
            time.sleep(0.05)
        if server.process.poll() is None:
            server.process.kill()
        status = server.process.wait()
        server.printed.close()
        server.logged.close()
        return f"the server ended with {status}: {''.join(server.stray[-60:])}"

    def one(self, request, fail_at):
        """→ the answer, how many calls there were, which one failed."""
        self.faults.arm(fail_at)
        try:
            answer = ask(self.port, request)
        except TimeoutError:
            answer = None
        calls, failed = self.faults.disarm()
        return answer, calls, failed

    def request(self, name, method, path, body, stride, first):
        """Lets the calls first, first + stride ... of this request fail; how many there are."""
        data = make_request(method, path, body)
        prepare = {"delete": make_request("POST", "/api/copy", {"source": "tiny", "destination": "again"})}.get(name)
        self.ensure()
        counted = []
        for _ in range(3):
            if prepare:
                ask(self.port, prepare)
            expected, calls, _ = self.one(data, 0)
            counted.append(calls)
        assert expected is not None and expected.whole, expected
        most = max(counted)
        held = self.settled()
        for fail_at in range(first, most + 1, stride):
            self.ensure()
            if prepare:
                ask(self.port, prepare)
            answer, _, failed = self.one(data, fail_at)
            self.failures += failed is not None
            wrong = "no answer, and no end" if answer is None else judge(answer, expected, failed)
            if self.server.process.poll() is not None or answer is None:
                wrong = self.crashed()
            elif answer.status != 200 or fail_at % 20 == 0:
                if ask(self.port, make_request("GET", "/health")).status != 200:
                    wrong = self.crashed()
            if wrong is not None:
                self.findings.append(f"{name}, call {fail_at} of {most} ({failed}): {wrong}: {answer}{self.trace()}")
        if self.server is not None:
            if self.settled() > held:
                self.find_leaks(name, data, prepare, range(first, most + 1, stride))
            if prepare:
                ask(self.port, prepare)
            again, _, _ = self.one(data, 0)
            if plain(again.body) != plain(expected.body) and not is_allowed(again, expected, None, False):
                self.findings.append(f"{name}, afterwards: {again} instead of {expected}")
        return most

    def find_leaks(self, name, data, prepare, calls):
        """More memory is held than before. What only grew once (a cache, a buffer that is kept) does so no more."""
        for fail_at in calls[::1 + len(calls) // 100]:
            lost = []
            for _ in range(3):
                if prepare:
                    ask(self.port, prepare)
                before = self.settled()
                _, _, failed = self.one(data, fail_at)
                lost.append(self.settled() - before)
            if min(lost) > 0:
                self.findings.append(f"{name}, call {fail_at} ({failed}): {min(lost)} blocks leak{self.trace()}")

    def trace(self):
        """Where the call that failed was made, if $FAULTS_TRACE asks for it."""
        if "FAULTS_TRACE" not in os.environ or self.server is None:
            return ""
        time.sleep(0.05)
        last = [at for at, line in enumerate(self.server.stray) if line.startswith("failing ")]
        frames = self.server.stray[last[-1]:] if last else []
        places = [re.search(r"mistral\(\+(0x[0-9a-f]+)\)", line) for line in frames]
        found = [place[1] for place in places if place]
        named = subprocess.run(["addr2line", "-f", "-s", "-e", self.mistral, *found], capture_output=True, text=True)
        return "\n    in " + " < ".join(named.stdout.split("\n")[::2])

    def settled(self):
        """How many blocks the server holds when it has nothing to do."""
        ask(self.port, make_request("GET", "/health"))
        live = [self.faults.live()]
        while len(live) < 3 or live[-3:] != [live[-1]] * 3:
            time.sleep(0.01)
            live.append(self.faults.live())
        return live[-1]


@pytest.fixture(scope="module")
def sweep(mistral, build_dir, tmp_path_factory):
    sweep = Sweep(mistral, build_dir, tmp_path_factory.mktemp("faults"))
    yield sweep
    sweep.stop()


@pytest.mark.parametrize("request_", REQUESTS, ids=[row[0].replace(" ", "-") for row in REQUESTS])
def test_a_request_whose_calls_fail(sweep, request_):
    sweep.findings.clear()
    first = 1 + sum(map(ord, request_[0])) % STRIDE
    calls = sweep.request(*request_, STRIDE, first)
    print(f"{calls} calls")
    assert not sweep.findings, "\n".join(sweep.findings[:10])
