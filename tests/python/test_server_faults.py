"""What goes wrong after a request was accepted: clients that leave or stall, engines that fail, the end."""

import json
import os
import random
import signal
import statistics
import threading
import time

import openai
import pytest
from server_harness import (FakeServer, chat, make_request, parse_answer, receive_all,
                            receive_until, send_as_far_as_taken, sse_objects)

SLOW = "[[prefill=60000]]"


@pytest.fixture
def server(build_dir):
    server = FakeServer(build_dir, "max_queued_bytes=200000", "write_timeout=1",
                        "max_answer_bytes=300000")
    yield server
    server.stop()


def post(body, path="/v1/chat/completions", **options):
    return make_request("POST", path, body, **options)


# --- clients that leave ---


@pytest.mark.parametrize("script, stream", [
    (SLOW, False), (SLOW, True), ("[[tokens=100000 delay=2 bytes=5]]", True),
    ("[[tokens=100000 delay=2 bytes=5]]", False)])
def test_a_client_that_leaves_cancels_its_request_at_once(server, script, stream):
    with server.connect() as connection:
        connection.sendall(post(chat(script, stream=stream, n=2)))
        server.wait_event(lambda e: e["event"] == "submit" and e["id"] == 2)
        time.sleep(0.05)
        left = time.monotonic()
    for request in (1, 2):
        ended = server.wait_event(lambda e, r=request: e["event"] == "end" and e["id"] == r)
        assert ended["reason"] == "cancelled"
    assert time.monotonic() - left < 10, "either would go on for minutes"
    line = server.wait_log(lambda e: e.get("end") == "client_left")
    assert line["route"] == "/v1/chat/completions"


def test_the_openai_client_can_close_a_stream(server):
    with openai.OpenAI(base_url=server.base_url + "/v1", api_key="x", max_retries=0) as client:
        stream = client.chat.completions.create(
            model="fake-model", stream=True,
            messages=[{"role": "user", "content": "[[tokens=100000 delay=2 bytes=5]]"}])
        for _, _chunk in zip(range(5), stream, strict=False):
            pass
        stream.close()
        assert server.wait_event(lambda e: e["event"] == "end")["reason"] == "cancelled"


def test_a_client_that_leaves_before_its_request_is_whole_submits_nothing(server):
    data = post(chat("x"))
    for cut in (1, 20, len(data) - 1):
        with server.connect() as connection:
            connection.sendall(data[:cut])
    server.assert_healthy()
    assert server.wait_idle() == 0


def test_one_refused_choice_takes_the_others_back(build_dir):
    server = FakeServer(build_dir, "max_requests=3")
    try:
        answer = server.request("POST", "/v1/chat/completions", chat(SLOW, n=4))
        assert answer.status == 503
        assert answer.json["error"]["code"] == "queue_full"
        assert answer.headers["retry-after"] == "1"
        assert server.wait_idle(submitted=3) == 3
        assert {e["reason"] for e in server.events if e["event"] == "end"} == {"cancelled"}
        assert server.request("POST", "/v1/chat/completions", chat("x")).status == 200
    finally:
        server.stop()


# --- clients that stall ---


def test_a_reader_too_slow_for_its_stream_is_dropped(server):
    """More is queued than may be: 2,000 tokens of 20 kB, none of them read."""
    with server.connect(receive_buffer=4096) as connection:
        connection.sendall(post(chat("[[tokens=2000 bytes=20000]]", stream=True)))
        assert server.wait_event(lambda e: e["event"] == "end")["reason"] == "cancelled"
        line = server.wait_log(lambda e: e.get("end") == "slow_reader")
        assert line["generated_tokens"] < 2000
        server.assert_healthy()
        received = receive_all(connection)
    assert b"[DONE]" not in received


def test_a_reader_that_stops_reading_is_dropped_even_below_the_bound(build_dir):
    server = FakeServer(build_dir, "max_queued_bytes=100000000", "write_timeout=1")
    try:
        with server.connect(receive_buffer=4096) as connection:
            connection.sendall(post(chat("[[tokens=100000 bytes=50000 delay=5]]", stream=True)))
            # Under the thread sanitizer the pieces that fill the sockets' buffers take half a minute.
            server.wait_log(lambda e: e.get("end") == "slow_reader", timeout=120)
            assert server.wait_event(lambda e: e["event"] == "end")["reason"] == "cancelled"
    finally:
        server.stop()


def test_a_slow_reader_that_keeps_up_gets_everything(server):
    with server.connect(receive_buffer=4096) as connection:
        connection.sendall(post(chat("[[tokens=50 bytes=3000]]", stream=True)))
        received = b""
        while piece := connection.recv(2000):
            received += piece
            time.sleep(0.001)
    chunks, is_done = sse_objects(parse_answer(received).body)
    assert is_done
    assert sum(len(c["choices"][0]["delta"].get("content", "")) for c in chunks) == 150_000


def test_an_answer_that_grows_too_large_is_an_error(server):
    answer = server.request("POST", "/v1/chat/completions", chat("[[tokens=100 bytes=10000]]"))
    assert answer.status == 500
    assert answer.json["error"]["code"] == "answer_too_large"
    server.wait_idle()


# --- engines that fail or stall ---


def test_an_engine_that_fails_is_a_500_with_its_reason(server):
    for fail in (0, 5):
        answer = server.request("POST", "/v1/chat/completions", chat(f"[[tokens=50 fail={fail}]]"))
        assert answer.status == 500
        assert answer.json["error"]["message"] == "the script says so"
        assert answer.json["error"]["type"] == "server_error"
    answer = server.request("POST", "/v1/chat/completions", chat("[[tokens=50 fail=5]]", n=3))
    assert answer.status == 500
    server.wait_idle()


def test_health_answers_while_the_engine_is_stuck_in_a_step(server):
    with server.connect() as connection:
        connection.sendall(post(chat("[[stall=1500]]")))
        server.wait_event(lambda e: e["event"] == "submit")
        times = []
        while not any(e["event"] == "end" for e in server.events):
            started = time.monotonic()
            server.assert_healthy()
            times.append(time.monotonic() - started)
        assert len(times) > 20
        assert statistics.median(times) < 0.05
        assert parse_answer(receive_until(connection, b'"usage"')).status == 200


def test_health_answers_while_a_large_prompt_is_read(server):
    """The loop parses no bodies: 16 MB of JSON are read beside it."""
    body = json.dumps({"prompt": "word " * 3_000_000})
    times = []
    done = threading.Event()

    def watch():
        while not done.is_set():
            started = time.monotonic()
            server.assert_healthy()
            times.append(time.monotonic() - started)

    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        for _ in range(2):
            answer = server.request("POST", "/v1/completions", body)
            assert answer.json["error"]["code"] == "context_length_exceeded"
    finally:
        done.set()
        watcher.join()
    assert statistics.median(times) < 0.05


# --- the end ---


def test_a_signal_lets_what_runs_finish(build_dir):
    server = FakeServer(build_dir)
    with server.connect() as stream, server.connect() as whole, server.connect() as idle:
        stream.sendall(post(chat("[[tokens=10 delay=5]]", stream=True), keep_alive=True))
        whole.sendall(post(chat("[[tokens=10 delay=5]]"), keep_alive=True))
        server.wait_event(lambda e: e["event"] == "submit" and e["id"] == 2)
        server.signal()
        assert idle.recv(1) == b"", "an idle connection is closed at once"
        streamed = parse_answer(receive_all(stream))
        assert sse_objects(streamed.body)[1]
        answer = parse_answer(receive_all(whole))
        assert answer.status == 200 and answer.headers["connection"] == "close"
    with pytest.raises(ConnectionRefusedError):
        server.connect()
    server.stop()
    assert server.events[-1] == {"event": "ended", "ok": True, "code": 0}
    assert {e["reason"] for e in server.events if e["event"] == "end"} == {"stop"}


def test_what_does_not_finish_in_time_is_told_so(build_dir):
    server = FakeServer(build_dir, "drain_timeout=0.3")
    with server.connect() as stream, server.connect() as whole:
        stream.sendall(post(chat("[[tokens=100000 delay=5 bytes=5]]", stream=True)))
        whole.sendall(post(chat(SLOW)))
        server.wait_event(lambda e: e["event"] == "submit" and e["id"] == 2)
        receive_until(stream, b"data:")
        server.signal(signal.SIGINT)
        body = b"2\r\n" + receive_all(stream).split(b"\r\n", 1)[1]
        assert b'"code":"server_stopped"' in body and b"[DONE]" not in body
        answer = parse_answer(receive_all(whole))
        assert answer.status == 503
        assert answer.json["error"]["code"] == "server_stopped"
    server.stop()


def test_a_second_signal_ends_at_once(build_dir):
    server = FakeServer(build_dir)
    with server.connect() as connection:
        connection.sendall(post(chat(SLOW)))
        server.wait_event(lambda e: e["event"] == "submit")
        server.signal()
        server.wait_log(lambda e: e["event"] == "stopping")
        started = time.monotonic()
        server.signal()
        server.process.wait(30)
        assert time.monotonic() - started < 20, "it would wait for 30"
    server.stop()


def test_a_second_signal_does_not_wait_for_an_engine_that_is_stuck(build_dir):
    server = FakeServer(build_dir)
    with server.connect() as connection:
        connection.sendall(post(chat("[[prefill=60000 stuck=1]]")))
        server.wait_event(lambda e: e["event"] == "submit")
        for count in (1, 2):
            server.signal()
            server.wait_log(lambda e, at_once=count == 2:
                            e["event"] == "stopping" and e["at_once"] == at_once)
        server.process.wait(30)
    server.stop(expected=3)
    assert server.events[-1]["ok"] is False


def test_memory_stays_flat_over_many_requests(build_dir):
    """Resident bytes after 3,000 requests, compared with those after the first 1,000."""
    # A sanitizer keeps freed memory back, up to a bound of its own: make that small; and stack frames of each
    # thread, which several threads fill over the first thousands of requests: do without.
    asan = (os.environ.get("ASAN_OPTIONS", "") + ":quarantine_size_mb=1:thread_local_quarantine_size_kb=64"
            ":detect_stack_use_after_return=0")
    server = FakeServer(build_dir, environment={"ASAN_OPTIONS": asan.lstrip(":")})

    def thousand():
        with server.connect() as connection:
            for i in range(1000):
                connection.sendall(post(chat("[[tokens=3]]", stream=i % 2 == 0, seed=i),
                                        keep_alive=True))
                receive_until(connection, b"0\r\n\r\n" if i % 2 == 0 else b'"timings":')
        with open(f"/proc/{server.process.pid}/statm", encoding="ascii") as statm:
            return int(statm.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")

    try:
        first = thousand()
        thousand()
        last = thousand()
        assert last - first < 4_000_000
    finally:
        server.stop()


def test_garbage_on_many_connections_does_no_harm(server):
    dice = random.Random(1)
    start = post(chat("[[tokens=2]]"))
    for _ in range(300):
        data = bytearray(start)
        for _ in range(dice.randrange(4)):
            data[dice.randrange(len(data))] = dice.randrange(256)
        with server.connect() as connection:
            send_as_far_as_taken(connection, bytes(data[:dice.randrange(len(data))]))
    server.assert_healthy()
    server.wait_idle()
