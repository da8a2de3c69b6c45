"""The examples and tables of docs/http-api.md are true of the server."""

import re
import shlex

import pytest
from server_harness import FakeServer, chat


@pytest.fixture(scope="module")
def page(source_root):
    return (source_root / "docs" / "http-api.md").read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def server(build_dir):
    server = FakeServer(build_dir)
    yield server
    server.stop()


def test_every_example_is_answered(page, server):
    blocks = [block for block in re.findall(r"(?:^    .*\n)+", page, re.M) if "curl" in block]
    assert len(blocks) >= 8
    for block in blocks:
        words = shlex.split(block)
        assert words[0] == "curl"
        url = next(w for w in words if w.startswith("http://127.0.0.1:8080/"))
        path = url.removeprefix("http://127.0.0.1:8080")
        body = words[words.index("-d") + 1] if "-d" in words else None
        answer = server.request("GET" if body is None else "POST", path, body,
                                {"Content-Type": "application/x-www-form-urlencoded"})
        assert answer.status == 200, f"{block}\n{answer}"


def test_every_field_the_code_reads_is_in_the_table(page, source_root):
    read = set()
    for name in ("openai_request.c", "openai_chat.c", "openai_completions.c"):
        source = (source_root / "src" / "server" / name).read_text(encoding="utf-8")
        read |= set(re.findall(r'^\s*\{"(\w+)",\s*FIELD_', source, re.M))
    assert len(read) > 25
    missing = {field for field in read if f"`{field}`" not in page}
    assert not missing


@pytest.mark.parametrize("field, values", [
    ("temperature", (0, 2)), ("top_p", (0, 1)), ("min_p", (0, 1)), ("typical_p", (0, 1)),
    ("presence_penalty", (-2, 2)), ("frequency_penalty", (-2, 2)),
    ("repetition_penalty", (0.01, 100)), ("n", (1, 16)), ("top_k", (-1, 2**31 - 1)),
    ("logit_bias", ({"5": -100}, {"5": 100})), ("seed", (-2**63, 2**63 - 1))])
def test_the_ends_of_each_range_are_allowed(server, field, values):
    for value in values:
        answer = server.request("POST", "/v1/chat/completions",
                                chat("[[tokens=1]]", **{field: value}))
        assert answer.status == 200, answer
