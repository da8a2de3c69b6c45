"""Starts the server, over its scripted engine (tests/tools/fake_server.c) or a real model, and
speaks raw HTTP to it."""

import json
import os
import queue
import re
import resource
import select
import signal
import socket
import subprocess
import threading
import time

WAIT = 30  # seconds, for what should take milliseconds: a loaded machine is no failure


def own_environment():
    """This process's, without what somebody may have set there for a server of theirs; and models of f32 stay it."""
    kept = {name: value for name, value in os.environ.items()
            if not name.startswith(("MISTRAL_", "OLLAMA_", "DEFAULT_MODEL"))}
    return {**kept, "MISTRAL_DYNAMIC_QUANTIZATION": "false"}


class Lines:
    """The lines that come out of a pipe, read by a thread of their own so that the writer never waits."""

    def __init__(self, pipe, arrived, keep):
        self.pipe = pipe
        self.arrived = arrived  # a condition, told of every arrival
        self.keep = keep
        self.begun = b""
        self.is_open = True
        os.set_blocking(pipe.fileno(), False)
        self.thread = threading.Thread(target=self._read_until_closed)
        self.thread.start()

    def catch_up(self):
        """Reads all that was written before this call, whether or not the thread has come to it."""
        with self.arrived:
            while self.is_open:
                try:
                    piece = os.read(self.pipe.fileno(), 65536)
                except BlockingIOError:
                    return
                self.is_open = piece != b""
                *lines, self.begun = (self.begun + piece).split(b"\n")
                if not self.is_open and self.begun:
                    lines.append(self.begun)
                for line in lines:
                    self.keep(line.decode())
                self.arrived.notify_all()

    def _read_until_closed(self):
        arrival = select.poll()
        arrival.register(self.pipe, select.POLLIN)
        while self.is_open:
            arrival.poll()
            self.catch_up()

    def close(self):
        self.thread.join(WAIT)
        self.pipe.close()


class Server:
    """One running server process. `log` are its own log lines, `events` the lines it prints."""

    def __init__(self, command, environment=None, most_files=None):
        self.process = subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
            env={**own_environment(), **(environment or {})},
            preexec_fn=None if most_files is None else lambda: resource.setrlimit(
                resource.RLIMIT_NOFILE, (most_files, most_files)))
        self.was_signalled = False
        self.kept_events = []
        self.kept_log = []
        self.stray = []  # lines of standard error that are no log lines: a sanitizer's report
        self.arrived = threading.Condition()
        self.printed = Lines(self.process.stdout, self.arrived, lambda line: self.kept_events.append(json.loads(line)))
        self.logged = Lines(self.process.stderr, self.arrived, self._keep_log)
        self.port = None

    def _keep_log(self, line):
        if line.startswith("{"):
            self.kept_log.append(json.loads(line))
        else:
            self.stray.append(line + "\n")

    @property
    def events(self):
        """All that it had printed when this was asked for: what an answer rests on was printed before the answer."""
        self.printed.catch_up()
        return list(self.kept_events)

    @property
    def log(self):
        """All that it had logged when this was asked for. A request is logged after its last byte: wait_log for that."""
        self.logged.catch_up()
        return list(self.kept_log)

    def _wait(self, kept, matches, timeout):
        deadline = time.monotonic() + timeout
        with self.arrived:
            while True:
                for entry in kept:
                    if matches(entry):
                        return entry
                left = deadline - time.monotonic()
                assert left > 0, f"did not come within {timeout} s; last: {kept[-5:]}"
                self.arrived.wait(left)

    def wait_event(self, matches, timeout=WAIT):
        return self._wait(self.kept_events, matches, timeout)

    def wait_log(self, matches, timeout=WAIT):
        return self._wait(self.kept_log, matches, timeout)

    @property
    def base_url(self):
        return f"http://127.0.0.1:{self.port}"

    def open_files(self):
        return len(os.listdir(f"/proc/{self.process.pid}/fd"))

    def resident_bytes(self):
        with open(f"/proc/{self.process.pid}/statm") as file:
            return int(file.read().split()[1]) * resource.getpagesize()

    def connect(self, receive_buffer=None):
        connection = socket.socket()
        connection.settimeout(WAIT)
        if receive_buffer is not None:
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        connection.connect(("127.0.0.1", self.port))
        return connection

    def exchange(self, data):
        """Sends bytes on a connection of their own; the answer's bytes until the server closes."""
        with self.connect() as connection:
            send_as_far_as_taken(connection, data)
            return receive_all(connection)

    def request(self, method, path, body=None, headers=None):
        """One request on a connection of its own → Answer."""
        return parse_answer(self.exchange(make_request(method, path, body, headers)))

    def assert_healthy(self):
        answer = self.request("GET", "/health")
        assert answer.status == 200, answer

    def signal(self, number=signal.SIGTERM):
        self.was_signalled = True
        self.process.send_signal(number)

    def stop(self, expected=0):
        """Asks it to end; every way of ending must be clean (sanitizers speak through the status)."""
        if not self.was_signalled and self.process.poll() is None:
            self.signal()
        status = self.process.wait(WAIT)
        self.printed.close()
        self.logged.close()
        assert status == expected, f"exit status {status}: {''.join(self.stray[-60:])}"


class FakeServer(Server):
    """The server over its scripted engine; `events` are what that engine told."""

    def __init__(self, build_dir, *settings, environment=None, most_files=None):
        program = build_dir / "tests" / "tools" / "fake_server"
        super().__init__([program, *settings], environment, most_files)
        started = self.wait_event(lambda e: e["event"] in ("listening", "ended"))
        if started["event"] == "listening":
            self.port = started["port"]
        else:
            self.process.wait(WAIT)
            self.printed.thread.join(WAIT)
            self.logged.thread.join(WAIT)

    def wait_idle(self, submitted=0, timeout=WAIT):
        """Until the engine was given so many requests at least and has ended them all; how many."""
        deadline = time.monotonic() + timeout
        while True:
            events = self.events
            given = {e["id"] for e in events if e["event"] == "submit"}
            ended = {e["id"] for e in events if e["event"] == "end"}
            if given == ended and len(given) >= submitted:
                return len(given)
            assert time.monotonic() < deadline, f"never ended: {sorted(given - ended)[:10]}"
            time.sleep(0.01)


class RealServer(Server):
    """`mistral serve` with a real model. Settings are command-line options."""

    def __init__(self, program, model, *settings, home):
        super().__init__(
            [program, "serve", model, "--port", "0", "--ollama-port", "0", "--log-level", "info", "--log-format", "json",
             *settings], {"HOME": str(home)})
        self.port = self.wait_log(lambda e: e["event"] == "listening")["port"]


class Answer:
    def __init__(self, status, headers, body, rest):
        self.status = status
        self.headers = headers  # names in lower case
        self.body = body
        self.rest = rest  # bytes after this answer

    @property
    def json(self):
        return json.loads(self.body)

    def __repr__(self):
        return f"Answer({self.status}, {self.headers}, {self.body[:300]!r})"


def make_request(method, path, body=None, headers=None, keep_alive=False):
    lines = [f"{method} {path} HTTP/1.1"]
    fields = {"Host": "127.0.0.1"}
    if not keep_alive:
        fields["Connection"] = "close"
    if isinstance(body, (dict, list)):
        body = json.dumps(body)
    if isinstance(body, str):
        body = body.encode()
    if body is not None:
        fields["Content-Length"] = str(len(body))
    fields.update(headers or {})
    lines += [f"{name}: {value}" for name, value in fields.items() if value is not None]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + (body or b"")


def send_as_far_as_taken(connection, data):
    """A server may answer and close before it has read everything: that is for the answer to say."""
    try:
        connection.sendall(data)
    except (BrokenPipeError, ConnectionResetError):
        pass


def receive_all(connection):
    received = b""
    while True:
        try:
            piece = connection.recv(65536)
        except ConnectionResetError:
            return received
        if not piece:
            return received
        received += piece


def receive_until(connection, marker):
    received = b""
    while marker not in received:
        piece = connection.recv(65536)
        assert piece, f"closed before {marker!r}: {received[-300:]!r}"
        received += piece
    return received


def parse_answer(data):
    head, separator, rest = data.partition(b"\r\n\r\n")
    assert separator, f"no answer: {data[:300]!r}"
    status_line, *lines = head.decode("latin-1").split("\r\n")
    match = re.fullmatch(r"HTTP/1\.1 (\d{3}) [\x20-\x7e]+", status_line)
    assert match, f"malformed status line: {status_line!r}"
    headers = {}
    for line in lines:
        name, colon, value = line.partition(":")
        assert colon, f"malformed header: {line!r}"
        headers[name.lower()] = value.strip()
    if headers.get("transfer-encoding") == "chunked":
        body, rest = parse_chunks(rest)
    elif "content-length" in headers:
        length = int(headers["content-length"])
        body, rest = rest[:length], rest[length:]
    else:
        body, rest = rest, b""
    return Answer(int(match[1]), headers, body, rest)


def parse_chunks(data):
    body = b""
    while True:
        size, separator, data = data.partition(b"\r\n")
        assert separator, "the chunked answer is cut"
        length = int(size, 16)
        assert data[length:length + 2] == b"\r\n", "the chunked answer is cut"
        body += data[:length]
        data = data[length + 2:]
        if length == 0:
            return body, data


def sse_objects(body):
    """The JSON of each event of a stream, and whether it ended in [DONE]."""
    text = body.decode("utf-8")
    events = text.split("\n\n")
    assert events.pop() == "", f"the last event is not finished: {text[-200:]!r}"
    for event in events:
        assert event.startswith("data: ") and "\n" not in event, event
    payloads = [event[len("data: "):] for event in events]
    is_done = payloads[-1:] == ["[DONE]"]
    return [json.loads(p) for p in (payloads[:-1] if is_done else payloads)], is_done


def chat(content, **fields):
    return {"messages": [{"role": "user", "content": content}], **fields}


def run_in_threads(count, work):
    """work(i) on `count` threads; the first exception is raised here."""
    failures = queue.Queue()

    def guarded(i):
        try:
            work(i)
        except BaseException as failure:  # noqa: BLE001 - handed to the caller below
            failures.put(failure)

    threads = [threading.Thread(target=guarded, args=(i,)) for i in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if not failures.empty():
        raise failures.get()
