"""Tools and thinking over the OpenAI API, with the openai client: every form of answer, streamed and not."""

import json

import openai
import pytest
from conversations import SEARCH, WEATHER
from llama_cpp_sources import models_folder
from server_harness import FakeServer
from tool_forms import FORMS, OPENS_A_THOUGHT, SINGLE, template_of

pytestmark = pytest.mark.timeout(900)  # the first run downloads

TOOLS = [WEATHER, SEARCH]
# The fake engine's vocabulary is SentencePiece's, which has a meaning of its own for "▁": these are read in
# test_tool_choice.py and in the answer parser's unit test.
READ = [form for form in FORMS if not form.startswith("deepseek")]
WARM = {"harmony": "<|channel|>final<|message|>Warm."}
ARGUMENTS = {"city": "Zürich", "days": 3, "options": {"wind": True, "tags": ["a", "]}"]}}


def mark(token):
    """As the engine marks a control token."""
    return f"\ufdd0{token}\ufdd1"


def script(text):
    return f"[[hex={text.encode().hex()}]]"


@pytest.fixture(scope="module")
def servers(build_dir, source_root):
    """A server for each form, started when it is first asked for."""
    running = {}

    def get(name):
        if name not in running:
            template = template_of(source_root, name)
            running[name] = FakeServer(build_dir, f"template={template}", "context=20000")
        return openai.OpenAI(base_url=running[name].base_url + "/v1", api_key="x", max_retries=0)

    yield get
    for server in running.values():
        server.stop()


def write(form, calls):
    """As the model answers."""
    end = OPENS_A_THOUGHT.get(form)
    return (f"Hm.{end}" if end else "") + FORMS[form][1](calls)


def ask(client, text, stream, **more):
    messages = more.pop("messages", None) or [{"role": "user", "content": script(text)}]
    request = {"model": "fake-alias", "messages": messages, **more}
    if not stream:
        choice = client.chat.completions.create(**request).choices[0]
        message = choice.message
        calls = [(call.id, call.function.name, call.function.arguments) for call in message.tool_calls or []]
        return message.content, getattr(message, "reasoning_content", None), calls, choice.finish_reason
    content, thought, calls, reason = "", "", {}, None
    for chunk in client.chat.completions.create(**request, stream=True):
        delta = chunk.choices[0].delta
        content += delta.content or ""
        thought += getattr(delta, "reasoning_content", None) or ""
        for call in delta.tool_calls or []:
            if call.id is not None:
                assert call.index == len(calls) and call.type == "function"
                calls[call.index] = [call.id, call.function.name, ""]
            calls[call.index][2] += call.function.arguments
        reason = chunk.choices[0].finish_reason or reason
    return content or None, thought or None, [tuple(call) for call in calls.values()], reason


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("form", READ)
def test_calls_come_as_calls(servers, form, stream):
    calls = [("get_weather", ARGUMENTS), ("search", {})][:1 if form in SINGLE else 2]
    content, _, came, reason = ask(servers(form), write(form, calls), stream, tools=TOOLS)
    assert [(name, json.loads(arguments)) for _, name, arguments in came] == calls
    assert reason == "tool_calls"
    assert content is None
    ids = [call[0] for call in came]
    assert len(set(ids)) == len(calls)
    if form.startswith("mistral"):
        assert all(len(id) == 9 and id.isalnum() for id in ids)
    else:
        assert all(id.startswith("call_") for id in ids)


@pytest.mark.parametrize("stream", [False, True])
def test_text_beside_calls_and_one_call_only(servers, stream):
    text = "I look.\n" + FORMS["hermes"][1]([("search", {"query": "a"}), ("search", {"query": "b"})])
    content, _, calls, _ = ask(servers("hermes"), text, stream, tools=TOOLS)
    assert content == "I look." and len(calls) == 2
    content, _, calls, reason = ask(servers("hermes"), text, stream, tools=TOOLS, parallel_tool_calls=False)
    assert (content, len(calls), reason) == ("I look.", 1, "tool_calls")


@pytest.mark.parametrize("stream", [False, True])
def test_thoughts_are_apart(servers, stream):
    content, thought, calls, reason = ask(servers("hermes"), "<think>\nHm.\n\nYes.\n</think>\n\nFour.", stream)
    assert (content, thought, calls, reason) == ("Four.", "Hm.\n\nYes.", [], "stop")
    content, thought, calls, reason = ask(
        servers("hermes"), "<think>\nHm.\n</think>\n\n" + FORMS["hermes"][1]([("search", {})]), stream, tools=TOOLS)
    assert (content, thought, len(calls), reason) == (None, "Hm.", 1, "tool_calls")


@pytest.mark.parametrize("stream", [False, True])
def test_what_is_no_call_is_content(servers, stream):
    for text in ("<tool_call>\nnothing\n</tool_call>", '<tool_call>{"name": 1}', '{"city": "Rome"}', "a < b"):
        content, _, calls, reason = ask(servers("hermes"), text, stream, tools=TOOLS)
        assert (content, calls, reason) == (text, [], "stop")
    text = FORMS["hermes"][1]([("search", {})])
    for more in ({}, {"tools": TOOLS, "tool_choice": "none"}, {"tools": []}):
        assert ask(servers("hermes"), text, stream, **more) == (text, None, [], "stop")


def test_an_answer_that_is_cut_inside_a_call(servers):
    text = '<tool_call>{"name": "search", "arguments": {"query": "a long one'
    content, _, calls, reason = ask(servers("hermes"), text, False, tools=TOOLS, max_tokens=60)
    assert calls == [] and reason == "length" and text.startswith(content) and len(content) > 20
    content, _, calls, reason = ask(servers("hermes"), text, True, tools=TOOLS)
    assert reason == "stop" and calls[0][1] == "search" and (calls[0][2] + (content or "")) in text


def test_logprobs_cover_every_token_of_a_call(servers):
    text = "Hi " + FORMS["hermes"][1]([("search", {})])
    chunks = list(servers("hermes").chat.completions.create(
        model="fake-alias", messages=[{"role": "user", "content": script(text)}], tools=TOOLS, logprobs=True, stream=True))
    tokens = [entry.token for chunk in chunks if chunk.choices[0].logprobs for entry in chunk.choices[0].logprobs.content]
    assert "".join(tokens) == text


@pytest.mark.parametrize("form", READ)
def test_results_go_back_in(servers, form):
    """The second turn: calls with their arguments as text, content null, and any form of id."""
    client = servers(form)
    first = ask(client, write(form, [("get_weather", ARGUMENTS)]), False, tools=TOOLS)
    for identifier in (first[2][0][0], "call_of_another_model"):
        messages = [
            {"role": "user", "content": "Weather?"},
            {"role": "assistant", "content": None, "tool_calls": [
                {"id": identifier, "type": "function", "function": {"name": "get_weather", "arguments": first[2][0][2]}}]},
            {"role": "tool", "tool_call_id": identifier, "content": '{"temperature": 21.5} ' + script(WARM.get(form, OPENS_A_THOUGHT.get(form, "") + "Warm."))},
        ]
        assert ask(client, "", False, messages=messages, tools=TOOLS)[0] == "Warm."


def test_wishes_that_cannot_be(servers, build_dir, subtests):
    user = [{"role": "user", "content": "x"}]
    rows = [
        ({"tools": {}}, "Invalid type for 'tools'"),
        ({"tools": [1]}, "tools[0]"),
        ({"tools": [{"type": "retrieval"}]}, "only 'function' is"),
        ({"tools": [{"type": "function", "function": {}}]}, "tools[0].function.name"),
        ({"tools": [{"type": "function", "function": {"name": "f", "parameters": []}}]}, "tools[0].function.parameters"),
        ({"tool_choice": "required"}, "there are no 'tools'"),
        ({"tools": TOOLS, "tool_choice": "maybe"}, "Invalid 'tool_choice'"),
        ({"tools": TOOLS, "tool_choice": {"type": "function", "function": {"name": "f"}}}, "'f' is not in 'tools'"),
        ({"parallel_tool_calls": 1}, "parallel_tool_calls"),
        ({"reasoning_effort": "much"}, "'much'"),
        ({"extra_body": {"chat_template_kwargs": {"messages": []}}}, "'messages'"),
        ({"extra_body": {"chat_template_kwargs": []}}, "chat_template_kwargs"),
    ]
    for more, message in rows:
        with subtests.test(message), pytest.raises(openai.BadRequestError) as caught:
            servers("hermes").chat.completions.create(model="fake-alias", messages=user, **more)
        assert message in str(caught.value)


def test_tools_are_told_to_a_model_whose_template_knows_none(servers, build_dir):
    """In the system message; calls and results go back as text; the client sees calls as ever."""
    server = FakeServer(build_dir, "context=20000")
    try:
        client = openai.OpenAI(base_url=server.base_url + "/v1", api_key="x", max_retries=0)
        text = FORMS["plain"][1]([("search", {"query": "a"}), ("get_weather", ARGUMENTS)])
        for stream in (False, True):
            content, _, calls, reason = ask(client, text, stream, tools=TOOLS)
            assert content is None and reason == "tool_calls"
            assert [(name, json.loads(arguments)) for _, name, arguments in calls] == [("search", {"query": "a"}), ("get_weather", ARGUMENTS)]
        assert ask(client, text, False, tools=TOOLS, tool_choice="none") == (text, None, [], "stop")
        assert ask(client, text, False) == (text, None, [], "stop")
    finally:
        server.stop()


def prompt_of(build_dir, template, **more):
    """What the engine is asked: the fake one tells."""
    server = FakeServer(build_dir, f"template={template}", "context=20000")
    try:
        client = openai.OpenAI(base_url=server.base_url + "/v1", api_key="x", max_retries=0)
        client.chat.completions.create(model="fake-alias", messages=[{"role": "user", "content": "[[tell=1]]"}], **more)
        return server.wait_event(lambda event: event["event"] == "asked")["prompt"]
    finally:
        server.stop()


def test_templates_are_told_of_thinking(build_dir, source_root):
    template = (models_folder(source_root) / "templates" / "Qwen-Qwen3-0.6B.jinja").read_text(encoding="utf-8")
    closed = "<think>\n\n</think>"
    assert closed not in prompt_of(build_dir, template)
    assert closed not in prompt_of(build_dir, template, reasoning_effort="high")
    assert closed in prompt_of(build_dir, template, reasoning_effort="none")
    assert closed in prompt_of(build_dir, template, extra_body={"chat_template_kwargs": {"enable_thinking": False}})
    assert "get_weather" in prompt_of(build_dir, template, tools=TOOLS)
    assert "get_weather" not in prompt_of(build_dir, template, tools=TOOLS, tool_choice="none")
