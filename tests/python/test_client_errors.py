"""What clients read when something is wrong on the server's side: no path of the server in any answer of any API (the log
has it), 507 and nothing half when the disk is full, names within bounds, and a deleted model that is gone."""

import hashlib
import json
import os
import resource
import shutil
from concurrent.futures import ThreadPoolExecutor

import pytest
from fake_hub import model_bytes
from fake_registry import FakeRegistry
from make_model import make_model
from program import CHAT_TEMPLATE, wait_until
from server_harness import RealServer, make_request, parse_answer, receive_all, receive_until

MODELS = ".local/share/mistral/models"
MESSAGES = [{"role": "user", "content": "x"}]
GENERATING = {  # routes, and what they need beside a model
    "/v1/chat/completions": {"messages": MESSAGES, "max_tokens": 1},
    "/v1/completions": {"prompt": "x", "max_tokens": 1},
    "/v1/embeddings": {"input": "x"},
    "/v1/responses": {"input": "x", "max_output_tokens": 1},
    "/v1/messages": {"messages": MESSAGES, "max_tokens": 1},
    "/v1/messages/count_tokens": {"messages": MESSAGES},
    "/api/generate": {"prompt": "x", "options": {"num_predict": 1}},
    "/api/chat": {"messages": MESSAGES, "options": {"num_predict": 1}},
    "/api/embed": {"input": "x"},
    "/api/embeddings": {"prompt": "x"},
    "/completion": {"prompt": "x", "n_predict": 1},
    "/infill": {"input_prefix": "x", "input_suffix": "y", "n_predict": 1},
    "/tokenize": {"content": "x"},
    "/detokenize": {"tokens": [1]},
    "/apply-template": {"messages": MESSAGES},
}


@pytest.fixture
def home(tmp_path):
    """Paths with a space, which are harder to tell from text."""
    folder = tmp_path / "a home" / MODELS
    folder.mkdir(parents=True)
    make_model(folder / "one.gguf", layers=1, format="Q8_0", chat_template=CHAT_TEMPLATE)
    return tmp_path / "a home"


def start(mistral, home, *settings):
    return RealServer(mistral, str(home / MODELS / "one.gguf"), *settings, home=home)


@pytest.fixture
def server(mistral, home):
    server = start(mistral, home)
    yield server
    server.stop()


def named(name, **fields):
    return {"model": name, "messages": MESSAGES, "max_tokens": 1, **fields}


def listed(server):
    return [row["id"] for row in server.request("GET", "/v1/models").json["data"]]


def tags(server):
    return [row["name"] for row in server.request("GET", "/api/tags").json["models"]]


# --- no paths ---


def damage_models(folder):
    """Files that cannot be loaded, each for another reason; their names."""
    sound = (folder / "one.gguf").read_bytes()
    (folder / "empty.gguf").write_bytes(b"")
    (folder / "text.gguf").write_bytes(b"no model at all, but a text")
    (folder / "cut off.gguf").write_bytes(sound[:len(sound) // 2])
    (folder / "headless.gguf").write_bytes(sound[:50])
    (folder / "dangling.gguf").symlink_to(folder / "nowhere.gguf")
    (folder / "folder.gguf").mkdir()
    (folder / "checkpoint").mkdir()
    (folder / "checkpoint" / "config.json").write_text("{}")
    (folder / "checkpoint" / "model.safetensors").write_bytes(b"x" * 40)
    (folder / "other.gguf").write_bytes(sound.replace(b"general.architecture\x08\0\0\0\x05\0\0\0\0\0\0\0llama",
                                                      b"general.architecture\x08\0\0\0\x05\0\0\0\0\0\0\0mamba"))
    (folder / "tensorless.gguf").write_bytes(sound.replace(b"blk.0.attn_q.weight", b"blk.0.attn_x.weight"))
    (folder / "tokenless.gguf").write_bytes(sound.replace(b"tokenizer.ggml.tokens", b"tokenizer.ggml.tokenz"))
    return ["empty", "text", "cut off", "headless", "dangling", "folder", "checkpoint", "other", "tensorless",
            "tokenless"]


def assert_tells_no_path(answer, home, request):
    assert answer.status >= 200, (request, answer)
    text = answer.body.decode()
    for hidden in (str(home), str(home.parent), "/tmp/", "a home", MODELS):
        assert hidden not in text, (request, text)


def test_no_answer_of_any_api_has_a_path_of_the_server(mistral, home):
    """All routes, with models that fail to load each in a way of its own, in answers and in streams."""
    names = damage_models(home / MODELS)
    (home / ".cache").write_text("a file where the folder of converted models would be")
    server = start(mistral, home)
    seen = set()

    def ask(method, path, body=None):
        answer = server.request(method, path, body)
        if path != "/props" and path != "/api/show":  # which tell where a model's file lies, when asked for it
            assert_tells_no_path(answer, home, (method, path, body))
        seen.add((path, answer.status))
        return answer

    try:
        with ThreadPoolExecutor(8) as pool:
            work = [(path, {"model": name, "stream": stream, **body}) for name in [*names, "none", str(home / MODELS)]
                    for path, body in GENERATING.items() for stream in (False, True)]
            answers = list(pool.map(lambda item: ask("POST", *item), work))
        assert sum(answer.status == 500 for answer in answers) > len(names) * 10, "few of them have failed to load"
        for name in names:
            answer = server.request("POST", "/api/show", {"model": name})
            assert answer.status == 200 or str(home) not in answer.body.decode(), (name, answer)
            ask("POST", "/api/copy", {"source": name, "destination": f"{name}/../x"})
            ask("POST", "/api/create", {"model": f"of-{name}", "from": name})
            ask("POST", "/api/create", {"model": f"of-{name}", "from": name, "stream": False})
        for path in ("/v1/models", "/v1/models/empty", "/api/tags", "/api/ps", "/slots", "/health", "/api/version"):
            ask("GET", path)
        data = b"no GGUF"
        digest = "sha256:" + hashlib.sha256(data).hexdigest()
        assert ask("POST", f"/api/blobs/{digest}", data).status == 201
        assert ask("POST", f"/api/blobs/{digest[:-1]}0", data).status == 400
        assert "no GGUF file" in ask("POST", "/api/create", {"model": "m", "files": {"f.gguf": digest}}).json["error"]
        assert ask("POST", "/api/create", {"model": "m", "files": {"f.gguf": digest[:-1] + "0"}}).status == 400
        shutil.rmtree(home / MODELS / ".ollama")
        (home / MODELS / ".ollama").write_text("a file where the store would be")
        for stream in (False, True):
            assert ask("POST", "/api/create", {"model": "m", "from": "one", "stream": stream}).status == 500
            ask("POST", "/api/pull", {"model": "https://127.0.0.1:1/m.gguf", "stream": stream})
        ask("POST", "/api/copy", {"source": "one", "destination": "two"})
        ask("DELETE", "/api/delete", {"model": "none"})
        ask("POST", f"/api/blobs/{digest[:-1]}1", data)
        shutil.rmtree(home / MODELS)
        (home / MODELS).write_text("a file where the models folder would be")
        for path in ("/v1/models", "/api/tags"):
            ask("GET", path)
        ask("POST", "/api/show", {"model": "one"})
        ask("DELETE", "/api/delete", {"model": "one"})
        told = [line for line in server.log if line["event"] == "error_told"]
        assert any(str(home / MODELS / "cut off.gguf") in line["reason"] for line in told), "the log has the whole path"
    finally:
        server.stop()
    assert {path for path, _ in seen} > set(GENERATING)


# --- a deleted model ---


def assert_is_gone(server, home):
    assert listed(server) == ["two"] and "one" not in tags(server)
    assert server.request("GET", "/v1/models/one").status == 404
    assert server.request("POST", "/api/show", {"model": "one"}).status == 404
    assert server.request("POST", "/v1/chat/completions", named("one")).status == 404
    for body in ({"messages": MESSAGES}, named("")):
        answer = server.request("POST", "/v1/chat/completions", body)
        assert answer.status in (400, 404) and str(home) not in answer.body.decode(), answer
    wait_until(lambda: server.request("GET", "/api/ps").json["models"] == [])
    assert server.request("POST", "/v1/chat/completions", named("two")).status == 200


@pytest.mark.parametrize("state", ["idle", "unloaded", "in use"])
def test_the_model_named_at_start_is_gone_once_it_is_deleted(server, home, state):
    shutil.copyfile(home / MODELS / "one.gguf", home / MODELS / "two.gguf")
    with server.connect() as stream:
        if state == "unloaded":
            server.request("POST", "/api/generate", {"model": "one", "keep_alive": 0})
            wait_until(lambda: server.request("GET", "/api/ps").json["models"] == [])
        elif state == "in use":
            stream.sendall(make_request("POST", "/v1/chat/completions", {
                **named("one"), "stream": True, "max_tokens": 300, "ignore_eos": True}))
            begun = receive_until(stream, b'"content":"')
        assert server.request("DELETE", "/api/delete", {"model": "one"}).status == 200
        if state == "in use":  # it is answered to its end
            assert parse_answer(begun + receive_all(stream)).body.endswith(b"data: [DONE]\n\n")
        assert_is_gone(server, home)


# --- names and log lines ---


@pytest.mark.parametrize("method, path, body", [
    ("POST", "/api/create", {"model": "NAME", "from": "one"}),
    ("POST", "/api/create", {"model": "x", "from": "NAME"}),
    ("POST", "/api/copy", {"source": "NAME", "destination": "x"}),
    ("POST", "/api/copy", {"source": "one", "destination": "NAME"}),
    ("POST", "/api/pull", {"model": "NAME"}),
    ("POST", "/api/show", {"model": "NAME"}),
    ("DELETE", "/api/delete", {"model": "NAME"})])
def test_a_name_has_a_bound(server, method, path, body):
    for length in (513, 5000, 200_000):
        filled = {key: value.replace("NAME", "n" * length) for key, value in body.items()}
        answer = server.request(method, path, filled)
        assert answer.status == 400 and f"it has {length} bytes, and at most 512" in answer.json["error"], answer


def test_log_lines_are_whole_whatever_clients_send(server):
    """What is no JSON is no log line to the harness, and stays in `stray`."""
    for length in (100, 500, 5000, 100_000):
        for text in ("n", '"', "\\", "\x01", "é", "𝄞"):
            name = text * length
            for path, body in GENERATING.items():
                if length < 5000 or path in ("/v1/chat/completions", "/api/generate"):
                    server.request("POST", path, {"model": name, **body})
            server.request("POST", "/api/create", {"model": name, "from": "one", "stream": False})
            server.request("POST", "/v1/chat/completions", named("one", user=name))
            server.request("GET", "/" + "x" * min(length, 4000), headers={"X-Request-Id": "i" * min(length, 4000)})
    assert server.log and server.stray == []
    assert all(isinstance(line["time"], str) and line["event"] for line in server.log)


# --- a full disk ---


def limit_files(server, most):
    """As on a full disk: no file may grow beyond that."""
    resource.prlimit(server.process.pid, resource.RLIMIT_FSIZE, (most, resource.RLIM_INFINITY))


def leftovers(folder):
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*")
                  if path.is_file() and path.name not in ("one.gguf", "lock"))


def last_line(answer):
    return json.loads(answer.body.splitlines()[-1])


def test_a_pull_on_a_full_disk_is_507(mistral, home):
    registry = FakeRegistry()
    registry.add("library/large", "1b", model_bytes(600_000, 5))
    # The stand-in sends its files from a port of its own, which the sandbox does not know of.
    server = start(mistral, home, "--ollama-registry", registry.url, "--sandbox", "off")
    try:
        limit_files(server, 200_000)
        answer = server.request("POST", "/api/pull", {"model": "large:1b", "stream": False})
        assert answer.status == 507 and "File too large" in answer.json["error"], answer
        assert str(home) not in answer.body.decode()
        answer = server.request("POST", "/api/pull", {"model": "large:1b"})
        line = last_line(answer)
        assert (answer.status == 507 or "error" in line) and "File too large" in line["error"], answer
        assert "success" not in answer.body.decode() and str(home) not in answer.body.decode()
        assert tags(server) == ["one"]
        assert all(".part" in name or "ranges" in name for name in leftovers(home / MODELS)), leftovers(home / MODELS)
        limit_files(server, resource.RLIM_INFINITY)
        assert server.request("POST", "/api/pull", {"model": "large:1b", "stream": False}).status == 200
        assert "large:1b" in tags(server)
    finally:
        server.stop()
        registry.close()


def test_a_creation_on_a_full_disk_is_507_and_leaves_nothing(server, home):
    request = {"model": "made", "from": "one", "license": "l" * 300_000}
    limit_files(server, 100_000)
    for stream in (False, True):
        answer = server.request("POST", "/api/create", {**request, "stream": stream})
        assert answer.status == 507 or "error" in last_line(answer), answer
        assert stream or answer.status == 507
        assert str(home) not in answer.body.decode()
    assert leftovers(home / MODELS) == [] and tags(server) == ["one"]
    data = os.urandom(300_000)
    digest = "sha256:" + hashlib.sha256(data).hexdigest()
    assert server.request("POST", f"/api/blobs/{digest}", data).status == 507
    assert leftovers(home / MODELS) == []
    limit_files(server, resource.RLIM_INFINITY)
    assert server.request("POST", "/api/create", {**request, "stream": False}).status == 200
    assert "made:latest" in tags(server)


def test_a_conversion_at_load_on_a_full_disk_is_507_and_leaves_nothing(mistral, home):
    make_model(home / MODELS / "wide.gguf", width=256, feed_forward=512, chat_template=CHAT_TEMPLATE)
    server = start(mistral, home, "--dynamic-quantization", "--default-quantization", "q8_0")
    try:
        limit_files(server, 100_000)
        answer = server.request("POST", "/v1/chat/completions", named("wide"))
        assert answer.status == 507 and "wide" in answer.json["error"]["message"], answer
        assert str(home) not in answer.body.decode()
        assert leftovers(home / ".cache") == []
        assert server.request("POST", "/v1/chat/completions", named("one")).status == 200
        limit_files(server, resource.RLIM_INFINITY)
        assert server.request("POST", "/v1/chat/completions", named("wide")).status == 200
    finally:
        server.stop()
