"""The TOML reader beside Python's own (tomllib, TOML 1.0): same values, same refusals."""

import datetime
import json
import math
import random
import subprocess
import tomllib

import pytest

VALID = r'''
# A document with every kind of value.
title = "TOML \u00e9 \U0001F600 \t\b\f\r\n\"\\"
"quoted key" = 'C:\path\n'
'' = "empty key"
bare_key-1 = """
first line trimmed
  joined \
     here, "quotes" and ""two"""""
raw = ''' + "'''" + r'''
no \escapes
'two' ''quotes''' + "''''" + r'''
1234 = true
3.14159 = "pi"
a.b."c d".e = false

[numbers]
i = [0, +0, -0, 42, -17, 1_000, 9223372036854775807, -9223372036854775808, 0xDEAD_beef, 0o755, 0b1101]
f = [1.0, -0.01, 5e+22, 1E06, -2e-2, 6.626e-34, 224_617.445_991, inf, -inf, nan, +nan, 1e1_0, 0e0]

[times]
offset = [1979-05-27T07:32:00Z, 1979-05-27 00:32:00-07:00, 1979-05-27t00:32:00.999999z]
local = [1979-05-27T07:32:00, 2024-02-29T23:59:59.5]
dates = [1979-05-27, 2000-02-29]
hours = [07:32:00, 00:32:00.25]

[nested]
array = [ [1, 2], ["a", [3.5, {x = 1}]], # comment
  { y.z = [ { } ], "k" = {} },
]
[nested.table]
[nested.table."dotted.key".more]
x = 1
[fruit]
apple.color = "red"
apple.taste.sweet = true
[fruit.apple.texture]
smooth = true
[[products]]
name = "Hammer"
[[products]]
[[products]]
name = "Nail"
[products.detail]
[[products.parts]]
n = 1
[[products.parts]]
n = 2
'''

INVALID = [
    "a = 1\na = 2", "a.b = 1\na = 2", "[a]\n[a]", "[a]\nb = 1\n[a.b]", "[[a]]\n[a]", "a = []\n[[a]]",
    "a = {b = 1}\na.c = 2", "a = {b = 1}\n[a.c]", "[a.b.c]\nz=9\n[a]\nb.c.t = 1", "[fruit]\napple.x=1\n[fruit.apple]",
    "a = {b = 1,}", "a = {\nb = 1}", "a = [1,,2]", "a = [1 2]", "a", "a =", "= 1", "a = b", "a = 1 b = 2", "[a", "[[a]",
    "[a]]", "[]", "[a.]", "a..b = 1", ".a = 1", 'a = "x', "a = 'x\ny'", 'a = "\\x41"', 'a = "\\ud800"',
    'a = "\\u12"', 'a = """x', "a = 01", "a = 1__0", "a = _1", "a = 1_", "a = +0x1", "a = 0X1", "a = 0b2", "a = 1.",
    "a = .5", "a = 1.e5", "a = 1e", "a = 01.5", "a = Inf", "a = TRUE", "a = 9223372036854775808", "a = 1979-13-01",
    "a = 2023-02-29", "a = 1979-05-27T25:00:00", "a = 12:60:00", "a = 1979-05-27T", "a = 07:32", "a = 1979-5-27",
    "a = 1 \x01", "# \x7f", 'a = "\x00"', "a = 1\rb = 2", '"""a""" = 1', "a = 1979-05-27T00:00:00+25:00",
]


@pytest.fixture(scope="module")
def toml_dump(build_dir):
    program = build_dir / "tests" / "tools" / "toml_dump"
    assert program.is_file()
    return program


def read_ours(program, text):
    """The document, or None where it is refused; anything else is a crash."""
    done = subprocess.run([program], input=text, capture_output=True, timeout=30)
    assert done.returncode in (0, 1), done.stderr.decode(errors="replace")
    if done.returncode == 1:
        assert done.stderr.startswith(b"stdin:")
        return None
    return json.loads(done.stdout)


def read_theirs(text):
    try:
        return tagged(tomllib.loads(text.decode("utf-8")))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError):
        return None


def tagged(value):
    """tomllib's values in the tagged form that toml_dump writes."""
    if isinstance(value, dict):
        return {key: tagged(item) for key, item in value.items()}
    if isinstance(value, list):
        return [tagged(item) for item in value]
    kinds = {bool: "bool", int: "integer", float: "float", str: "string", datetime.date: "date-local",
             datetime.time: "time-local"}
    if isinstance(value, datetime.datetime):
        kind = "datetime-local" if value.tzinfo is None else "datetime"
        text = value.replace(microsecond=0).isoformat()
        fraction = f".{value.microsecond:06d}000" if value.microsecond else ""
        return {"type": kind, "value": text[:19] + fraction + text[19:]}
    kind = kinds[type(value)]
    if kind == "bool":
        text = "true" if value else "false"
    elif kind == "time-local":
        text = value.replace(microsecond=0).isoformat() + (f".{value.microsecond:06d}000" if value.microsecond else "")
    elif kind == "float":
        return {"type": kind, "value": "nan" if math.isnan(value) else value}
    else:
        text = str(value)
    return {"type": kind, "value": text}


def with_numbers(value):
    """Floats as numbers, so that two spellings of one number are equal."""
    if isinstance(value, list):
        return [with_numbers(item) for item in value]
    if set(value) == {"type", "value"} and value["type"] == "float":
        return {"type": "float", "value": value["value"] if value["value"] == "nan" else float(value["value"])}
    if set(value) == {"type", "value"} and isinstance(value["type"], str):
        return value
    return {key: with_numbers(item) for key, item in value.items()}


def assert_same(program, text):
    ours, theirs = read_ours(program, text), read_theirs(text)
    if theirs is None or ours is None:
        assert ours == theirs, text
    else:
        assert with_numbers(ours) == theirs, text


@pytest.mark.parametrize("newline", ["\n", "\r\n"])
def test_every_kind_of_value(toml_dump, newline):
    text = VALID.replace("\n", newline).encode()
    assert read_theirs(text) is not None
    assert_same(toml_dump, text)


@pytest.mark.parametrize("text", INVALID)
def test_invalid_documents_are_refused(toml_dump, text):
    assert read_ours(toml_dump, text.encode()) is None


@pytest.mark.release_only  # six hundred processes; under the sanitizers a fuzzer damages documents, in one
def test_damaged_documents_are_taken_or_refused_alike(toml_dump):
    """Random cuts, copies and changed characters of the document above."""
    generator = random.Random(20)
    letters = "\"'\\=.[]{},#\n\t +-_:0123456789abcdefinxTZ\u00e9\x01"
    lines = VALID.splitlines()
    for _ in range(600):
        text = list("\n".join(generator.sample(lines, generator.randint(1, 8))))
        for _ in range(generator.randint(1, 3)):
            at = generator.randrange(len(text) + 1)
            text[at : at + generator.randint(0, 2)] = generator.choice(["", generator.choice(letters)])
        text = "".join(text)
        if ":60" in text:  # a leap second, which RFC 3339 allows and Python's datetime does not
            continue
        assert_same(toml_dump, text.encode())


def test_bytes_that_are_not_utf8(toml_dump):
    assert read_ours(toml_dump, b'a = "\xff"') is None
    assert read_ours(toml_dump, b"a = 1 # \xed\xa0\x80") is None
    assert read_ours(toml_dump, b"\xef\xbb\xbfa = 1") == {"a": {"type": "integer", "value": "1"}}


@pytest.mark.parametrize(
    "text", ["a = " + "[" * 100_000, "a = " + "{a=" * 100_000, ".".join("a" * 100_000) + " = 1", "[" + ".".join("a" * 5000) + "]"],
    ids=["arrays", "inline tables", "dotted key", "header"],
)
def test_nesting_is_bounded(toml_dump, text):
    assert read_ours(toml_dump, text.encode()) is None


def test_very_many_keys_take_linear_time(toml_dump):
    text = "".join(f"k{i} = {i}\n" for i in range(60_000))
    assert len(read_ours(toml_dump, text.encode())) == 60_000


def test_an_error_has_line_and_column_in_characters(toml_dump):
    done = subprocess.run([toml_dump], input='a = 1\n\u00e9 = 2\n'.encode(), capture_output=True)
    assert done.stderr.decode() == "stdin:2:1: a key is missing\n"
    done = subprocess.run([toml_dump], input='a = "\u00e9\u00e9" b\n'.encode(), capture_output=True)
    assert done.stderr.decode() == "stdin:1:10: the line goes on after its value\n"
