"""The same answers over the other APIs: OpenAI's responses, Anthropic's messages, Ollama's chat. What is a thought, a
text or a call is told apart before any of them writes it, so four forms that differ most stand for all."""

import json

import anthropic
import ollama
import openai
import pytest
from conversations import SEARCH, WEATHER
from server_harness import FakeServer
from tool_forms import FORMS, OPENS_A_THOUGHT, template_of

pytestmark = pytest.mark.timeout(900)  # the first run downloads

TOOLS = [WEATHER, SEARCH]
ARGUMENTS = {"city": "Zürich", "days": 3, "options": {"wind": True, "tags": ["a", "]}"]}}
# What the model writes of a thought.
THOUGHT = {"harmony": "", "gemma": "<|channel>thought\nI need it.\n<channel|>", "glm": "I need it.</think>", "qwen_xml": "", "plain": ""}
FORM_NAMES = list(THOUGHT)


def script(text):
    return f"[[hex={text.encode().hex()}]]"


@pytest.fixture(scope="module")
def servers(build_dir, source_root):
    running = {}

    def get(form):
        if form not in running:
            running[form] = FakeServer(build_dir, f"template={template_of(source_root, form)}", "context=20000")
        return running[form]

    yield get
    for server in running.values():
        server.stop()


def answer_of(form):
    assert form not in OPENS_A_THOUGHT or THOUGHT[form]
    return THOUGHT[form] + FORMS[form][1]([("get_weather", ARGUMENTS)])


def thought_of(form):
    return "I need it." if THOUGHT[form] or form == "harmony" else None


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("form", FORM_NAMES)
def test_over_the_responses_api(servers, form, stream):
    with openai.OpenAI(base_url=servers(form).base_url + "/v1", api_key="x", max_retries=0) as client:
        wanted = {"model": "fake-alias", "input": script(answer_of(form)),
                  "tools": [{"type": "function", "strict": False, **tool["function"]} for tool in TOOLS]}
        if stream:
            with client.responses.stream(**wanted) as events:
                response = events.get_final_response()
        else:
            response = client.responses.create(**wanted)
    kinds = [item.type for item in response.output]
    assert kinds == (["reasoning"] if thought_of(form) else []) + ["function_call"]
    call = response.output[-1]
    assert (call.name, json.loads(call.arguments)) == ("get_weather", ARGUMENTS)
    if thought_of(form):
        assert response.output[0].content[0].text == thought_of(form)


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("form", FORM_NAMES)
def test_over_anthropics_api(servers, form, stream):
    tools = [{"name": tool["function"]["name"], "input_schema": tool["function"]["parameters"]} for tool in TOOLS]
    with anthropic.Anthropic(base_url=servers(form).base_url, api_key="x", max_retries=0) as client:
        wanted = {"model": "fake-alias", "messages": [{"role": "user", "content": script(answer_of(form))}], "tools": tools,
                  "max_tokens": 3000, "thinking": {"type": "enabled", "budget_tokens": 1024}}
        if stream:
            with client.messages.stream(**wanted) as events:
                message = events.get_final_message()
        else:
            message = client.messages.create(**wanted)
    assert message.stop_reason == "tool_use"
    assert [block.type for block in message.content] == (["thinking"] if thought_of(form) else []) + ["tool_use"]
    assert (message.content[-1].name, message.content[-1].input) == ("get_weather", ARGUMENTS)
    if thought_of(form):
        assert message.content[0].thinking == thought_of(form)


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("form", FORM_NAMES)
def test_over_ollamas_api(servers, form, stream):
    client = ollama.Client(servers(form).base_url)
    parts = client.chat("fake-alias", [{"role": "user", "content": script(answer_of(form))}], tools=TOOLS, stream=stream)
    parts = list(parts) if stream else [parts]
    calls = [call.function for part in parts for call in part.message.tool_calls or []]
    assert [(call.name, call.arguments) for call in calls] == [("get_weather", ARGUMENTS)]
    assert "".join(part.message.content or "" for part in parts) == ""
    assert "".join(part.message.thinking or "" for part in parts) == (thought_of(form) or "")


@pytest.mark.parametrize("think", [False, "low", True])
def test_gpt_oss_is_told_its_degree_of_thinking(servers, think):
    """It cannot do without: false is its least."""
    server = servers("harmony")
    final = "<|channel|>final<|message|>Four."
    answer = ollama.Client(server.base_url).chat("fake-alias", [{"role": "user", "content": script(final)}], think=think)
    assert answer.message.content == "Four."
    prompts = [server.request("POST", "/apply-template", {
        "messages": [{"role": "user", "content": "x"}], "reasoning_effort": effort}).json["prompt"]
        for effort in ("none", "medium", "max")]
    assert [f"Reasoning: {degree}\n" in prompt for degree, prompt in zip(("low", "medium", "high"), prompts, strict=True)] == [True] * 3


@pytest.mark.parametrize("name", ["reasoning_content", "reasoning", "thinking"])
def test_a_thought_goes_back_under_any_servers_name(servers, name):
    call = {"id": "call_1", "type": "function", "function": {"name": "search", "arguments": "{}"}}
    messages = [{"role": "user", "content": "x"}, {"role": "assistant", "content": None, name: "I need it.", "tool_calls": [call]},
                {"role": "tool", "tool_call_id": "call_1", "content": "found"}]
    for form, written in (("harmony", "<|channel|>analysis<|message|>I need it.<|end|>"), ("gemma", "thought\nI need it.\n<channel|>")):
        asked = {"messages": messages, "tools": TOOLS}
        assert written in servers(form).request("POST", "/apply-template", asked).json["prompt"]
        asked["messages"] = [messages[0], {**messages[1], name: [1]}, messages[2]]
        answer = servers(form).request("POST", "/apply-template", asked)
        assert answer.status == (400 if name == "reasoning_content" else 200)
