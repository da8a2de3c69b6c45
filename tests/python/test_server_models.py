"""Several models at once: loaded when a request names them, once for all who wait, let go when
their time or the room is over. Over the scripted engine, whose model files say how they load."""

import threading
import time

import pytest

from server_harness import FakeServer


@pytest.fixture
def folder(tmp_path):
    def put(name, *lines):
        (tmp_path / f"{name}.gguf").write_text("\n".join(["fake-model", *lines]) + "\n")

    put("one")
    put("two", "bytes=600")
    put("three", "bytes=700")
    put("slow", "delay_ms=700")
    put("broken", "fail=the tensors make no sense")
    return tmp_path


@pytest.fixture
def server(build_dir, folder):
    server = FakeServer(build_dir, f"models={folder}", "cache_bytes=1000",
                        environment={"OLLAMA_MODELS": "/nonexistent", "HF_HOME": "/nonexistent"})
    yield server
    server.stop()


def chat(server, model, **fields):
    return server.request("POST", "/v1/chat/completions", {
        "model": model, "messages": [{"role": "user", "content": "x [[tokens=2]]"}], **fields})


def generate(server, model, **fields):
    return server.request("POST", "/api/generate", {
        "model": model, "prompt": "x [[tokens=2]]", "stream": False, **fields})


def told(server, event, **fields):
    return [line for line in server.log if line.get("event") == event
            and all(line.get(key) == value for key, value in fields.items())]


def wait_told(server, event, count=1, **fields):
    server.wait_log(lambda line: len(told(server, event, **fields)) >= count)


def listed(server):
    return [row["id"] for row in server.request("GET", "/v1/models").json["data"]]


def test_a_model_is_loaded_when_a_request_names_it(server):
    assert listed(server) == ["fake-model", "broken", "one", "slow", "three", "two"]
    answer = chat(server, "one")
    assert answer.status == 200 and answer.json["model"] == "one"
    assert listed(server)[:2] == ["fake-model", "one"]
    assert chat(server, "one:latest").json["model"] == "one"
    assert len(told(server, "model_loading", model="one")) == 1
    assert server.request("GET", "/v1/models/two").json["id"] == "two"
    assert server.request("GET", "/v1/models/none").status == 404


def test_a_model_that_is_nowhere_is_not_found(server, folder):
    for name in ("none", "../one", f"{folder}/one.gguf", "./one", "x" * 2000, "a\nb"):
        answer = chat(server, name)
        assert answer.status == 404 and answer.json["error"]["code"] == "model_not_found", name


def test_two_requests_for_a_loading_model_load_it_once_and_others_go_on(server):
    answers = []
    waiting = [threading.Thread(target=lambda: answers.append(chat(server, "slow").status))
               for _ in range(4)]
    for thread in waiting:
        thread.start()
    wait_told(server, "model_loading", model="slow")
    assert chat(server, "fake-model").status == 200
    assert server.request("GET", "/health").status == 200
    assert answers == []  # the load is still under way: others were answered before it ended
    for thread in waiting:
        thread.join()
    assert answers == [200] * 4 and len(told(server, "model_loading", model="slow")) == 1


def test_a_failed_load_answers_its_waiters_with_the_reason(server, folder):
    answer = chat(server, "broken")
    assert answer.status == 500 and "the tensors make no sense" in answer.json["error"]["message"]
    assert chat(server, "fake-model").status == 200
    (folder / "broken.gguf").write_text("fake-model\n")
    assert chat(server, "broken").status == 200  # the next request tries again


def test_keep_alive_decides_when_a_model_goes(server):
    assert generate(server, "one", keep_alive=0).status == 200
    wait_told(server, "model_unloading", model="one", reason="expired")
    assert generate(server, "one", keep_alive=0.05).status == 200
    wait_told(server, "model_unloading", count=2, model="one")
    assert generate(server, "one", keep_alive=-1).status == 200
    assert generate(server, "one", options={"num_ctx": 128}).status == 200
    assert generate(server, "one", options={"num_ctx": 256}).status == 200
    assert len(told(server, "model_loading", model="one")) == 3  # no num_ctx has loaded it again


def test_idle_models_give_way_when_they_hold_too_much(server):
    for name in ("two", "three"):
        assert chat(server, name).status == 200
    wait_told(server, "model_unloading", model="two", reason="room")
    assert chat(server, "three").status == 200
    assert len(told(server, "model_loading", model="three")) == 1


def test_a_client_that_leaves_while_its_model_loads_is_forgotten(server):
    with server.connect() as connection:
        body = b'{"model":"slow","prompt":"x"}'
        connection.sendall(b"POST /v1/completions HTTP/1.1\r\nHost: localhost\r\n"
                           b"Content-Length: %d\r\n\r\n%s" % (len(body), body))
        wait_told(server, "model_loading", model="slow")
    server.wait_log(lambda line: line.get("end") == "client_left")
    assert chat(server, "slow").status == 200
    assert len(told(server, "model_loading", model="slow")) == 1


def test_a_server_without_a_model_at_start_loads_its_default_on_demand(build_dir, folder):
    server = FakeServer(build_dir, f"models={folder}", "default_model=one")
    try:
        answer = server.request("POST", "/v1/completions", {"prompt": "[[tokens=2]]"})
        assert answer.status == 200 and answer.json["model"] == "one"
    finally:
        server.stop()


def test_a_server_ends_while_a_model_loads(build_dir, folder):
    server = FakeServer(build_dir, f"models={folder}")
    with server.connect() as connection:
        body = b'{"model":"slow","prompt":"x [[tokens=1]]"}'
        connection.sendall(b"POST /v1/completions HTTP/1.1\r\nHost: localhost\r\n"
                           b"Content-Length: %d\r\n\r\n%s" % (len(body), body))
        wait_told(server, "model_loading", model="slow")
        started = time.monotonic()
        server.stop()
        assert b"200 OK" in connection.recv(65536) and time.monotonic() - started < 30


def memory_server(build_dir, folder, *settings):
    return FakeServer(build_dir, f"models={folder}", "cache_bytes=100000", "heap_bytes=1000", *settings,
                      environment={"OLLAMA_MODELS": "/nonexistent", "HF_HOME": "/nonexistent"})


def loaded(server):
    return {row["name"] for row in server.request("GET", "/api/ps").json["models"]} - {"fake-model"}


def test_models_share_the_memory_that_there_is(build_dir, folder):
    """Their plans are added up: the idle ones go, least recently used first, and only as many as must."""
    for name, size in (("a", 400), ("b", 300), ("c", 300), ("huge", 1200)):
        (folder / f"{name}.gguf").write_text(f"fake-model\nbytes={size}\n")
    server = memory_server(build_dir, folder)
    try:
        for name in "abc":
            assert chat(server, name).status == 200
        assert loaded(server) == {"a", "b", "c"}
        assert chat(server, "two").status == 200  # 600 bytes: a goes, and b
        wait_told(server, "model_unloading", model="b", reason="room")
        assert loaded(server) == {"c", "two"}
        answer = chat(server, "huge")
        assert answer.status == 500 and "needs 1200 bytes, 0 are taken" in answer.json["error"]["message"]
        assert chat(server, "a").status == 200
    finally:
        server.stop()


def test_a_model_that_is_in_use_does_not_go_for_another(build_dir, folder):
    server = memory_server(build_dir, folder)
    try:
        with server.connect() as connection:
            body = b'{"model":"two","prompt":"x [[tokens=100000]] [[delay=20]]","stream":true}'
            connection.sendall(b"POST /v1/completions HTTP/1.1\r\nHost: localhost\r\n"
                               b"Content-Length: %d\r\n\r\n%s" % (len(body), body))
            assert b"200 OK" in connection.recv(65536)
            answer = chat(server, "three")
            assert answer.status == 500 and "needs 700 bytes, 600 are taken" in answer.json["error"]["message"]
            assert loaded(server) == {"two"}
        server.wait_log(lambda line: line.get("end") == "client_left")
        assert chat(server, "three").status == 200 and loaded(server) == {"three"}
    finally:
        server.stop()


def test_a_smaller_kv_pool_is_the_last_resort(build_dir, folder):
    (folder / "wide.gguf").write_text("fake-model\nbytes=1200\n")
    server = memory_server(build_dir, folder, "shrink_kv=1")
    try:
        assert chat(server, "two").status == 200
        assert chat(server, "three").status == 200  # beside it, it would have to shrink: two goes instead
        assert loaded(server) == {"three"}
        assert chat(server, "wide").status == 200
        assert loaded(server) == {"wide"}
    finally:
        server.stop()
