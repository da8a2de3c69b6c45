"""/api/tags, /api/ps, /api/show and /api/pull, through the `ollama` package, with small real models."""

import json
import time

import ollama
import pytest
from make_model import make_model
from server_harness import RealServer


@pytest.fixture(scope="module")
def server(mistral, tmp_path_factory):
    home = tmp_path_factory.mktemp("home")
    folder = home / ".local/share/mistral/models"
    folder.mkdir(parents=True)
    make_model(folder / "one.gguf", layers=1, format="Q8_0")
    make_model(folder / "two.gguf", layers=1, format="Q8_0")
    server = RealServer(mistral, str(folder / "one.gguf"), home=home)
    yield server
    server.stop()


@pytest.fixture(scope="module")
def client(server):
    return ollama.Client(server.base_url)


def test_tags_list_all_models(client, server):
    models = {model.model: model for model in client.list().models}
    assert set(models) == {"one", "two"}
    for model in models.values():
        assert len(model.digest) == 64 and model.size > 0 and model.modified_at.year > 2000
        assert model.details.format == "gguf" and model.details.family == "llama"
        assert model.details.quantization_level == "Q8_0" and model.details.parameter_size
    tags = server.request("GET", "/api/tags").json["models"]
    assert all({"completion", "embedding"} <= set(tag["capabilities"]) for tag in tags)
    assert all(tag["name"] == tag["model"] and tag["details"]["context_length"] > 0 for tag in tags)
    assert models["one"].digest != models["two"].digest


def test_show(client, server):
    shown = client.show("two")
    assert shown.modelinfo["general.architecture"] == "llama"
    assert shown.modelinfo["llama.context_length"] > 0
    assert shown.modelinfo["tokenizer.ggml.tokens"] == []
    assert shown.modelinfo["general.parameter_count"] > 0
    assert "completion" in shown.capabilities and shown.details.family == "llama"
    assert shown.modelfile.startswith("FROM ")
    answer = server.request("POST", "/api/show", {"name": "one:latest", "verbose": True}).json
    assert len(answer["model_info"]["tokenizer.ggml.tokens"]) > 256
    assert {"name", "type", "shape"} == set(answer["tensors"][0])
    for name, status in (("missing", 404), ("../one", 404), ("/etc/passwd", 404), ("", 400)):
        answer = server.request("POST", "/api/show", {"model": name})
        assert answer.status == status and isinstance(answer.json["error"], str), name
    assert server.request("POST", "/api/show", {"model": "missing"}).json["error"] == "model 'missing' not found"


def test_ps_and_keep_alive(client):
    assert "one" in [model.model for model in client.ps().models]
    client.generate("two", "")
    running = {model.model: model for model in client.ps().models}
    assert running["two"].size > 0 and running["two"].context_length > 0
    assert running["two"].expires_at is not None
    assert client.generate("two", "", keep_alive=0).done_reason == "unload"
    deadline = time.monotonic() + 30
    while "two" in [model.model for model in client.ps().models]:
        assert time.monotonic() < deadline, "never unloaded"
        time.sleep(0.05)
    assert client.embed("two:latest", "x").embeddings


def test_a_pull_that_fails_says_why(server):
    for body in ({"model": "../x"}, {"model": "x y", "stream": False}):
        answer = server.request("POST", "/api/pull", body)
        last = json.loads(answer.body.splitlines()[-1])
        assert "error" in last, answer
    assert server.request("POST", "/api/pull", {}).json == {"error": "model is required"}
    assert server.request("POST", "/api/push", {"model": "one"}).status == 400
