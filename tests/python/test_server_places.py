"""Who has a place when many connect: those with a request under way keep theirs, what is unfinished gives way."""

import resource
import socket
import threading
import time

import pytest
from metrics_page import MetricsPage
from server_harness import (FakeServer, chat, make_request, parse_answer, receive_all, receive_until,
                            send_as_far_as_taken)

HALF_A_HEAD = b"GET /v1/models HTTP/1.1\r\nHost: localhost\r\nX-Never: "
HALF_A_BODY = b"POST /v1/completions HTTP/1.1\r\nHost: localhost\r\nContent-Length: 500\r\n\r\n{"
SLOW = make_request("POST", "/v1/chat/completions", chat("[[prefill=60000]]"))


@pytest.fixture(scope="module", autouse=True)
def many_files():
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


@pytest.fixture
def start(build_dir):
    servers = []

    def run(*settings, **options):
        servers.append(FakeServer(build_dir, *settings, **options))
        return servers[-1]

    yield run
    for server in servers:
        server.stop()


def connect_from(server, address):
    connection = socket.socket()
    connection.settimeout(30)
    connection.bind((address, 0))
    connection.connect(("127.0.0.1", server.port))
    return connection


def ask(server, data, address="127.0.0.1"):
    with connect_from(server, address) as connection:
        send_as_far_as_taken(connection, data)
        return parse_answer(receive_all(connection))


def hold(server, count, data, address="127.0.0.1"):
    connections = []
    for _ in range(count):
        connections.append(connect_from(server, address))
        send_as_far_as_taken(connections[-1], data)
    return connections


def close(*lists):
    for connections in lists:
        for connection in connections:
            connection.close()


def displaced(server, state):
    return MetricsPage(server).get("mistral_http_connections_displaced_total", state=state)


def busy(server, count, address="127.0.0.1"):
    """So many requests that are being answered."""
    before = sum(e["event"] == "submit" for e in server.events)
    held = hold(server, count, SLOW, address)
    server.wait_event(lambda e: e["event"] == "submit" and e["id"] == before + count)
    return held


# A head may take 60 s here, so that nothing but giving way can make room.
PATIENT = ("head_timeout=60", "body_timeout=60", "idle_timeout=60")


def test_two_thousand_unfinished_heads_stop_nobody(start):
    server = start(*PATIENT)  # 1,024 places
    held = hold(server, 2000, HALF_A_HEAD)
    for path in ("/health", "/metrics", "/v1/models") * 5:
        assert server.request("GET", path).status == 200
    assert server.request("POST", "/v1/chat/completions", chat("[[tokens=2]]")).status == 200
    assert server.open_files() < 1024 + 64 + 40
    assert displaced(server, "head") + displaced(server, "idle") >= 2000 - 1024
    close(held)


def test_unfinished_heads_that_keep_coming_stop_nobody(start):
    server = start("max_connections=100", *PATIENT)
    over = threading.Event()

    def attack():
        held = []
        while not over.is_set():
            held += hold(server, 10, HALF_A_HEAD)
            close(held[:-200])
            held = held[-200:]
        close(held)

    attackers = [threading.Thread(target=attack) for _ in range(2)]
    for attacker in attackers:
        attacker.start()
    try:
        for _ in range(30):
            assert server.request("GET", "/health").status == 200
    finally:
        over.set()
        for attacker in attackers:
            attacker.join()


def test_the_oldest_unfinished_goes_first_and_never_one_that_is_answered(start):
    server = start("max_connections=8", *PATIENT)
    working = busy(server, 2)
    with server.connect() as idle:
        idle.sendall(make_request("GET", "/health", keep_alive=True))
        receive_until(idle, b"}")
        heads = hold(server, 5, HALF_A_HEAD)
        time.sleep(0.2)
        newcomers = hold(server, 3, HALF_A_HEAD)  # in place of the idle one and of two heads
        assert idle.recv(1) == b""
        for head in heads[:2]:
            assert receive_all(head) == b""
        for head in (*heads[2:], *newcomers):
            head.sendall(b"x\r\nConnection: close\r\n\r\n")
            assert parse_answer(receive_all(head)).status == 200
    page = MetricsPage(server)
    assert page.get("mistral_http_connections_displaced_total", state="idle") == 1
    assert page.get("mistral_http_connections_displaced_total", state="head") == 2
    assert not any(e["event"] == "end" for e in server.events)
    close(heads, newcomers, working)


def test_slow_bodies_give_way_once_they_are_slow(start):
    server = start("max_connections=20", *PATIENT)
    slow = hold(server, 20, HALF_A_BODY)
    assert server.request("GET", "/health").status == 200, "whatever the bodies do"
    deadline = time.monotonic() + 30
    while server.request("GET", "/v1/models").status != 200 or displaced(server, "body") == 0:
        assert time.monotonic() < deadline, "they would have a minute"
        slow += hold(server, 1, HALF_A_BODY)
        time.sleep(0.1)
    page = MetricsPage(server)
    assert page.get("mistral_http_requests_total", endpoint="/v1/completions", status="499", error_type="gave_way") >= 1
    close(slow)


def test_the_end_does_not_wait_for_unfinished_heads(start):
    server = start(*PATIENT, "drain_timeout=25")
    held = hold(server, 3, HALF_A_HEAD)
    server.assert_healthy()
    server.signal()
    started = time.monotonic()
    server.process.wait(60)
    assert time.monotonic() - started < 20, "they would have a minute, and the end 25 s"
    close(held)


def test_vital_requests_have_room_when_all_places_work(start):
    server = start("max_connections=10", "max_requests=20", *PATIENT)
    working = busy(server, 10)
    silent = hold(server, 100, b"")  # in the spare places, of which there are 64
    for path in ("/health", "/metrics"):
        answer = server.request("GET", path)
        assert answer.status == 200 and answer.headers["connection"] == "close"
    for method, path in (("GET", "/v1/models"), ("POST", "/health"), ("GET", "/health/x")):
        answer = server.request(method, path)
        assert answer.status == 503 and answer.headers["retry-after"] == "1"
    page = MetricsPage(server)
    assert page.get("mistral_http_connections") > 10
    assert page.get("mistral_http_connections_displaced_total", state="idle") >= 36
    started = time.monotonic()
    assert receive_all(silent[-1]) == b"", "a spare place is nobody's for long"
    assert time.monotonic() - started < 30
    close(silent, working)


def test_an_address_has_a_bound_of_its_own(start):
    server = start("max_per_address=4", *PATIENT)
    working = busy(server, 4, "127.0.0.2")
    assert ask(server, make_request("GET", "/health"), "127.0.0.2").status == 200
    refused = ask(server, make_request("GET", "/v1/models"), "127.0.0.2")
    assert refused.status == 503 and "this address" in refused.json["error"]["message"]
    assert ask(server, make_request("GET", "/v1/models"), "127.0.0.3").status == 200
    working.pop().close()
    server.wait_event(lambda e: e["event"] == "end")
    assert ask(server, make_request("GET", "/v1/models"), "127.0.0.2").status == 200
    heads = hold(server, 5, HALF_A_HEAD, "127.0.0.3")  # the fifth in place of its own first
    assert receive_all(heads[0]) == b""
    heads[1].sendall(b"x\r\nConnection: close\r\n\r\n")
    assert parse_answer(receive_all(heads[1])).status == 200
    close(heads, working)


def test_this_machine_has_no_bound_unless_one_is_set(start):
    server = start("max_connections=8", "max_requests=20", *PATIENT)
    working = busy(server, 8)  # a proxy in front of the server may take all places
    assert server.request("GET", "/v1/models").status == 503
    close(working)
