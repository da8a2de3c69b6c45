"""/v1/embeddings: the numbers against a NumPy forward pass, the forms against OpenAI's own client."""

import base64
import struct

import numpy
import openai
import pytest
from make_model import make_model
from reference_model import ReferenceModel
from server_harness import FakeServer, RealServer, run_in_threads

TEXTS = ["the water of the old mill", "a", "place and time " * 25, "grün 日本 🌍", "the water of the old house"]


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return make_model(tmp_path_factory.mktemp("model") / "tiny.gguf", context=256)


@pytest.fixture(scope="module")
def server(mistral, model, tmp_path_factory):
    server = RealServer(mistral, model, "--prefill-chunk-size", "32", home=tmp_path_factory.mktemp("home"))
    yield server
    server.stop()


@pytest.fixture(scope="module")
def client(server):
    with openai.OpenAI(base_url=server.base_url + "/v1", api_key="unused", max_retries=0) as client:
        yield client


@pytest.fixture(scope="module")
def fake(build_dir):
    server = FakeServer(build_dir, "context=100", "max_requests=4")
    yield server
    server.stop()


def embed(client, texts, **fields):
    answer = client.embeddings.create(model="tiny", input=texts, **fields)
    assert [row.index for row in answer.data] == list(range(len(answer.data)))
    return numpy.array([row.embedding for row in answer.data])


def test_embeddings_are_the_mean_of_the_last_hidden_states(server, client, model):
    reference = ReferenceModel(model, kv_type=numpy.float16)
    got = embed(client, TEXTS)
    for text, values in zip(TEXTS, got, strict=True):
        tokens = server.request("POST", "/tokenize", {"content": text, "add_special": True}).json["tokens"]
        mean = reference.hidden(tokens).mean(axis=0)
        numpy.testing.assert_allclose(values, mean / numpy.linalg.norm(mean), atol=2e-4, err_msg=text)
    assert abs(got[0] @ got[1]) < 0.999, "different texts have different embeddings"


def test_an_embedding_does_not_depend_on_its_company(client):
    """Nor on what the prefix cache holds, nor on how the list is cut."""
    alone = [embed(client, text)[0] for text in TEXTS]
    client.completions.create(model="tiny", prompt=TEXTS[2], max_tokens=1)  # its blocks are cached now

    def ask(i):
        if i % 2 == 0:
            client.completions.create(model="tiny", prompt=TEXTS[2], max_tokens=20)
        else:
            assert embed(client, TEXTS * 5).tobytes() == numpy.array(alone * 5).tobytes()

    run_in_threads(6, ask)


def test_base64_and_numbers_are_the_same_floats(server, client):
    body = {"input": TEXTS[0], "encoding_format": "base64"}
    encoded = server.request("POST", "/v1/embeddings", body).json["data"][0]["embedding"]
    floats = server.request("POST", "/v1/embeddings", {"input": TEXTS[0]}).json["data"][0]["embedding"]
    assert len(floats) == 64
    assert struct.pack("<64f", *floats) == base64.b64decode(encoded, validate=True)
    numpy.testing.assert_array_equal(embed(client, TEXTS[0])[0].astype("f4"), numpy.array(floats, "f4"))


def test_fewer_dimensions_have_length_one_again(client):
    whole, short = embed(client, TEXTS[0])[0], embed(client, TEXTS[0], dimensions=5)[0]
    numpy.testing.assert_allclose(short, whole[:5] / numpy.linalg.norm(whole[:5]), rtol=1e-6)


def test_usage_counts_all_inputs(server, client):
    answer = client.embeddings.create(model="tiny", input=TEXTS)
    counts = [len(server.request("POST", "/tokenize", {"content": t, "add_special": True}).json["tokens"])
              for t in TEXTS]
    assert answer.usage.prompt_tokens == answer.usage.total_tokens == sum(counts)
    assert answer.object == "list" and answer.data[0].object == "embedding"


def test_a_text_that_fills_the_context_fits(server):
    tokens = 0
    text = "the"
    while tokens < 256:
        text += " the"
        tokens = len(server.request("POST", "/tokenize", {"content": text, "add_special": True}).json["tokens"])
    assert server.request("POST", "/v1/embeddings", {"input": text}).status == 200
    error = server.request("POST", "/v1/embeddings", {"input": text + " the"})
    assert error.status == 400 and error.json["error"]["code"] == "context_length_exceeded"


def test_a_list_longer_than_the_queue_is_answered(fake):
    """Four requests fit; a hundred inputs are given to the engine as it has room."""
    answer = fake.request("POST", "/v1/embeddings", {"input": [f"text {i}" for i in range(100)]})
    assert answer.status == 200, answer
    assert [row["index"] for row in answer.json["data"]] == list(range(100))
    assert answer.json["data"][99]["embedding"] == pytest.approx([0.8, 0.6, 0, 0])
    assert answer.json["usage"]["prompt_tokens"] == sum(len(f"text {i}") + 1 for i in range(100))


@pytest.mark.parametrize("body, param, says", [
    ({}, "input", "Missing"),
    ({"input": []}, "input", "from 1 to 2048"),
    ({"input": ""}, "input", "empty"),
    ({"input": ["a", ""]}, "input", "input[1]"),
    ({"input": ["a"] * 2049}, "input", "2049"),
    ({"input": [1, 2, 3]}, "input", "check_embedding_ctx_length=False"),
    ({"input": [[1, 2], [3]]}, "input", "Send the text"),
    ({"input": {"text": "a"}}, "input", "a string"),
    ({"input": ["a", None]}, "input[1]", "a string"),
    ({"input": "a", "encoding_format": "int8"}, "encoding_format", "int8"),
    ({"input": "a", "dimensions": 0}, "dimensions", "minimum"),
    ({"input": "a", "dimensions": 5}, "dimensions", "have 4"),
    ({"input": "a" * 101}, "input", "tokens"),
    ({"input": "a", "model": "other"}, "model", "other"),
])
def test_wrong_requests_are_refused_in_words(fake, body, param, says):
    answer = fake.request("POST", "/v1/embeddings", body)
    assert answer.status == (404 if param == "model" else 400), answer
    assert answer.json["error"]["param"] == param and says in answer.json["error"]["message"]


def test_a_client_that_leaves_cancels_the_rest(fake):
    before = fake.wait_idle()
    with fake.connect() as connection:
        body = b'{"input":[' + b",".join(b'"text [[prefill=500]]"' for _ in range(50)) + b"]}"
        connection.sendall(b"POST /v1/embeddings HTTP/1.1\r\nHost: localhost\r\nContent-Length: "
                           + str(len(body)).encode() + b"\r\n\r\n" + body)
        fake.wait_event(lambda e: e["event"] == "submit" and e["id"] > before)
    assert fake.wait_idle(before + 1) < before + 20, "what was not yet begun never begins"
