"""Tools and thinking over the Ollama API, with the `ollama` package: /api/chat and /api/generate, streamed and not."""

import json

import ollama
import pytest
from conversations import SEARCH, WEATHER
from llama_cpp_sources import models_folder
from make_model import make_model
from server_harness import FakeServer, RealServer

pytestmark = pytest.mark.timeout(900)  # the first run downloads

MODEL = "fake-model"
TOOLS = [WEATHER, SEARCH]
ARGUMENTS = {"city": "Zürich", "days": 3, "options": {"wind": True, "tags": ["a \"b\" \\", "]}"]}}
TEMPLATES = {
    "mistral_list": "mistralai-Mistral-Nemo-Instruct-2407",
    "mistral_names": "Mistral-Small-3.2-24B-Instruct-2506",
    "hermes": "Qwen-Qwen3-0.6B",
    "llama3": "meta-llama-Llama-3.1-8B-Instruct",
}


def script(text):
    return f"[[hex={text.encode().hex()}]]"


def dumps(value):
    return json.dumps(value, ensure_ascii=False, indent=1)  # on several lines, as a model may write it


CALLS = {
    "mistral_list": lambda calls: "[TOOL_CALLS]" + dumps([{"name": n, "arguments": a} for n, a in calls]),
    "mistral_names": lambda calls: "".join(f"[TOOL_CALLS]{n}[CALL_ID]abcdefgh{i}[ARGS]{dumps(a)}" for i, (n, a) in enumerate(calls)),
    "hermes": lambda calls: "\n".join(f"<tool_call>\n{dumps({'name': n, 'arguments': a})}\n</tool_call>" for n, a in calls),
    "llama3": lambda calls: "; ".join(dumps({"name": n, "parameters": a}) for n, a in calls),
}


@pytest.fixture(scope="module")
def templates(source_root):
    folder = models_folder(source_root) / "templates"
    return {form: (folder / f"{name}.jinja").read_text(encoding="utf-8") for form, name in TEMPLATES.items()}


@pytest.fixture(scope="module")
def servers(build_dir, templates):
    running = {}

    def get(form):
        if form not in running:
            running[form] = FakeServer(build_dir, f"template={templates[form]}", "context=20000")
        return running[form]

    yield get
    for server in running.values():
        server.stop()


def ask(server, text, stream, route="chat", **more):
    """(content, thinking, calls, done_reason), put together from the pieces of a stream."""
    client = ollama.Client(server.base_url)
    if route == "generate":
        pieces = client.generate(MODEL, script(text), stream=stream, **more)
    else:
        messages = more.pop("messages", [{"role": "user", "content": script(text)}])
        pieces = client.chat(MODEL, messages, stream=stream, **more)
    content, thinking, calls, reason = "", "", [], None
    for piece in pieces if stream else [pieces]:
        part = piece if route == "generate" else piece.message
        content += (part.response if route == "generate" else part.content) or ""
        thinking += part.thinking or ""
        calls += (getattr(part, "tool_calls", None) or [])
        assert piece.done == (piece.done_reason is not None)
        reason = piece.done_reason or reason
    return content, thinking, [(call.function.name, call.function.arguments) for call in calls], reason


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("form", CALLS)
def test_calls_come_as_calls(servers, form, stream):
    calls = [("get_weather", ARGUMENTS), ("search", {})]
    content, _, came, reason = ask(servers(form), CALLS[form](calls), stream, tools=TOOLS)
    assert (content, came, reason) == ("", calls, "stop")


def add(a: int, b: int = 2) -> int:
    """Adds two numbers.

    Args:
        a: one
        b: other
    """
    return a + b


def test_a_python_function_is_a_tool(servers):
    """The package's own loop: a function goes in, its name and arguments come out, its result goes back."""
    client = ollama.Client(servers("hermes").base_url)
    messages = [{"role": "user", "content": script(CALLS["hermes"]([("add", {"a": 40})]))}]
    answer = client.chat(MODEL, messages, tools=[add])
    (call,) = answer.message.tool_calls
    assert call.function.name == "add" and add(**call.function.arguments) == 42
    messages = [{"role": "user", "content": "Add."}, answer.message, {"role": "tool", "tool_name": "add", "content": "42 " + script("So 42.")}]
    assert client.chat(MODEL, messages, tools=[add]).message.content == "So 42."


@pytest.mark.parametrize("form", CALLS)
def test_a_call_is_an_object_with_id_and_index_on_one_line(servers, form):
    body = {"model": MODEL, "tools": TOOLS,
            "messages": [{"role": "user", "content": script(CALLS[form]([("get_weather", ARGUMENTS), ("search", {"query": "a\nb"})]))}]}
    lines = servers(form).request("POST", "/api/chat", body).body.decode().split("\n")
    assert lines.pop() == ""
    pieces = [json.loads(line) for line in lines]
    calls = [call for piece in pieces for call in piece["message"].get("tool_calls", [])]
    whole = servers(form).request("POST", "/api/chat", {**body, "stream": False}).json["message"]
    for came in (calls, whole["tool_calls"]):
        assert [call["function"] for call in came] == [
            {"index": 0, "name": "get_weather", "arguments": ARGUMENTS}, {"index": 1, "name": "search", "arguments": {"query": "a\nb"}}]
        assert len({call["id"] for call in came}) == 2
    assert whole["content"] == "" and "thinking" not in whole
    assert pieces[-1]["done"] and "tool_calls" not in pieces[-1]["message"]
    assert all("tool_calls" not in piece["message"] or piece["message"]["content"] == "" for piece in pieces)


@pytest.mark.parametrize("stream", [False, True])
def test_thoughts_are_apart(servers, stream):
    text = "<think>\nHm.\n\nYes.\n</think>\n\nFour."
    for route in ("chat", "generate"):
        for think in (None, True, False, "low", "max"):
            assert ask(servers("hermes"), text, stream, route, think=think) == ("Four.", "Hm.\n\nYes.", [], "stop")
    text = "<think>\nHm.\n</think>\n\nI look.\n" + CALLS["hermes"]([("search", {})])
    assert ask(servers("hermes"), text, stream, tools=TOOLS) == ("I look.", "Hm.", [("search", {})], "stop")
    raw = ask(servers("hermes"), text, stream, "generate", raw=True)
    assert raw == (text, "", [], "stop"), "raw is what the model said"


@pytest.mark.parametrize("stream", [False, True])
def test_what_is_no_call_is_content(servers, stream):
    for text in ("<tool_call>\nnothing\n</tool_call>", '<tool_call>{"name": "search", "arguments": {"q', '{"city": "Rome"}'):
        assert ask(servers("hermes"), text, stream, tools=TOOLS) == (text, "", [], "stop")
    text = CALLS["hermes"]([("search", {})])
    for tools in (None, []):
        assert ask(servers("hermes"), text, stream, tools=tools) == (text, "", [], "stop")


@pytest.mark.parametrize("form", CALLS)
def test_results_go_back_in(servers, form):
    """With the ids we gave, with a tool's name alone as the package's examples send it, and with neither."""
    first = ollama.Client(servers(form).base_url).chat(
        MODEL, [{"role": "user", "content": script(CALLS[form]([("get_weather", ARGUMENTS)]))}], tools=TOOLS).message
    raw = servers(form).request("POST", "/api/chat", {
        "model": MODEL, "stream": False, "tools": TOOLS,
        "messages": [{"role": "user", "content": script(CALLS[form]([("get_weather", ARGUMENTS)]))}]}).json["message"]
    content = '{"temperature": 21.5} ' + script("Warm.")
    for message, result in (
            (first, {"tool_name": "get_weather"}), (first, {}),
            (raw, {"tool_call_id": raw["tool_calls"][0]["id"]}), (raw, {"tool_call_id": raw["tool_calls"][0]["id"], "tool_name": "get_weather"})):
        messages = [{"role": "user", "content": "Weather?"}, message, {"role": "tool", "content": content, **result}]
        body = {"model": MODEL, "stream": False, "tools": TOOLS,
                "messages": [m if isinstance(m, dict) else m.model_dump(exclude_none=True) for m in messages]}
        answer = servers(form).request("POST", "/api/chat", body)
        assert answer.status == 200 and answer.json["message"]["content"] == "Warm.", answer


def asked(server, **fields):
    """The prompt that the engine is given."""
    before = len(server.events)
    answer = server.request("POST", "/api/chat" if "messages" in fields else "/api/generate", {"model": MODEL, "stream": False, **fields})
    assert answer.status == 200, answer
    server.wait_event(lambda event: event["event"] == "asked" and event in server.events[before:])
    return [event["prompt"] for event in server.events[before:] if event["event"] == "asked"][-1]


def test_templates_are_told_of_tools_and_thinking(servers):
    closed = "<think>\n\n</think>"
    server, user = servers("hermes"), [{"role": "user", "content": "[[tokens=1 tell=1]]"}]
    for fields in ({"messages": user}, {"prompt": "[[tokens=1 tell=1]]"}):
        for think, is_off in ((None, False), (True, False), ("high", False), (False, True)):
            assert (closed in asked(server, think=think, **fields)) is is_off
    prompt = asked(server, messages=user, tools=[{"function": {"parameters": {"type": "object"}, "name": "f", "description": "d", "strict": True}}])
    assert '{"type": "function", "function": {"name": "f", "description": "d", "parameters": {"type": "object"}}}' in prompt


def test_a_conversation_with_tools_is_cut_at_what_the_user_said(servers):
    call = {"role": "assistant", "content": "", "tool_calls": [{"function": {"name": "search", "arguments": {}}}]}
    old = [{"role": "user", "content": "old " * 300}, call, {"role": "tool", "content": "x " * 300}, {"role": "assistant", "content": "so"}]
    new = [{"role": "user", "content": "new?"}, call, {"role": "tool", "content": "found [[tokens=1 tell=1]]"}]
    prompt = asked(servers("hermes"), messages=[{"role": "system", "content": "terse"}, *old, *new], tools=[SEARCH],
                   options={"num_ctx": 1400, "num_predict": 10})
    assert "old old" not in prompt and "terse" in prompt and "new?" in prompt and "found" in prompt


def test_a_model_that_cannot_says_so(build_dir):
    server = FakeServer(build_dir)
    try:
        client = ollama.Client(server.base_url)
        user = [{"role": "user", "content": "x [[tokens=1]]"}]
        for stream in (False, True):
            for more, says in (({"think": True}, f'"{MODEL}" does not support thinking'),
                               ({"think": "low"}, f'"{MODEL}" does not support thinking')):
                with pytest.raises(ollama.ResponseError) as caught:
                    list(client.chat(MODEL, user, stream=stream, **more))
                assert (caught.value.status_code, caught.value.error) == (400, says)
        with pytest.raises(ollama.ResponseError, match="does not support thinking"):
            client.generate(MODEL, "x", think=True)
        assert client.chat(MODEL, user, think=False, tools=[]).done_reason == "stop"
        assert client.generate(MODEL, "x [[tokens=1]]", think=False).done_reason == "stop"
        answer = server.request("POST", "/api/chat", {"model": MODEL, "messages": user, "tools": {"a": 1}})
        assert answer.status == 400 and "tools" in answer.json["error"]
    finally:
        server.stop()


@pytest.fixture(scope="module")
def shelf(mistral, templates, tmp_path_factory):
    """Real small models with these templates, in one folder."""
    home = tmp_path_factory.mktemp("home")
    folder = home / ".local/share/mistral/models"
    folder.mkdir(parents=True)
    make_model(folder / "bare.gguf", layers=1)
    make_model(folder / "nemo.gguf", layers=1, chat_template=templates["mistral_list"])
    make_model(folder / "qwen.gguf", layers=1, context=8000, chat_template=templates["hermes"])
    make_model(folder / "llama.gguf", layers=1, context=8000, chat_template=templates["llama3"])
    make_model(folder / "coder.gguf", layers=1, controls=["[PREFIX]", "[SUFFIX]"])
    server = RealServer(mistral, str(folder / "qwen.gguf"), home=home)
    yield server
    server.stop()


def test_capabilities_are_what_a_model_can_do(shelf):
    client = ollama.Client(shelf.base_url)
    expected = {"bare": set(), "nemo": {"tools"}, "llama": {"tools"}, "qwen": {"tools", "thinking"}, "coder": {"insert"}}
    tags = {tag["name"]: tag["capabilities"] for tag in shelf.request("GET", "/api/tags").json["models"]}
    for name, more in expected.items():
        assert set(client.show(name).capabilities) == set(tags[name]) == {"completion", "embedding", *more}, name


def test_a_format_stands_beside_tools(shelf):
    """A real model, whose every token is masked: its answer has the format, or is a call."""
    shape = {"type": "object", "properties": {"n": {"type": "integer", "minimum": 0, "maximum": 9}}, "required": ["n"]}
    ping = {"type": "function", "function": {"name": "ping", "description": "Answers.", "strict": True}}
    for tools in ([ping], []):
        whole = 0
        for seed in range(4):
            answer = shelf.request("POST", "/api/chat", {
                "model": "llama", "messages": [{"role": "user", "content": "x"}], "tools": tools, "stream": False, "format": shape,
                "options": {"seed": seed, "num_predict": 200, "temperature": 1.5}}).json
            calls = answer["message"].get("tool_calls", [])
            assert all((call["function"]["name"], call["function"]["arguments"]) == ("ping", {}) for call in calls)
            if answer["done_reason"] == "stop" and not calls:
                assert json.loads(answer["message"]["content"])["n"] in range(10)
            whole += answer["done_reason"] == "stop"
        assert whole >= 2, tools
