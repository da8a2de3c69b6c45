"""The examples and tables of docs/ollama-api.md are true of the server."""

import re
import shlex

import pytest
from server_harness import FakeServer


@pytest.fixture(scope="module")
def page(source_root):
    return (source_root / "docs" / "ollama-api.md").read_text(encoding="utf-8")


def test_every_example_is_answered(page, build_dir, tmp_path):
    (tmp_path / "fake-model.gguf").write_text("fake-model\n")
    server = FakeServer(build_dir, f"models={tmp_path}")
    blocks = [block for block in re.findall(r"(?:^    .*\n)+", page, re.M) if "curl" in block]
    assert blocks
    for block in blocks:
        words = shlex.split(block)
        path = next(w for w in words if w.startswith("http://127.0.0.1:11434/")).removeprefix(
            "http://127.0.0.1:11434")
        body = words[words.index("-d") + 1] if "-d" in words else None
        body = body and body.replace("mistral-7b-instruct", "fake-model")
        method = words[words.index("-X") + 1] if "-X" in words else "POST" if body else "GET"
        answer = server.request(method, path, body)
        assert answer.status == 200, f"{block}\n{answer}"
    server.stop()


def test_every_field_and_option_is_in_a_table(page, source_root):
    read = set()
    for name in ("ollama_request.c", "ollama_options.c"):
        source = (source_root / "src" / "server" / name).read_text(encoding="utf-8")
        read |= set(re.findall(r'^\s*\{"(\w+)",\s*(?:FIELD|OPTION)_', source, re.M))
    assert len(read) > 30
    assert not {field for field in read if f"`{field}`" not in page}


def test_every_route_is_in_a_table(page, source_root):
    source = (source_root / "src" / "server" / "routes.c").read_text(encoding="utf-8")
    routes = set(re.findall(r'\{"(/api/[^"]*)"', source))
    assert routes
    assert not {route for route in routes if f"`{route}" not in page}
