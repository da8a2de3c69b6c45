"""Calls, their results and thoughts on their way back into the prompt, form by form, against jinja2.

Clients send arguments as text, ids of any form, and thoughts as `reasoning_content`. The oracle renders the
conversation in the shape that the template's authors document; where a template has no place for something, it
is given what this program says instead, spelled out here.
"""

import datetime
import json

import pytest
from conversations import SEARCH, WEATHER
from template_oracle import Oracle, make_extended_environment
from test_chat_prompt_safety import Encoder
from tokenizer_models import CONTROL, NORMAL, stand_ins, write_vocabulary
from tool_forms import FORMS, template_of

pytestmark = pytest.mark.timeout(900)  # the first run downloads

TOOLS = [WEATHER, SEARCH]
ARGUMENTS = {"city": "Zürich", "days": 3}
SYSTEM = {"role": "system", "content": "Be terse."}
USER = {"role": "user", "content": "Weather?"}
BESIDES = {"reasoning_content": "I should look."}
# These write calls in the templates' own place.
BY_TEMPLATE = [form for form in FORMS if form not in ("phi4_mini", "smollm3", "plain", "deepseek_v31", "deepseek_v3")]
THINKING_KEY = {"harmony": "thinking"}


@pytest.fixture(scope="module")
def encoder(build_dir, tmp_path_factory):
    alphabet = stand_ins()
    tokens = [alphabet[byte] for byte in range(256)] + ["<s>", "</s>"]
    path = write_vocabulary(tmp_path_factory.mktemp("vocabulary") / "bytes.gguf", "gpt2", tokens, [NORMAL] * 256 + [CONTROL] * 2,
                            pre="gpt-2", merges=[], bos_token_id=256, eos_token_id=257, add_bos_token=True, add_eos_token=True)
    return Encoder(build_dir, path)


@pytest.fixture(scope="module")
def environment():
    made = make_extended_environment()
    made.globals["strftime_now"] = lambda format: datetime.datetime.now().strftime(format)
    return made


def call(name, arguments, identifier):
    return {"id": identifier, "type": "function", "function": {"name": name, "arguments": arguments}}


def result(content, identifier, name):
    return {"role": "tool", "tool_call_id": identifier, "name": name, "content": content}


def rendered(encoder, template, messages, **variables):
    """As the program renders what a client sends."""
    sent = json.loads(json.dumps(messages))
    for message in sent:
        for each in message.get("tool_calls", []):
            each["function"]["arguments"] = json.dumps(each["function"]["arguments"], ensure_ascii=False)
    (answer,) = encoder.ask([{"template": template, "messages": sent, "tools": TOOLS, "variables": variables}])
    assert "text" in answer, answer
    return answer["text"]


def expected(environment, template, messages, tools=TOOLS, **variables):
    context = {"messages": messages, "bos_token": "<s>", "eos_token": "</s>", "add_generation_prompt": True, **variables}
    if tools:
        context["tools"] = tools
    outcome = Oracle(environment, template).ask(context)
    assert outcome.kind == "text", outcome
    return outcome.text


def conversation(form, *calls, thought=False):
    """(what a client sends, what the template is documented to take)"""
    message = {"role": "assistant", "content": "", "tool_calls": [call(*each) for each in calls], **(BESIDES if thought else {})}
    results = [result('{"temperature": 21.5}', identifier, name) for name, _, identifier in calls]
    documented = dict(message)
    if thought and form in THINKING_KEY:
        documented[THINKING_KEY[form]] = documented.pop("reasoning_content")
    if thought and form == "mistral_names":
        documented["content"] = [{"type": "thinking", "thinking": documented.pop("reasoning_content")}]
    return [SYSTEM, USER, message, *results], [SYSTEM, USER, documented, *results]


FIRST, SECOND = ("get_weather", ARGUMENTS, "abcdefgh1"), ("search", {"query": "it's \"there\""}, "abcdefgh2")


@pytest.mark.parametrize("form", BY_TEMPLATE)
def test_a_call_and_its_result_are_written_by_the_template(encoder, environment, source_root, form):
    template = template_of(source_root, form)
    for calls, thought in (([FIRST], False), ([FIRST], True), ([FIRST, SECOND], False)):
        if len(calls) > 1 and form in ("llama3", "harmony"):
            continue
        sent, documented = conversation(form, *calls, thought=thought)
        assert rendered(encoder, template, sent) == expected(environment, template, documented)


@pytest.mark.parametrize("form", ["llama3", "harmony"])
def test_two_calls_go_to_a_template_of_single_calls_as_two_answers(encoder, environment, source_root, form):
    template = template_of(source_root, form)
    sent, _ = conversation(form, FIRST, SECOND)
    one, two = ({"role": "assistant", "content": "", "tool_calls": [call(*each)]} for each in (FIRST, SECOND))
    documented = [SYSTEM, USER, one, sent[3], two, sent[4]]
    assert rendered(encoder, template, sent) == expected(environment, template, documented)


def test_a_thought_and_a_text_beside_a_call_where_the_template_takes_one(encoder, environment, source_root):
    template = template_of(source_root, "harmony")
    sent, documented = conversation("harmony", FIRST, thought=True)
    sent[2]["content"] = "I look."
    documented[2]["thinking"] = "I should look.\n\nI look."
    assert rendered(encoder, template, sent) == expected(environment, template, documented)


@pytest.mark.parametrize("form", ["smollm3", "phi4_mini", "plain"])
def test_calls_are_content_where_the_template_writes_none(encoder, environment, source_root, form):
    template = template_of(source_root, form)
    sent, _ = conversation(form, FIRST, SECOND)
    sent[2]["content"] = "I look."
    system, results, tools = dict(SYSTEM), sent[3:], None
    if form == "smollm3":
        tools = TOOLS
    elif form == "phi4_mini":
        system["tools"] = json.dumps([tool["function"] for tool in TOOLS], ensure_ascii=False)
    else:
        told = rendered(encoder, template, [SYSTEM, USER])
        system["content"] = told[told.index("Be terse."):told.index("<|end|>")]
        text = "\n".join(f"<tool_response>\n{message['content']}\n</tool_response>" for message in results)
        results = [{"role": "user", "content": text}]
        assert all(json.dumps(tool["function"], ensure_ascii=False) in told for tool in TOOLS)
        assert FORMS["hermes"][1]([("NAME", {"ARGUMENT": "VALUE"})]) in told
    answer = {"role": "assistant", "content": "I look.\n" + FORMS[form][1]([("get_weather", ARGUMENTS), ("search", SECOND[1])])}
    assert rendered(encoder, template, sent) == expected(environment, template, [system, USER, answer, *results], tools)


@pytest.mark.parametrize("form", ["deepseek_v31"])
def test_tools_are_told_in_the_form_of_a_template_that_writes_calls_alone(encoder, environment, source_root, form):
    template = template_of(source_root, form)
    told = rendered(encoder, template, [SYSTEM, USER])
    assert FORMS[form][1]([("NAME", {"ARGUMENT": "VALUE"})]) in told
    assert all(json.dumps(tool["function"], ensure_ascii=False) in told for tool in TOOLS)
    sent, documented = conversation(form, FIRST, SECOND)
    documented[0] = {"role": "system", "content": told[len("<s>"):told.index("<｜User｜>")]}
    assert rendered(encoder, template, sent) == expected(environment, template, documented, None)


def test_a_template_that_refuses_a_system_message_gets_the_tools_with_the_first_question(encoder, environment, source_root):
    from llama_cpp_sources import models_folder
    template = (models_folder(source_root) / "templates" / "google-gemma-2-2b-it.jinja").read_text(encoding="utf-8")
    told = rendered(encoder, template, [SYSTEM, USER])
    assert told.startswith("<s><start_of_turn>user\nBe terse.\n\nYou may call tools.") and told.count("<start_of_turn>user") == 1
    sent, _ = conversation("plain", FIRST)
    sent += [{"role": "user", "content": "And tomorrow?"}]
    text = rendered(encoder, template, sent)
    assert text.endswith('<tool_response>\n{"temperature": 21.5}\n</tool_response>\n\nAnd tomorrow?<end_of_turn>\n<start_of_turn>model\n')


@pytest.mark.parametrize(("form", "on", "off"), [
    ("hermes", {"enable_thinking": True}, {"enable_thinking": False}),
    ("glm_lines", {"enable_thinking": True}, {"enable_thinking": False}),
    ("gemma", {"enable_thinking": True}, {"enable_thinking": False}),
    ("deepseek_v31", {"thinking": True}, {"thinking": False}),
    ("smollm3", {"enable_thinking": True}, {"enable_thinking": False}),
    ("harmony", {"reasoning_effort": "high"}, {"reasoning_effort": "low"})])
def test_thinking_is_set_as_the_template_wants_it(encoder, environment, source_root, form, on, off):
    template = template_of(source_root, form)
    texts = []
    for variables in (on, off):
        (answer,) = encoder.ask([{"template": template, "messages": [USER], "variables": variables}])
        assert answer["text"] == expected(environment, template, [USER], None, **variables)
        texts.append(answer["text"])
        assert answer["thinking_open"] is (form == "deepseek_v31" and variables is on)
    assert texts[0] != texts[1]


def test_a_tool_without_description_or_parameters(encoder, environment, source_root):
    """gpt-oss's template fails on it, so it gets empty ones; Qwen's writes what is there."""
    bare = [{"type": "function", "function": {"name": "ping"}}]
    whole = [{"type": "function", "function": {"name": "ping", "description": "", "parameters": {"type": "object", "properties": {}}}}]
    for form, shown in (("harmony", whole), ("hermes", bare)):
        template = template_of(source_root, form)
        (answer,) = encoder.ask([{"template": template, "messages": [USER], "tools": bare}])
        assert answer["text"] == expected(environment, template, [USER], shown)
