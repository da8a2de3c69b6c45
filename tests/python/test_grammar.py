"""What grammars accept and reject, text by text: GBNF, regular expressions, JSON Schema."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest


@pytest.fixture(scope="module")
def check(build_dir):
    process = subprocess.Popen([build_dir / "tests/tools/grammar_check"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def ask(kind, source, texts):
        process.stdin.write(json.dumps({"kind": kind, "source": source, "texts": texts}) + "\n")
        process.stdin.flush()
        return json.loads(process.stdout.readline())

    yield ask
    process.stdin.close()
    assert process.wait(10) == 0


PERSON = {
    "type": "object",
    "properties": {
        "name": {"type": "string", "minLength": 2, "maxLength": 4},
        "age": {"type": "integer", "minimum": 18, "maximum": 120},
        "tags": {"type": "array", "items": {"enum": ["x", "y"]}, "maxItems": 2},
    },
    "required": ["name", "age"],
}
TREE = {
    "$ref": "#/$defs/t",
    "$defs": {"t": {"type": "object", "properties": {"v": {"type": "integer"}, "k": {"type": "array", "items": {"$ref": "#/$defs/t"}}}, "required": ["v"]}},
}
BOTH = {
    "allOf": [{"properties": {"a": {"type": "integer"}}, "required": ["a"]}, {"properties": {"b": {"type": "string"}}, "required": ["b"]}],
    "type": "object",
}
ACCEPTED_AND_REJECTED = [
    ("gbnf", 'root ::= "a" [b-d]+ ("x" | "yy"){2,3} # c\n', ["abxx", "acdyyxyy"], ["axx", "abx", "abxxxx"]),
    ("gbnf", 'root ::= expr\nexpr ::= term ("+" term)*\nterm ::= "(" expr ")" | [0-9]+ \n', ["1+2", "((1)+2)+3"], ["(1", "1+"]),
    ("gbnf", 'root ::= s\ns ::= "a" s s | ""', ["a" * 300], ["a" * 300 + "b"]),
    ("regex", "(a|b)*c{2,}\\d", ["abcc1", "cc2"], ["c1"]),
    ("regex", "[^a-z]é.", ["Aéx"], ["aéx", "ßé\n"]),
    ("json_object", "", ["{}", '{"a":1}', '{"a": [1, 2.5e3, {"b": "\\u00e9\\n"}]}', '{"a":"\\ud83d\\ude00"}', '{\n "a":1}'],
     ["[1]", '{"a":01}', '{"a":"\\ud800"}', '{"a":1,}', "{"]),
    ("schema", PERSON, ['{"name":"bob","age":18}', '{"name":"bo","age":120}', '{"name":"bo","age":99,"tags":["x","y"]}'],
     ['{"name":"b","age":18}', '{"name":"bo","age":17}', '{"name":"bo","age":121}', '{"name":"bo","age":99,"tags":["x","y","x"]}']),
    ("schema", TREE, ['{"v":1}', '{"v":1,"k":[{"v":2,"k":[]}]}'], ['{"k":[]}', '{"v":1,"k":[{}]}']),
    ("schema", BOTH, ['{"a":1,"b":"x"}'], ['{"a":1}', '{"b":"x"}']),
    ("schema", {"type": "object", "additionalProperties": {"type": "integer"}, "properties": {"ab": {"type": "string"}}},
     ['{"ab":"x","q":1}', '{"abc":1,"a":2}', '{"":5}'], ['{"ab":1}', '{"a":"x"}']),
    ("schema", {"type": "array", "prefixItems": [{"type": "integer"}, {"type": "string"}], "items": False, "minItems": 2},
     ['[1, "a"]'], ["[1]", '[1,"a",2]']),
    ("schema", {"type": "string", "pattern": '^a"|b$'}, ['"a\\"zz"', '"zb"'], ['"az"']),
    ("schema", {"type": "string", "format": "date"}, ['"2024-02-29"', '"2000-02-29"'], ['"2023-02-29"', '"1900-02-29"', '"2023-13-01"']),
    ("schema", {"type": "string", "format": "date-time"}, ['"2024-02-29T23:59:59.123+01:00"'], ['"2024-02-30T00:00:00Z"']),
    ("schema", {"type": "number", "multipleOf": 0.05, "minimum": 0.12, "maximum": 3}, ["0.15", "0.2", "0.50", "1", "3", "3.00", "2.95"],
     ["0.1", "0.12", "0.151", "3.05", "1.000"]),
    ("schema", {"type": "integer", "multipleOf": 2.5}, ["0", "5", "-15"], ["2", "7", "2.5"]),
    ("schema", {"oneOf": [{"$ref": "#/$defs/a"}, {"$ref": "#/$defs/b"}], "discriminator": {"propertyName": "k"}, "$defs": {
        "a": {"type": "object", "properties": {"k": {"const": "a"}, "l": {"oneOf": [{"$ref": "#/$defs/a"}, {"$ref": "#/$defs/b"}],
                                                                          "discriminator": {"propertyName": "k"}}}},
        "b": {"type": "object", "properties": {"k": {"const": "b"}}}}},
     ['{"k":"a"}', '{"k":"b"}', '{"k":"a","l":{"k":"a","l":{"k":"b"}}}'], ["{}", '{"k":"c"}', '{"k":"b","l":{"k":"b"}}', '{"k":"a","l":{}}']),
    ("schema", {"allOf": [{"type": "array", "prefixItems": [{"minimum": 3}]}], "items": {"type": "integer", "minimum": 5}},
     ["[5,7]", "[]"], ["[3,5]", "[6,4]"]),
    ("schema", {"type": "string", "format": "password"}, ['"x"'], ["1"]),
    ("schema", {"type": "string", "format": "duration"}, ['"P1Y2M3DT4H"', '"PT5S"', '"P4W"'], ['"P"', '"P1S"']),
    ("schema", {"type": "string", "format": "ipv6"}, ['"::1"', '"1::d6:192.168.0.1"', '"::"'], ['"1::2::3"', '"12345::"']),
    ("schema", {"type": "string", "format": "uuid"}, ['"123e4567-e89b-12d3-a456-426614174000"'], ['"123e4567e89b12d3a456426614174000"']),
]


@pytest.mark.parametrize(("kind", "source", "accepted", "rejected"), ACCEPTED_AND_REJECTED)
def test_texts(check, kind, source, accepted, rejected):
    answer = check(kind, source, accepted + rejected)
    assert answer.get("matches") == [True] * len(accepted) + [False] * len(rejected), answer


@pytest.mark.parametrize("bounds", [{"minimum": -3.5, "maximum": 12.25}, {"exclusiveMinimum": 0}, {"exclusiveMaximum": 0}, {"minimum": 0.001, "maximum": 0.1}])
def test_bounds_of_numbers(check, bounds):
    texts = ["-3.5", "-3.6", "-3.49", "0", "12.25", "12.26", "12.250", "12.3", "100", "5", "-1", "0.0000001", "0.1", "0.05", "0.001", "0.00099", "0.101"]

    def is_within(text):
        value = float(text)
        return (bounds.get("minimum", value) <= value <= bounds.get("maximum", value)
                and not value <= bounds.get("exclusiveMinimum", value - 1) and not value >= bounds.get("exclusiveMaximum", value + 1))

    assert check("schema", {"type": "number", **bounds}, texts)["matches"] == [is_within(text) for text in texts]


def test_bounds_of_integers(check):
    texts = [str(i) for i in range(-150, 160)]
    for low in range(-25, 130, 7):
        for high in range(low, 140, 11):
            wanted = [low <= int(text) <= high and int(text) % 3 == 0 for text in texts]
            answer = check("schema", {"type": "integer", "minimum": low, "maximum": high, "multipleOf": 3}, texts)
            assert answer["matches"] == wanted if any(wanted) else "error" in answer, (low, high)


@pytest.mark.parametrize(
    ("kind", "source", "names"),
    [
        ("gbnf", 'root ::= root "a" | "b"', "root"),
        ("gbnf", 'root ::= "a" root', "no finite text"),
        ("schema", {"$ref": "#"}, ""),
        ("schema", {"oneOf": [{"type": "string"}, {"minLength": 3}]}, "oneOf"),
        ("schema", {"uniqueItems": True}, "uniqueItems"),
        ("schema", {"properties": {"a": {"not": {}}}}, "not"),
        ("schema", {"type": "integer", "minimum": 3, "maximum": 2}, ""),
        ("schema", {"properties": {"a": {"pattern": "\\p{L}"}}}, "#/properties/a: 'pattern'"),
        ("schema", {"type": "string", "maxLength": 10**9}, "maxLength"),
        ("schema", {"type": "string", "format": "idn-email"}, "idn-email"),
        ("schema", {"type": "number", "multipleOf": 3.14159}, "multipleOf"),
        ("regex", "(?<=a)b", ""),
        ("regex", "(", ""),
    ],
)
def test_refusals_name_what_they_refuse(check, kind, source, names):
    answer = check(kind, source, [])
    assert names in answer["error"]


def nested(times, around, schema):
    for _ in range(times):
        schema = around(schema)
    return schema


def doubling(count):
    rows = {f"d{i}": {"anyOf": [{"type": "array", "prefixItems": [{"$ref": f"#/$defs/d{i + 1}"}] * 2}] * 2} for i in range(count)}
    return {"$ref": "#/$defs/d0", "$defs": {**rows, f"d{count}": {"type": "null"}}}


MANY = [f"member {i}" for i in range(100_000)]
HOSTILE = {
    "references that double": doubling(40),
    "parts that double": nested(15, lambda part: {"type": "array", "prefixItems": [part, part]}, {"type": "null"}),
    "deep": nested(500, lambda part: {"type": "array", "items": part}, {"type": "null"}),
    "a million values": {"enum": list(range(1_000_000))},
    "values shared by two": {"allOf": [{"enum": list(range(30_000))}, {"enum": list(range(29_999, 60_000))}]},
    "many members": {"type": "object", "properties": dict.fromkeys(MANY, True), "required": MANY},
    "many names to avoid": {"type": "object", "properties": dict.fromkeys(map(chr, range(0x4E00, 0x9E00)), True), "additionalProperties": True},
    "a name of a megabyte": {"type": "object", "properties": {"x" * 1_000_000: True}, "additionalProperties": True},
    "a description of megabytes": {"type": "string", "description": "x" * 5_000_000},
    **{f"{keyword} of a billion": {keyword: 10**9} for keyword in
       ("minLength", "maxLength", "minItems", "maxItems", "minProperties", "maxProperties")},
    "a long array of objects": {"maxItems": 150_000, "items": {"properties": {"a": {"type": "integer"}, "b": {"maxLength": 1000}}}},
    "members that are counted": {"properties": dict.fromkeys(MANY[:300], True), "maxProperties": 300},
    "choices joined with choices": {"allOf": [{"anyOf": [{"properties": {f"p{i} {k}": True}} for k in range(10)]} for i in range(20)]},
    "oneOf thousands": {"oneOf": [{"const": i} for i in range(3000)]},
    "anyOf very many": {"anyOf": [{"const": i} for i in range(100_000)]},
    "many bounds of numbers": {"anyOf": [{"type": "number", "minimum": i * 0.123456789, "multipleOf": 0.07} for i in range(300)]},
    "a pattern of a megabyte": {"pattern": "(a|b)*c" * 150_000},
    "repetitions in repetitions": {"pattern": "^((a{1,100}){1,100}){1,100}$"},
    "an exponential automaton": {"pattern": "^(.*a.{18}|.*b.{18})$"},
    "stars": {"pattern": "(.*)*" * 100},
    "references in a circle": {"$ref": "#/$defs/a", "$defs": {"a": {"$ref": "#/$defs/b"}, "b": {"$ref": "#/$defs/a"}}},
    "a schema that joins itself": {"$ref": "#/$defs/a", "$defs": {"a": {"allOf": [{"$ref": "#/$defs/a"}, {"type": "object"}]}}},
}
MOST_SECONDS, MOST_MEGABYTES = 3, 300


def largest_megabytes(pid):
    """Of a running process on Linux, whose wait4 counts what this process had when it forked; else None."""
    if sys.platform != "linux":
        return None
    status = Path(f"/proc/{pid}/status").read_text()
    return int(re.search(r"^VmHWM:\s+(\d+) kB$", status, re.MULTILINE).group(1)) / 1024


@pytest.mark.release_only
@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_schemas_are_bounded_in_time_and_memory(name, build_dir):
    """Seconds of the processor and the largest resident memory of a process that reads the schema and matches
    800 characters: a grammar, or a refusal."""
    order = {"kind": "schema", "source": HOSTILE[name], "texts": ['"' + "ab" * 400 + '"', '{"a":[1,2,3]}']}
    process = subprocess.Popen([build_dir / "tests/tools/grammar_check"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    process.stdin.write(json.dumps(order) + "\n")
    process.stdin.flush()
    answer = json.loads(process.stdout.readline())
    peak = largest_megabytes(process.pid)
    process.stdin.close()
    process.stdout.close()
    _, status, used = os.wait4(process.pid, 0)
    process.returncode = status
    assert status == 0 and ("matches" in answer or answer["error"]), answer
    assert used.ru_utime + used.ru_stime < MOST_SECONDS
    assert (peak or used.ru_maxrss / 1024**2) < MOST_MEGABYTES
