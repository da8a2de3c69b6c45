"""Models that other programs have fetched: an Ollama store and a Hugging Face cache, read only."""

import hashlib
import json
import os
import subprocess

import pytest

from server_harness import FakeServer, own_environment

WEIGHTS = b"fake-model\nbytes=11\n"


def digest(data):
    return hashlib.sha256(data).hexdigest()


def put_blob(root, data):
    path = root / "blobs" / f"sha256-{digest(data)}"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
    return {"digest": f"sha256:{digest(data)}", "size": len(data)}


def put_manifest(root, name, text):
    path = root / "manifests" / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


def put_model(root, name, weights=WEIGHTS, **texts):
    layers = [{"mediaType": "application/vnd.ollama.image.model", **put_blob(root, weights)}]
    layers += [{"mediaType": f"application/vnd.ollama.image.{kind}", **put_blob(root, text.encode())}
               for kind, text in texts.items()]
    return put_manifest(root, name, json.dumps({"schemaVersion": 2, "layers": layers}))


@pytest.fixture
def stores(tmp_path):
    ollama, hub, folder = tmp_path / "ollama", tmp_path / "hf" / "hub", tmp_path / "models"
    folder.mkdir()
    (folder / "own.gguf").write_bytes(b"fake-model\n")
    put_model(ollama, "registry.ollama.ai/library/mistral/7b", system="Be kind.",
              params='{"temperature":0.1}')
    put_model(ollama, "registry.ollama.ai/someone/tuned/latest")
    put_model(ollama, "hf.co/owner/repo/Q4_K_M")
    repository = hub / "models--owner--some-model"
    (repository / "blobs").mkdir(parents=True)
    blob = repository / "blobs" / digest(b"fake-model\nhf\n")
    blob.write_bytes(b"fake-model\nhf\n")
    snapshot = repository / "snapshots" / "abc" / "sub"
    snapshot.mkdir(parents=True)
    (snapshot / "tiny-Q8_0.gguf").symlink_to(blob)
    (snapshot / "lost.gguf").symlink_to(repository / "blobs" / "gone")
    return tmp_path


def environment(stores):
    return {"OLLAMA_MODELS": str(stores / "ollama"), "HF_HOME": str(stores / "hf"),
            "HF_HUB_CACHE": "", "MISTRAL_MODELS_PATH": str(stores / "models")}


def listed(build_dir, stores):
    done = subprocess.run([build_dir / "mistral", "list", "--json"], capture_output=True, text=True,
                          env={**own_environment(), **environment(stores)}, check=True)
    return {row["name"]: row for row in json.loads(done.stdout)["models"]}


NAMES = {"own": "folder", "mistral:7b": "ollama", "someone/tuned:latest": "ollama",
         "hf.co/owner/repo:Q4_K_M": "ollama", "owner/some-model/sub/tiny-Q8_0": "hugging face"}


def test_every_store_is_listed(build_dir, stores):
    rows = listed(build_dir, stores)
    assert {name: row["store"] for name, row in rows.items()} == NAMES
    assert rows["mistral:7b"]["bytes"] == len(WEIGHTS)
    table = subprocess.run([build_dir / "mistral", "list"], capture_output=True, text=True,
                           env={**own_environment(), **environment(stores)}, check=True).stdout
    assert "STORE" in table and "hugging face" in table


def test_requests_may_name_what_every_store_has(build_dir, stores):
    before = sorted(str(path) for path in stores.rglob("*"))
    server = FakeServer(build_dir, f"models={stores / 'models'}", "cache_bytes=100000",
                        environment=environment(stores))
    try:
        for name in [*NAMES, "MISTRAL:7b", "library/mistral:7b", "registry.ollama.ai/library/mistral:7b",
                     "someone/tuned", "own.gguf", "own:latest"]:
            body = {"model": name, "prompt": "[[tokens=1]]"}
            assert server.request("POST", "/v1/completions", body).status == 200, name
        for name in ("mistral", "mistral:8b", "library/mistral", "tuned"):
            body = {"model": name, "prompt": "[[tokens=1]]"}
            assert server.request("POST", "/v1/completions", body).status == 404, name
        loads = [line for line in server.log if line["event"] == "model_loading"]
        assert len(loads) == 3  # three files; the names of Ollama's are of one
    finally:
        server.stop()
    assert sorted(str(path) for path in stores.rglob("*")) == before


@pytest.mark.parametrize("text", [
    "", "{", "[]", "null", '{"layers":{}}', '{"layers":[]}', '{"layers":[1]}', "[" * 100000,
    json.dumps({"layers": [{"mediaType": "application/vnd.ollama.image.model",
                            "digest": "sha256:../../../../etc/passwd", "size": 1}]}),
    json.dumps({"layers": [{"mediaType": "application/vnd.ollama.image.model",
                            "digest": f"sha256:{'A' * 64}", "size": 1}]}),
    json.dumps({"layers": [{"mediaType": "application/vnd.ollama.image.model",
                            "digest": f"sha256:{digest(WEIGHTS)}", "size": 10**18}]}),
    json.dumps({"layers": [{"mediaType": "application/vnd.ollama.image.model",
                            "digest": f"sha256:{digest(WEIGHTS)}", "size": -1}]}),
    json.dumps({"layers": [{"mediaType": "x", "digest": f"sha256:{digest(WEIGHTS)}",
                            "size": len(WEIGHTS)}] * 1000}),
    json.dumps({"layers": [{"mediaType": "application/vnd.ollama.image.model",
                            "digest": f"sha256:{digest(WEIGHTS)}", "size": len(WEIGHTS)}],
                "x": "y" * (2 << 20)}),
])
def test_a_hostile_manifest_is_passed_over(build_dir, stores, text):
    put_manifest(stores / "ollama", "registry.ollama.ai/library/bad/latest", text)
    assert set(listed(build_dir, stores)) == set(NAMES)


def test_names_that_are_no_names_are_passed_over(build_dir, stores):
    for name in ("registry.ollama.ai/library/.hidden/latest", "registry.ollama.ai/library/x y/latest",
                 "registry.ollama.ai/library/x/a b"):
        put_model(stores / "ollama", name)
    os.symlink(stores / "ollama" / "manifests", stores / "ollama" / "manifests" / "loop")
    assert set(listed(build_dir, stores)) == set(NAMES)
