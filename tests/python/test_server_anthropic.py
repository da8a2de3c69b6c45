"""Anthropic's API as its own client sees it: the `anthropic` package, unchanged, against the server."""

import anthropic
import pytest
from server_harness import FakeServer, make_request, receive_until

MODEL = "fake-model"


@pytest.fixture(scope="module")
def server(build_dir):
    server = FakeServer(build_dir, "context=2000")
    yield server
    server.stop()


@pytest.fixture(scope="module")
def client(server):
    with anthropic.Anthropic(base_url=server.base_url, api_key="unused", max_retries=0) as client:
        yield client


def ask(client, content, **fields):
    fields.setdefault("max_tokens", 1000)
    return client.messages.create(model=MODEL, messages=[{"role": "user", "content": content}], **fields)


def test_a_message_has_all_its_parts(client):
    message = ask(client, "hello [[tokens=3]]", extra_body={"temperature": 0})
    assert message.type == "message" and message.role == "assistant" and message.model == MODEL
    assert message.id.startswith("msg_")
    block, = message.content
    assert block.type == "text" and len(block.text.split()) == 3
    assert message.stop_reason == "end_turn" and message.stop_sequence is None
    assert message.usage.input_tokens == 1 + len("<user>hello [[tokens=3]]\n<assistant>")
    assert message.usage.output_tokens > 0 and message.usage.cache_read_input_tokens == 0


def test_a_stream_says_the_same_as_a_whole_message(client):
    fields = {"system": "Be brief.", "extra_body": {"seed": 7}}
    whole = ask(client, "hello [[tokens=30]]", **fields)
    with client.messages.stream(model=MODEL, max_tokens=1000, messages=[
            {"role": "user", "content": "hello [[tokens=30]]"}], **fields) as stream:
        text = "".join(stream.text_stream)
        final = stream.get_final_message()
    assert text == final.content[0].text == whole.content[0].text
    assert final.stop_reason == whole.stop_reason
    assert final.usage.output_tokens == whole.usage.output_tokens
    assert final.usage.input_tokens == whole.usage.input_tokens


def test_the_events_come_in_their_order(server):
    answer = server.request("POST", "/v1/messages", {
        "model": MODEL, "max_tokens": 5, "stream": True, "messages": [{"role": "user", "content": "a [[tokens=9]]"}]})
    assert answer.headers["content-type"].startswith("text/event-stream")
    names = [line.removeprefix("event: ") for line in answer.body.decode().split("\n") if line.startswith("event: ")]
    assert names[:3] == ["message_start", "ping", "content_block_start"]
    assert names[-3:] == ["content_block_stop", "message_delta", "message_stop"]
    assert set(names[3:-3]) == {"content_block_delta"}
    assert b'"stop_reason":"max_tokens"' in answer.body


def test_a_stop_sequence_is_named(client):
    text = ask(client, "hello [[tokens=3]]", extra_body={"temperature": 0}).content[0].text
    stopped = ask(client, "hello [[tokens=3]]", extra_body={"temperature": 0}, stop_sequences=["nope", text[4]])
    assert (stopped.stop_reason, stopped.stop_sequence) == ("stop_sequence", text[4])
    assert stopped.content[0].text == text.split(text[4])[0]


def test_blocks_and_system_prompts_become_one_conversation(client):
    def count(messages, **fields):
        return client.messages.count_tokens(model=MODEL, messages=messages, **fields).input_tokens

    plain = count([{"role": "user", "content": "one\ntwo"}], system="Be brief.")
    assert plain == 1 + len("<system>Be brief.\n<user>one\ntwo\n<assistant>")
    assert plain == count(
        [{"role": "user", "content": [{"type": "text", "text": "one", "cache_control": {"type": "ephemeral"}},
                                      {"type": "text", "text": "two"}]}],
        system=[{"type": "text", "text": "Be brief."}])
    assert count([{"role": "user", "content": "a"}, {"role": "assistant", "content": [
        {"type": "thinking", "thinking": "hm", "signature": ""}, {"type": "text", "text": "b"}]},
        {"role": "user", "content": "c"}]) == 1 + len("<user>a\n<assistant>b\n<user>c\n<assistant>")


def test_results_of_tools_come_before_what_is_said_beside_them(client):
    messages = [
        {"role": "user", "content": "weather?"},
        {"role": "assistant", "content": [{"type": "tool_use", "id": "toolu_1", "name": "weather", "input": {"in": "Rome"}}]},
        {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "toolu_1", "content": "sunny"},
                                     {"type": "text", "text": "And?"}]}]
    count = client.messages.count_tokens(model=MODEL, messages=messages).input_tokens
    assert count == 1 + len("<user>weather?\n<assistant>\n<tool>sunny\n<user>And?\n<assistant>")


@pytest.mark.parametrize("fields, says", [
    ({"messages": []}, "at least one message"),
    ({"max_tokens": 0}, "max_tokens"),
    ({"messages": [{"role": "system", "content": "x"}]}, "top-level 'system'"),
    ({"messages": [{"role": "user", "content": [{"type": "image", "source": {}}]}]}, "messages.0.content.0"),
    ({"messages": [{"role": "user", "content": []}]}, "not empty"),
    ({"messages": [{"role": "user", "content": "x"}, {"role": "assistant", "content": "y"}]}, "prefill"),
    ({"messages": [{"role": "user", "content": [{"type": "tool_use", "id": "a", "name": "b", "input": {}}]}]}, "assistant"),
    ({"messages": [{"role": "user", "content": [{"type": "tool_result"}]}]}, "tool_use_id"),
    ({"system": 7}, "system"), ({"temperature": "hot"}, "temperature"),
    ({"tools": [{"type": "web_search_20250305", "name": "web_search"}]}, "tools.0"),
    ({"tools": [{"name": "x"}]}, "input_schema"),
    ({"tool_choice": {"type": "tool"}}, "which tool"), ({"tool_choice": {"type": "some"}}, "tool_choice"),
    ({"thinking": {"type": "much"}}, "thinking.type"),
])
def test_wrong_requests_are_refused_in_anthropics_shape(server, fields, says):
    body = {"model": MODEL, "max_tokens": 10, "messages": [{"role": "user", "content": "x"}], **fields}
    answer = server.request("POST", "/v1/messages", body)
    assert answer.status == 400, answer
    assert answer.json["type"] == "error" and set(answer.json) == {"type", "error"}
    assert answer.json["error"]["type"] == "invalid_request_error"
    assert says in answer.json["error"]["message"]


def test_the_clients_errors_are_the_right_ones(server, client):
    with pytest.raises(anthropic.NotFoundError) as unknown:
        client.messages.create(model="nowhere", max_tokens=1, messages=[{"role": "user", "content": "x"}])
    assert unknown.value.body["error"]["type"] == "not_found_error"
    with pytest.raises(anthropic.BadRequestError):
        ask(client, "x", max_tokens=0)
    with pytest.raises(anthropic.InternalServerError) as busy:
        ask(client, "[[refuse=busy]]")
    assert busy.value.status_code == 503 and busy.value.body["error"]["type"] == "overloaded_error"
    with pytest.raises(anthropic.BadRequestError) as long:
        ask(client, "x" * 2100)
    assert "context length" in str(long.value)
    wrong = server.request("GET", "/v1/messages")
    assert wrong.status == 405 and wrong.json["type"] == "error"


def test_a_failure_in_a_stream_is_an_error_event(client):
    with pytest.raises(anthropic.APIStatusError, match="the script says so"):
        list(ask(client, "a [[tokens=9 fail=3]]", stream=True))


def test_the_key_goes_into_x_api_key(build_dir):
    server = FakeServer(build_dir, "api_key=secret")
    try:
        with anthropic.Anthropic(base_url=server.base_url, api_key="secret", max_retries=0) as client:
            assert ask(client, "hello").content
        with anthropic.Anthropic(base_url=server.base_url, api_key="wrong", max_retries=0) as client:
            with pytest.raises(anthropic.AuthenticationError) as refused:
                ask(client, "hello")
            assert refused.value.body["error"]["type"] == "authentication_error"
    finally:
        server.stop()


def test_a_client_that_leaves_cancels_its_message(server):
    before = server.wait_idle()
    with server.connect() as connection:
        connection.sendall(make_request("POST", "/v1/messages", {
            "model": MODEL, "max_tokens": 1000, "stream": True,
            "messages": [{"role": "user", "content": "a [[tokens=900 delay=20]]"}]}))
        receive_until(connection, b"content_block_delta")
    assert server.wait_idle(before + 1) == before + 1
