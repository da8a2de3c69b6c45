"""Clients people use, unchanged, in an environment of their own (tests/requirements-clients.txt): litellm,
LangChain, and aider from its command line."""

import json
import os
import subprocess

import pytest
from conversations import SEARCH, WEATHER
from llama_cpp_sources import models_folder
from make_model import make_model
from server_harness import FakeServer, RealServer

pytestmark = pytest.mark.release_only
PROVIDERS = {
    "openai": {"model": "openai/fake-model", "api_base": "{url}/v1", "api_key": "unused"},
    "anthropic": {"model": "anthropic/fake-model", "api_base": "{url}", "api_key": "unused"},
    "ollama": {"model": "ollama/fake-model", "api_base": "{url}"},
    "ollama_chat": {"model": "ollama_chat/fake-model", "api_base": "{url}"},
}


@pytest.fixture(scope="module")
def clients(source_root):
    folder = source_root / "build" / "clients" / "bin"
    assert (folder / "aider").is_file(), "build/clients is missing: scripts/test.sh --only python makes it"
    return folder


@pytest.fixture(scope="module")
def server(build_dir):
    server = FakeServer(build_dir, "context=100000")
    yield server
    server.stop()


def environment(home):
    return {"PATH": os.environ["PATH"], "HOME": str(home), "LITELLM_LOCAL_MODEL_COST_MAP": "True",
            "NO_PROXY": "*", "TERM": "dumb"}


def run_script(clients, home, script, argument):
    """Runs Python in the clients' environment; the last line it prints is JSON."""
    run = subprocess.run([clients / "python", "-c", script, json.dumps(argument)], env=environment(home),
                         capture_output=True, text=True, timeout=300)
    assert run.returncode == 0, run.stdout[-2000:] + run.stderr[-4000:]
    return json.loads(run.stdout.splitlines()[-1])


LITELLM = """
import json, sys, litellm
litellm.telemetry = False
messages = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "hello [[say=one two three]]"}]
told = {}
for provider, fields in json.loads(sys.argv[1]).items():
    whole = litellm.completion(messages=messages, max_tokens=100, **fields)
    chunks = list(litellm.completion(messages=messages, max_tokens=100, stream=True, **fields))
    try:
        litellm.completion(messages=messages, **{**fields, "model": fields["model"].split("/")[0] + "/nowhere"})
        refused = "answered"
    except Exception as error:
        refused = type(error).__name__
    told[provider] = {"text": whole.choices[0].message.content, "finish": whole.choices[0].finish_reason,
        "stream": "".join(chunk.choices[0].delta.content or "" for chunk in chunks),
        "prompt": whole.usage.prompt_tokens, "generated": whole.usage.completion_tokens, "refused": refused}
fields = json.loads(sys.argv[1])["openai"]
told["embedding"] = [row["embedding"] for row in litellm.embedding(input=["a", "b"], **fields).data]
print(json.dumps(told))
"""


def test_litellm(clients, server, tmp_path):
    fields = {provider: {name: value.format(url=server.base_url) for name, value in rows.items()}
              for provider, rows in PROVIDERS.items()}
    everything = run_script(clients, tmp_path, LITELLM, fields)
    for provider in PROVIDERS:
        told = everything[provider]
        assert told["text"] == told["stream"] == "one two three", provider
        assert told["finish"] == "stop", provider
        assert told["prompt"] > 0 and told["generated"] == len("one two three"), provider
        assert told["refused"] not in ("answered", "TypeError", "KeyError"), (provider, told["refused"])
    assert everything["embedding"] == [pytest.approx([0.8, 0.6, 0, 0])] * 2


LANGCHAIN = """
import json, sys
from langchain_openai import ChatOpenAI, OpenAI, OpenAIEmbeddings
url = json.loads(sys.argv[1]) + "/v1"
common = {"base_url": url, "api_key": "unused", "model": "fake-model", "max_retries": 0}
chat = ChatOpenAI(**common)
told = {"chat": chat.invoke("hello [[say=one two three]]").content,
        "stream": "".join(chunk.content for chunk in chat.stream("hello [[say=one two three]]")),
        "text": OpenAI(**common, temperature=0).invoke("hello [[say=one two]]")}
responses = ChatOpenAI(**common, use_responses_api=True)
told["responses"] = responses.invoke("hello [[say=one two three]]").text
told["responses_stream"] = "".join(chunk.text for chunk in responses.stream("hello [[say=one two three]]"))
told["embedding"] = OpenAIEmbeddings(**common, check_embedding_ctx_length=False).embed_documents(["a", "b"])
print(json.dumps(told))
"""

LANGCHAIN_STRUCTURED = """
import json, sys
from langchain_openai import ChatOpenAI
from pydantic import BaseModel, Field
class City(BaseModel):
    name: str = Field(min_length=1, max_length=10)
    people: int = Field(ge=0, le=10**7)
url = json.loads(sys.argv[1]) + "/v1"
told = {}
for responses in (False, True):
    chat = ChatOpenAI(base_url=url, api_key="unused", model="tiny", max_retries=0, use_responses_api=responses)
    for strict in (None, True):
        runnable = chat.with_structured_output(City, method="json_schema", strict=strict)
        told[f"{responses} {strict}"] = runnable.invoke("Name a city.").model_dump()
print(json.dumps(told))
"""


def test_langchain(clients, server, tmp_path):
    told = run_script(clients, tmp_path, LANGCHAIN, server.base_url)
    for name in ("chat", "stream", "responses", "responses_stream"):
        assert told[name] == "one two three", name
    assert told["text"] == "one two"
    assert told["embedding"] == [pytest.approx([0.8, 0.6, 0, 0])] * 2


@pytest.fixture(scope="module")
def hermes(source_root):
    """A template that shows tools."""
    return (models_folder(source_root) / "templates" / "Qwen-Qwen3-0.6B.jinja").read_text(encoding="utf-8")


LITELLM_TOOLS = """
import json, sys, litellm
litellm.telemetry = False
order = json.loads(sys.argv[1])
told = {}
for provider, fields in order["providers"].items():
    wanted = {"messages": order["messages"], "tools": order["tools"], "max_tokens": 500, **fields}
    whole = litellm.completion(**wanted)
    stream = litellm.stream_chunk_builder(list(litellm.completion(stream=True, **wanted)))
    told[provider] = [[(call.function.name, json.loads(call.function.arguments)) for call in answer.choices[0].message.tool_calls or []]
                      for answer in (whole, stream)]
print(json.dumps(told))
"""


@pytest.mark.timeout(900)  # the first run downloads
def test_litellm_calls_tools(clients, build_dir, hermes, tmp_path):
    arguments = {"city": "Zürich", "days": 3, "options": {"wind": True}}
    call = json.dumps({"name": "get_weather", "arguments": arguments}, ensure_ascii=False)
    text = f"<tool_call>\n{call}\n</tool_call>"
    server = FakeServer(build_dir, f"template={hermes}", "context=20000")
    try:
        providers = {provider: {name: value.format(url=server.base_url) for name, value in rows.items()}
                     for provider, rows in PROVIDERS.items() if provider != "ollama"}
        told = run_script(clients, tmp_path, LITELLM_TOOLS, {
            "providers": providers, "tools": [WEATHER, SEARCH],
            "messages": [{"role": "user", "content": f"[[hex={text.encode().hex()}]]"}]})
    finally:
        server.stop()
    for provider in providers:
        assert told[provider] == [[["get_weather", arguments]]] * 2, provider


LANGCHAIN_TOOLS = """
import json, sys
from langchain_core.messages import HumanMessage, ToolMessage
from langchain_core.tools import tool
from langchain_openai import ChatOpenAI

@tool
def set_level(level: int, room: str = "hall") -> str:
    "Sets the level of a room."
    return f"{room}: {level}"

@tool
def ping() -> str:
    "Answers."
    return "pong"

chat = ChatOpenAI(base_url=json.loads(sys.argv[1]) + "/v1", api_key="unused", model="tiny", max_retries=0, max_tokens=1500,
                  reasoning_effort="none", seed=3, stream_usage=False)
question = HumanMessage("the water")
told = {}
for name, choice in (("any", "any"), ("named", "set_level"), ("true", True), ("none", "none")):
    bound = chat.bind_tools([set_level] if choice is True else [set_level, ping], tool_choice=choice, parallel_tool_calls=False)
    answer = bound.invoke([question]) if choice != "none" else bound.invoke([question], max_tokens=5)
    told[name] = [(call["name"], call["args"]) for call in answer.tool_calls]
    if name == "named":
        whole = answer
        streamed = None
        for chunk in bound.stream([question]):
            streamed = chunk if streamed is None else streamed + chunk
        told["streamed"] = [(call["name"], call["args"]) for call in streamed.tool_calls]
result = ToolMessage(set_level.invoke(whole.tool_calls[0]["args"]), tool_call_id=whole.tool_calls[0]["id"])
told["after"] = chat.bind_tools([set_level]).invoke([question, whole, result], max_tokens=5).response_metadata["finish_reason"]
print(json.dumps(told))
"""


@pytest.mark.timeout(900)  # the first run downloads
def test_langchain_binds_tools(clients, mistral, hermes, tmp_path):
    """The model is random: that it calls is the grammar's doing."""
    model = make_model(tmp_path / "tiny.gguf", context=8000, chat_template=hermes, controls=["<|im_start|>", "<|im_end|>"])
    server = RealServer(mistral, model, home=tmp_path)
    try:
        told = run_script(clients, tmp_path, LANGCHAIN_TOOLS, server.base_url)
    finally:
        server.stop()
    for name in ("any", "named", "streamed", "true"):
        ((called, arguments),) = told[name]
        assert called == "set_level" or (name == "any" and (called, arguments) == ("ping", {}))
        assert called == "ping" or (isinstance(arguments["level"], int) and set(arguments) <= {"level", "room"}), name
    assert told["streamed"] == told["named"] and told["none"] == [] and told["after"] in ("length", "stop", "tool_calls")


def test_langchain_s_structured_output(clients, mistral, tmp_path):
    """Over a model that knows nothing of JSON: what comes is the grammar's doing."""
    model = make_model(tmp_path / "tiny.gguf", context=2048, chat_template="{% for m in messages %}{{ m['content'] }}{% endfor %}")
    server = RealServer(mistral, model, home=tmp_path)
    try:
        told = run_script(clients, tmp_path, LANGCHAIN_STRUCTURED, server.base_url)
    finally:
        server.stop()
    assert len(told) == 4
    for name, city in told.items():
        assert 1 <= len(city["name"]) <= 10 and 0 <= city["people"] <= 10**7, (name, city)


@pytest.mark.parametrize("api", ["openai", "ollama_chat", "anthropic"])
def test_aider_edits_a_file(api, clients, server, tmp_path):
    """One scripted edit that runs to its end: the server says what aider asks for, the file changes."""
    work = tmp_path / "work"
    work.mkdir()
    (work / "note.txt").write_text("old words\n", encoding="utf-8")
    edit = "note.txt\n```\nnew words\n```\n"
    settings = {
        "openai": {"OPENAI_API_BASE": server.base_url + "/v1", "OPENAI_API_KEY": "unused"},
        "ollama_chat": {"OLLAMA_API_BASE": server.base_url},
        "anthropic": {"ANTHROPIC_API_BASE": server.base_url, "ANTHROPIC_API_KEY": "unused"},
    }[api]
    run = subprocess.run(
        [clients / "aider", "--model", f"{api}/fake-model", "--edit-format", "whole", "--no-git", "--yes-always",
         "--no-show-model-warnings", "--no-check-update", "--analytics-disable", "--no-pretty", "--map-tokens", "0",
         "--no-gitignore", "--no-suggest-shell-commands", "--no-detect-urls",
         "--message", f"Change the words. [[say={edit}]]", "note.txt"],
        cwd=work, env={**environment(tmp_path), **settings}, capture_output=True, text=True, timeout=300)
    assert run.returncode == 0, run.stdout[-2000:] + run.stderr[-2000:]
    assert (work / "note.txt").read_text(encoding="utf-8") == "new words\n", run.stdout[-3000:] + run.stderr[-1000:]
