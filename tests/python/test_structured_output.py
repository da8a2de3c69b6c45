"""Structured output: every answer parses and validates, whatever the model would have said.

The model is tiny and random: it knows nothing of JSON, so what is valid is the grammar's doing. What a
grammar accepts and rejects, text by text, is in test_grammar.py.
"""

import datetime
import json
import re
from typing import Literal

import anthropic
import jsonschema
import ollama
import openai
import pydantic
import pytest
from make_model import make_model
from server_harness import RealServer, run_in_threads

TEMPLATE = "{% for m in messages %}{{ m['content'] }} {% endfor %}"

SCHEMAS = {
    "a person": {
        "type": "object",
        "properties": {
            "name": {"type": "string", "minLength": 2, "maxLength": 8},
            "age": {"type": "integer", "minimum": 18, "maximum": 120},
            "tags": {"type": "array", "items": {"enum": ["x", "y", 7, None]}, "minItems": 1, "maxItems": 3},
        },
        "required": ["name", "age", "tags"],
        "additionalProperties": False,
    },
    "a tree": {
        "$ref": "#/$defs/node",
        "$defs": {
            "node": {
                "type": "object",
                "properties": {"v": {"type": "boolean"}, "k": {"type": "array", "items": {"$ref": "#/$defs/node"}, "maxItems": 1}},
                "required": ["v"],
            }
        },
    },
    "a tuple": {
        "type": "array",
        "prefixItems": [{"type": "integer", "exclusiveMinimum": -5, "exclusiveMaximum": 5}, {"const": "c"}],
        "items": False,
        "minItems": 2,
    },
    "one of two": {"anyOf": [{"type": "null"}, {"type": "string", "format": "date"}]},
    "both": {
        "type": "object",
        "allOf": [
            {"properties": {"a": {"type": "integer", "maximum": 9, "minimum": 0}}, "required": ["a"]},
            {"properties": {"b": {"type": "string", "pattern": "^[a-f]{3,5}$"}}, "required": ["b"]},
        ],
    },
    "an identity": {"type": "object", "properties": {"id": {"type": "string", "format": "uuid"}}, "required": ["id"]},
}


@pytest.fixture(scope="module")
def server(mistral, tmp_path_factory):
    model = make_model(tmp_path_factory.mktemp("model") / "tiny.gguf", context=2048, chat_template=TEMPLATE)
    server = RealServer(mistral, model, "--draft-tokens", "4", home=tmp_path_factory.mktemp("home"))
    yield server
    server.stop()


@pytest.fixture(scope="module")
def client(server):
    with openai.OpenAI(base_url=server.base_url + "/v1", api_key="unused", max_retries=0) as client:
        yield client


def complete(server, **fields):
    answer = server.request("POST", "/v1/completions", {"model": "tiny", "prompt": "the water", "max_tokens": 1500, **fields})
    assert answer.status == 200, answer
    return answer.json["choices"][0]


@pytest.mark.parametrize("name", SCHEMAS)
def test_answers_are_valid(server, name):
    schema, whole = SCHEMAS[name], 0
    for seed in range(8):
        choice = complete(server, json_schema=schema, seed=seed, temperature=[0, 0.7, 1.5][seed % 3])
        if choice["finish_reason"] == "stop":
            jsonschema.validate(json.loads(choice["text"]), schema, format_checker=jsonschema.FormatChecker())
            whole += 1
    assert whole >= 4, "most answers come to their end"


def test_an_answer_is_the_same_alone_and_in_company(server):
    wanted = [{"json_schema": schema, "seed": 5, "temperature": 1.0} for schema in SCHEMAS.values()]
    alone = [complete(server, **fields)["text"] for fields in wanted]
    together = run_in_threads(len(wanted), lambda i: complete(server, **wanted[i])["text"])
    assert together is None or together == alone


def test_any_object(server):
    for seed in range(6):
        choice = complete(server, response_format={"type": "json_object"}, seed=seed, temperature=1.0, max_tokens=300)
        if choice["finish_reason"] == "stop":
            assert isinstance(json.loads(choice["text"]), dict)
        else:
            assert choice["text"].startswith("{")


def test_a_schema_beside_json_object(server):
    shape = {"type": "json_object", "schema": {"enum": ["seven"]}}
    assert complete(server, response_format=shape)["text"] == '"seven"'


def test_a_grammar_and_a_regular_expression(server):
    for seed in range(4):
        grammar = 'root ::= ("yes" | "no" | "maybe") "!"{1,2}'
        assert re.fullmatch("(yes|no|maybe)!{1,2}", complete(server, grammar=grammar, seed=seed)["text"])
        pattern = "[A-Z]{2}-\\d{4}(é|ß)?"
        assert re.fullmatch(pattern, complete(server, regex=pattern, seed=seed)["text"])


def test_the_end_is_no_later_than_max_tokens(server):
    choice = complete(server, grammar='root ::= "a"+', max_tokens=9)
    assert choice["finish_reason"] in ("length", "stop") and set(choice["text"]) == {"a"}


class Person(pydantic.BaseModel):
    name: str
    age: int


class Cat(pydantic.BaseModel):
    kind: Literal["cat"] = "cat"
    lives: int = pydantic.Field(ge=1, le=9)


class Dog(pydantic.BaseModel):
    kind: Literal["dog"] = "dog"
    born: datetime.date | None = None


class Household(pydantic.BaseModel):
    """Nested, optional, enumerated, told apart, dated: what people write."""

    name: str = pydantic.Field(min_length=1, max_length=6)
    pet: Cat | Dog = pydantic.Field(discriminator="kind")
    rooms: list[Literal["hall", "attic"]] = pydantic.Field(max_length=2)
    rent: float = pydantic.Field(ge=0, le=1000)
    address: tuple[str, int] | None = None


class StrictHousehold(pydantic.BaseModel):
    """Without what OpenAI's own strict mode cannot say: the client turns it into a schema itself."""

    name: str = pydantic.Field(min_length=1, max_length=6)
    pets: list[Cat | Dog] = pydantic.Field(max_length=1)
    state: Literal["new", "old"]


ASK = [{"role": "user", "content": "Who?"}]


def test_pydantic_through_the_openai_client(client):
    answer = client.chat.completions.parse(model="tiny", messages=ASK, response_format=StrictHousehold, max_tokens=1500, seed=0)
    assert isinstance(answer.choices[0].message.parsed, StrictHousehold), answer
    response = client.responses.parse(model="tiny", input="Who?", text_format=StrictHousehold)
    assert isinstance(response.output_parsed, StrictHousehold), response
    with client.chat.completions.stream(model="tiny", messages=ASK, response_format=StrictHousehold, max_tokens=1500, seed=0) as stream:
        for _ in stream:
            pass
        assert isinstance(stream.get_final_completion().choices[0].message.parsed, StrictHousehold)
    with client.responses.stream(model="tiny", input="Who?", text_format=StrictHousehold) as stream:
        for _ in stream:
            pass
        assert isinstance(stream.get_final_response().output_parsed, StrictHousehold)


def test_a_pydantic_schema_as_it_is(server):
    schema = Household.model_json_schema()
    with_ollama = ollama.Client(host=server.base_url)
    for seed in range(4):
        answer = with_ollama.chat("tiny", ASK, format=schema, options={"num_predict": 1500, "seed": seed})
        Household.model_validate_json(answer.message.content)
    with anthropic.Anthropic(base_url=server.base_url, api_key="unused", max_retries=0) as client:
        message = client.messages.create(model="tiny", max_tokens=1500, messages=ASK, extra_body={"seed": seed},
                                         output_config={"format": {"type": "json_schema", "schema": schema}})
        Household.model_validate_json(message.content[0].text)


@pytest.mark.release_only
def test_pydantic_with_a_model_that_knows_json(mistral, smollm2, tmp_path):
    server = RealServer(mistral, smollm2, home=tmp_path)
    try:
        with openai.OpenAI(base_url=server.base_url + "/v1", api_key="unused") as client:
            answer = client.chat.completions.parse(
                model=client.models.list().data[0].id,
                messages=[{"role": "user", "content": "Invent a person. Answer with JSON."}],
                response_format=Person,
                temperature=0,
                max_tokens=200,
            )
        assert answer.choices[0].finish_reason == "stop"
        assert answer.choices[0].message.parsed.name
    finally:
        server.stop()


def test_over_the_ollama_api(server):
    for shape in ("json", SCHEMAS["a person"]):
        answer = server.request(
            "POST", "/api/generate",
            {"model": "tiny", "prompt": "x", "format": shape, "stream": False, "options": {"num_predict": 1500, "seed": 3}},
        ).json
        if answer["done_reason"] == "stop":
            assert isinstance(json.loads(answer["response"]), dict)
        assert answer["response"].lstrip().startswith("{")


@pytest.mark.parametrize(
    ("fields", "names"),
    [
        ({"json_schema": {"type": "array", "uniqueItems": True}}, "uniqueItems"),
        ({"json_schema": {"properties": {"a": {"not": {}}}}}, "not"),
        ({"json_schema": 7}, "json_schema"),
        ({"response_format": {"type": "xml"}}, "Invalid value: 'xml'"),
        ({"response_format": {"type": "json_schema"}}, "response_format.json_schema.schema"),
        ({"response_format": 1}, "response_format"),
        ({"grammar": "root ::= root"}, "grammar"),
        ({"grammar": "x ::= ("}, "grammar"),
        ({"grammar": 3}, "grammar"),
        ({"regex": "(?=a)b"}, "regex"),
        ({"regex": "a", "grammar": 'root ::= "a"'}, "regex"),
    ],
)
def test_what_cannot_be_obeyed_is_refused_by_name(server, fields, names):
    answer = server.request("POST", "/v1/completions", {"model": "tiny", "prompt": "a", "max_tokens": 2, **fields})
    assert answer.status == 400, answer
    assert names in answer.json["error"]["message"]


def test_hostile_schemas_are_bounded(server):
    deep = {"type": "integer"}
    for _ in range(300):
        deep = {"type": "array", "items": deep}
    doubling = {"$ref": "#/$defs/d0", "$defs": {f"d{i}": {"anyOf": [{"type": "array", "prefixItems": [{"$ref": f"#/$defs/d{i + 1}"}] * 2}] * 2} for i in range(40)}}
    doubling["$defs"]["d40"] = {"type": "null"}
    wide = {"enum": [f"{i:08d}" for i in range(100_000)]}
    for schema in (deep, doubling, wide, {"type": "string", "pattern": "(a|a)*" * 200}, {"type": "string", "minLength": 10**9}):
        answer = server.request("POST", "/v1/completions", {"model": "tiny", "prompt": "a", "max_tokens": 3, "json_schema": schema})
        assert answer.status in (200, 400), answer
    for pattern in ("a{100000}{100000}{100000}", "(" * 5000 + "a" + ")" * 5000):
        answer = server.request("POST", "/v1/completions", {"model": "tiny", "prompt": "a", "max_tokens": 3, "regex": pattern})
        assert answer.status in (200, 400), answer
    server.assert_healthy()
