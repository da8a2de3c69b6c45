"""Hostile and unlucky HTTP over raw sockets: every form is answered or cut off, and nothing hangs."""

import json
import random
import resource
import select
import socket
import struct
import threading
import time

import pytest
from server_harness import (FakeServer, chat, make_request, parse_answer, receive_all,
                            receive_until, run_in_threads, send_as_far_as_taken)

BODY_LIMIT = 100_000


@pytest.fixture(scope="module")
def server(build_dir):
    server = FakeServer(build_dir, f"max_body_bytes={BODY_LIMIT}", "head_timeout=1",
                        "body_timeout=1.5", "idle_timeout=2")
    yield server
    server.stop()


def assert_error(answer, status):
    assert answer.status == status, answer
    assert answer.headers["content-type"] == "application/json"
    error = answer.json["error"]
    assert set(error) == {"message", "type", "param", "code"} and error["message"]


POST = b"POST /v1/completions HTTP/1.1\r\nHost: localhost\r\n"
CHUNKED = POST + b"Transfer-Encoding: chunked\r\n\r\n"
SMUGGLED = b"GET /v1/models HTTP/1.1\r\nHost: localhost\r\n\r\n"

# The parser's own unit test has every form; here is what a socket adds: one answer, then the end.
MALFORMED = {
    "two framings": (POST + b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 400),
    "two framings, other order":
        (POST + b"Transfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n0\r\n\r\n", 400),
    "two lengths": (POST + b"Content-Length: 2\r\nContent-Length: 30\r\n\r\n{}", 400),
    "one length twice": (POST + b"Content-Length: 2\r\nContent-Length: 2\r\n\r\n{}", 400),
    "list of lengths": (POST + b"Content-Length: 2, 2\r\n\r\n{}", 400),
    "signed length": (POST + b"Content-Length: +2\r\n\r\n{}", 400),
    "hex length": (POST + b"Content-Length: 0x2\r\n\r\n{}", 400),
    "obfuscated coding": (POST + b"Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n", 400),
    "coding with a tab": (POST + b"Transfer-Encoding:\x0bchunked\r\n\r\n0\r\n\r\n", 400),
    "coding before a colon and space": (POST + b"Transfer-Encoding : chunked\r\n\r\n0\r\n\r\n", 400),
    "folded header": (POST + b"X: a\r\n b\r\nContent-Length: 2\r\n\r\n{}", 400),
    "NUL in a header": (POST + b"X: a\0b\r\nContent-Length: 2\r\n\r\n{}", 400),
    "NUL in the target": (b"GET /v1/models\0 HTTP/1.1\r\nHost: localhost\r\n\r\n", 400),
    "encoded NUL": (b"GET /v1/models/a%00b HTTP/1.1\r\nHost: localhost\r\n\r\n", 400),
    "bare line feeds": (b"GET /health HTTP/1.1\nHost: localhost\n\n", 400),
    "chunk size in octal dress": (CHUNKED + b"0x2\r\n{}\r\n0\r\n\r\n", 400),
    "negative chunk": (CHUNKED + b"-2\r\n{}\r\n0\r\n\r\n", 400),
    "endless chunk size": (CHUNKED + b"0" * 5000, 400),
    "chunk past 2^64": (CHUNKED + b"10000000000000002\r\n{}\r\n0\r\n\r\n", 400),
    "chunk that is longer than it says": (CHUNKED + b"2\r\n{}}}\r\n0\r\n\r\n", 400),
    "huge chunk": (CHUNKED + b"fffffff\r\n", 413),
    "huge length": (POST + b"Content-Length: 99999999999\r\n\r\n{}", 413),
    "length past 2^64": (POST + b"Content-Length: 18446744073709551618\r\n\r\n{}", 400),
    "no Host": (b"GET /health HTTP/1.1\r\n\r\n", 400),
    "two Hosts": (b"GET /health HTTP/1.1\r\nHost: localhost\r\nHost: evil\r\n\r\n", 400),
    "HTTP/2": (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 505),
    "TLS": (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n", 400),
    "long target": (b"GET /" + b"a" * 100_000 + b" HTTP/1.1\r\n\r\n", 414),
    "long header": (b"GET / HTTP/1.1\r\nX: " + b"a" * 100_000 + b"\r\n\r\n", 431),
    "many headers": (b"GET / HTTP/1.1\r\n" + b"X: a\r\n" * 200 + b"\r\n", 431),
}


@pytest.mark.parametrize("name", MALFORMED)
def test_a_malformed_request_gets_one_answer_and_the_end(server, name):
    data, status = MALFORMED[name]
    answer = parse_answer(server.exchange(data + SMUGGLED))
    assert_error(answer, status)
    assert answer.headers["connection"] == "close"
    assert answer.rest == b"", "what follows a malformed request must not be read as another"


def test_a_million_headers_are_cut_off(server):
    with server.connect() as connection:
        connection.sendall(b"GET /health HTTP/1.1\r\nHost: localhost\r\n")
        send_as_far_as_taken(connection, b"X-Header: value\r\n" * 1_000_000)
        answer = parse_answer(receive_all(connection))
    assert_error(answer, 431)
    server.assert_healthy()


def test_a_header_without_end_is_cut_off_by_size(server):
    with server.connect() as connection:
        connection.sendall(b"GET /health HTTP/1.1\r\nX: ")
        send_as_far_as_taken(connection, b"a" * 50_000_000)
        answer = parse_answer(receive_all(connection))
    assert_error(answer, 431)
    server.assert_healthy()


# --- time ---


def drip(connection, pieces, pause, limit):
    """Sends pieces with pauses until the server has had enough; the answer and how long it took."""
    started = time.monotonic()
    connection.settimeout(pause)
    received = b""
    for piece in pieces:
        send_as_far_as_taken(connection, piece)
        try:
            received = connection.recv(65536)
            break
        except TimeoutError:
            pass
        assert time.monotonic() - started < limit, "a slow sender was not cut off"
    connection.settimeout(30)
    return parse_answer(received + receive_all(connection)), time.monotonic() - started


def forever(piece):
    while True:
        yield piece


def test_a_head_that_trickles_in_is_cut_off_at_its_deadline(server):
    with server.connect() as connection:
        connection.sendall(b"GET /health HTTP/1.1\r\nHost: localhost\r\nX: ")
        answer, seconds = drip(connection, forever(b"a"), 0.05, 20)
    assert_error(answer, 408)
    assert seconds >= 0.9, "each byte is on time; the whole is not"


def test_a_body_that_trickles_in_is_cut_off_at_its_deadline(server):
    for head, piece in ((POST + b"Content-Length: 5000\r\n\r\n", b" "),
                        (CHUNKED, b"1\r\n \r\n")):
        with server.connect() as connection:
            connection.sendall(head)
            answer, seconds = drip(connection, forever(piece), 0.05, 20)
        assert_error(answer, 408)
        assert seconds >= 1.4


def test_a_body_shorter_than_its_length_is_waited_for_no_longer_than_a_body_may_take(server):
    with server.connect() as connection:
        connection.sendall(POST + b"Content-Length: 500\r\n\r\n{}")
        answer = parse_answer(receive_all(connection))
    assert_error(answer, 408)


def test_a_connection_that_says_nothing_is_closed(server):
    with server.connect() as connection:
        started = time.monotonic()
        assert connection.recv(1) == b""
        assert 1.5 <= time.monotonic() - started < 20


def test_an_idle_connection_is_closed_after_its_answer(server):
    with server.connect() as connection:
        connection.sendall(make_request("GET", "/health", keep_alive=True))
        assert parse_answer(connection.recv(65536)).status == 200
        started = time.monotonic()
        assert connection.recv(1) == b""
        assert 1.5 <= time.monotonic() - started < 20


# --- bodies ---


def test_a_body_longer_than_its_length_is_the_next_request(server):
    """A length that lies low leaves bytes that are no request: answered, refused, closed."""
    with server.connect() as connection:
        connection.sendall(POST + b"Content-Length: 2\r\n\r\n{}}}}}\r\n\r\n")
        data = receive_all(connection)
    first = parse_answer(data)
    assert_error(first, 400)
    assert first.json["error"]["param"] == "prompt"
    second = parse_answer(first.rest)
    assert_error(second, 400)
    assert second.headers["connection"] == "close" and second.rest == b""


def test_a_chunked_body_is_read(server):
    body = json.dumps({"prompt": "[[tokens=2]]", "temperature": 0}).encode()
    chunks = b"".join(b"%x;ext=\"v\"\r\n%s\r\n" % (1, body[i:i + 1]) for i in range(len(body)))
    answer = parse_answer(server.exchange(
        CHUNKED.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n") + chunks +
        b"0\r\nTrailer: x\r\n\r\n"))
    assert answer.status == 200
    assert answer.json["choices"][0]["text"]


def test_a_body_at_the_limit_is_read_and_past_it_refused(server):
    for extra, status in ((0, 200), (1, 413)):
        start = b'{"prompt":"x","pad":"'
        body = start + b"a" * (BODY_LIMIT - len(start) - 2 + extra) + b'"}'
        assert server.request("POST", "/v1/completions", body).status == status
        chunked = b"".join(b"%x\r\n%s\r\n" % (len(body[i:i + 999]), body[i:i + 999])
                           for i in range(0, len(body), 999)) + b"0\r\n\r\n"
        answer = parse_answer(server.exchange(
            CHUNKED.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n") + chunked))
        assert answer.status == status


def test_a_client_that_sends_a_body_too_large_can_read_why(server):
    """The answer must not be lost to a reset while the client is still sending."""
    answer = server.request("POST", "/v1/completions", b"x" * 5_000_000)
    assert_error(answer, 413)


def test_expect_100_continue(server):
    body = json.dumps({"prompt": "[[tokens=2]]"}).encode()
    with server.connect() as connection:
        connection.sendall(POST + b"Expect: 100-continue\r\nConnection: close\r\n"
                           b"Content-Length: %d\r\n\r\n" % len(body))
        interim = receive_until(connection, b"\r\n\r\n")
        assert interim == b"HTTP/1.1 100 Continue\r\n\r\n"
        connection.sendall(body)
        assert parse_answer(receive_all(connection)).status == 200
    with server.connect() as connection:  # refused before it is sent
        connection.sendall(POST + b"Expect: 100-continue\r\nContent-Length: 999999\r\n\r\n")
        assert_error(parse_answer(receive_all(connection)), 413)
    with server.connect() as connection:
        connection.sendall(b"POST /nowhere HTTP/1.1\r\nHost: localhost\r\n"
                           b"Expect: 100-continue\r\nContent-Length: 9\r\n\r\n")
        assert_error(parse_answer(receive_all(connection)), 404)


NOT_JSON = {
    "empty": b"", "cut": b'{"prompt":"x"', "list": b"[]", "number": b"7", "null": b"null",
    "two": b"{}{}", "trailing comma": b'{"prompt":"x",}', "invalid UTF-8": b'{"prompt":"\xff"}',
    "surrogate": b'{"prompt":"\\ud800"}', "NUL": b'{"prompt":"a\0b"}',
    "escaped NUL": b'{"prompt":"a\\u0000b"}', "huge number": b'{"prompt":"x","seed":1e999}',
    "huge integer": b'{"prompt":"x","seed":99999999999999999999}',
    "10,000 levels": b'{"prompt":' + b"[" * 10_000 + b"]" * 10_000 + b"}",
    "10,000 objects deep": b'{"prompt":' + b'{"a":' * 10_000 + b"1" + b"}" * 10_000 + b"}",
    "UTF-16": '{"prompt":"x"}'.encode("utf-16"), "BOM": b'\xef\xbb\xbf{"prompt":"x"}',
}


@pytest.mark.parametrize("name", NOT_JSON)
def test_a_body_that_is_no_json_object_is_refused(server, name):
    assert_error(server.request("POST", "/v1/completions", NOT_JSON[name]), 400)


def test_a_wide_body_is_refused_before_it_costs_memory(build_dir):
    server = FakeServer(build_dir)
    try:
        body = b'{"prompt":[' + b"[]," * 5_000_000 + b"[]]}"
        answer = server.request("POST", "/v1/completions", body)
        assert_error(answer, 400)
        assert answer.json["error"]["code"] == "json_too_large"
    finally:
        server.stop()


@pytest.mark.parametrize("content_type", ["application/x-www-form-urlencoded", "text/plain", None])
def test_the_body_is_json_whatever_the_content_type(server, content_type):
    answer = server.request("POST", "/v1/completions", {"prompt": "x"},
                            {"Content-Type": content_type})
    assert answer.status == 200


def test_a_compressed_body_is_refused_by_name(server):
    answer = server.request("POST", "/v1/completions", b"\x1f\x8b\x08",
                            {"Content-Encoding": "gzip"})
    assert_error(answer, 415)


# --- methods and connections ---


def test_wrong_methods_and_unknown_paths(server):
    for method, path, allowed in (("GET", "/v1/chat/completions", "POST, OPTIONS"),
                                  ("POST", "/health", "GET, HEAD, OPTIONS"),
                                  ("DELETE", "/v1/models", "GET, HEAD, OPTIONS"),
                                  ("BREW", "/v1/completions", "POST, OPTIONS")):
        answer = server.request(method, path)
        assert_error(answer, 405)
        assert answer.headers["allow"] == allowed
    for path in ("/v1", "/v1/chat", "/healthz", "/V1/models", "//health"):
        assert_error(server.request("GET", path), 404)


def test_head_is_get_without_the_body(server):
    for path in ("/health", "/v1/models", "/v1/models/fake-model"):
        get = server.request("GET", path)
        head, separator, body = server.exchange(make_request("HEAD", path)).partition(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 200 ") and separator and body == b""
        assert b"Content-Length: %d" % len(get.body) in head
    head, _, body = server.exchange(make_request("HEAD", "/nowhere")).partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 404 ") and body == b""


def test_several_requests_on_one_connection(server):
    with server.connect() as connection:
        for path, status in (("/health", 200), ("/nowhere", 404), ("/v1/models", 200)):
            connection.sendall(make_request("GET", path, keep_alive=True))
            answer = parse_answer(receive_until(connection, b"}"))
            assert answer.status == status and "connection" not in answer.headers
        connection.sendall(make_request("POST", "/v1/chat/completions",
                                        chat("[[tokens=3]]", stream=True), keep_alive=True))
        assert parse_answer(receive_until(connection, b"0\r\n\r\n")).status == 200
        connection.sendall(make_request("GET", "/health"))
        answer = parse_answer(receive_all(connection))
        assert answer.status == 200 and answer.headers["connection"] == "close"


def test_requests_sent_ahead_are_answered_in_order(server):
    prompts = [chat("[[tokens=3 delay=5]]", stream=i % 2 == 1, seed=i) for i in range(6)]
    data = b"".join(make_request("POST", "/v1/chat/completions", p, keep_alive=True)
                    for p in prompts) + make_request("GET", "/health")
    answers = []
    rest = server.exchange(data)
    while rest:
        answers.append(parse_answer(rest))
        rest = answers[-1].rest
    assert [a.status for a in answers] == [200] * 7
    assert [a.headers["content-type"].split(";")[0] for a in answers] == \
        ["application/json", "text/event-stream"] * 3 + ["application/json"]


@pytest.mark.parametrize("stream", [False, True])
def test_a_large_request_sent_ahead_waits_its_turn(build_dir, stream):
    """The socket is read no further until the answer before it is out: neither answer is lost."""
    server = FakeServer(build_dir, "max_body_bytes=4000000")
    small = chat("[[tokens=5 delay=60]]", stream=stream)
    large = chat("[[tokens=3]]" + "x" * 1_500_000, stream=stream)
    first = make_request("POST", "/v1/chat/completions", small, keep_alive=True)
    try:
        with server.connect() as connection:
            connection.sendall(first)
            server.wait_event(lambda e: e["event"] == "submit")
            sender = threading.Thread(target=send_as_far_as_taken, args=(
                connection, make_request("POST", "/v1/chat/completions", large, keep_alive=True) * 2 +
                make_request("GET", "/health")))
            sender.start()
            rest = receive_all(connection)
            sender.join()
        for expected in (200, 400, 400, 200):  # the large ones are longer than the model's context
            answer = parse_answer(rest)
            assert answer.status == expected
            rest = answer.rest
        assert rest == b""
    finally:
        server.stop()


def test_a_flood_of_requests_ahead_waits_outside(server):
    with server.connect() as connection:
        connection.sendall(make_request("POST", "/v1/chat/completions", chat("[[prefill=60000]]"),
                                        keep_alive=True))
        server.wait_event(lambda e: e["event"] == "submit" and server.events[-1] == e)
        before = server.resident_bytes()
        connection.settimeout(1)
        flood, taken = make_request("GET", "/health", keep_alive=True) * 10_000, 0
        with pytest.raises(TimeoutError):
            while taken < 200 << 20:
                taken += connection.send(flood)
        server.assert_healthy()
        assert server.resident_bytes() < before + (8 << 20), "what is sent ahead is not kept"
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    server.wait_idle()  # a reset is seen although nothing is read


def test_a_client_that_leaves_behind_unread_bytes_cancels_its_request(server):
    for leave in (lambda c: c.shutdown(socket.SHUT_WR), lambda c: None):
        with server.connect() as connection:
            connection.sendall(make_request("POST", "/v1/chat/completions", chat("[[prefill=60000]]"),
                                            keep_alive=True))
            server.wait_event(lambda e: e["event"] == "submit" and server.events[-1] == e)
            connection.sendall(make_request("POST", "/v1/chat/completions", "x" * 50_000))
            leave(connection)
            time.sleep(0.1)
        server.wait_idle()


def test_http_1_0_is_spoken(server):
    answer = parse_answer(server.exchange(b"GET /health HTTP/1.0\r\n\r\n"))
    assert answer.status == 200 and answer.headers["connection"] == "close"
    body = json.dumps(chat("[[tokens=3]]", stream=True)).encode()
    answer = parse_answer(server.exchange(
        b"POST /v1/chat/completions HTTP/1.0\r\nContent-Length: %d\r\n\r\n" % len(body) + body))
    assert answer.status == 200
    assert "transfer-encoding" not in answer.headers
    assert answer.body.endswith(b"data: [DONE]\n\n")


def test_a_client_that_closes_its_side_still_gets_a_quick_answer(server):
    with server.connect() as connection:
        connection.sendall(make_request("GET", "/health"))
        connection.shutdown(socket.SHUT_WR)
        assert parse_answer(receive_all(connection)).status == 200


def test_half_closed_sockets_leave_nothing_behind(server):
    server.wait_idle()
    before = server.open_files()
    connections = []
    for data in (b"", b"GET /hea", b"GET /health HTTP/1.1\r\n", POST + b"Content-Length: 9\r\n\r\n{",
                 CHUNKED + b"5\r\nab",
                 make_request("POST", "/v1/chat/completions", chat("[[prefill=60000]]")),
                 make_request("POST", "/v1/chat/completions",
                              chat("[[tokens=9999 delay=5]]", stream=True))) * 10:
        connection = server.connect()
        connection.sendall(data)
        connection.shutdown(socket.SHUT_WR)
        connections.append(connection)
    for connection in connections:
        receive_all(connection)
    server.wait_idle()
    for connection in connections:
        connection.close()
    wait_for_files(server, before)


def wait_for_files(server, count):
    deadline = time.monotonic() + 30
    while server.open_files() > count:
        assert time.monotonic() < deadline, f"{server.open_files()} files open, {count} before"
        time.sleep(0.02)


def test_every_answer_has_an_id_that_the_log_has_too(server):
    answer = server.request("GET", "/v1/models")
    line = server.wait_log(lambda e: e.get("id") == answer.headers["x-request-id"])
    assert line["route"] == "/v1/models" and line["status"] == 200
    answer = server.request("POST", "/v1/chat/completions", chat("a secret prompt [[tokens=2]]"))
    line = server.wait_log(lambda e: e.get("id") == answer.json["id"])
    assert line["id"] == "chatcmpl-" + answer.headers["x-request-id"]
    assert line["end"] == "stop" and line["generated_tokens"] > 0
    assert {"queue_seconds", "prefill_seconds", "decode_seconds", "seconds"} <= set(line)
    assert "secret" not in json.dumps(server.log)


# --- numbers ---


@pytest.fixture
def many_files():
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    assert hard == resource.RLIM_INFINITY or hard >= 5000, "this test needs 5,000 open files"
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def test_two_thousand_idle_connections_are_held(build_dir, many_files):
    server = FakeServer(build_dir, "max_connections=2500", "idle_timeout=60")
    try:
        connections = [server.connect() for _ in range(2000)]
        for connection in connections[::2]:
            connection.sendall(b"GET /health HTTP/1.1\r\nHost: localhost\r\n")  # half a head
        server.assert_healthy()
        for i, connection in enumerate(connections):
            connection.sendall(b"\r\n" if i % 2 == 0 else
                               make_request("GET", "/health", keep_alive=True))
        for connection in connections:
            assert parse_answer(receive_until(connection, b"}")).status == 200
        for connection in connections:
            connection.close()
    finally:
        server.stop()


def test_two_thousand_idle_connections_lock_nobody_out(build_dir, many_files):
    server = FakeServer(build_dir, "max_connections=100", "idle_timeout=60")
    try:
        connections = [server.connect() for _ in range(2000)]
        server.assert_healthy()
        assert server.open_files() < 100 + 64 + 30
        for connection in connections:
            connection.close()
        server.assert_healthy()
    finally:
        server.stop()


def test_few_open_files_mean_few_connections(build_dir, many_files):
    server = FakeServer(build_dir, "max_connections=1000", most_files=300)
    try:
        line = server.wait_log(lambda e: e["event"] == "fewer_connections")
        assert line["wanted"] == 1000 and 0 < line["allowed"] < 300
        connections = [server.connect() for _ in range(500)]
        server.assert_healthy()
        assert server.open_files() < 300
        assert not any(e["event"] == "accept_failed" for e in server.log)
        for connection in connections:
            connection.close()
    finally:
        server.stop()


def test_bodies_together_are_bounded(build_dir):
    server = FakeServer(build_dir, "max_body_bytes=100000", "max_bodies_bytes=350000")
    head = POST + b"Content-Length: 100000\r\n\r\n"
    try:
        large = [server.connect() for _ in range(4)]
        for connection in large:
            send_as_far_as_taken(connection, head + b" " * 99_999)
        arrival = select.poll()
        for connection in large:
            arrival.register(connection, select.POLLIN)
        numbers = [number for number, _ in arrival.poll(30_000)]
        refused = [connection for connection in large if connection.fileno() in numbers]
        assert len(refused) == 1, "three have room, whichever they are"
        answer = parse_answer(receive_all(refused[0]))
        assert_error(answer, 503)
        assert answer.headers["retry-after"] == "1"
        large.remove(refused[0])
        server.assert_healthy()
        for connection in large:
            connection.sendall(b"!")
            assert b" 400 " in receive_until(connection, b"}}"), "the others are answered"
        with server.connect() as connection:
            connection.sendall(head + b" " * 100_000)
            assert b" 400 " in receive_until(connection, b"}}"), "and then there is room again"
        for connection in [*large, *refused]:
            connection.close()
    finally:
        server.stop()


def test_busy_connections_past_the_limit_are_told_so(build_dir):
    server = FakeServer(build_dir, "max_connections=10")
    try:
        busy = []
        for _ in range(10):
            connection = server.connect()
            connection.sendall(make_request("POST", "/v1/chat/completions",
                                            chat("[[prefill=60000]]")))
            busy.append(connection)
        server.wait_event(lambda e: e["event"] == "submit" and e["id"] == 10)
        answer = server.request("GET", "/v1/models")
        assert_error(answer, 503)
        assert answer.headers["retry-after"] == "1"
        assert answer.headers["connection"] == "close"
        busy.pop().close()
        server.wait_event(lambda e: e["event"] == "end")
        assert server.request("GET", "/v1/models").status == 200
        for connection in busy:
            connection.close()
    finally:
        server.stop()


def test_five_hundred_random_disconnects_leak_nothing(build_dir):
    server = FakeServer(build_dir, "max_requests=500")
    bodies = [make_request("POST", "/v1/chat/completions", chat(script, stream=stream, n=n))
              for script in ("[[tokens=500 delay=1]]", "[[prefill=30]]", "[[tokens=3]]")
              for stream in (True, False) for n in (1, 3)]

    def client(worker):
        dice = random.Random(worker)
        for _ in range(50):
            connection = server.connect()
            data = dice.choice(bodies)
            leaves = dice.random()
            if leaves < 0.2:
                data = data[:dice.randrange(len(data))]
            send_as_far_as_taken(connection, data)
            if leaves > 0.9:  # some have surely been taken, however slow the machine
                connection.recv(1)
            time.sleep(dice.random() * 0.03)
            if dice.random() < 0.5:  # a reset instead of a close
                connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            connection.close()

    try:
        server.assert_healthy()
        before = server.open_files()
        run_in_threads(10, client)
        server.wait_idle(submitted=20)
        wait_for_files(server, before)
        server.assert_healthy()
        reasons = {e["end"] for e in server.log if "end" in e}
        assert "client_left" in reasons
    finally:
        server.stop()
