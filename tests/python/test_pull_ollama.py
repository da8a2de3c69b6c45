"""mistral pull and /api/pull against a stand-in for Ollama's registry."""

import json
import subprocess

import ollama
import pytest

from fake_hub import model_bytes
from fake_registry import TYPE, FakeRegistry, digest
from make_model import make_model
from program import wait_until
from server_harness import RealServer
from test_pull import Pull

WEIGHTS = model_bytes(600_000, 5)
TEXTS = {"template": "{{ .Prompt }}", "system": "Be kind.", "params": '{"num_predict": 3}', "license": "MIT"}


@pytest.fixture
def registry():
    fake = FakeRegistry()
    yield fake
    fake.close()


@pytest.fixture
def folder(tmp_path):
    return tmp_path / "models"


@pytest.fixture
def pull(mistral, registry, folder):
    pull = Pull(mistral, registry, folder)
    pull.environment["MISTRAL_OLLAMA_REGISTRY"] = registry.url
    pull.environment["HF_TOKEN"] = "hf_secret"
    return pull


def blob(folder, data):
    return folder / ".ollama/blobs" / digest(data).replace(":", "-")


def manifest(folder, name="library/mistral", tag="7b"):
    return folder / ".ollama/manifests/registry.ollama.ai" / name / tag


def listed(pull):
    done = subprocess.run([pull.mistral, "list", "--json"], env=pull.environment, capture_output=True, text=True,
                          check=True)
    return [model["name"] for model in json.loads(done.stdout)["models"]]


def test_a_model_with_all_that_belongs_to_it(pull, registry, folder):
    repository = registry.add("library/mistral", "7b", WEIGHTS, TEXTS)
    done = pull.good("ollama:mistral:7b")
    assert done.out.endswith(f"{blob(folder, WEIGHTS)}\n") and "fetched 585.9 KiB" in done.out
    assert "fetching mistral:7b (model): 100% of 585.9 KiB" in done.err
    assert blob(folder, WEIGHTS).read_bytes() == WEIGHTS
    assert manifest(folder).read_bytes() == repository.manifests["7b"]
    assert all(blob(folder, text.encode()).read_text() == text for text in TEXTS.values())
    assert listed(pull) == ["mistral:7b"]
    assert all("hf_secret" not in str(headers) for _, _, headers in registry.requests)


def test_names_and_tags(pull, registry, folder):
    registry.add("library/mistral", "latest", WEIGHTS)
    registry.add("someone/tuned", "v1.2", WEIGHTS)
    pull.good("ollama:mistral")
    fetched = len(registry.file_requests())
    assert json.loads(pull.good("ollama:someone/tuned:v1.2", "--json").out)["fetched"] is False
    assert len(registry.file_requests()) == fetched  # the layers are there: one blob for both
    assert listed(pull) == ["mistral:latest", "someone/tuned:v1.2"]


def test_a_tag_that_has_moved_on_replaces_what_was_there(pull, registry, folder):
    registry.add("library/mistral", "7b", WEIGHTS, TEXTS)
    pull.good("ollama:mistral:7b")
    newer = model_bytes(100_000, 6)
    registry.add("library/mistral", "7b", newer, {"system": "Be kind."})
    assert "fetched 97.7 KiB" in pull.good("ollama:mistral:7b").out
    assert blob(folder, newer).exists() and not blob(folder, WEIGHTS).exists()
    assert blob(folder, b"Be kind.").exists() and not blob(folder, b"MIT").exists()


def test_a_registry_that_wants_a_token_gets_one(pull, registry, folder):
    registry.add("library/mistral", "7b", WEIGHTS)
    registry.token = "t0ken"
    pull.good("ollama:mistral:7b")
    assert registry.token_requests == [{"service": ["registry"], "scope": ["repository:library/mistral:pull"]}]
    assert all(headers.get("Authorization") is None for host, _, headers in registry.requests if host == "cdn")


def test_a_token_that_cannot_be_had(pull, registry, folder):
    registry.add("library/mistral", "7b", WEIGHTS)
    registry.token = "t0ken"
    for realm in ("file:///etc/passwd", "gopher://x/", f"{registry.url}/nowhere"):
        registry.realm = realm
        assert "refuses access (401)" in pull.bad(2, "ollama:mistral:7b")
    assert not manifest(folder).exists()


def test_an_interrupted_pull_goes_on(pull, registry, folder):
    repository = registry.add("library/mistral", "7b", WEIGHTS)
    repository.pause_after = 311_296
    process = pull.start("ollama:mistral:7b")
    part = blob(folder, WEIGHTS).with_name(f"{blob(folder, WEIGHTS).name}.{digest(WEIGHTS)[7:19]}.part")
    wait_until(lambda: part.exists() and part.stat().st_size >= 300_000)
    process.kill()
    process.communicate()
    assert listed(pull) == [] and not manifest(folder).exists()
    size = part.stat().st_size
    repository.pause_after = None
    repository.released.set()
    registry.requests.clear()
    pull.good("ollama:mistral:7b")
    assert registry.ranges()[0] == f"bytes={size}-" and blob(folder, WEIGHTS).read_bytes() == WEIGHTS


def test_bytes_that_are_not_what_the_manifest_says(pull, registry, folder):
    repository = registry.add("library/mistral", "7b", WEIGHTS)
    repository.files[digest(WEIGHTS)] = b"x" + WEIGHTS[1:]
    assert "wrong checksum" in pull.bad(1, "ollama:mistral:7b")
    assert listed(pull) == [] and not blob(folder, WEIGHTS).exists()


@pytest.mark.parametrize("name, code, words", [
    ("none", 3, "has no such model"), ("mistral:none", 3, "has no such model"), ("a b", 2, "is no model's name"),
    ("../x", 2, "is no model's name"), ("", 2, "is no model's name"),
])
def test_what_is_not_there(pull, registry, folder, name, code, words):
    registry.add("library/mistral", "7b", WEIGHTS)
    assert words in pull.bad(code, f"ollama:{name}")
    assert registry.file_requests() == []


@pytest.mark.parametrize("code, words, changes", [
    (4, "manifest is not understood", {"layers": []}),
    (4, "manifest is not understood", {"layers": [{"mediaType": TYPE + "model", "digest": "sha256:../x", "size": 1}]}),
    (1, "no GGUF file", {"layers": [{"mediaType": TYPE + "tensor", "digest": digest(WEIGHTS), "size": 600000}]}),
    (1, "needs an adapter", {"layers": [{"mediaType": TYPE + kind, "digest": digest(WEIGHTS), "size": 600000}
                                        for kind in ("model", "adapter")]}),
    (1, "weights in several files", {"layers": [{"mediaType": TYPE + "model", "digest": digest(WEIGHTS),
                                                 "size": 600000}] * 2}),
    (5, "GiB free", {"layers": [{"mediaType": TYPE + "model", "digest": digest(WEIGHTS), "size": 1 << 60}]}),
])
def test_manifests_that_cannot_be_used(pull, registry, folder, code, words, changes):
    registry.add("library/mistral", "7b", WEIGHTS, **changes)
    assert words in pull.bad(code, "ollama:mistral:7b")
    assert not manifest(folder).exists()


def test_what_sees_pictures_is_left_out(pull, registry, folder):
    registry.add("library/mistral", "7b", WEIGHTS, {"projector": b"eyes"})
    pull.good("ollama:mistral:7b")
    assert listed(pull) == ["mistral:7b"] and not blob(folder, b"eyes").exists()


def test_nobody_answers(pull, free_port):
    url = f"http://127.0.0.1:{free_port}"
    message = pull.bad(4, "ollama:mistral", environment={"MISTRAL_OLLAMA_REGISTRY": url})
    assert f"cannot reach {url}" in message and "MISTRAL_OLLAMA_REGISTRY" in message


def test_the_api_pulls_and_the_model_acts(mistral, registry, tmp_path):
    models = tmp_path / ".local/share/mistral/models"
    models.mkdir(parents=True)
    make_model(models / "one.gguf", layers=1, format="Q8_0")
    make_model(tmp_path / "new.gguf", layers=1, format="Q8_0", seed=9)
    repository = registry.add("library/tiny", "1b", (tmp_path / "new.gguf").read_bytes(), TEXTS)
    repository.file_answers = [(503, {"Retry-After": "0"}, b"busy")]
    # The stand-in sends its files from a port of its own, which the sandbox does not know of.
    server = RealServer(mistral, str(models / "one.gguf"), "--ollama-registry", registry.url, "--sandbox", "off",
                        home=tmp_path)
    try:
        client = ollama.Client(server.base_url)
        parts = list(client.pull("tiny:1b", stream=True))
        weights = digest((tmp_path / "new.gguf").read_bytes())
        assert parts[0].status == "pulling manifest" and parts[-1].status == "success"
        assert [p.completed == p.total for p in parts if p.digest == weights][-1]
        assert any(p.status == f"pulling {weights[7:19]}" for p in parts)
        assert "tiny:1b" in {model.model for model in client.list().models}
        assert client.generate("tiny:1b", "x").eval_count <= 3
        assert client.show("tiny:1b").parameters.split() == ["num_predict", "3"]
        assert client.pull("tiny:1b").status == "success"
        with pytest.raises(ollama.ResponseError, match="has no such model") as caught:
            client.pull("none")
        assert caught.value.status_code == 404
        client.delete("tiny:1b")
        assert "tiny:1b" not in {model.model for model in client.list().models}
    finally:
        server.stop()
