"""The Ollama port and what every route of its API shares: methods, keys, origins, errors; and what an
older stack in front of Ollama got wrong."""

import re
import socket
import time

import ollama
import openai
import pytest
from server_harness import FakeServer, receive_until

MODEL = "fake-model"


@pytest.fixture(scope="module")
def server(build_dir):
    server = FakeServer(build_dir, "context=2000")
    yield server
    server.stop()


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def test_both_apis_answer_on_both_ports(build_dir):
    second = free_port()
    server = FakeServer(build_dir, f"ollama_port={second}")
    for port in (server.port, second):
        with openai.OpenAI(base_url=f"http://127.0.0.1:{port}/v1", api_key="x", max_retries=0) as client:
            assert client.models.list().data[0].id == MODEL
        answer = ollama.Client(f"http://127.0.0.1:{port}").generate(MODEL, "[[tokens=2]]")
        assert len(answer.response.split()) == 2
    server.stop()


def test_the_key_and_the_origin_are_asked_for_on_both_ports(build_dir):
    second = free_port()
    server = FakeServer(build_dir, f"ollama_port={second}", "api_key=sesame", "origin=https://chat.example")
    first = server.port
    for port in (first, second):
        server.port = port
        answer = server.request("GET", "/api/version")
        assert answer.status == 401 and "API key" in answer.json["error"]
        key = {"Authorization": "Bearer sesame"}
        assert server.request("GET", "/api/version", headers=key).status == 200
        answer = server.request("GET", "/api/version", headers={**key, "Host": "evil.example"})
        assert answer.status == 403 and isinstance(answer.json["error"], str)
        for origin, status in (("https://evil.example", 403), ("https://chat.example", 200),
                               ("http://localhost:3000", 200), ("app://obsidian.md", 200),
                               ("tauri://localhost", 200), ("vscode-webview://x", 200), ("null", 403)):
            answer = server.request("GET", "/api/version", headers={**key, "Origin": origin})
            assert answer.status == status, origin
            if status == 200:
                assert answer.headers["access-control-allow-origin"] == origin
    client = ollama.Client(f"http://127.0.0.1:{second}", headers={"Authorization": "Bearer sesame"})
    assert client.generate(MODEL, "[[tokens=1]]").done
    server.port = first
    server.stop()


def test_root_and_version(server):
    answer = server.request("GET", "/")
    assert (answer.status, answer.body) == (200, b"Ollama is running")
    answer = server.exchange(b"HEAD / HTTP/1.1\r\nHost: x\r\nHost: y\r\n\r\n")
    assert answer.startswith(b"HTTP/1.1 400"), "two hosts are no request, on this route as on others"
    answer = server.exchange(b"HEAD / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
    assert answer.startswith(b"HTTP/1.1 200") and b"Content-Length: 17" in answer
    version = server.request("GET", "/api/version").json["version"]
    assert re.fullmatch(r"\d+(\.\d+)+", version)
    assert tuple(map(int, version.split("."))) >= (0, 6, 4), "Copilot's editors ask for that at least"


@pytest.mark.parametrize("method, path", [
    ("POST", "/api/version"), ("GET", "/api/generate"), ("PUT", "/api/chat"), ("DELETE", "/api/version")])
def test_a_wrong_method_is_405(server, method, path):
    answer = server.request(method, path, "{}" if method in ("POST", "PUT") else None)
    assert answer.status == 405 and "allow" in answer.headers
    assert isinstance(answer.json["error"], str)


def test_an_unknown_route_is_404_in_ollamas_words(server):
    answer = server.request("GET", "/api/nowhere")
    assert answer.status == 404 and isinstance(answer.json["error"], str)
    assert isinstance(server.request("GET", "/v1/nowhere").json["error"], dict)


# --- what the older stack got wrong (that the formats' tests do not say already) ---


def test_a_stream_may_last_longer_than_any_time_out(build_dir):
    server = FakeServer(build_dir, "head_timeout=0.2", "body_timeout=0.2", "idle_timeout=0.2",
                        "write_timeout=0.2")
    answer = server.request("POST", "/api/generate",
                            {"model": MODEL, "prompt": "[[tokens=8 delay=150 prefill=300]]"})
    assert answer.status == 200 and b'"done":true' in answer.body
    server.stop()


def test_the_log_times_a_stream_to_its_last_byte(server):
    started = time.monotonic()
    answer = server.request("POST", "/api/generate", {"model": MODEL, "prompt": "[[tokens=4 delay=100]]"})
    elapsed = time.monotonic() - started
    name = answer.headers["x-request-id"]
    line = server.wait_log(lambda e: e["event"] == "request" and name in e["id"])
    assert 0.3 < line["seconds"] <= elapsed
    assert line["route"] == "/api/generate" and line["status"] == 200 and line["generated_tokens"] > 0


@pytest.mark.parametrize("body, status", [
    ({"model": "missing", "prompt": "x"}, 404), ({"model": MODEL, "prompt": 5}, 400),
    ({"model": MODEL, "prompt": "[[refuse=busy]]"}, 503), ({"prompt": "x"}, 400)])
def test_a_clients_mistake_is_not_the_servers(server, body, status):
    for stream in (True, False):
        assert server.request("POST", "/api/generate", {**body, "stream": stream}).status == status


def test_a_client_that_leaves_stops_the_engine(server):
    with server.connect() as connection:
        body = b'{"model":"fake-model","prompt":"leave [[tokens=1000 delay=20]]"}'
        connection.sendall(b"POST /api/generate HTTP/1.1\r\nHost: localhost\r\nContent-Length: %d\r\n\r\n%s"
                           % (len(body), body))
        receive_until(connection, b'"done":false')
    line = server.wait_log(lambda e: e["event"] == "request" and e.get("end") == "client_left")
    assert line["generated_tokens"] < 1000
    server.wait_idle()
