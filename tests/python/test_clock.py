"""The wall clock jumps by a day, both ways, while everything is at work (tests/tools/clock_shift.c): nothing waits longer or
ends sooner, and every duration stays one."""

import os
import re
import signal
import struct
import subprocess
import threading
import time

import pytest
from fake_hub import FakeHub, model_bytes
from make_model import make_model
from program import CHAT_TEMPLATE
from server_harness import RealServer, make_request, receive_until
from test_pull import Pull

DAY = 24 * 3600
pytestmark = pytest.mark.release_only  # a sanitizer must be loaded before anything else


class Clock:
    def __init__(self, build_dir, path):
        self.path = path
        self.set(0)
        self.environment = {"LD_PRELOAD": str(build_dir / "tests/tools/libclock_shift.so"), "CLOCK_SHIFT": str(path)}

    def set(self, seconds):
        """In one write of eight bytes, which the program has mapped."""
        with open(self.path, "r+b" if self.path.exists() else "wb", buffering=0) as file:
            file.write(struct.pack("q", seconds))


@pytest.fixture
def clock(build_dir, tmp_path):
    return Clock(build_dir, tmp_path / "clock")


@pytest.mark.parametrize("shift", [DAY, -DAY])
def test_waits_end_in_time(build_dir, clock, shift):
    """base's own tests, among them a wait of a millisecond for a mailbox."""
    clock.set(shift)
    done = subprocess.run([build_dir / "tests" / "test_base"], env={**os.environ, **clock.environment}, timeout=60,
                          capture_output=True, check=False)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("shift", [DAY, -DAY])
def test_a_large_pull_goes_on(mistral, tmp_path, clock, shift):
    hub = FakeHub()
    content = model_bytes(20_000_000)
    hub.add("o/r", {"a-Q5_K_M.gguf": content})
    pull = Pull(mistral, hub, tmp_path / "models")
    clock.set(shift)
    try:
        pull.good("hf:o/r", environment=clock.environment)
        assert [path.read_bytes() == content for path in (tmp_path / "models").rglob("*.gguf")] == [True]
    finally:
        hub.close()


@pytest.fixture
def server(mistral, tmp_path, clock):
    folder = tmp_path / ".local/share/mistral/models"
    folder.mkdir(parents=True)
    for name in ("one", "two", "three"):
        make_model(folder / f"{name}.gguf", context=32768, chat_template=CHAT_TEMPLATE)
    os.environ.update(clock.environment)
    try:
        server = RealServer(mistral, str(folder / "one.gguf"), home=tmp_path)
    finally:
        for name in clock.environment:
            del os.environ[name]
    yield server
    clock.set(0)
    server.stop()


def generate(server, name, **fields):
    answer = server.request("POST", "/api/generate", {
        "model": name, "prompt": "Once", "stream": False, "options": {"num_predict": 20}, **fields})
    assert answer.status == 200, answer
    return answer.json


def running(server):
    return {row["name"] for row in server.request("GET", "/api/ps").json["models"]}


def test_a_server_under_load_does_not_notice(server, clock):
    started = time.monotonic()
    stopping = threading.Event()

    def jump_on():
        shifts = [DAY, -DAY, 0, 2 * DAY, -2 * DAY]
        while not stopping.is_set():
            for shift in shifts:
                clock.set(shift)
                time.sleep(0.02)

    jumping = threading.Thread(target=jump_on)
    jumping.start()
    try:
        generate(server, "two", keep_alive=-1)
        generate(server, "three", keep_alive=3)
        loaded = time.monotonic()
        with server.connect() as idle, server.connect() as stream:
            idle.sendall(make_request("GET", "/health", keep_alive=True))
            receive_until(idle, b'"ok"}')
            stream.sendall(make_request("POST", "/v1/chat/completions", {
                "model": "one", "messages": [{"role": "user", "content": "Once"}], "stream": True, "max_tokens": 20000,
                "ignore_eos": True}))
            receive_until(stream, b'"content":"')
            answers = []
            while time.monotonic() - loaded < 2:
                answers.append(generate(server, "one"))
                assert {"two", "three"} <= running(server), "its time is not over"
            while "three" in running(server):
                assert time.monotonic() - loaded < 60, "its time was over long ago"
                answers.append(generate(server, "one"))
            assert "two" in running(server)
            receive_until(stream, b'"content":"')  # the stream goes on
            idle.sendall(make_request("GET", "/health"))  # and the connection was kept
            assert b"200 OK" in receive_until(idle, b'"ok"}')
        most = (time.monotonic() - started) * 1e9
        for answer in answers:
            for name in ("total_duration", "load_duration", "prompt_eval_duration", "eval_duration"):
                assert 0 <= answer.get(name, 0) <= most, (name, answer)
        timings = server.request("POST", "/completion", {"prompt": "Once", "n_predict": 5}).json["timings"]
        assert all(0 <= timings[name] < most / 1e6 for name in ("prompt_ms", "predicted_ms")), timings
    finally:
        stopping.set()
        jumping.join()
    elapsed = time.monotonic() - started
    page = server.request("GET", "/metrics").body.decode()
    sums = re.findall(r"^(\w+_seconds_sum)(?:\{.*\})? (\S+)$", page, re.MULTILINE)
    assert len(sums) > 5
    for name, value in sums:
        assert 0 <= float(value) < elapsed * 200, (name, value)  # summed over requests and tokens
    assert len({line["time"][:10] for line in server.log}) >= 3, "the clock has not jumped at all"
    for line in server.log:
        for name in (name for name in line if name.endswith("seconds")):
            assert 0 <= line[name] <= elapsed + 10, line
    clock.set(-DAY)
    server.signal(signal.SIGTERM)
    begun = time.monotonic()
    server.process.wait(60)
    assert time.monotonic() - begun < 50
