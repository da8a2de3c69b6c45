"""The public JSON-Schema-Test-Suite (draft 2020-12, optional formats too), as jsonschema's source carries it.

A valid instance can be generated: the grammar matches its JSON text, with the members of its objects in
some order, since a grammar has one. An invalid one cannot. What is refused, and what is valid and never
generated, is listed in docs/structured-output.md, to the case.
"""

import collections
import itertools
import json
import re
import subprocess

import pytest
from pypi_sources import source_folder

pytestmark = pytest.mark.timeout(300)
VERSION = "4.26.0"
SHA256 = "0c26707e2efad8aa1bfc5b7ce170f3fccc2e4918ff85989ba9ffa9facb2be326"
KEYWORDS = (r"'([$\w]+)'(?: to '.*?'| of '([\w-]+)')? (?:is supported|is not supported|leads in a circle)|'(pattern)': |"
            r"both have '(\w+)'")

# File → why a valid instance of it is never generated.
NARROWER = {
    "const.json": "`1.0` where `1` means the same", "enum.json": "`1.0` where `1` means the same",
    "type.json": "`1.0` where `1` means the same",
    "format.json": "strings against their `format`", "vocabulary.json": "what a schema language of one's own allows",
    "optional/bignum.json": "numbers of more than 16 digits before the point",
    "optional/float-overflow.json": "numbers of more than 16 digits before the point",
    "optional/format/date-time.json": "leap seconds, `t` and `z` in lower case",
    "optional/format/time.json": "leap seconds, `t` and `z` in lower case",
    "optional/format/email.json": "e-mail addresses with quotes or with an IP address",
    "optional/format/uri.json": "URIs with an IPv6 address",
}


@pytest.fixture(scope="module")
def suite(source_root):
    """Name of a file → its groups."""
    inner = f"jsonschema-{VERSION}/json/tests/draft2020-12/"
    folder = source_folder(source_root, "jsonschema", VERSION, SHA256, inner, f"json-schema-test-suite-{VERSION}")
    return {path.relative_to(folder).as_posix(): json.loads(path.read_text(encoding="utf-8"))
            for path in sorted(folder.rglob("*.json"))}


def orders(value):
    """The value as JSON, with the members of its objects in every order."""
    if isinstance(value, dict):
        for names in itertools.permutations(value):
            for texts in itertools.product(*(list(orders(value[name])) for name in names)):
                members = zip(names, texts, strict=True)
                yield "{" + ",".join(f"{json.dumps(name, ensure_ascii=False)}:{text}" for name, text in members) + "}"
    elif isinstance(value, list):
        for texts in itertools.product(*(list(orders(item)) for item in value)):
            yield "[" + ",".join(texts) + "]"
    else:
        yield json.dumps(value, ensure_ascii=False)


@pytest.fixture(scope="module")
def results(suite, build_dir):
    """For each file and group: what was refused, or each test with whether its instance can be generated, where
    the schema is taken to the letter and as people mean it."""
    process = subprocess.Popen([build_dir / "tests/tools/grammar_check"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    rows = []
    for name, groups in suite.items():
        for group in groups:
            texts = [list(itertools.islice(orders(test["data"]), 800)) for test in group["tests"]]
            answers = []
            for as_written in (True, False):
                order = {"kind": "schema", "source": group["schema"], "texts": sum(texts, []), "as_written": as_written}
                process.stdin.write(json.dumps(order) + "\n")
                process.stdin.flush()
                answer = json.loads(process.stdout.readline())
                matches = iter(answer.get("matches", []))
                found = [any([next(matches, False) for _ in each]) for each in texts]
                answers.append((answer.get("error"), found))
            rows.append((name, group, answers))
    process.stdin.close()
    assert process.wait(10) == 0
    return rows


def test_no_invalid_instance_can_be_generated(results):
    wrong = [(name, group["description"], test["description"])
             for name, group, answers in results for _, found in answers
             for test, can in zip(group["tests"], found, strict=True) if can and not test["valid"]]
    assert wrong == []


def refusals(results):
    """Keyword → how many schemas are refused for it."""
    counts = collections.Counter()
    for name, group, answers in results:
        error = answers[0][0]
        if error is None:
            continue
        if not any(test["valid"] for test in group["tests"]) and "no finite text" in error:
            continue  # nothing satisfies it, and that is what is said
        named = re.search(KEYWORDS, error)
        if "too big" in error:
            counts["whole numbers beyond 64 bits"] += 1
        else:
            assert named is not None, (name, group["description"], error)
            keyword = next(filter(None, named.groups()))
            assert json.dumps(keyword)[1:-1] in json.dumps(group["schema"]), (name, error)
            counts[f"`{keyword}`" + (f" of `{named[2]}`" if named[2] else "")] += 1
    return counts


def narrower(results):
    """Why → how many valid instances of schemas that are not refused are never generated."""
    counts = collections.Counter()
    for name, group, answers in results:
        error, found = answers[0]
        for test, can in zip(group["tests"], found, strict=True):
            if error is None and test["valid"] and not can:
                assert name in NARROWER, f"{name}: {group['description']}: {test['description']} cannot be generated"
                counts[NARROWER[name]] += 1
    return counts


def table(counts):
    return "".join(f"| {what} | {count} |\n" for what, count in sorted(counts.items()))


def test_the_document_lists_what_is_refused_and_what_is_never_generated(results, source_root):
    text = (source_root / "docs/structured-output.md").read_text(encoding="utf-8")
    for counts in (refusals(results), narrower(results)):
        assert table(counts) in text, "docs/structured-output.md should have:\n" + table(counts)
    tests = sum(len(group["tests"]) for _, group, _ in results)
    taken = sum(len(group["tests"]) for _, group, answers in results if answers[0][0] is None)
    assert f"{taken:,} of the suite's {tests:,} instances" in text, f"{taken:,} of the suite's {tests:,} instances"
