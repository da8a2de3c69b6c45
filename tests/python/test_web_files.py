"""The page's files over HTTP: who gets them, and with what headers."""

import re

import pytest
from server_harness import FakeServer, parse_answer, receive_all, make_request

HTML = {"Accept": "text/html,application/xhtml+xml,*/*;q=0.8"}
TYPES = {".html": "text/html; charset=utf-8", ".css": "text/css; charset=utf-8",
         ".js": "text/javascript; charset=utf-8", ".svg": "image/svg+xml"}


@pytest.fixture(scope="module")
def server(build_dir):
    server = FakeServer(build_dir, "api_key=secret")
    yield server
    server.stop()


def files(source_root):
    return [path for path in sorted((source_root / "web").iterdir()) if path.suffix in TYPES]


def test_who_wants_html_gets_the_page_without_a_key(server, source_root):
    page = server.request("GET", "/", headers=HTML)
    assert (page.status, page.headers["content-type"]) == (200, TYPES[".html"])
    assert page.body == (source_root / "web" / "index.html").read_bytes()
    assert "Accept" in page.headers["vary"]


@pytest.mark.parametrize("accept", [None, "*/*", "application/json", "text/plain"])
def test_who_does_not_gets_ollamas_words(server, accept):
    text = server.request("GET", "/", headers={"Accept": accept})
    assert (text.status, text.body) == (200, b"Ollama is running")
    assert text.headers["content-type"] == "text/plain; charset=utf-8"


def test_ollamas_own_port_has_no_page(build_dir, free_port):
    server = FakeServer(build_dir, f"ollama_port={free_port}")
    first, server.port = server.port, free_port
    answer = server.request("GET", "/", headers=HTML)
    server.port = first
    server.stop()
    assert answer.body == b"Ollama is running"


def test_every_file_is_served_as_it_is(server, source_root):
    assert len(files(source_root)) > 15
    for path in files(source_root):
        served = server.request("GET", f"/web/{path.name}")
        assert (served.status, served.headers["content-type"]) == (200, TYPES[path.suffix]), path.name
        assert served.body == path.read_bytes(), path.name


def test_a_file_that_has_not_changed_is_not_sent_again(server):
    served = server.request("GET", "/web/main.js")
    tag = served.headers["etag"]
    assert re.fullmatch(r'"[0-9a-f]{20}"', tag)
    assert served.headers["cache-control"] == "no-cache"
    for known in (tag, f'"other", {tag}', f"W/{tag}"):
        again = server.request("GET", "/web/main.js", headers={"If-None-Match": known})
        assert (again.status, again.body) == (304, b""), known
        assert again.headers["etag"] == tag and "content-length" not in again.headers
    assert server.request("GET", "/web/main.js", headers={"If-None-Match": '"other"'}).status == 200
    assert server.request("GET", "/web/dom.js").headers["etag"] != tag


def test_a_304_leaves_the_connection_usable(server):
    tag = server.request("GET", "/web/main.js").headers["etag"]
    with server.connect() as connection:
        connection.sendall(make_request("GET", "/web/main.js", headers={"If-None-Match": tag}, keep_alive=True) +
                           make_request("GET", "/health"))
        first, _, rest = receive_all(connection).partition(b"\r\n\r\n")
    assert first.startswith(b"HTTP/1.1 304 ")
    assert parse_answer(rest).json == {"status": "ok"}


def test_head_has_the_length_and_no_body(server):
    whole = server.request("GET", "/web/style.css")
    head = server.exchange(make_request("HEAD", "/web/style.css"))
    assert head.startswith(b"HTTP/1.1 200 ") and head.endswith(b"\r\n\r\n")
    assert f"Content-Length: {len(whole.body)}\r\n".encode() in head


def test_nothing_may_run_but_the_pages_own_files(server):
    for path, headers in (("/", HTML), ("/web/main.js", {}), ("/web/icon.svg", {})):
        served = server.request("GET", path, headers=headers)
        policy = dict(part.strip().split(" ", 1) for part in served.headers["content-security-policy"].split(";"))
        for name, value in {"default-src": "'none'", "script-src": "'self'", "style-src": "'self'", "connect-src": "'self'",
                            "img-src": "'self' data:", "base-uri": "'none'", "frame-ancestors": "'none'",
                            "form-action": "'none'", "require-trusted-types-for": "'script'"}.items():
            assert policy[name] == value
        assert served.headers["x-content-type-options"] == "nosniff"
        assert served.headers["referrer-policy"] == "no-referrer"


def test_only_the_pages_files_are_there(server):
    for name in ("", "nothing.js", "../routes.c", "..%2fREADME.md", "main.js/", "embed.py", "meson.build", "MAIN.JS"):
        answer = server.request("GET", f"/web/{name}")
        assert answer.status == 404 and answer.json["error"]["message"], name
    assert server.request("POST", "/web/main.js", "{}").status == 405
    assert server.request("POST", "/", "{}").status == 405


def test_the_page_is_no_way_around_the_key(server):
    assert server.request("GET", "/v1/models", headers=HTML).status == 401
    assert server.request("GET", "/metrics", headers=HTML).status == 401


def test_another_hosts_name_gets_no_page(server):
    assert server.request("GET", "/", headers={**HTML, "Host": "evil.example"}).status == 403
