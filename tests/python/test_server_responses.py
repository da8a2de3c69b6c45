"""/v1/responses as OpenAI's own client sees it."""

import openai
import pytest
from server_harness import FakeServer

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


def ask(client, content="hello [[tokens=3]]", **fields):
    return client.responses.create(model=MODEL, input=content, **fields)


def test_a_response_has_all_its_parts(client):
    response = ask(client, temperature=0, instructions="Be brief.", metadata={"a": "b"}, user="me")
    assert response.object == "response" and response.id.startswith("resp_") and response.status == "completed"
    assert len(response.output_text.split()) == 3
    item, = response.output
    assert (item.type, item.role, item.status) == ("message", "assistant", "completed")
    assert response.instructions == "Be brief." and response.metadata == {"a": "b"} and response.user == "me"
    assert response.store is False and response.temperature == 0 and response.error is None
    assert response.usage.input_tokens == 1 + len("<system>Be brief.\n<user>hello [[tokens=3]]\n<assistant>")
    assert response.usage.total_tokens == response.usage.input_tokens + response.usage.output_tokens


def test_the_clients_own_stream_helper_follows(client):
    with client.responses.stream(model=MODEL, input="hello [[tokens=20]]", temperature=0) as stream:
        events = list(stream)
        final = stream.get_final_response()
    types = [event.type for event in events]
    assert types[:4] == ["response.created", "response.in_progress", "response.output_item.added",
                         "response.content_part.added"]
    assert types[-4:] == ["response.output_text.done", "response.content_part.done", "response.output_item.done",
                          "response.completed"]
    assert set(types[4:-4]) == {"response.output_text.delta"}
    assert [event.sequence_number for event in events if hasattr(event, "sequence_number")] == list(range(len(events)))
    text = "".join(event.delta for event in events if event.type == "response.output_text.delta")
    assert text == final.output_text == ask(client, "hello [[tokens=20]]", temperature=0).output_text
    assert final.usage.output_tokens > 0
    ids = {event.item_id for event in events if hasattr(event, "item_id")}
    assert ids == {final.output[0].id}


def test_too_few_tokens_make_it_incomplete(client):
    response = ask(client, "hello [[tokens=20]]", max_output_tokens=4)
    assert response.status == "incomplete" and response.incomplete_details.reason == "max_output_tokens"
    assert response.output[0].status == "incomplete" and response.usage.output_tokens == 4
    events = list(ask(client, "hello [[tokens=20]]", max_output_tokens=4, stream=True))
    assert events[-1].type == "response.incomplete" and events[-2].item.status == "incomplete"


def test_items_become_a_conversation(client):
    items = [
        {"role": "developer", "content": "D"},
        {"type": "message", "role": "user", "content": [{"type": "input_text", "text": "U"}]},
        {"type": "reasoning", "id": "rs_1", "summary": []},
        {"type": "message", "role": "assistant", "id": "msg_1", "status": "completed",
         "content": [{"type": "output_text", "text": "A", "annotations": []}]},
        {"type": "function_call", "call_id": "call_1", "name": "f", "arguments": "{}"},
        {"type": "function_call_output", "call_id": "call_1", "output": "R"}]
    response = ask(client, items, instructions="I")
    assert response.usage.input_tokens == 1 + len("<system>I\n<system>D\n<user>U\n<assistant>A\n<tool>R\n<assistant>")


def test_an_answer_can_be_sent_back(client):
    first = ask(client)
    again = ask(client, [{"role": "user", "content": "hello"}, *first.output, {"role": "user", "content": "more"}])
    assert again.status == "completed"


@pytest.mark.parametrize("fields, param", [
    ({"previous_response_id": "resp_1"}, "previous_response_id"), ({"conversation": "conv_1"}, "conversation"),
    ({"background": True}, "background"), ({"input": []}, "input"), ({"input": 7}, "input"),
    ({"input": [{"type": "item_reference", "id": "x"}]}, "input[0]"),
    ({"input": [{"role": "user", "content": [{"type": "input_image", "image_url": "x"}]}]}, "input[0]"),
    ({"input": [{"role": "nobody", "content": "x"}]}, "input[0]"),
    ({"input": [{"type": "function_call", "name": "f"}]}, "input[0]"),
    ({"tools": [{"type": "web_search"}]}, "tools"), ({"tool_choice": {"type": "file_search"}}, "tool_choice"),
    ({"max_output_tokens": 0}, "max_completion_tokens"), ({"temperature": 3}, "temperature"),
    ({"instructions": 7}, "instructions"),
])
def test_wrong_requests_are_refused(server, fields, param):
    answer = server.request("POST", "/v1/responses", {"model": MODEL, "input": "x", **fields})
    assert answer.status == 400, answer
    assert answer.json["error"]["param"] == param


def test_nothing_is_stored_and_that_is_said(client):
    response = ask(client, store=True)
    assert response.store is False
    with pytest.raises(openai.NotFoundError, match="stores no responses"):
        client.responses.retrieve(response.id)


def test_a_failure_in_a_stream_is_told(client):
    events = list(ask(client, "a [[tokens=9 fail=3]]", stream=True))
    assert events[-1].type == "response.failed"
    assert events[-1].response.error.message == "the script says so"
