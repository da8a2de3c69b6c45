"""What lies beside the weights in a store acts: options, system prompt and first messages are defaults of requests."""

import json

import pytest
from make_model import make_model
from server_harness import FakeServer, RealServer
from test_model_stores import put_model

PARAMETERS = {"temperature": 0.25, "top_k": 7, "num_predict": 33, "stop": ["A", "B"], "mirostat": 1, "top_p": "wrong"}
MESSAGES = [{"role": "user", "content": "first-question"}, {"role": "assistant", "content": "first-answer"}, 5]


@pytest.fixture(scope="module")
def server(build_dir, tmp_path_factory):
    folder = tmp_path_factory.mktemp("stores")
    (folder / "models").mkdir()
    store = folder / "ollama"
    put_model(store, "registry.ollama.ai/library/tuned/latest", system="Be terse.", params=json.dumps(PARAMETERS),
              messages=json.dumps(MESSAGES), template="{{ .Prompt }}")
    put_model(store, "registry.ollama.ai/library/plain/latest")
    put_model(store, "registry.ollama.ai/library/odd/latest", params="[1", messages='{"a": 1}', system="Odd.")
    server = FakeServer(build_dir, f"models={folder / 'models'}", "cache_bytes=100000",
                        environment={"OLLAMA_MODELS": str(store), "HF_HOME": "/nonexistent"})
    yield server
    server.stop()


def asked(server, route, marker, **fields):
    """What reached the engine of a request that holds this mark."""
    text = f"{marker} [[tokens=1]] [[tell=1]]"
    body = {"model": "tuned", "stream": False, **fields}
    if route == "/api/chat":
        body["messages"] = [*fields.get("messages", []), {"role": "user", "content": text}]
    else:
        body["prompt"] = text
    answer = server.request("POST", route, body)
    assert answer.status == 200, answer
    return server.wait_event(lambda e: e["event"] == "asked" and marker in e["prompt"])


@pytest.mark.parametrize("route", ["/api/chat", "/api/generate"])
def test_stored_options_come_after_the_defaults_and_before_the_request(server, route):
    mark = f"options{route}"
    told = asked(server, route, mark)
    assert (told["temperature"], told["top_k"], told["max_tokens"], told["stop_count"]) == (0.25, 7, 33, 2)
    assert told["top_p"] == pytest.approx(0.9)  # of the wrong type in the store: the default stays
    told = asked(server, route, f"{mark}-own", options={"temperature": 1.5, "stop": []})
    assert (told["temperature"], told["top_k"], told["max_tokens"], told["stop_count"]) == (1.5, 7, 33, 0)
    told = asked(server, route, f"{mark}-none", model="plain")
    assert told["temperature"] == pytest.approx(0.8) and told["stop_count"] == 0


@pytest.mark.parametrize("route", ["/api/chat", "/api/generate"])
def test_system_and_messages_stand_before_the_request(server, route):
    mark = f"texts{route}"
    prompt = asked(server, route, mark)["prompt"]
    places = [prompt.index(text) for text in ("Be terse.", "first-question", "first-answer", mark)]
    assert places == sorted(places)
    assert "Be terse." not in asked(server, route, f"{mark}-plain", model="plain")["prompt"]
    assert "Odd." in asked(server, route, f"{mark}-odd", model="odd")["prompt"]


def test_the_request_has_the_last_word_on_the_system_prompt(server):
    own = [{"role": "system", "content": "Be long."}]
    prompt = asked(server, "/api/chat", "own-chat", messages=own)["prompt"]
    assert "Be long." in prompt and "Be terse." not in prompt and "first-answer" in prompt
    prompt = asked(server, "/api/generate", "own-generate", system="Be long.")["prompt"]
    assert "Be long." in prompt and "Be terse." not in prompt
    prompt = asked(server, "/api/generate", "raw-generate", raw=True)["prompt"]
    assert "Be terse." not in prompt and "first-answer" not in prompt


def test_the_log_says_once_that_a_stored_template_is_not_used(server):
    for _ in range(2):
        asked(server, "/api/chat", "template")
    told = [line["model"] for line in server.log if line["event"] == "template_not_used"]
    assert told == ["tuned:latest"]


def test_a_conversation_that_goes_on_does_not_begin_again(server):
    first = server.request("POST", "/api/generate", {"model": "tuned", "prompt": "x [[tokens=1]]", "stream": False})
    prompt = asked(server, "/api/generate", "goes-on", context=first.json["context"])["prompt"]
    assert prompt.count("first-answer") == 1



def test_a_model_that_is_served_from_the_start_has_its_defaults(mistral, tmp_path):
    make_model(tmp_path / "weights.gguf", layers=1, format="Q8_0")
    put_model(tmp_path / ".ollama/models", "registry.ollama.ai/someone/tuned/latest", params='{"num_predict": 3}',
              system="Be terse.", weights=(tmp_path / "weights.gguf").read_bytes())
    server = RealServer(mistral, "someone/tuned", home=tmp_path)
    try:
        for name in ("someone/tuned:latest", "tuned"):
            answer = server.request("POST", "/api/generate", {"model": name, "prompt": "x", "stream": False})
            assert answer.status == 200 and answer.json["eval_count"] <= 3, name
        shown = server.request("POST", "/api/show", {"model": "someone/tuned"}).json
        assert shown["system"] == "Be terse." and shown["parameters"].split() == ["num_predict", "3"]
    finally:
        server.stop()
