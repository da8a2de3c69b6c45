"""Calls that are asked for: whatever the model would have said, it calls, in its own form, with valid arguments.

The model is tiny and random: it knows of no tool, so what is valid is the grammar's doing. How calls are
read, form by form, is in test_server_tools.py.
"""

import json
from types import SimpleNamespace
from typing import Literal

import anthropic
import jsonschema
import openai
import pydantic
import pytest
import tool_forms
from conversations import SEARCH, WEATHER
from make_model import make_model
from server_harness import RealServer

pytestmark = pytest.mark.timeout(900)  # the first run downloads

PING = {"type": "function", "function": {"name": "ping", "description": "Answers."}}
SHORT = {"type": "function", "function": {"name": "set_level", "description": "Sets it.", "parameters": {
    "type": "object", "properties": {"level": {"type": "integer", "minimum": 3, "maximum": 7}, "room": {"enum": ["hall", "attic"]}},
    "required": ["level", "room"], "additionalProperties": False}}}
TOOLS = [WEATHER, SEARCH, PING, SHORT]
SCHEMAS = {tool["function"]["name"]: tool["function"].get("parameters", {"type": "object", "maxProperties": 0}) for tool in TOOLS}
USER = [{"role": "user", "content": "the water"}]

# A model whose template begins its thought for it; its tags are tokens.
OPENS_A_THOUGHT = (
    "{% if tools %}{{ tools | tojson }}{% endif %}{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}"
    "{% for c in m.tool_calls or [] %}<tool_call>\n{\"name\": \"{{ c.function.name }}\", \"arguments\": "
    "{{ c.function.arguments | tojson }}}\n</tool_call>{% endfor %}<|im_end|>\n{% endfor %}<|im_start|>assistant\n<think>\n")
READ = ("mistral_list", "mistral_ids", "hermes", "llama3", "qwen_xml", "glm_lines", "gemma", "deepseek_v31", "harmony", "phi4_mini", "plain")
FORMS = {  # template, control tokens
    **{form: (tool_forms.FORMS[form][0], tool_forms.FORMS[form][2]) for form in READ},
    "mistral_thinking": ("mistralai-Ministral-3-14B-Reasoning-2512", tool_forms.MISTRAL),
    "opens_a_thought": (OPENS_A_THOUGHT, [*tool_forms.QWEN, "<think>", "</think>", "<tool_call>", "</tool_call>"]),
}
# A random model hardly ever ends a text without quotes, or its calls: these forms are asked for one call with numbers
# and choices only.
FEW = ("qwen_xml", "glm_lines", "gemma", "deepseek_v31", "harmony", "phi4_mini", "plain")
ONE_OF_FEW = {"tools": [PING, SHORT], "parallel_tool_calls": False, "max_tokens": 400}
PLAIN = [form for form in FORMS if form != "opens_a_thought"]
VOCABULARY = 512
ENDS = ("<|im_end|>", "<|eot_id|>", "<turn|>", "<｜tool▁calls▁end｜>", "<|end|>")
SEEDED = {"seed": 0}  # over APIs that have no such field of their own: a random model may take any number of tokens to end a string


@pytest.fixture(scope="module")
def servers(mistral, source_root, tmp_path_factory):
    """A server for each form, started when it is first asked for."""
    running = {}

    def get(form):
        if form not in running:
            name, controls = FORMS[form]
            template = tool_forms.read_template(source_root, name)
            model = make_model(tmp_path_factory.mktemp("model") / "tiny.gguf", vocabulary=VOCABULARY, context=20000,
                               chat_template=template, controls=controls)
            running[form] = RealServer(mistral, model, home=tmp_path_factory.mktemp("home"))
        return running[form]

    yield get
    for server in running.values():
        server.stop()


def bias(form, **tokens):
    """logit_bias of control tokens, which are the vocabulary's last: {"[THINK]": 100} by text."""
    controls = FORMS[form][1]
    return {str(VOCABULARY - len(controls) + controls.index(text)): value for text, value in tokens.items()}


def client_of(server):
    return openai.OpenAI(base_url=server.base_url + "/v1", api_key="unused", max_retries=0)


def ask(server, seed=0, stream=False, **more):
    """One answer: content, thought, calls (name, arguments as text), finish reason."""
    more = {"messages": USER, "max_tokens": 1500, "reasoning_effort": "none", "model": "tiny", "seed": seed, **more}
    with client_of(server) as client:
        if not stream:
            choice = client.chat.completions.create(**more).choices[0]
            calls = [(call.function.name, call.function.arguments) for call in choice.message.tool_calls or []]
            return SimpleNamespace(content=choice.message.content, calls=calls, reason=choice.finish_reason,
                                   thought=getattr(choice.message, "reasoning_content", None))
        parts = SimpleNamespace(content="", thought="", calls=[], reason=None)
        for chunk in client.chat.completions.create(**more, stream=True):
            delta = chunk.choices[0].delta
            parts.content += delta.content or ""
            for call in delta.tool_calls or []:
                if call.id is not None:
                    parts.calls.append((call.function.name, ""))
                name, text = parts.calls[call.index]
                parts.calls[call.index] = (name, text + (call.function.arguments or ""))
            parts.reason = chunk.choices[0].finish_reason or parts.reason
        parts.content = parts.content or None
        return parts


def assert_valid(calls, names=tuple(SCHEMAS)):
    for name, arguments in calls:
        assert name in names
        jsonschema.validate(json.loads(arguments), SCHEMAS[name])


@pytest.mark.parametrize("form", PLAIN)
def test_a_required_call_comes_and_is_valid(servers, form):
    whole = 0
    for seed in range(6):
        answer = ask(servers(form), seed, stream=seed % 2 == 1, tool_choice="required", **(ONE_OF_FEW if form in FEW else {"tools": TOOLS}), temperature=[0.7, 1.5][seed % 2])
        if answer.reason == "tool_calls":
            assert answer.content is None and answer.calls
            assert_valid(answer.calls)
            whole += 1
        else:
            assert answer.reason == "length"
            assert_valid(answer.calls[:-1])
    assert whole >= 3, "most answers come to their end"


@pytest.mark.parametrize("form", PLAIN)
def test_a_named_call_is_of_that_function(servers, form):
    for name in ("set_level", "ping"):
        for seed in range(3):
            answer = ask(servers(form), seed, stream=seed == 1, tools=TOOLS, parallel_tool_calls=False,
                         tool_choice={"type": "function", "function": {"name": name}})
            assert (answer.content, answer.reason, [call[0] for call in answer.calls]) == (None, "tool_calls", [name])
            assert_valid(answer.calls, (name,))
            assert name != "ping" or answer.calls[0][1] == "{}"


def test_a_model_claims_the_tools_that_its_template_knows(servers):
    """Whatever it takes beside them."""
    for form, claims in (("harmony", {"tools", "thinking"}), ("plain", set()), ("qwen_xml", {"tools"})):
        answer = servers(form).request("POST", "/api/show", {"model": "tiny"})
        assert claims == {"tools", "thinking"} & set(answer.json["capabilities"])


def test_only_allowed_tools_are_there(servers):
    allowed = [{"type": "function", "function": {"name": name}} for name in ("ping", "set_level")]
    for mode in ("required", "auto"):
        choice = {"type": "allowed_tools", "allowed_tools": {"mode": mode, "tools": allowed}}
        for seed in range(3):
            answer = ask(servers("hermes"), seed, tools=TOOLS, tool_choice=choice, parallel_tool_calls=False, max_tokens=500 if mode == "required" else 5)
            assert_valid(answer.calls, ("ping", "set_level"))
            assert (answer.reason == "tool_calls") is (mode == "required")
    with client_of(servers("hermes")) as client:
        response = client.responses.create(
            model="tiny", input="x", max_output_tokens=500, parallel_tool_calls=False, reasoning={"effort": "none"}, extra_body=SEEDED,
            tools=[{"type": "function", "strict": False, **tool["function"]} for tool in TOOLS],
            tool_choice={"type": "allowed_tools", "mode": "required", "tools": [{"type": "function", "name": "ping"}]})
        assert [item.name for item in response.output] == ["ping"]
    for wrong in ({"mode": "required", "tools": [{"type": "function", "function": {"name": "f"}}]}, {"tools": allowed},
                  {"mode": "required", "tools": []}, {"mode": "auto", "tools": [1]}, {"mode": "auto"}):
        with pytest.raises(openai.BadRequestError, match="tool_choice"):
            ask(servers("hermes"), tools=TOOLS, tool_choice={"type": "allowed_tools", "allowed_tools": wrong})


@pytest.mark.parametrize("form", [form for form in PLAIN if form != "phi4_mini"])  # its list ends with a "]", which no bias forbids
def test_one_call_or_several(servers, form):
    """A model that will not end goes on calling, where that is allowed and the template has a place for several
    calls; else the answer is over after the first."""
    never_ends = {"2": -100, **bias(form, **{token: -100 for token in FORMS[form][1] if token in ENDS})}
    for parallel in (True, False):
        answer = ask(servers(form), tools=[PING], tool_choice="required", parallel_tool_calls=parallel, max_tokens=300,
                     logit_bias=never_ends)
        assert_valid(answer.calls)
        assert (len(answer.calls) > 1) == (parallel and form not in ("llama3", "harmony")), answer
        assert len(answer.calls) > 1 or answer.reason == "tool_calls"


def test_results_of_forced_calls_go_back_in(servers):
    """The next turn is read by the template, which checks ids and shapes."""
    for form in ("mistral_list", "mistral_ids", "hermes", "llama3"):
        with client_of(servers(form)) as client:
            first = client.chat.completions.create(
                model="tiny", messages=USER, tools=TOOLS, max_tokens=1500, parallel_tool_calls=False, reasoning_effort="none", seed=0,
                tool_choice={"type": "function", "function": {"name": "set_level"}}).choices[0].message
            result = {"role": "tool", "tool_call_id": first.tool_calls[0].id, "content": "done"}
            messages = [*USER, first.model_dump(exclude_none=True), result]
            second = client.chat.completions.create(model="tiny", messages=messages, tools=TOOLS, tool_choice="none", max_tokens=5)
            assert second.usage.completion_tokens > 0


# The bias makes the random model begin a thought, where the template has not, and end it soon.
@pytest.mark.parametrize(("form", "tokens"), [
    ("mistral_thinking", {"[THINK]": 8, "[/THINK]": 9}), ("opens_a_thought", {"</think>": 6})])
def test_a_thought_comes_before_the_call(servers, form, tokens):
    thoughts = 0
    for seed in range(6):
        answer = ask(servers(form), seed, tools=TOOLS, reasoning_effort="high", parallel_tool_calls=False, max_tokens=500,
                     tool_choice={"type": "function", "function": {"name": "set_level"}}, logit_bias=bias(form, **tokens))
        assert (answer.content, answer.reason) == (None, "tool_calls")
        assert_valid(answer.calls, ("set_level",))
        thoughts += answer.thought is not None
    assert thoughts > 0, "a thought is told apart from the call"


def test_a_format_comes_after_the_thought(servers):
    schema = {"type": "object", "properties": {"n": {"type": "integer", "minimum": 0, "maximum": 9}}, "required": ["n"]}
    for seed in range(4):
        answer = ask(servers("opens_a_thought"), seed, reasoning_effort="high",
                     response_format={"type": "json_schema", "json_schema": {"name": "n", "schema": schema}},
                     logit_bias=bias("opens_a_thought", **{"</think>": 6}))
        assert answer.reason == "stop"
        jsonschema.validate(json.loads(answer.content), schema)


def test_a_format_and_tools_leave_both_open(servers):
    schema = {"type": "object", "properties": {"n": {"type": "integer", "minimum": 0, "maximum": 9}}, "required": ["n"]}
    kinds = set()
    for force in (0, 100):
        for seed in range(3):
            answer = ask(servers("mistral_list"), seed, tools=[SHORT], parallel_tool_calls=False, max_tokens=200,
                         response_format={"type": "json_schema", "json_schema": {"name": "n", "schema": schema}},
                         logit_bias=bias("mistral_list", **{"[TOOL_CALLS]": force or -100}))
            if answer.reason == "stop":
                jsonschema.validate(json.loads(answer.content), schema)
            else:
                assert force == 100 and [name for name, _ in answer.calls] in ([], ["set_level"])
            kinds.add("format" if answer.content and answer.reason == "stop" else "call")
    assert kinds == {"format", "call"}


def test_a_strict_function_is_obeyed_once_a_call_has_begun(servers):
    """tool_choice auto: the model may say anything; the bias makes it begin a call."""
    strict = {"type": "function", "function": {**SHORT["function"], "strict": True}}
    begin = bias("mistral_list", **{"[TOOL_CALLS]": 100})
    for seed in range(4):
        answer = ask(servers("mistral_list"), seed, tools=[strict, SEARCH], logit_bias=begin, parallel_tool_calls=False)
        if answer.reason == "tool_calls":
            assert_valid([call for call in answer.calls if call[0] == "set_level"])
        assert not answer.calls or answer.calls[0][0] in ("set_level", "search")
        free = ask(servers("mistral_list"), seed, tools=[strict], logit_bias=bias("mistral_list", **{"[TOOL_CALLS]": -100}), max_tokens=20)
        assert free.content and not free.calls and free.reason == "length"
    only = ask(servers("mistral_list"), tools=[strict], logit_bias=begin)
    assert only.reason == "tool_calls" and only.calls[0][0] == "set_level"
    assert_valid(only.calls)


@pytest.mark.parametrize(("tool", "choice", "says"), [
    ({"parameters": {"type": "object", "properties": {"a": {"type": "array", "uniqueItems": True}}}}, "required",
     "tools[1].function.parameters: JSON schema, #/properties/a: 'uniqueItems' is not supported"),
    ({"parameters": {"type": "array"}}, "required", "tools[1].function.parameters"),
    ({"parameters": {"type": "object", "properties": {"a": {"not": {}}}}, "strict": True}, "auto", "'not' is not supported"),
    ({"name": "a name"}, "required", "function name 'a name' in 'tools'"),
])
def test_what_cannot_be_enforced_is_refused_by_name(servers, tool, choice, says):
    tools = [PING, {"type": "function", "function": {"name": "f", **tool}}]
    with pytest.raises(openai.BadRequestError) as caught:
        ask(servers("mistral_ids"), tools=tools, tool_choice=choice)
    assert says in str(caught.value)
    if choice == "required":
        ask(servers("mistral_ids"), tools=tools, max_tokens=1)  # by itself the model may call as it likes


class SetLevel(pydantic.BaseModel):
    """Sets it."""

    level: int = pydantic.Field(ge=3, le=7)
    room: Literal["hall", "attic"]


def test_the_openai_clients_own_tools_come_back_parsed(servers):
    """pydantic_function_tool makes a strict function; parse() makes the model of its arguments."""
    with client_of(servers("mistral_ids")) as client:
        message = client.chat.completions.parse(
            model="tiny", messages=USER, tools=[openai.pydantic_function_tool(SetLevel)], tool_choice="required", max_tokens=500,
            parallel_tool_calls=False, seed=0).choices[0].message
    (call,) = message.tool_calls
    assert isinstance(call.function.parsed_arguments, SetLevel) and 3 <= call.function.parsed_arguments.level <= 7


def test_over_the_responses_api(servers):
    tools = [{"type": "function", "strict": False, **tool["function"]} for tool in (SHORT, WEATHER)]
    with client_of(servers("hermes")) as client:
        named = {"type": "function", "name": "set_level"}
        for choice, stream in (("required", False), (named, False), (named, True)):
            wanted = {"model": "tiny", "input": "x", "tools": tools, "tool_choice": choice, "max_output_tokens": 1500,
                      "parallel_tool_calls": False, "reasoning": {"effort": "none"}, "extra_body": SEEDED}
            if stream:
                with client.responses.stream(**wanted) as events:
                    response = events.get_final_response()
            else:
                response = client.responses.create(**wanted)
            (call,) = [item for item in response.output if item.type == "function_call"]
            assert_valid([(call.name, call.arguments)], ("set_level",) if choice == named else ("set_level", "get_weather"))


@pytest.mark.parametrize("stream", [False, True])
def test_over_anthropics_api(servers, stream):
    tools = [{"name": tool["function"]["name"], "input_schema": tool["function"]["parameters"]} for tool in (SHORT, WEATHER)]
    with anthropic.Anthropic(base_url=servers("hermes").base_url, api_key="unused", max_retries=0) as client:
        for choice in ({"type": "any"}, {"type": "tool", "name": "set_level"}):
            wanted = {"model": "tiny", "messages": USER, "tools": tools, "max_tokens": 1500, "thinking": {"type": "disabled"},
                      "extra_body": SEEDED, "tool_choice": {**choice, "disable_parallel_tool_use": True}}
            if stream:
                with client.messages.stream(**wanted) as events:
                    message = events.get_final_message()
            else:
                message = client.messages.create(**wanted)
            assert message.stop_reason == "tool_use"
            (use,) = message.content
            assert use.type == "tool_use" and (use.name == "set_level" or choice["type"] == "any")
            jsonschema.validate(use.input, SCHEMAS[use.name])
