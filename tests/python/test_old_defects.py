"""What the older stack got wrong, on every API that streams: each defect has its test here, by name.

The stack before put proxies before the engine, which lost or changed what passed through them.
"""

import json
import time

import pytest
from metrics_page import MetricsPage
from server_harness import FakeServer, make_request, parse_answer, receive_all, receive_until

MODEL = "fake-model"


def messages(prompt, **more):
    return {"messages": [{"role": "user", "content": prompt}], **more}


# Route: (body of a prompt, where a stream's piece has its text, where a whole answer has it).
ROUTES = {
    "/v1/chat/completions": (messages, lambda e: e["choices"][0]["delta"].get("content") or "" if e.get("choices") else "",
                             lambda a: a["choices"][0]["message"]["content"]),
    "/v1/completions": (lambda prompt: {"prompt": prompt, "max_tokens": 1000}, lambda e: e["choices"][0]["text"] if e.get("choices") else "",
                        lambda a: a["choices"][0]["text"]),
    "/v1/responses": (lambda prompt: {"input": prompt}, lambda e: e["delta"] if e["type"] == "response.output_text.delta" else "",
                      lambda a: a["output"][0]["content"][0]["text"]),
    "/v1/messages": (lambda prompt: messages(prompt, max_tokens=1000),
                     lambda e: e["delta"]["text"] if e["type"] == "content_block_delta" else "", lambda a: a["content"][0]["text"]),
    "/api/generate": (lambda prompt: {"prompt": prompt}, lambda e: e["response"], lambda a: a["response"]),
    "/api/chat": (messages, lambda e: e["message"]["content"], lambda a: a["message"]["content"]),
}
every_route = pytest.mark.parametrize("route", ROUTES)


def is_ollama(route):
    return route.startswith("/api")


def body_of(route, prompt, **more):
    return {"model": MODEL, **ROUTES[route][0](prompt), **more}


def pieces_of(route, answer):
    """The objects of a stream; its frames must be those of its API."""
    assert answer.status == 200, answer
    text = answer.body.decode("utf-8")
    if is_ollama(route):
        assert answer.headers["content-type"] == "application/x-ndjson"
        assert text.endswith("\n") and all(line.startswith("{") for line in text[:-1].split("\n"))
        return [json.loads(line) for line in text[:-1].split("\n")]
    assert answer.headers["content-type"].startswith("text/event-stream")
    assert text.endswith("\n\n")
    lines = [line for event in text[:-2].split("\n\n") for line in event.split("\n")]
    assert all(line.startswith(("data: ", "event: ")) for line in lines)
    return [json.loads(line[len("data: "):]) for line in lines if line.startswith("data: {")]


def text_of(route, pieces):
    return "".join(ROUTES[route][1](piece) for piece in pieces)


@pytest.fixture(scope="module")
def server(build_dir):
    server = FakeServer(build_dir, "context=2000")
    yield server
    server.stop()


@every_route
def test_no_sse_lines_on_an_ndjson_api_nor_the_reverse(server, route):
    pieces = pieces_of(route, server.request("POST", route, body_of(route, "x [[tokens=5]]", stream=True)))
    assert len(text_of(route, pieces).split()) == 5


@every_route
def test_stream_left_out_means_what_the_api_says(server, route):
    answer = server.request("POST", route, body_of(route, "x [[tokens=3]]"))
    if is_ollama(route):
        assert text_of(route, pieces_of(route, answer))
    else:
        assert answer.headers["content-type"] == "application/json" and ROUTES[route][2](answer.json)


@every_route
def test_the_end_of_a_stream_has_its_reason_and_its_counts(server, route):
    more = {"stream_options": {"include_usage": True}} if "completions" in route else {}
    pieces = pieces_of(route, server.request("POST", route, body_of(route, "x [[tokens=5]]", stream=True, **more)))
    last = pieces[-1]
    reason, count = {
        "/v1/chat/completions": lambda: (pieces[-2]["choices"][0]["finish_reason"], last["usage"]["completion_tokens"]),
        "/v1/completions": lambda: (pieces[-2]["choices"][0]["finish_reason"], last["usage"]["completion_tokens"]),
        "/v1/responses": lambda: (last["response"]["status"], last["response"]["usage"]["output_tokens"]),
        "/v1/messages": lambda: (pieces[-2]["delta"]["stop_reason"], pieces[-2]["usage"]["output_tokens"]),
    }.get(route, lambda: (last["done_reason"], last["eval_count"]))()
    assert reason in ("stop", "completed", "end_turn")
    assert count == next(e["generated"] for e in reversed(server.events) if e["event"] == "end")


@pytest.mark.parametrize("route", ["/v1/chat/completions", "/api/chat"])
def test_a_tool_call_message_with_null_content_is_taken(server, route):
    arguments = {"a": 1} if is_ollama(route) else '{"a": 1}'
    call = {"id": "call_1", "type": "function", "function": {"name": "add", "arguments": arguments}}
    for assistant in ({"content": None}, {}, {"content": ""}):
        answer = server.request("POST", route, {"model": MODEL, "stream": False, "messages": [
            {"role": "user", "content": "add"}, {"role": "assistant", "tool_calls": [call], **assistant},
            {"role": "tool", "tool_call_id": "call_1", "content": "3"}, {"role": "user", "content": "x [[tokens=1]]"}]})
        assert answer.status == 200, answer


@every_route
def test_no_character_is_cut_at_the_edge_of_a_piece(server, route):
    """The scripted words hold characters of up to four bytes, a token for each byte."""
    seed = {"options": {"seed": 1}} if is_ollama(route) else {"seed": 1}
    body = body_of(route, "x [[tokens=60]]", **seed)
    answer = server.request("POST", route, {**body, "stream": True})
    text = text_of(route, pieces_of(route, answer))
    assert "\ufffd" not in text and any(ord(character) > 0xFFFF for character in text)
    assert text == ROUTES[route][2](server.request("POST", route, {**body, "stream": False}).json)


@pytest.fixture(scope="module")
def hasty(build_dir):
    server = FakeServer(build_dir, "head_timeout=0.2", "body_timeout=0.2", "idle_timeout=0.2", "write_timeout=0.2")
    yield server
    server.stop()


@every_route
def test_no_time_out_is_over_a_whole_stream(hasty, route):
    answer = hasty.request("POST", route, body_of(route, "x [[tokens=4 delay=120 prefill=300]]", stream=True))
    assert len(text_of(route, pieces_of(route, answer)).split()) == 4


@every_route
@pytest.mark.parametrize("stream", [False, True])
def test_a_4xx_stays_a_4xx(server, route, stream):
    fields = body_of(route, "x", stream=stream)
    for more, status in (({"model": "missing"}, 404), ({"stream": "yes"}, 400),
                         ({"messages": 5, "prompt": {"a": 1}, "input": 5}, 400)):
        answer = server.request("POST", route, {**fields, **more})
        assert answer.status == status and answer.json["error"], answer
    assert server.request("POST", route, body_of(route, "[[refuse=busy]]", stream=stream)).status == 503


@every_route
def test_no_option_is_dropped(server, route):
    """top_k, stop, repeat_penalty, the most tokens, the system text, the format: what an API has, arrives."""
    more, expected = {"top_k": 7}, {"top_k": 7}
    if is_ollama(route):
        more = {"options": {"top_k": 7, "repeat_penalty": 1.5, "stop": ["@@", "##"], "num_ctx": 400, "num_predict": 900}}
        expected = {"top_k": 7, "repeat_penalty": 1.5, "stop_count": 2}
    elif route == "/v1/messages":
        more |= {"stop_sequences": ["@@", "##"]}
        expected |= {"stop_count": 2}
    else:
        more |= {"repetition_penalty": 1.5, "stop": ["@@", "##"]}
        expected |= {"repeat_penalty": 1.5, "stop_count": 2}
    system = {"/v1/messages": {"system": "be brief"}, "/v1/responses": {"instructions": "be brief"}, "/api/generate": {"system": "be brief"}}
    body = body_of(route, f"options of {route} [[tokens=1 tell=1]]", **more, **system.get(route, {}))
    if "messages" in body and route != "/v1/messages":
        body["messages"].insert(0, {"role": "system", "content": "be brief"})
    assert server.request("POST", route, body).status == 200
    told = server.wait_event(lambda e: e["event"] == "asked" and f"options of {route} " in e["prompt"])
    assert {name: told[name] for name in expected} == pytest.approx(expected)
    assert route == "/v1/completions" or "be brief" in told["prompt"]
    if is_ollama(route):
        assert told["max_tokens"] < 400 - 20, "num_ctx bounds prompt and answer"
    wrong = {"/v1/messages": {"output_config": {"format": {"type": "xml"}}}, "/v1/responses": {"text": {"format": {"type": "xml"}}},
             "/api/generate": {"format": "xml"}, "/api/chat": {"format": "xml"}}.get(route, {"response_format": {"type": "xml"}})
    assert server.request("POST", route, body_of(route, "x", **wrong)).status == 400, "what a format asks is not left out of account"


@every_route
def test_timers_and_the_gauge_run_to_the_end_of_a_stream(server, route):
    server.wait_idle()
    before = MetricsPage(server)
    began = time.monotonic()
    with server.connect() as connection:
        connection.sendall(make_request("POST", route, body_of(route, "[[tokens=4 delay=100]]", stream=True)))
        begun = receive_until(connection, b"\r\n\r\n")
        page = MetricsPage(server)
        assert page.get("mistral_active_requests") == 1
        assert page.sum("mistral_http_requests_total", endpoint=route) == before.sum("mistral_http_requests_total", endpoint=route)
        answer = parse_answer(begun + receive_all(connection))
    elapsed = time.monotonic() - began
    pieces_of(route, answer)
    name = answer.headers["x-request-id"]
    line = server.wait_log(lambda e: e["event"] == "request" and name in e["id"])
    assert 0.25 < line["seconds"] <= elapsed
    deadline = time.monotonic() + 30
    count = "mistral_http_request_duration_seconds_count"
    while (page := MetricsPage(server)).sum(count, endpoint=route) == before.sum(count, endpoint=route):
        assert time.monotonic() < deadline
    seconds = "mistral_http_request_duration_seconds_sum"
    assert page.sum(seconds, endpoint=route) - before.sum(seconds, endpoint=route) > 0.25
    assert page.get("mistral_active_requests") == 0
