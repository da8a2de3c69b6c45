"""The OpenAI API as OpenAI's own client sees it: the `openai` package, unchanged, against the server."""

import asyncio

import openai
import pytest
from server_harness import FakeServer, chat, sse_objects

MODEL = "fake-model"


@pytest.fixture(scope="module")
def server(build_dir):
    server = FakeServer(build_dir, "context=2000")
    yield server
    server.stop()


@pytest.fixture(scope="module")
def client(server):
    with openai.OpenAI(base_url=server.base_url + "/v1", api_key="unused", max_retries=0) as client:
        yield client


def ask(client, content, **fields):
    return client.chat.completions.create(
        model=MODEL, messages=[{"role": "user", "content": content}], **fields)


# --- chat ---


def test_a_chat_answer_has_all_its_parts(client):
    answer = ask(client, "hello [[tokens=3]]", temperature=0)
    assert answer.object == "chat.completion"
    assert answer.id.startswith("chatcmpl-")
    assert answer.model == MODEL
    assert answer.system_fingerprint.startswith("fp_")
    choice, = answer.choices
    assert choice.index == 0
    assert choice.finish_reason == "stop"
    assert choice.message.role == "assistant"
    assert len(choice.message.content.split()) == 3
    assert choice.message.tool_calls is None
    assert choice.logprobs is None
    usage = answer.usage
    assert usage.total_tokens == usage.prompt_tokens + usage.completion_tokens
    # The template's own words count, and so does each byte of the text.
    assert usage.prompt_tokens == 1 + len("<user>hello [[tokens=3]]\n<assistant>")
    assert usage.prompt_tokens_details.cached_tokens == 0


def test_a_stream_says_the_same_as_a_whole_answer(client):
    whole = ask(client, "hello [[tokens=30]]", seed=5)
    chunks = list(ask(client, "hello [[tokens=30]]", seed=5, stream=True,
                      stream_options={"include_usage": True}))
    assert {c.id for c in chunks} == {chunks[0].id} and chunks[0].id.startswith("chatcmpl-")
    assert len({c.created for c in chunks}) == 1
    assert {c.object for c in chunks} == {"chat.completion.chunk"}
    assert chunks[0].choices[0].delta.role == "assistant"
    assert all(c.choices[0].delta.role is None for c in chunks[1:-1])
    assert "".join(c.choices[0].delta.content or "" for c in chunks[:-1]) == \
        whole.choices[0].message.content
    assert [c.choices[0].finish_reason for c in chunks[:-1]] == [None] * (len(chunks) - 2) + ["stop"]
    assert chunks[-2].choices[0].delta.content is None
    assert chunks[-1].choices == []
    assert chunks[-1].usage == whole.usage
    assert all(c.usage is None for c in chunks[:-1])


def test_a_stream_is_made_of_whole_characters_and_ends_in_done(server):
    answer = server.request("POST", "/v1/chat/completions",
                            chat("[[tokens=200]]", stream=True, seed=1))
    assert answer.headers["content-type"].startswith("text/event-stream")
    chunks, is_done = sse_objects(answer.body)
    assert is_done
    assert all("usage" not in c for c in chunks)
    pieces = [c["choices"][0]["delta"].get("content", "") for c in chunks]
    assert any(ord(c) > 0xFFFF for c in "".join(pieces)), "the script should have emitted emoji"
    assert "\ufffd" not in "".join(pieces)


def test_several_choices_differ_and_the_first_is_that_of_one(client):
    one = ask(client, "[[tokens=20]]", seed=11)
    several = ask(client, "[[tokens=20]]", seed=11, n=4)
    texts = [c.message.content for c in several.choices]
    assert [c.index for c in several.choices] == [0, 1, 2, 3]
    assert len(set(texts)) == 4
    assert texts[0] == one.choices[0].message.content
    assert several.usage.prompt_tokens == one.usage.prompt_tokens
    assert several.usage.completion_tokens > one.usage.completion_tokens


def test_streamed_choices_can_be_told_apart(client):
    whole = ask(client, "[[tokens=10]]", seed=3, n=3)
    texts, roles, reasons = [""] * 3, [0] * 3, [None] * 3
    for chunk in ask(client, "[[tokens=10]]", seed=3, n=3, stream=True):
        choice, = chunk.choices
        texts[choice.index] += choice.delta.content or ""
        roles[choice.index] += choice.delta.role is not None
        reasons[choice.index] = choice.finish_reason or reasons[choice.index]
    assert texts == [c.message.content for c in whole.choices]
    assert roles == [1, 1, 1]
    assert reasons == ["stop"] * 3


def test_the_same_seed_gives_the_same_answer(client):
    texts = [ask(client, "[[tokens=20]]", seed=s).choices[0].message.content for s in (1, 1, 2, -1)]
    assert texts[0] == texts[1]
    assert len(set(texts)) == 3
    unseeded = {ask(client, "[[tokens=20]]").choices[0].message.content for _ in range(3)}
    assert len(unseeded) == 3
    greedy = {ask(client, "[[tokens=20]]", temperature=0, seed=s).choices[0].message.content
              for s in (1, 2)}
    assert len(greedy) == 1


@pytest.mark.parametrize("field", ["max_tokens", "max_completion_tokens"])
def test_an_answer_ends_at_its_length(client, field):
    answer = ask(client, "[[tokens=100]]", **{field: 7})
    assert answer.choices[0].finish_reason == "length"
    assert answer.usage.completion_tokens == 7


def test_max_completion_tokens_counts_when_both_are_given(client):
    answer = ask(client, "[[tokens=100]]", max_tokens=50, max_completion_tokens=7)
    assert answer.usage.completion_tokens == 7


def test_a_stop_string_ends_the_answer_before_itself(client):
    for stop in ("omega", ["nowhere", "omega"]):
        whole = ask(client, "[[tokens=200]]", seed=4).choices[0].message.content
        assert "omega" in whole
        answer = ask(client, "[[tokens=200]]", seed=4, stop=stop)
        assert answer.choices[0].message.content == whole[:whole.index("omega")]
        assert answer.choices[0].finish_reason == "stop"
        streamed = "".join(c.choices[0].delta.content or ""
                           for c in ask(client, "[[tokens=200]]", seed=4, stop=stop, stream=True))
        assert streamed == answer.choices[0].message.content


def test_logprobs_come_with_every_token(client):
    answer = ask(client, "[[tokens=30]]", seed=1, logprobs=True, top_logprobs=3, max_tokens=40)
    content = answer.choices[0].logprobs.content
    assert len(content) == answer.usage.completion_tokens == 40
    for entry in content:
        assert entry.logprob == -0.5
        assert [round(t.logprob, 3) for t in entry.top_logprobs] == [-0.5, -1.5, -2.5]
        assert all(0 <= b <= 255 for b in entry.bytes)
    joined = b"".join(bytes(e.bytes) for e in content)
    said = joined.replace("\u2581".encode(), b" ").decode("utf-8", "replace")
    assert said.startswith(answer.choices[0].message.content.rstrip("\ufffd"))
    partial = [e for e in content if len(e.bytes) == 1 and e.bytes[0] >= 0x80]
    assert partial and partial[0].token == f"\\x{partial[0].bytes[0]:02x}"


def test_streamed_logprobs_are_those_of_the_whole_answer(client):
    fields = dict(seed=1, logprobs=True, top_logprobs=2, max_tokens=40)
    whole = ask(client, "[[tokens=30]]", **fields)
    streamed = [entry
                for chunk in ask(client, "[[tokens=30]]", stream=True, **fields)
                if chunk.choices[0].logprobs is not None
                for entry in chunk.choices[0].logprobs.content]
    assert [(e.token, e.logprob) for e in streamed] == \
        [(e.token, e.logprob) for e in whole.choices[0].logprobs.content]


def test_every_form_of_a_message_is_read(client, server):
    answer = client.chat.completions.create(
        model=MODEL, temperature=0,
        messages=[
            {"role": "developer", "content": "be brief"},
            {"role": "user", "content": [{"type": "text", "text": "one"},
                                         {"type": "text", "text": "two"}]},
            {"role": "assistant", "content": None,
             "tool_calls": [{"id": "a", "type": "function",
                             "function": {"name": "f", "arguments": "{}"}}]},
            {"role": "tool", "tool_call_id": "a", "content": "three"},
            {"role": "user", "content": "four", "name": "Ann"},
        ])
    rendered = "<system>be brief\n<user>one\ntwo\n<assistant>\n<tool>three\n<user>four\n<assistant>"
    assert answer.usage.prompt_tokens == 1 + len(rendered)


def test_fields_beyond_openai_are_read_and_unknown_ones_ignored(client):
    answer = ask(client, "[[tokens=2]]", temperature=0.5, top_p=0.9, presence_penalty=0.1,
                 frequency_penalty=-0.1, logit_bias={"5": 3, "6": -100}, user="me",
                 parallel_tool_calls=False, tool_choice="none", reasoning_effort="low",
                 response_format={"type": "text"}, tools=[],
                 extra_body={"top_k": 40, "min_p": 0.05, "typical_p": 0.9,
                             "repetition_penalty": 1.1, "ignore_eos": True, "grammar": None,
                             "nobody_knows": {"this": [1, 2]}})
    assert answer.choices[0].finish_reason == "stop"


def test_a_request_without_a_model_gets_the_one_there_is(server):
    for body in (chat("x"), chat("x", model=None), chat("x", model="fake-alias")):
        answer = server.request("POST", "/v1/chat/completions", body)
        assert answer.status == 200
        assert answer.json["model"] == MODEL


# --- completions ---


def test_a_completion_has_all_its_parts(client):
    answer = client.completions.create(model=MODEL, prompt="abc [[tokens=2]]", temperature=0)
    assert answer.object == "text_completion"
    assert answer.id.startswith("cmpl-")
    choice, = answer.choices
    assert choice.finish_reason == "stop" and len(choice.text.split()) == 2
    assert choice.logprobs is None
    assert answer.usage.prompt_tokens == 1 + len("abc [[tokens=2]]")


def test_completions_are_16_tokens_long_unless_told(client):
    answer = client.completions.create(model=MODEL, prompt="[[tokens=100]]")
    assert answer.usage.completion_tokens == 16
    assert answer.choices[0].finish_reason == "length"


def test_several_prompts_and_choices_are_numbered(client):
    answer = client.completions.create(model=MODEL, prompt=["a [[tokens=5]]", "b [[tokens=9]]"],
                                       n=2, seed=1, max_tokens=500)
    assert [c.index for c in answer.choices] == [0, 1, 2, 3]
    assert [len(c.text.split()) for c in answer.choices] == [5, 5, 9, 9]
    assert answer.usage.prompt_tokens == 2 * (1 + len("a [[tokens=5]]"))


def test_a_prompt_may_be_token_ids(client):
    text = "z [[tokens=3]]"
    ids = [1] + [4 + b for b in text.encode()]
    as_text = client.completions.create(model=MODEL, prompt=text, seed=1, max_tokens=99)
    for prompt in (ids, [ids]):
        answer = client.completions.create(model=MODEL, prompt=prompt, seed=1, max_tokens=99,
                                           echo=True)
        assert answer.choices[0].text == text + as_text.choices[0].text


def test_a_completion_stream_says_the_same_as_a_whole_answer(client):
    for echo in (False, True):
        fields = dict(model=MODEL, prompt="p\u00e4 [[tokens=20]]", seed=9, max_tokens=90, echo=echo)
        whole = client.completions.create(**fields)
        chunks = list(client.completions.create(stream=True, stream_options={"include_usage": True},
                                                **fields))
        assert "".join(c.choices[0].text for c in chunks[:-1]) == whole.choices[0].text
        assert whole.choices[0].text.startswith("p\u00e4 [[") == echo
        assert chunks[-2].choices[0].finish_reason == whole.choices[0].finish_reason
        assert chunks[-1].choices == [] and chunks[-1].usage == whole.usage


def test_the_old_logprobs_stand_where_their_tokens_do(client):
    fields = dict(model=MODEL, prompt="h\u00e9 [[tokens=4]]", seed=9, max_tokens=12, logprobs=2,
                  echo=True)
    whole = client.completions.create(**fields)
    logprobs = whole.choices[0].logprobs
    text = whole.choices[0].text
    count = whole.usage.prompt_tokens + whole.usage.completion_tokens
    assert [len(x) for x in (logprobs.tokens, logprobs.token_logprobs, logprobs.top_logprobs,
                             logprobs.text_offset)] == [count] * 4
    assert logprobs.token_logprobs[0] is None and logprobs.top_logprobs[0] is None
    assert all(p == -0.5 for p in logprobs.token_logprobs[1:])
    assert all(1 <= len(t) <= 3 for t in logprobs.top_logprobs[1:])
    for token, offset in zip(logprobs.tokens, logprobs.text_offset, strict=True):
        if len(token) == 1 and token != "\u2581":
            assert text[offset] == token
    chunks = list(client.completions.create(stream=True, **fields))
    streamed = [c.choices[0].logprobs for c in chunks if c.choices[0].logprobs is not None]
    for name in ("tokens", "token_logprobs", "top_logprobs", "text_offset"):
        assert [x for part in streamed for x in getattr(part, name)] == getattr(logprobs, name)


def test_a_prompt_can_be_scored_without_an_answer(client):
    answer = client.completions.create(model=MODEL, prompt="score me", max_tokens=0, echo=True,
                                       logprobs=0)
    assert answer.choices[0].text == "score me"
    assert len(answer.choices[0].logprobs.tokens) == 1 + len("score me")
    assert answer.usage.completion_tokens == 0
    assert answer.choices[0].finish_reason == "length"


# --- models ---


def test_models_are_listed_and_found_by_every_name(client):
    assert [m.id for m in client.models.list()] == [MODEL]
    for name in (MODEL, "fake-alias", "organisation/fake"):
        model = client.models.retrieve(name)
        assert model.id == MODEL and model.object == "model" and model.created > 0
    with pytest.raises(openai.NotFoundError) as caught:
        client.models.retrieve("other")
    assert caught.value.code == "model_not_found"


@pytest.mark.parametrize("name", [
    "../../../etc/passwd", "..%2f..%2fetc%2fpasswd", "%2e%2e/%2e%2e/etc/passwd", "/etc/passwd",
    "fake-model/../fake-model", "fake-model%0d%0aX-Injected:%20yes", "A" * 5000])
def test_a_model_name_opens_nothing(server, name):
    answer = server.request("GET", "/v1/models/" + name)
    assert answer.status == 404
    assert answer.json["error"]["code"] == "model_not_found"
    assert "x-injected" not in answer.headers
    answer = server.request("POST", "/v1/chat/completions", chat("x", model=name))
    assert answer.status == 404


# --- errors ---


def test_errors_are_the_clients_own_exceptions(client):
    with pytest.raises(openai.NotFoundError) as caught:
        client.chat.completions.create(model="gpt-9", messages=[{"role": "user", "content": "x"}])
    assert caught.value.status_code == 404
    assert caught.value.code == "model_not_found"
    assert caught.value.type == "invalid_request_error"
    assert "gpt-9" in caught.value.message
    assert caught.value.request_id
    with pytest.raises(openai.BadRequestError) as caught:
        ask(client, "x" * 3000)
    assert caught.value.code == "context_length_exceeded"
    assert caught.value.param == "messages"
    assert "2000 tokens" in caught.value.message
    with pytest.raises(openai.BadRequestError) as caught:
        client.completions.create(model=MODEL, prompt="x" * 3_000_000)
    assert caught.value.code == "context_length_exceeded"
    assert caught.value.param == "prompt"
    with pytest.raises(openai.InternalServerError) as caught:
        ask(client, "[[refuse=busy]]")
    assert caught.value.status_code == 503
    assert caught.value.code == "queue_full"
    assert caught.value.response.headers["retry-after"] == "1"
    with pytest.raises(openai.BadRequestError):
        ask(client, "[[refuse=invalid]]")
    with pytest.raises(openai.InternalServerError) as caught:
        ask(client, "[[refuse=memory]]")
    assert caught.value.status_code == 500
    with pytest.raises(openai.InternalServerError) as caught:
        ask(client, "[[fail=0]]", stream=True)
    assert caught.value.status_code == 500, "nothing was sent yet: a real status"


def test_the_client_tries_again_when_it_is_told_to(server):
    """503 and Retry-After: its own rule, not a test's. What is wrong stays wrong: 400 is not retried."""
    sent = []
    http = openai.DefaultHttpxClient(event_hooks={"request": [sent.append]})
    with openai.OpenAI(base_url=server.base_url + "/v1", api_key="unused", max_retries=1, http_client=http) as patient:
        for content, tries in (("[[refuse=busy]]", 2), ("[[refuse=invalid]]", 1)):
            sent.clear()
            with pytest.raises(openai.APIStatusError):
                ask(patient, content)
            assert len(sent) == tries


def test_an_error_in_the_middle_of_a_stream_is_an_event(client, server):
    said = []
    with pytest.raises(openai.APIError, match="the script says so"):
        for chunk in ask(client, "[[tokens=50 fail=4]]", stream=True):
            said.append(chunk.choices[0].delta.content)
    assert len("".join(said)) >= 1
    answer = server.request("POST", "/v1/chat/completions",
                            chat("[[tokens=50 fail=4]]", stream=True))
    events, is_done = sse_objects(answer.body)
    assert not is_done
    assert set(events[-1]) == {"error"}
    assert set(events[-1]["error"]) == {"message", "type", "param", "code"}


REFUSED = [
    ({"messages": []}, "messages", None),
    ({"messages": None}, "messages", "missing_required_parameter"),
    ({}, "messages", "missing_required_parameter"),
    (chat("x", temperature=2.5), "temperature", "decimal_above_max_value"),
    (chat("x", temperature="hot"), "temperature", "invalid_type"),
    (chat("x", top_p=-0.1), "top_p", "decimal_below_min_value"),
    (chat("x", n=0), "n", "integer_below_min_value"),
    (chat("x", n=17), "n", "integer_above_max_value"),
    (chat("x", n=2.5), "n", "invalid_type"),
    (chat("x", max_tokens=0), "max_tokens", "integer_below_min_value"),
    (chat("x", max_completion_tokens=-1), "max_completion_tokens", "integer_below_min_value"),
    (chat("x", presence_penalty=3), "presence_penalty", None),
    (chat("x", frequency_penalty=-3), "frequency_penalty", None),
    (chat("x", stop=""), "stop", "invalid_value"),
    (chat("x", stop=["a"] * 17), "stop", "array_above_max_length"),
    (chat("x", stop=[1]), "stop", "invalid_type"),
    (chat("x", seed="a"), "seed", "invalid_type"),
    (chat("x", stream="yes"), "stream", "invalid_type"),
    (chat("x", stream_options={"include_usage": True}), "stream_options", None),
    (chat("x", stream=True, stream_options=3), "stream_options", "invalid_type"),
    (chat("x", logprobs=1), "logprobs", "invalid_type"),
    (chat("x", logprobs=True, top_logprobs=21), "top_logprobs", "integer_above_max_value"),
    (chat("x", top_logprobs=2), "top_logprobs", "invalid_value"),
    (chat("x", logit_bias={"a": 1}), "logit_bias", None),
    (chat("x", logit_bias={"1": "a"}), "logit_bias", "invalid_type"),
    (chat("x", logit_bias={"1": 101}), "logit_bias", None),
    (chat("x", logit_bias={"99999999": 1}), None, None),
    (chat("x", logit_bias=[1]), "logit_bias", "invalid_type"),
    (chat("x", top_k=-2), "top_k", "integer_below_min_value"),
    (chat("x", min_p=1.1), "min_p", None),
    (chat("x", repetition_penalty=0), "repetition_penalty", None),
    (chat("x", response_format={"type": "json_schema", "json_schema": {}}),
     "response_format.json_schema.schema", "invalid_type"),
    (chat("x", response_format={}), "response_format.type", None),
    (chat("x", grammar="root ::= \"a"), "grammar", "invalid_value"),
    ({"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": {}}]}]},
     "messages[0].content", "unsupported_value"),
    ({"messages": [{"role": "robot", "content": "x"}]}, "messages[0].role", "invalid_value"),
]


@pytest.mark.parametrize("body, param, code", REFUSED)
def test_a_wrong_field_is_named(server, body, param, code):
    answer = server.request("POST", "/v1/chat/completions", body)
    assert answer.status == 400, answer
    error = answer.json["error"]
    assert set(answer.json) == {"error"} and set(error) == {"message", "type", "param", "code"}
    assert error["type"] == "invalid_request_error"
    assert error["param"] == param
    assert error["message"]
    if code is not None:
        assert error["code"] == code


@pytest.mark.parametrize("body, param", [
    ({}, "prompt"), ({"prompt": 7}, "prompt"), ({"prompt": []}, "prompt"),
    ({"prompt": ["a", 7]}, "prompt"), ({"prompt": [7, "a"]}, "prompt"),
    ({"prompt": [99999]}, "prompt"), ({"prompt": [-1]}, "prompt"), ({"prompt": [[]]}, "prompt"),
    ({"prompt": ["a"] * 17}, "prompt"), ({"prompt": ["a"] * 9, "n": 2}, "n"),
    ({"prompt": "a", "logprobs": 21}, "logprobs"), ({"prompt": "a", "best_of": 3}, "best_of"),
    ({"prompt": "a", "suffix": "b"}, "suffix"), ({"prompt": "a", "max_tokens": -1}, "max_tokens"),
])
def test_a_wrong_field_of_a_completion_is_named(server, body, param):
    answer = server.request("POST", "/v1/completions", body)
    assert answer.status == 400, answer
    assert answer.json["error"]["param"] == param


def test_a_model_without_a_template_says_so(build_dir):
    server = FakeServer(build_dir, "template=")
    try:
        answer = server.request("POST", "/v1/chat/completions", chat("x"))
        assert answer.status == 400
        assert answer.json["error"]["code"] == "no_chat_template"
        assert server.request("POST", "/v1/completions", {"prompt": "x"}).status == 200
    finally:
        server.stop()


# --- many at once ---


def test_sixteen_streams_at_once_do_not_mix(server):
    async def one(client, seed):
        text = ""
        stream = await client.chat.completions.create(
            model=MODEL, seed=seed, stream=True,
            messages=[{"role": "user", "content": "[[tokens=20 delay=1]]"}])
        async for chunk in stream:
            text += chunk.choices[0].delta.content or ""
        return text

    async def alone(client, seed):
        answer = await client.chat.completions.create(
            model=MODEL, seed=seed, messages=[{"role": "user", "content": "[[tokens=20]]"}])
        return answer.choices[0].message.content

    async def everything():
        async with openai.AsyncOpenAI(base_url=server.base_url + "/v1", api_key="x",
                                      max_retries=0) as client:
            streamed = await asyncio.gather(*(one(client, seed) for seed in range(16)))
            expected = [await alone(client, seed) for seed in range(16)]
            assert streamed == expected

    asyncio.run(everything())
