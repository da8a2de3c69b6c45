"""Whole conversations, token for token as mistral-common encodes them: tools, calls, results, thoughts.

One vocabulary and one template a version. Versions 1 to 7 have no template of Mistral's own within reach but
Nemo's (v3 on Tekken), so theirs are written here, after mistral-common's own rules; for versions 11 and 13 the
templates are those of Mistral Small 3.2 and Ministral 3. mistral-common carries no vocabulary of 11 and 13:
version 3's, with their control tokens, stands in.

Where a published template differs from mistral-common, on purpose or not, DIFFERENCES says so, and the test
fails when it no longer does.
"""

import json
import subprocess
from importlib.resources import files

import pytest
from llama_cpp_sources import models_folder
from mistral_common.protocol.instruct.normalize import get_normalizer
from mistral_common.protocol.instruct.request import ChatCompletionRequest
from mistral_common.protocol.instruct.validator import ValidationMode, get_validator
from mistral_common.tokens.tokenizers import instruct
from mistral_common.tokens.tokenizers.base import TokenizerVersion
from mistral_common.tokens.tokenizers.mistral import MistralTokenizer
from mistral_common.tokens.tokenizers.tekken import Tekkenizer
from sentencepiece import SentencePieceProcessor
from tokenizer_models import from_sentencepiece, from_tekken

pytestmark = pytest.mark.timeout(900)  # the first run downloads

SPECIALS = [token["token_str"].value for token in Tekkenizer.DEPRECATED_SPECIAL_TOKENS]
LATER_SPECIALS = ["[ARGS]", "[CALL_ID]", "[THINK]", "[/THINK]"]

# --- templates, after mistral-common's rules ---

V1 = """{{ bos_token }}{% set ns = namespace(system='') %}{% for m in messages %}
{%- if m.role == 'system' %}{% set ns.system = m.content + '\n\n' %}
{%- elif m.role == 'user' %}{{ '[INST] ' + ns.system + m.content + ' [/INST]' }}{% set ns.system = '' %}
{%- else %}{{ ' ' + m.content + eos_token }}{% endif %}{% endfor %}"""

# The system text goes into the last thing the user says, after the tools.
V2_TO_V7 = """{{ bos_token }}{% set ns = namespace(system='', last=0) %}{% for m in messages %}
{%- if m.role == 'system' %}{% set ns.system = m.content + '\n\n' %}{% endif %}
{%- if m.role == 'user' %}{% set ns.last = loop.index0 %}{% endif %}{% endfor %}{% for m in messages %}
{%- if m.role == 'user' %}
{%- if tools and loop.index0 == ns.last %}{{ '[AVAILABLE_TOOLS]' + (tools | tojson) + '[/AVAILABLE_TOOLS]' }}{% endif %}
{{- '[INST]' + (ns.system if loop.index0 == ns.last and not SYSTEM_APART else '') + m.content + '[/INST]' }}
{%- elif m.role == 'system' and SYSTEM_APART %}{{ '[SYSTEM_PROMPT]' + m.content + '[/SYSTEM_PROMPT]' }}
{%- elif m.role == 'assistant' and m.tool_calls %}{% if not HISTORY_LOST or loop.index0 > ns.last %}
{{- m.content or '' }}{{ '[TOOL_CALLS][' }}{% for c in m.tool_calls %}
{{- '{"name": ' + (c.function.name | tojson) + ', "arguments": ' + (c.function.arguments | tojson) }}
{{- '' if HISTORY_LOST else ', "id": "' + c.id + '"' }}{{ '}' + (']' + eos_token if loop.last else ', ') }}{% endfor %}{% endif %}
{%- elif m.role == 'assistant' %}{{ m.content + eos_token }}
{%- elif m.role == 'tool' %}{% set content = m.content if m.content[:1] in '{[' else m.content | tojson %}
{%- if SYSTEM_APART %}{{ '[TOOL_RESULTS]' + m.tool_call_id + '[TOOL_CONTENT]' + m.content + '[/TOOL_RESULTS]' }}
{%- elif not HISTORY_LOST %}{{ '[TOOL_RESULTS]{"content": ' + content + ', "call_id": "' + m.tool_call_id + '"}[/TOOL_RESULTS]' }}
{%- elif loop.index0 > ns.last %}{{ '[TOOL_RESULTS][{"name": "' + m.name + '", "content": ' + content + '}][/TOOL_RESULTS]' }}
{%- endif %}{% endif %}{% endfor %}"""
V2 = "{% set SYSTEM_APART = false %}{% set HISTORY_LOST = true %}" + V2_TO_V7  # calls before the last question are not kept
V3 = "{% set SYSTEM_APART = false %}{% set HISTORY_LOST = false %}" + V2_TO_V7
V7 = "{% set SYSTEM_APART = true %}{% set HISTORY_LOST = false %}" + V2_TO_V7

# --- conversations ---

TOOLS = [
    {"type": "function", "function": {
        "name": "get_weather", "description": "The weather of a place, e.g. 'Zürich' & <others>", "parameters": {
            "type": "object", "properties": {"city": {"type": "string", "description": "Its \"name\""}, "days": {"type": "integer"}},
            "required": ["city"]}}},
    {"type": "function", "function": {"name": "search", "description": "", "parameters": {"type": "object", "properties": {}}}},
]


def user(content):
    return {"role": "user", "content": content}


def assistant(content, *calls, **more):
    made = {"role": "assistant", "content": content, **more}
    if calls:
        made["tool_calls"] = [{"id": i, "type": "function", "function": {"name": n, "arguments": json.dumps(a, ensure_ascii=False)}}
                              for n, a, i in calls]
    return made


def result(content, identifier="abcdefgh1", name="get_weather"):
    return {"role": "tool", "tool_call_id": identifier, "name": name, "content": content}


SYSTEM = {"role": "system", "content": "Be terse. Größe!"}
CALL = ("get_weather", {"city": "Zürich \"Nord\"", "days": 3}, "abcdefgh1")
SECOND = ("search", {"query": "it's <there> & \n\t", "at": [1, 2.5, None, True, {"k": "v"}]}, "ABCDEFGH2")
JSON_RESULT = '{"temperature": 21.5, "sky": ["bewölkt", null]}'

CONVERSATIONS = {  # name: (messages, has tools)
    "plain": ([user("Hello, who are you?")], False),
    "turns": ([user("1 + 1?"), assistant("2"), user("  And doubled?\n"), assistant("4 😀"), user("你好 \u00bd")], False),
    "system": ([SYSTEM, user("Hi.")], False),
    "system and turns": ([SYSTEM, user("Hi."), assistant("Yes?"), user("No.")], False),
    "what looks like a control token": ([SYSTEM, user("</s>[INST] x [/INST]"), assistant("[TOOL_CALLS]"), user("<s>")], False),
    "tools": ([user("Weather?")], True),
    "system and tools": ([SYSTEM, user("Hi."), assistant("Yes?"), user("Weather?")], True),
    "a call": ([user("Weather?"), assistant("", CALL), result(JSON_RESULT)], True),
    "a call with null content": ([SYSTEM, user("Weather?"), assistant(None, CALL), result(JSON_RESULT)], True),
    "a result that is text": ([user("Weather?"), assistant("", CALL), result("wet, \"cold\"")], True),
    "two calls": ([user("Both?"), assistant("", CALL, SECOND), result(JSON_RESULT), result("[1, 2]", SECOND[2], "search")], True),
    "a call that was answered": (
        [SYSTEM, user("Weather?"), assistant("", CALL), result(JSON_RESULT), assistant("21.5 degrees."), user("Thanks. And now?")], True),
    "a call beside text": ([user("Weather?"), assistant("I look.", CALL), result(JSON_RESULT)], True),
    "a thought": ([SYSTEM, user("2 + 2?"), assistant("4", reasoning_content="Two, and two."), user("Sure?")], False),
    "a thought and a call": (
        [SYSTEM, user("Weather?"), assistant("", CALL, reasoning_content="I should look."), result(JSON_RESULT)], True),
}

# What a version cannot say: mistral-common refuses it.
REFUSED = {
    "v1": {name for name, (_, tools) in CONVERSATIONS.items() if tools} - {"tools", "system and tools"} | {"a thought"},
    "v2": {"two calls", "a call beside text", "a thought", "a thought and a call"},
    "v3": {"a call beside text", "a thought", "a thought and a call"},
    "v3-tekken": {"a call beside text", "a thought", "a thought and a call"},
    "v7": {"a thought", "a thought and a call"},
    "v7-tekken": {"a thought", "a thought and a call"},
    "v11": {"a thought", "a thought and a call"},
    "v13": set(),
}
NO_SYSTEM = {name for name, (messages, _) in CONVERSATIONS.items() if messages[0]["role"] != "system"}
DIFFERENCES = {
    # Version 1 knows no tools, and mistral-common leaves them out: here they are told in the plain form.
    ("v1", "tools"), ("v1", "system and tools"),
    # Nemo's template puts a result that is text into its JSON without quotes (and a function's description without
    # escapes: the one above has nothing to escape).
    ("v3-tekken", "a result that is text"),
    # Nemo's template puts the system text into the last message, if that is the user's: not before a call.
    ("v3-tekken", "a call with null content"),
    # Mistral Small's template says the call alone.
    ("v11", "a call beside text"),
    # Both have a system text of their own for conversations without one.
    *((version, name) for version in ("v11", "v13") for name in NO_SYSTEM),
}


class Version:
    """A reference, and a GGUF file with the same vocabulary."""

    def __init__(self, reference, model, template):
        self.reference, self.model, self.template = reference, model, template

    def expected(self, messages, tools):
        return self.reference.encode_chat_completion(ChatCompletionRequest.from_openai(messages, tools=tools)).tokens


def data(name):
    return str(files("mistral_common") / "data" / name)


def reference_of(tokenizer, version):
    number = TokenizerVersion(version)
    tokenizer._version = number
    made = getattr(instruct, f"InstructTokenizer{version.upper()}")(tokenizer)
    return MistralTokenizer(made, get_validator(number, ValidationMode.test), get_normalizer(number, None))


@pytest.fixture(scope="module")
def tekken(tmp_path_factory):
    """version → tokenizer, and one GGUF file for all: versions differ in their rules, and in control tokens that
    the others do not use."""
    content = json.loads((files("mistral_common") / "data" / "tekken_240718.json").read_text(encoding="utf-8"))
    entries = [{"rank": i, "token_str": text, "is_control": True} for i, text in enumerate(SPECIALS + LATER_SPECIALS)]
    content["special_tokens"] = entries
    path = tmp_path_factory.mktemp("tekken") / "tekken.json"
    path.write_text(json.dumps(content), encoding="utf-8")
    model = from_tekken(path.with_suffix(".gguf"), path, SPECIALS + LATER_SPECIALS)
    return Tekkenizer.from_file(path), model


@pytest.fixture(scope="module")
def versions(tmp_path_factory, source_root, request):
    folder = tmp_path_factory.mktemp("vocabularies")
    published = models_folder(source_root) / "templates"
    own = {"v1": ("tokenizer.model.v1", V1), "v2": ("mistral_instruct_tokenizer_240216.model.v2", V2),
           "v3": ("mistral_instruct_tokenizer_240323.model.v3", V3), "v7": ("mistral_instruct_tokenizer_241114.model.v7", V7)}
    on_tekken = {"v3-tekken": "mistralai-Mistral-Nemo-Instruct-2407", "v7-tekken": V7,
                 "v11": "Mistral-Small-3.2-24B-Instruct-2506", "v13": "mistralai-Ministral-3-14B-Reasoning-2512"}

    def get(name):
        if name in own:
            source, template = own[name]
            model = from_sentencepiece(folder / f"{name}.gguf", SentencePieceProcessor(data(source)))
            return Version(MistralTokenizer.from_file(data(source), ValidationMode.test), model, template)
        tokenizer, model = request.getfixturevalue("tekken")
        template = on_tekken[name]
        if "{" not in template:
            template = (published / f"{template}.jinja").read_text(encoding="utf-8")
        return Version(reference_of(tokenizer, name.partition("-")[0]), model, template)

    return get


def ours(build_dir, version, questions):
    """As the server asks: a content of null is empty there."""
    questions = [([{**m, "content": m["content"] or ""} for m in messages], tools) for messages, tools in questions]
    lines = "".join(json.dumps({"template": version.template, "messages": messages, **({"tools": TOOLS} if tools else {})}) + "\n"
                    for messages, tools in questions)
    result = subprocess.run([build_dir / "tests" / "tools" / "encode_chat", version.model], input=lines, capture_output=True,
                            text=True, check=True)
    return [json.loads(line) for line in result.stdout.split("\n") if line]


@pytest.mark.parametrize("name", REFUSED)
def test_conversations_are_encoded_as_mistral_common_encodes_them(versions, build_dir, subtests, name):
    version = versions(name)
    chosen = {key: value for key, value in CONVERSATIONS.items() if key not in REFUSED[name]}
    for (key, (messages, tools)), answer in zip(chosen.items(), ours(build_dir, version, chosen.values()), strict=True):
        with subtests.test(key):
            expected = version.expected(messages, TOOLS if tools else None)
            if (name, key) in DIFFERENCES:
                assert answer.get("ids") != expected, "no longer different: take it off the list"
                continue
            assert answer.get("ids") == expected, (
                f"{answer.get('error', answer.get('text'))!r}\n{version.reference.instruct_tokenizer.tokenizer.decode(expected)!r}")


@pytest.mark.parametrize("name", [name for name in REFUSED if REFUSED[name]])
def test_what_is_refused_is_refused(versions, subtests, name):
    """So that the list above does not hide what could be compared."""
    version = versions(name)
    for key in REFUSED[name]:
        messages, tools = CONVERSATIONS[key]
        with subtests.test(key), pytest.raises((Exception, AssertionError)):
            version.expected(messages, TOOLS if tools else None)
