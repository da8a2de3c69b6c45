"""kill -9 at random moments of a pull, a quantisation, a load-time quantisation and a creation: no half file is ever
taken for a whole one, and whoever comes next needs no help. TEST_KILLS says how many kills each gets (12)."""

import hashlib
import json
import os
import random
import signal
import subprocess
import time

import pytest
from fake_hub import FakeHub, model_bytes
from make_model import make_model
from program import CHAT_TEMPLATE, Program
from server_harness import RealServer
from test_pull import Pull

KILLS = int(os.environ.get("TEST_KILLS", "12"))
MODELS = ".local/share/mistral/models"
pytestmark = pytest.mark.release_only  # what a sanitizer could see, others make it see


def kill_at_random(start, kills=KILLS, seed=1):
    """Yields after each of so many processes was killed at some moment of its life, spread from its first to its last."""
    begun = time.monotonic()
    assert start().wait(120) == 0, "the first one lives, to be measured"
    whole = time.monotonic() - begun
    moments = random.Random(seed)
    ended = 0
    for _ in range(kills):
        process = start()
        time.sleep(moments.uniform(0, whole))
        process.kill()
        ended += process.wait() != -signal.SIGKILL
        yield
    assert ended < kills, "none was killed in time"


def silent(program, *arguments, **environment):
    return subprocess.Popen([program.path, *arguments], env={**program.environment, **environment},
                            stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


@pytest.fixture
def program(mistral, tmp_path):
    return Program(mistral, tmp_path)


def test_a_killed_pull_never_leaves_half_a_model(mistral, tmp_path):
    hub = FakeHub()
    content = model_bytes(2_000_000)
    hub.add("o/r", {"a-Q5_K_M.gguf": content})
    folder = tmp_path / "models"
    pull = Pull(mistral, hub, folder)
    try:
        def start():
            for path in folder.rglob("*.gguf"):  # a pull that came to its end: the next one begins anew
                path.unlink()
            return subprocess.Popen([mistral, "pull", "hf:o/r"], env=pull.environment, stdin=subprocess.DEVNULL,
                                    stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)

        for _ in kill_at_random(start):
            for path in folder.rglob("*.gguf"):
                assert path.read_bytes() == content, f"half a file at {path}"
        pull.good("hf:o/r")
        assert [path.read_bytes() == content for path in folder.rglob("*.gguf")] == [True]
        assert [path for path in folder.rglob("*") if ".part" in path.name] == []
    finally:
        hub.close()


@pytest.fixture(scope="module")
def plain(tmp_path_factory):
    return make_model(tmp_path_factory.mktemp("plain") / "plain.gguf", width=256, feed_forward=1024, vocabulary=1024,
                      chat_template=CHAT_TEMPLATE)


def test_a_killed_quantisation_never_leaves_half_a_file(program, plain, tmp_path):
    target = tmp_path / "target.gguf"

    def start():
        return silent(program, "quantize", "--force", str(plain), str(target), "q4_k_m")

    whole = None
    for _ in kill_at_random(start):
        whole = whole or target.read_bytes()  # of the one that lived
        assert target.read_bytes() == whole  # with --force: the old one stays until the new one is whole
    target.unlink()
    assert start().wait(60) == 0
    assert target.read_bytes() == whole
    assert sorted(tmp_path.glob("target*")) == [target], "what killed ones left is used again"


def test_a_killed_quantisation_at_load_never_leaves_half_an_entry(program, plain, tmp_path):
    cache = tmp_path / ".cache/mistral/converted"
    settings = {"MISTRAL_DYNAMIC_QUANTIZATION": "true", "MISTRAL_DEFAULT_QUANTIZATION": "q4_k_m"}
    arguments = ("run", str(plain), "--temperature", "0", "-n", "2", "Once")
    expected = program.good(*arguments, environment=settings)
    entry, = cache.glob("*.gguf")
    whole = entry.read_bytes()

    def start():
        entry.unlink(missing_ok=True)
        return silent(program, *arguments, **settings)

    for _ in kill_at_random(start):
        assert not entry.exists() or entry.read_bytes() == whole
    assert program.good(*arguments, environment=settings) == expected
    assert [path.name for path in cache.iterdir()] == [entry.name], "what killed ones left is swept up"


# --- creation ---


def check_store(folder):
    """Blobs are what their names say, and manifests mention blobs that are there: what a later start will trust."""
    store = folder / ".ollama"
    blobs = {path.name: path for path in store.glob("blobs/sha256-*") if len(path.name) == len("sha256-") + 64}
    for name, path in blobs.items():
        assert hashlib.sha256(path.read_bytes()).hexdigest() == name.removeprefix("sha256-"), name
    manifests = [path for path in store.glob("manifests/**/*") if path.is_file() and not path.name.startswith(".")]
    for path in manifests:
        assert ".part" not in path.name, "it would be listed as a model"
        for layer in json.loads(path.read_bytes())["layers"]:
            assert layer["size"] == blobs[layer["digest"].replace(":", "-")].stat().st_size, (path, layer)
    return manifests


def test_a_killed_creation_never_leaves_half_a_model(mistral, tmp_path):
    folder = tmp_path / MODELS
    folder.mkdir(parents=True)
    one = make_model(folder / "one.gguf", layers=1, format="Q8_0", chat_template=CHAT_TEMPLATE)
    uploaded = make_model(tmp_path / "up.gguf", layers=1, format="Q8_0", seed=2, chat_template=CHAT_TEMPLATE).read_bytes()
    digest = "sha256:" + hashlib.sha256(uploaded).hexdigest()
    moments = random.Random(2)
    made = 0

    def create(number):
        """An upload and two creations on one connection, without waiting for the answers."""
        head = "POST {} HTTP/1.1\r\nHost: localhost\r\nContent-Length: {}\r\n\r\n"
        bodies = [json.dumps({"model": f"a{number}", "files": {"m.gguf": digest}, "system": f"s{number}" * 999}),
                  json.dumps({"model": "same", "from": "one", "license": f"l{number} " * 9999, "stream": False})]
        return (head.format(f"/api/blobs/{digest}", len(uploaded)).encode() + uploaded
                + b"".join(head.format("/api/create", len(body)).encode() + body.encode() for body in bodies))

    server = RealServer(mistral, str(one), home=tmp_path)
    begun = time.monotonic()
    for body in create(0).split(b"POST ")[1:]:
        assert b" 20" in server.exchange(b"POST " + body.replace(b"\r\n", b"\r\nConnection: close\r\n", 1))[:13]
    whole = time.monotonic() - begun
    for number in range(1, KILLS + 1):
        with server.connect() as connection:
            connection.sendall(create(number))
            time.sleep(moments.uniform(0, 2 * whole))
            server.process.kill()
        server.stop(-signal.SIGKILL)
        made = max(made, len(check_store(folder)))
        server = RealServer(mistral, str(one), home=tmp_path)
        listed = server.request("GET", "/api/tags").json["models"]
        assert len(listed) == 1 + len(check_store(folder))
    for name in {model["name"] for model in listed}:
        answer = server.request("POST", "/api/generate", {"model": name, "prompt": "x", "stream": False,
                                                          "options": {"num_predict": 1}})
        assert answer.status == 200, (name, answer)
    server.stop()
    assert made >= 2
