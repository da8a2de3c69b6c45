"""/api/embed and /api/embeddings, through the `ollama` package and raw."""

import math

import ollama
import openai
import pytest
from server_harness import FakeServer

MODEL = "fake-model"


@pytest.fixture(scope="module")
def server(build_dir):
    server = FakeServer(build_dir, "context=200")
    yield server
    server.stop()


@pytest.fixture(scope="module")
def client(server):
    return ollama.Client(server.base_url)


def embed(server, **fields):
    return server.request("POST", "/api/embed", {"model": MODEL, **fields})


def test_the_python_client(client, server):
    answer = client.embed(MODEL, ["one", "two words", "one"])
    assert answer.model == MODEL and len(answer.embeddings) == 3
    assert answer.embeddings[0] == answer.embeddings[2]
    assert answer.total_duration > 0 and answer.load_duration >= 0
    for vector in answer.embeddings:
        assert math.sqrt(sum(x * x for x in vector)) == pytest.approx(1, abs=1e-5)
    assert client.embed(MODEL, "one").embeddings[0] == answer.embeddings[0]
    assert client.embeddings(MODEL, "one").embedding == answer.embeddings[0]
    with openai.OpenAI(base_url=server.base_url + "/v1", api_key="x", max_retries=0) as other:
        same = other.embeddings.create(model=MODEL, input="one", encoding_format="float")
        assert same.data[0].embedding == pytest.approx(answer.embeddings[0])
    counts = [client.embed(MODEL, text).prompt_eval_count for text in ("one", "two words", "one")]
    assert answer.prompt_eval_count == sum(counts)


def test_dimensions(client):
    whole = client.embed(MODEL, "x y z").embeddings[0]
    short = client.embed(MODEL, "x y z", dimensions=1).embeddings[0]
    scale = math.sqrt(sum(x * x for x in whole[:1]))
    assert short == pytest.approx([x / scale for x in whole[:1]], abs=1e-6)
    assert len(client.embed(MODEL, "x", dimensions=10**6).embeddings[0]) == len(whole)


def test_nothing_to_embed(server):
    for fields in ({}, {"input": ""}, {"input": []}, {"input": None}):
        answer = embed(server, **fields)
        assert answer.status == 200 and answer.json["embeddings"] == []
        assert answer.json["prompt_eval_count"] == 0
    answer = server.request("POST", "/api/embeddings", {"model": MODEL, "prompt": ""})
    assert answer.json == {"embedding": []}


def test_too_long_a_text_is_cut_or_refused(server):
    assert embed(server, input="x" * 1000).json["prompt_eval_count"] == 200
    assert embed(server, input="x" * 5_000_000).json["prompt_eval_count"] == 200
    for length in (1000, 5_000_000):
        answer = embed(server, input="x" * length, truncate=False)
        assert answer.status == 400 and "context length" in answer.json["error"]


def test_wrong_requests(server):
    for value in (5, {}, [5], ["x", ["y"]], [[1, 2]], ["x", ""], True, ["x"] * 2049):
        assert embed(server, input=value).status == 400, value
    answer = server.request("POST", "/api/embed", {"model": "X", "input": "x"})
    assert answer.status == 404
    assert answer.json == {"error": 'model "X" not found, try pulling it first'}
    assert server.request("POST", "/api/embed", {"input": "x"}).json == {"error": "model is required"}
    assert server.request("POST", "/api/embed", "").json == {"error": "missing request body"}
    assert server.request("POST", "/api/embeddings", {"model": MODEL, "prompt": 5}).status == 400
