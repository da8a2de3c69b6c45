"""The Ollama API's answers as its clients see them: the `ollama` package, unchanged, and raw lines."""

import datetime
import json
import re

import ollama
import pytest
from server_harness import FakeServer

MODEL = "fake-model"
COUNTS = ("total_duration", "load_duration", "prompt_eval_count", "prompt_eval_duration", "eval_count",
          "eval_duration")
CREATED_AT = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{1,6})?Z")


@pytest.fixture(scope="module")
def server(build_dir):
    server = FakeServer(build_dir, "context=2000")
    yield server
    server.stop()


@pytest.fixture(scope="module")
def client(server):
    return ollama.Client(server.base_url)


def lines_of(answer):
    """The objects of a stream, one a line."""
    assert answer.status == 200, answer
    assert answer.headers["content-type"] == "application/x-ndjson"
    text = answer.body.decode("utf-8")
    assert text.endswith("\n")
    return [json.loads(line) for line in text[:-1].split("\n")]


def generate(server, prompt, **fields):
    return server.request("POST", "/api/generate", {"model": MODEL, "prompt": prompt, **fields})


def chat(server, messages, **fields):
    if isinstance(messages, str):
        messages = [{"role": "user", "content": messages}]
    return server.request("POST", "/api/chat", {"model": MODEL, "messages": messages, **fields})


def asked(server, marker):
    """What the engine was asked by the request whose prompt holds this text and [[tell=1]]."""
    return server.wait_event(lambda e: e["event"] == "asked" and marker in e["prompt"])


# --- the shape of answers ---


@pytest.mark.parametrize("ask", [generate, chat])
def test_a_stream_is_the_default_and_is_one_object_a_line(server, ask):
    *pieces, last = lines_of(ask(server, "x [[tokens=5]]"))
    assert len(pieces) >= 5
    for line in (*pieces, last):
        assert line["model"] == MODEL
        assert CREATED_AT.fullmatch(line["created_at"])
        datetime.datetime.fromisoformat(line["created_at"])
    for line in pieces:
        assert line["done"] is False
        assert not {"done_reason", "context", *COUNTS} & set(line)
    assert last["done"] is True and last["done_reason"] == "stop"
    for name in COUNTS:
        assert isinstance(last[name], int) and last[name] >= 0, name
    assert last["eval_count"] >= len(pieces)
    assert last["total_duration"] >= last["prompt_eval_duration"] + last["eval_duration"] > 0


@pytest.mark.parametrize("ask, text", [(generate, lambda a: a["response"]),
                                       (chat, lambda a: a["message"]["content"])])
def test_a_whole_answer_says_the_same_as_a_stream(server, ask, text):
    fields = {"options": {"seed": 7}}
    whole = ask(server, "x [[tokens=40]]", stream=False, **fields)
    assert whole.headers["content-type"] == "application/json"
    pieces = lines_of(ask(server, "x [[tokens=40]]", **fields))
    assert text(whole.json) == "".join(text(piece) for piece in pieces)
    assert whole.json["done"] is True and whole.json["done_reason"] == "stop"
    assert whole.json["eval_count"] == pieces[-1]["eval_count"]
    if ask is chat:
        assert {piece["message"]["role"] for piece in pieces} == {"assistant"}
    else:
        assert whole.json["context"] == pieces[-1]["context"]


def test_characters_are_never_cut(server):
    """The scripted words hold characters of up to four bytes, a token for each byte."""
    for line in lines_of(generate(server, "x [[tokens=60]]", options={"seed": 1})):
        assert "\ufffd" not in line["response"]
    text = "".join(line["response"] for line in lines_of(generate(server, "x [[tokens=60]]")))
    assert any(ord(character) > 0xFFFF for character in text)


def test_the_python_client(client):
    answer = client.generate(MODEL, "hello [[tokens=3]]")
    assert len(answer.response.split()) == 3 and answer.done and answer.done_reason == "stop"
    pieces = list(client.generate(MODEL, "hello [[tokens=3]]", stream=True))
    assert pieces[-1].done and pieces[-1].eval_count > 0
    answer = client.chat(MODEL, [{"role": "user", "content": "hello [[tokens=3]]"}], keep_alive="10m",
                         options=ollama.Options(num_ctx=1024, temperature=0, use_mmap=True))
    assert answer.message.role == "assistant" and len(answer.message.content.split()) == 3
    pieces = list(client.chat(MODEL, [{"role": "user", "content": "hello [[tokens=3]]"}], stream=True,
                              options={"temperature": 0}))
    assert "".join(piece.message.content for piece in pieces) == answer.message.content
    with pytest.raises(ollama.ResponseError) as caught:
        client.chat("missing", [{"role": "user", "content": "x"}])
    assert caught.value.status_code == 404 and caught.value.error == "model 'missing' not found"
    with pytest.raises(ollama.ResponseError) as caught:
        list(client.chat(MODEL, [{"role": "user", "content": "[[tokens=50 fail=40]]"}], stream=True))
    assert isinstance(caught.value.error, str) and caught.value.error


def test_the_prompt_count_includes_cached_tokens(server):
    counts = [generate(server, "again and again [[tokens=1]]", stream=False).json["prompt_eval_count"]
              for _ in range(2)]
    assert counts[0] == counts[1] > 20


def test_log_probabilities(client, server):
    answer = client.generate(MODEL, "x [[tokens=3]]", logprobs=True, top_logprobs=2)
    assert len(answer.logprobs) == answer.eval_count
    lines = lines_of(chat(server, "x [[tokens=3]]", logprobs=True, top_logprobs=2))
    entries = [entry for line in lines for entry in line.get("logprobs", [])]
    assert len(entries) == lines[-1]["eval_count"]
    for entry in entries:
        assert set(entry) == {"token", "logprob", "bytes", "top_logprobs"}
        assert len(entry["top_logprobs"]) == 2
        assert set(entry["top_logprobs"][0]) == {"token", "logprob", "bytes"}
    assert all("logprobs" not in line for line in lines_of(generate(server, "x [[tokens=3]]")))
    for wrong in (-1, 21):
        assert chat(server, "x", logprobs=True, top_logprobs=wrong).status == 400


def test_an_error_in_a_stream_is_its_last_line(server):
    *pieces, last = lines_of(generate(server, "x [[tokens=50 fail=40]]"))
    assert 0 < len(pieces) <= 40
    assert set(last) == {"error"} and isinstance(last["error"], str)


def test_an_error_before_the_first_byte_has_its_status(server):
    for stream in (True, False):
        answer = generate(server, "x [[refuse=busy]]", stream=stream)
        assert answer.status == 503
        assert answer.json == {
            "error": "server busy, please try again.  maximum pending requests exceeded"}
        assert answer.headers["retry-after"] == "1"
        assert generate(server, "x [[fail=0]]", stream=False).status == 500


# --- the prompt ---


def test_generate_goes_through_the_template(server):
    generate(server, "one [[tokens=1 tell=1]]", system="be brief")
    assert asked(server, "one")["prompt"].endswith(
        "<system>be brief\n<user>one [[tokens=1 tell=1]]\n<assistant>")
    generate(server, "two [[tokens=1 tell=1]]", raw=True)
    assert asked(server, "two")["prompt"].endswith("two [[tokens=1 tell=1]]")
    assert "<user>" not in asked(server, "two")["prompt"]
    generate(server, "three [[tokens=1 tell=1]]", template="{{ messages[0].content }}!")
    assert asked(server, "three")["prompt"].endswith("three [[tokens=1 tell=1]]!")


@pytest.mark.parametrize("fields", [{"system": "x"}, {"template": "x"}, {"context": [1, 2]}])
def test_raw_takes_no_template_system_or_context(server, fields):
    answer = generate(server, "x", raw=True, **fields)
    assert answer.status == 400
    assert answer.json["error"] == "raw mode does not support template, system, or context"


def test_a_broken_template_is_refused(server):
    answer = generate(server, "x", template="{% if %}")
    assert answer.status == 400 and "template" in answer.json["error"]


def test_context_goes_on_from_an_earlier_answer(server):
    first = generate(server, "alpha [[tokens=2]]", stream=False).json
    assert len(first["context"]) == first["prompt_eval_count"] + first["eval_count"]
    generate(server, "beta [[tokens=2 tell=1]]", context=first["context"])
    prompt = asked(server, "beta")["prompt"]
    # The answer may hold the prompts' own words: looked for after the one, before the other.
    answered = prompt.index(first["response"].strip(), prompt.index("alpha") + len("alpha"))
    assert answered < prompt.rindex("beta")
    for wrong in ([-1], [10**9], ["x"], [1.5], "x", {"a": 1}):
        answer = generate(server, "x", context=wrong)
        assert answer.status == 400 and "context" in answer.json["error"], wrong
    assert "context" not in generate(server, "x [[tokens=1]]", raw=True, stream=False).json


def test_a_suffix_needs_a_model_that_fills_in(server):
    answer = generate(server, "x", suffix="y")
    assert answer.status == 400
    assert answer.json["error"] == f"{MODEL} does not support insert"


def test_an_empty_prompt_loads(server):
    for fields in ({}, {"prompt": ""}, {"prompt": None}, {"prompt": "", "stream": False}):
        answer = server.request("POST", "/api/generate", {"model": MODEL, **fields})
        assert answer.status == 200
        assert answer.json["done"] is True and answer.json["done_reason"] == "load"
        assert answer.json["response"] == ""
    answer = server.request("POST", "/api/chat", {"model": MODEL, "messages": []})
    assert answer.json["message"] == {"role": "assistant", "content": ""}
    assert answer.json["done_reason"] == "load"


def test_tool_calls_without_content_are_taken(server):
    """As the ollama package, LangChain and OpenAI's clients send them."""
    for call in ({"function": {"name": "add", "arguments": {"a": 1}}},
                 {"id": "x1", "function": {"index": 0, "name": "add", "arguments": {}}}):
        for content in (None, ""):
            answer = chat(server, [
                {"role": "user", "content": "add"},
                {"role": "assistant", "content": content, "tool_calls": [call]},
                {"role": "tool", "tool_name": "add", "content": "3"},
                {"role": "assistant", "tool_calls": [call]},
                {"role": "tool", "content": "3", "tool_call_id": "x1"},
                {"role": "user", "content": "go on [[tokens=2]]"}], stream=False)
            assert answer.status == 200, answer


@pytest.mark.parametrize("messages", [
    "text", {"role": "user"}, [1], [{"role": "user", "content": 5}], [{"content": "x"}],
    [{"role": "wizard", "content": "x"}], [{"role": "assistant", "tool_calls": "x"}],
    [{"role": "assistant", "tool_calls": [{}]}], [{"role": "assistant", "tool_calls": [1]}],
    [{"role": "user", "content": "x", "images": ["aGk="]}]])
def test_wrong_messages_are_refused(server, messages):
    answer = server.request("POST", "/api/chat", {"model": MODEL, "messages": messages})
    assert answer.status == 400 and isinstance(answer.json["error"], str)


# --- options ---


def test_defaults_are_those_of_ollama(server):
    generate(server, "defaults [[tokens=1 tell=1]]")
    told = asked(server, "defaults")
    expected = {"temperature": 0.8, "top_k": 40, "top_p": 0.9, "min_p": 0, "typical_p": 1,
                "repeat_last_n": 64, "repeat_penalty": 1, "presence_penalty": 0,
                "frequency_penalty": 0, "stop_count": 0}
    assert {name: told[name] for name in expected} == pytest.approx(expected)
    assert told["max_tokens"] == 2000 - len(told["prompt"].encode()) + len("<s>") - 1


def test_every_option_reaches_the_engine(server):
    options = {"temperature": 0.25, "top_k": 3, "top_p": 0.5, "min_p": 0.125, "typical_p": 0.75,
               "repeat_last_n": -1, "repeat_penalty": 1.5, "presence_penalty": 0.5,
               "frequency_penalty": -0.5, "num_predict": 17}
    generate(server, "every [[tokens=1 tell=1]]", options={**options, "stop": ["a", "", "b"]})
    told = asked(server, "every")
    assert told["max_tokens"] == options.pop("num_predict")
    assert {name: told[name] for name in options} == pytest.approx(options)
    assert told["stop_count"] == 2


def test_num_predict_and_stop_end_an_answer(server):
    answer = generate(server, "x [[tokens=50]]", stream=False, options={"num_predict": 4}).json
    assert answer["done_reason"] == "length" and answer["eval_count"] == 4
    fields = {"stream": False, "options": {"seed": 2}}
    text = generate(server, "x [[tokens=50]]", **fields).json["response"]
    words = text.split()
    stop = next(word for word in words[3:] if word not in words[:3] and len(word) > 1)
    fields["options"]["stop"] = [stop]
    answer = generate(server, "x [[tokens=50]]", **fields).json
    assert answer["done_reason"] == "stop" and answer["response"] == text[:text.index(stop)]


def test_a_seed_repeats_an_answer_and_minus_one_does_not(server):
    def text(seed):
        return generate(server, "x [[tokens=40]]", stream=False, options={"seed": seed}).json["response"]
    assert text(5) == text(5) != text(6)
    assert text(-1) != text(-1)


@pytest.mark.parametrize("name, value, expected", [
    ("num_ctx", "2048", "integer"), ("seed", [1], "integer"), ("temperature", "hot", "float32"),
    ("top_p", True, "float32"), ("stop", "x", "array"), ("use_mmap", "yes", "boolean"),
    ("num_gpu", {}, "integer")])
def test_an_option_of_the_wrong_type_is_named(server, name, value, expected):
    answer = generate(server, "x", options={name: value})
    assert answer.status == 400
    assert answer.json == {"error": f'option "{name}" must be of type {expected}'}


def test_wrong_options_are_refused(server):
    assert generate(server, "x", options={"stop": [1]}).json["error"] == \
        'option "stop" must be of an array of strings'
    for options in ([], "x", 5, {"temperature": -1}, {"repeat_penalty": -1},
                    {"stop": ["x" * 2000]}, {"stop": ["x"] * 65}):
        assert generate(server, "x", options=options).status == 400, options


def test_null_and_unknown_options_are_ignored_with_one_log_line(server):
    odd = {f"odd{i}" * 30: i for i in range(50)}
    answer = generate(server, "x [[tokens=1]]",
                      options={"mirostat": 1, "numa": True, "seed": None, "num_thread": 4, **odd})
    assert answer.status == 200
    line = server.wait_log(lambda e: e["event"] == "unknown_options")
    assert "mirostat" in line["names"] and len(line["names"]) < 500
    assert line["count"] == 52


@pytest.mark.parametrize("keep_alive", [0, 5, -1, 1.5, "10m", "1h30m", "-1s", "300ms", "-1", "0", None])
def test_keep_alive_in_all_its_forms(server, keep_alive):
    assert generate(server, "x [[tokens=1]]", keep_alive=keep_alive).status == 200


@pytest.mark.parametrize("keep_alive", ["", "soon", "5 m", "m", "0x10", "1e3s", "inf", "5mm", [], {}, True])
def test_a_keep_alive_that_is_none_is_refused(server, keep_alive):
    answer = generate(server, "x", keep_alive=keep_alive)
    assert answer.status == 400 and "keep_alive" in answer.json["error"]


# --- more than fits ---


def test_num_ctx_cuts_a_prompt_and_keeps_its_end(server):
    prompt = "first " * 100 + "last [[tokens=1 tell=1]]"
    generate(server, "A" + prompt, options={"num_ctx": 200, "num_keep": 5, "num_predict": 20})
    told = asked(server, "last")
    tokens = server.wait_event(lambda e: e["event"] == "submit" and e["id"] == told["id"])
    assert tokens["prompt_tokens"] == 180
    assert told["prompt"].endswith("last [[tokens=1 tell=1]]\n<assistant>")
    assert told["max_tokens"] == 20
    assert generate(server, prompt, truncate=False, options={"num_ctx": 200}).status == 400


def test_num_ctx_never_widens_the_context(server):
    answer = generate(server, "x [[tokens=2]]", stream=False, options={"num_ctx": 10**12})
    assert answer.status == 200 and answer.json["done_reason"] == "stop"
    assert generate(server, "x [[tokens=1]]", options={"num_ctx": -5}).status == 200


def test_the_oldest_messages_go_first(server):
    messages = [{"role": "system", "content": "SYSTEM"}]
    for i in range(40):
        messages += [{"role": "user", "content": f"question{i} " + "x" * 40},
                     {"role": "assistant", "content": f"answer{i} " + "y" * 40}]
    messages.append({"role": "user", "content": "final [[tokens=1 tell=1]]"})
    answer = chat(server, messages, stream=False)
    assert answer.status == 200
    prompt = asked(server, "final")["prompt"]
    assert "SYSTEM" in prompt
    kept = [i for i in range(40) if f"question{i} " in prompt]
    assert 5 < len(kept) < 40 and kept == list(range(kept[0], 40))
    assert f"answer{kept[0]} " in prompt and f"answer{kept[0] - 1} " not in prompt
    # As much as there is room for: one exchange more would have been too long.
    assert answer.json["prompt_eval_count"] + 130 > 2000 - 512 > answer.json["prompt_eval_count"] - 130
    refused = chat(server, messages, truncate=False)
    assert refused.status == 400 and "context length" in refused.json["error"]


def test_the_last_message_is_never_dropped_nor_cut(server):
    last = "z" * 900 + " [[tokens=1 tell=1]]"
    messages = [{"role": "user", "content": "old"}, {"role": "assistant", "content": "old"},
                {"role": "user", "content": last}]
    assert chat(server, messages, options={"num_ctx": 100}).status == 200
    assert last in asked(server, "zzz")["prompt"] and "old" not in asked(server, "zzz")["prompt"]
    answer = chat(server, "w" * 5000)
    assert answer.status == 400 and "context length" in answer.json["error"]
    assert chat(server, "w" * 5_000_000).status == 400


# --- wrong requests ---


@pytest.mark.parametrize("path", ["/api/generate", "/api/chat"])
def test_what_is_wrong_with_a_request(server, path):
    def error(body, status=400):
        answer = server.request("POST", path, body)
        assert answer.status == status, answer
        assert set(answer.json) == {"error"}
        return answer.json["error"]
    assert error(None) == "missing request body"
    assert error("") == "missing request body"
    assert error({}) == "model is required"
    assert error({"model": ""}) == "model is required"
    assert error({"model": "X", "prompt": "x", "messages": [{"role": "user", "content": "x"}]},
                 404) == "model 'X' not found"
    for body in ("[]", "{", "nonsense", '{"model": 5}', '{"model":"fake-model","stream":"yes"}',
                 '{"model":"fake-model","format":"xml"}', '{"model":"fake-model","think":"deeply"}',
                 '{"model":"fake-model","logprobs":1}', '{"model":"fake-model","options":5}'):
        assert error(body)


def test_the_body_is_json_whatever_its_type(server):
    for kind in ("application/x-www-form-urlencoded", "text/plain", None):
        answer = server.request("POST", "/api/generate",
                                {"model": MODEL, "prompt": "[[tokens=1]]", "stream": False},
                                {"Content-Type": kind})
        assert answer.status == 200


def test_a_format_is_not_silently_left_out(server):
    """What it does is in test_structured_output.py."""
    for value in ("xml", 7, {"type": "array", "uniqueItems": True}):
        answer = generate(server, "x", format=value)
        assert answer.status == 400 and "format" in answer.json["error"]
    assert generate(server, "x [[tokens=1]]", format="").status == 200
    assert generate(server, "x [[tokens=1]]", format=None).status == 200
