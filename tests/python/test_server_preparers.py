"""Requests that are slow to read and to turn into tokens: they hold nobody else's, and end in time."""

import select
import socket
import threading
import time

import pytest
from server_harness import FakeServer, chat, make_request, parse_answer, receive_all

SLOW = {"model": "fake-model", "stream": False, "prompt": "x", "template":
        "{% set s = 'a' * 1000000 %}{% for i in range(100000) %}{% if s.find('aab') > 0 %}x{% endif %}{% endfor %}"}


@pytest.fixture
def start(build_dir):
    servers = []

    def run(*settings):
        servers.append(FakeServer(build_dir, *settings))
        return servers[-1]

    yield run
    for server in servers:
        server.stop()


def send_slow(server, count, address="127.0.0.1"):
    connections = []
    for _ in range(count):
        connection = socket.create_connection((address, server.port), timeout=60)
        connection.sendall(make_request("POST", "/api/generate", SLOW, {"Host": f"{address}:{server.port}"}))
        connections.append(connection)
    return connections


def answered(connections):
    poll = select.poll()
    for connection in connections:
        poll.register(connection, select.POLLIN)
    return len(poll.poll(0))


def close(connections):
    for connection in connections:
        connection.close()


def test_a_slow_template_is_refused_in_time(start):
    server = start()
    started = time.monotonic()
    (connection,) = send_slow(server, 1)
    answer = parse_answer(receive_all(connection))
    assert time.monotonic() - started < 10, "it took 27 s"
    assert answer.status == 400 and "the template takes" in answer.json["error"]
    close([connection])


def test_slow_templates_hold_nobody_else(start):
    server = start("preparers=4")
    slow = send_slow(server, 3)
    time.sleep(0.2)
    answer = server.request("POST", "/v1/chat/completions", chat("[[tokens=2]]"))
    assert answer.status == 200
    assert answered(slow) < 3, "it did not wait for them"
    for connection in slow:
        assert parse_answer(receive_all(connection)).status == 400
    close(slow)


def own_address():
    """An address of this machine that is not loopback; nothing is sent."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(("192.0.2.1", 9))
        except OSError:
            return None
        return probe.getsockname()[0]


def test_one_address_does_not_get_all_threads(start):
    address = own_address()
    if address is None:
        pytest.skip("this machine has no address but loopback")
    server = start("preparers=2", "host=0.0.0.0", "allow_no_key")
    slow = send_slow(server, 4, address)
    time.sleep(0.2)
    assert server.request("POST", "/v1/chat/completions", chat("[[tokens=2]]")).status == 200
    assert answered(slow) < 4, "it was served between them"
    close(slow)
    server.wait_idle()


def test_a_client_that_leaves_gives_its_thread_back(start):
    server = start("preparers=1")
    for _ in range(3):
        slow = send_slow(server, 2)
        time.sleep(0.1)
        close(slow)
    started = time.monotonic()
    assert server.request("POST", "/v1/chat/completions", chat("[[tokens=2]]")).status == 200
    assert time.monotonic() - started < 5, "six of them would take 12 s and more"


@pytest.mark.parametrize("signals", [1, 2])
def test_the_end_does_not_wait_for_slow_templates(start, signals):
    server = start("preparers=2")
    slow = send_slow(server, 2 if signals == 1 else 8)
    time.sleep(0.2)
    started = time.monotonic()
    for count in range(signals):
        server.signal()
        server.wait_log(lambda e, at_once=count == 1: e["event"] == "stopping" and e["at_once"] == at_once)
    server.process.wait(60)
    assert time.monotonic() - started < 12
    assert server.process.returncode == 0
    close(slow)


def test_many_bodies_at_once_are_answered_each_by_its_own(start):
    """The threads share nothing that changes: what comes back belongs to who asked."""
    server = start("preparers=8", "max_requests=200")
    failures = []

    def ask(worker):
        for i in range(15):
            text = f"w{worker}i{i}"
            body = chat(f"[[say={text}]]") if i % 3 else {"prompt": f"[[say={text}]]"}
            path = "/v1/chat/completions" if i % 3 else "/v1/completions"
            answer = server.request("POST", path, {**body, "response_format": {"type": "json_object"}} if i % 5 == 4 else body)
            if answer.status != 200 or (i % 5 != 4 and text not in answer.body.decode()):
                failures.append(answer)

    threads = [threading.Thread(target=ask, args=(worker,)) for worker in range(12)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
