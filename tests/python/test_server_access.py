"""Who may use the server: keys, addresses, Host names, web pages."""

import socket

import openai
import pytest
from server_harness import FakeServer, chat, make_request, parse_answer

KEY = "correct horse"


@pytest.fixture(scope="module")
def server(build_dir):
    server = FakeServer(build_dir, f"api_key={KEY}", "origin=https://chat.example")
    yield server
    server.stop()


@pytest.fixture(scope="module")
def open_server(build_dir):
    server = FakeServer(build_dir)
    yield server
    server.stop()


def test_the_openai_client_with_and_without_the_key(server):
    with openai.OpenAI(base_url=server.base_url + "/v1", api_key=KEY, max_retries=0) as client:
        assert client.models.list().data
    with openai.OpenAI(base_url=server.base_url + "/v1", api_key="wrong", max_retries=0) as client:
        with pytest.raises(openai.AuthenticationError) as caught:
            client.models.list()
    assert caught.value.status_code == 401
    assert caught.value.code == "invalid_api_key"
    assert KEY not in caught.value.message


@pytest.mark.parametrize("method, path, body", [
    ("GET", "/v1/models", None), ("HEAD", "/v1/models", None), ("GET", "/v1/models/x", None),
    ("POST", "/v1/chat/completions", chat("x")), ("POST", "/v1/completions", {"prompt": "x"}),
    ("GET", "/nowhere", None), ("POST", "/health", None), ("DELETE", "/v1/models", None)])
def test_the_key_is_asked_for_on_every_route_but_health(server, method, path, body):
    open_path = path == "/health"
    for headers in ({}, {"Authorization": "Bearer wrong"}, {"X-Api-Key": KEY + "x"},
                    {"X-Api-Key": KEY[:-1]}, {"Authorization": KEY}):
        data = make_request(method, path, body, headers)
        status = int(server.exchange(data).split()[1])
        assert status == (405 if open_path else 401)
    for headers in ({"Authorization": "Bearer " + KEY}, {"X-Api-Key": KEY}):
        status = int(server.exchange(make_request(method, path, body, headers)).split()[1])
        assert status not in (401, 403)


def test_health_is_open_and_a_refusal_says_how(server):
    server.assert_healthy()
    answer = server.request("GET", "/v1/models")
    assert answer.headers["www-authenticate"] == "Bearer"
    assert "API key" in answer.json["error"]["message"]


def test_an_unauthorised_body_is_not_read(server):
    """Refused at the head: the answer comes although the body never does."""
    with server.connect() as connection:
        connection.sendall(b"POST /v1/completions HTTP/1.1\r\nHost: localhost\r\n"
                           b"Content-Length: 1000000\r\n\r\n")
        data = b""
        while b'"code"' not in data:
            data += connection.recv(65536)
    assert parse_answer(data).status == 401


# --- addresses ---


@pytest.mark.parametrize("host", ["0.0.0.0", "::"])
def test_an_address_others_can_reach_needs_a_key_or_a_word(build_dir, host):
    server = FakeServer(build_dir, f"host={host}")
    assert server.port is None and server.process.returncode == 1
    assert "no API key is set" in "".join(server.stray)
    for settings in (["api_key=x"], ["allow_no_key"]):
        server = FakeServer(build_dir, f"host={host}", *settings)
        try:
            server.assert_healthy()
            answer = server.request("GET", "/health", headers={"Host": "anything.example"})
            assert answer.status == (403 if settings == ["allow_no_key"] else 200), "without a key the Host decides"
        finally:
            server.stop()


@pytest.mark.parametrize("host, reason", [
    ("192.0.2.1", "cannot listen"), ("no.such.host.invalid", "cannot listen"), ("", "cannot listen")])
def test_an_address_that_cannot_be_had_is_an_error(build_dir, host, reason):
    server = FakeServer(build_dir, f"host={host}", "allow_no_key")
    assert server.process.returncode == 1
    assert reason in "".join(server.stray)


def test_a_taken_port_is_an_error_that_names_it(build_dir, open_server):
    server = FakeServer(build_dir, f"port={open_server.port}")
    assert server.process.returncode == 1
    assert str(open_server.port) in "".join(server.stray)


# --- Host and Origin ---


HOSTS = [("localhost", 200), ("127.0.0.1:8080", 200), ("[::1]:8080", 200), ("a.localhost", 200),
         (socket.gethostname(), 200), ("host.docker.internal", 403), ("evil.example", 403),
         ("localhost.evil.example", 403), ("192.168.0.1", 403)]


@pytest.fixture(scope="module")
def exposed_server(build_dir):
    """As the compose stack's settings have it: every address, no key."""
    server = FakeServer(build_dir, "host=0.0.0.0", "allow_no_key", "allowed_host=host.docker.internal")
    yield server
    server.stop()


@pytest.mark.parametrize("host, status", HOSTS)
def test_a_foreign_host_is_refused_on_loopback(open_server, host, status):
    answer = open_server.request("GET", "/health", headers={"Host": host})
    assert answer.status == status
    absolute = b"GET http://%s/health HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"
    assert parse_answer(open_server.exchange(absolute % host.encode())).status == status


@pytest.mark.parametrize("host, status", [*HOSTS, ("host.docker.internal:8080", 200)][6:])
def test_a_foreign_host_is_refused_on_every_address_without_a_key(exposed_server, host, status):
    for method, path, body in (("GET", "/health", None), ("POST", "/v1/chat/completions", chat("x"))):
        answer = exposed_server.request(method, path, body, {"Host": host, "Origin": f"http://{host}"})
        assert answer.status == status
        assert ("access-control-allow-origin" in answer.headers) == (status == 200)


def test_the_address_that_was_reached_is_a_host(exposed_server):
    """127.0.0.2 is this machine's too, and no name leads there but its own."""
    answer = exposed_server.request("GET", "/health", headers={"Host": "127.0.0.2:8080"})
    assert answer.status == 200


def test_an_allowed_host_that_is_none_stops_the_start(build_dir):
    for text in ("http://chat.example", "chat.example:80", "*", "a b"):
        server = FakeServer(build_dir, f"allowed_host={text}")
        assert server.process.returncode == 1
        assert text in "".join(server.stray) and "allowed_hosts" in "".join(server.stray)


LOCAL_PAGES = ["http://localhost", "https://localhost:3000", "http://127.0.0.1:5173",
               "http://0.0.0.0:1", "app://obsidian.md", "file://", "tauri://localhost",
               "vscode-webview://abc"]


@pytest.mark.parametrize("origin", LOCAL_PAGES)
def test_a_local_page_may_ask(open_server, origin):
    answer = open_server.request("POST", "/v1/chat/completions", chat("x", stream=True),
                                 {"Origin": origin})
    assert answer.status == 200
    assert answer.headers["access-control-allow-origin"] == origin
    assert answer.headers["vary"] == "Origin"


@pytest.mark.parametrize("origin", ["https://evil.example", "null", "http://localhost.evil.example",
                                    "http://evil.com/.localhost", "https://127.0.0.1:1@evil", "http://a.internal"])
def test_a_foreign_page_may_not(open_server, origin):
    for method, path, body in (("POST", "/v1/chat/completions", chat("x")),
                               ("GET", "/v1/models", None), ("OPTIONS", "/v1/models", None)):
        answer = open_server.request(method, path, body, {"Origin": origin,
                                                          "Content-Type": "text/plain"})
        assert answer.status == 403
        assert "access-control-allow-origin" not in answer.headers


def test_a_configured_page_may_ask(server):
    answer = server.request("GET", "/v1/models", headers={"Origin": "https://chat.example",
                                                          "X-Api-Key": KEY})
    assert answer.status == 200
    assert answer.headers["access-control-allow-origin"] == "https://chat.example"


def test_an_error_can_be_read_by_the_page_that_caused_it(server):
    answer = server.request("GET", "/v1/models", headers={"Origin": "http://localhost:3000"})
    assert answer.status == 401
    assert answer.headers["access-control-allow-origin"] == "http://localhost:3000"


def test_a_preflight_needs_no_key(server):
    answer = server.request("OPTIONS", "/v1/chat/completions", headers={
        "Origin": "http://localhost:3000", "Access-Control-Request-Method": "POST",
        "Access-Control-Request-Headers": "authorization, content-type, x-stainless-os"})
    assert answer.status == 204 and answer.body == b""
    assert "content-length" not in answer.headers
    assert answer.headers["access-control-allow-origin"] == "http://localhost:3000"
    assert "POST" in answer.headers["access-control-allow-methods"]
    assert "x-stainless-os" in answer.headers["access-control-allow-headers"]


def test_options_lists_the_methods(open_server):
    answer = open_server.request("OPTIONS", "/v1/models")
    assert answer.status == 204
    assert answer.headers["allow"] == "GET, HEAD, OPTIONS"
    assert open_server.request("OPTIONS", "/nowhere").status == 404
