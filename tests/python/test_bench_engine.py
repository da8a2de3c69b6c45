"""mistral bench engine and compare: what they measure, what they write, what they refuse."""

import csv
import io
import json
import os
import re
import signal
import subprocess

import jsonschema
import pytest

from make_model import make_model
from program import Program

TINY = ("--synthetic", "tiny:q4_k_m")
SCHEMA = {
    "type": "object", "required": ["format", "kind", "partial", "system", "measurements"],
    "properties": {
        "format": {"const": "mistral-bench/1"}, "kind": {"const": "engine"}, "partial": {"type": "boolean"},
        "system": {"type": "object", "required": ["cpu", "cores", "memory_bytes", "os", "commit", "settings", "kernels"]},
        "measurements": {"type": "array", "items": {
            "type": "object", "required": ["name", "unit", "better", "samples", "median", "low", "high"],
            "properties": {"unit": {"const": "tokens/s"}, "better": {"const": "higher"},
                           "samples": {"type": "array", "items": {"type": "number", "exclusiveMinimum": 0}}}}},
    },
}


@pytest.fixture
def program(mistral, tmp_path):
    return Program(mistral, tmp_path)


def test_every_combination_is_measured_and_told_as_json(program):
    told = json.loads(program.good("bench", "engine", *TINY, "-p", "8,16", "-n", "4", "-d", "0,32", "-b", "1,3",
                                   "-r", "3", "--no-limits", "--num-threads", "1", "--json"))
    jsonschema.validate(told, SCHEMA)
    assert [row["name"] for row in told["measurements"]] == [
        "prompt 8", "prompt 16", "generate 4", "generate 4 x 3",
        "prompt 8 after 32", "prompt 16 after 32", "generate 4 after 32", "generate 4 x 3 after 32"]
    for row in told["measurements"]:
        assert len(row["samples"]) == 3 and row["low"] <= row["median"] <= row["high"] and "limit" not in row
    assert told["system"]["settings"].startswith("resources.num_threads=1") and told["system"]["threads"] == 1
    assert not told["partial"]


@pytest.mark.release_only
def test_limits_follow_from_what_was_measured_of_the_machine(program, tmp_path):
    """By bandwidth, two streams may do nearly twice what one may: the weights are read once for both."""
    model = make_model(tmp_path / "m.gguf", format="Q8_0")
    told = json.loads(program.good("bench", "engine", str(model), "-p", "8", "-n", "4", "-b", "1,2", "-r", "1", "--json"))
    system = told["system"]
    limits = {row["name"]: row["limit"] for row in told["measurements"]}
    assert system["read_bandwidth"] > 0 and system["int8_operations"] > 0 and system["f32_operations"] > 0
    assert system["model_file"] == "m.gguf" and len(system["model_sha256"]) == 64
    assert 1.5 < limits["generate 4 x 2"] / limits["generate 4"] <= 2
    assert 0 < limits["generate 4"] < system["read_bandwidth"] and 0 < limits["prompt 8"] < system["int8_operations"]


def test_csv_and_markdown_and_the_plain_table_hold_the_same_tests(program):
    common = ("bench", "engine", *TINY, "-p", "8", "-n", "4", "-r", "2", "--no-limits")
    rows = list(csv.DictReader(io.StringIO(program.good(*common, "--csv"))))
    assert [(row["test"], row["round"]) for row in rows] == [
        ("prompt 8", "1"), ("prompt 8", "2"), ("generate 4", "1"), ("generate 4", "2")]
    assert all(float(row["tokens_per_second"]) > 0 for row in rows)
    for form in (["--markdown"], []):
        text = program.good(*common, *form)
        assert "prompt 8" in text and "generate 4" in text and "tiny:q4_k_m" in text


@pytest.mark.parametrize("arguments, message", [
    (["--synthetic", "vast:q8_0"], "unknown shape in 'vast:q8_0'"),
    (["--synthetic", "tiny:q9"], "unknown format in 'tiny:q9'"),
    (["--synthetic", "tiny"], "unknown format in 'tiny'"),
    ([], "give either a MODEL or --synthetic"),
    ([*TINY, "-p", "1,,2"], "--prompt takes numbers"),
    ([*TINY, "-n", "-1"], "--generate takes numbers"),
    ([*TINY, "-b", "0"], "--streams takes numbers from 1"),
    ([*TINY, "-p", "0", "-n", "0"], "nothing to measure"),
    ([*TINY, "-p", "8,8"], "--prompt names 8 twice"),
])
def test_what_cannot_be_measured_is_refused(program, arguments, message):
    assert message in program.bad(2, "bench", "engine", *arguments)


def test_an_interrupt_leaves_partial_results(program):
    process = program.start("bench", "engine", *TINY, "-p", "1024", "-n", "0", "-r", "1000", "--no-limits", "--json")
    try:
        process.wait(timeout=1.5)
    except Exception:
        process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=60)
    assert process.returncode == 130 and b"partial" in err
    told = json.loads(out)
    assert told["partial"] and 0 <= len(told["measurements"][0]["samples"]) < 1000


# --- compare ---

def results(path, **rows):
    """A file of results; a row is (unit, better, samples)."""
    path.write_text(json.dumps({
        "format": "mistral-bench/1", "kind": "engine", "partial": False, "system": {},
        "measurements": [{"name": name, "unit": unit, "better": better, "samples": samples}
                         for name, (unit, better, samples) in rows.items()]}))
    return str(path)


def speeds(middle):
    return ("tokens/s", "higher", [middle * factor for factor in (0.99, 1, 1.01, 1.005, 0.995)])


def test_worse_by_more_than_allowed_fails(program, tmp_path):
    old = results(tmp_path / "old", a=speeds(100), b=speeds(100), c=("ms", "lower", [10, 10.1, 9.9]))
    new = results(tmp_path / "new", a=speeds(80), b=speeds(130), c=("ms", "lower", [5, 5.1, 4.9]))
    assert "1.25 × worse" in program.good("bench", "compare", old, new)
    done = program("bench", "compare", old, new, "--fail-over", "5%")
    assert done.returncode == 1 and "1 of 3 measurements got worse by more than 5%" in done.err
    assert "1.30 × better" in done.out and "2.00 × better" in done.out
    program.good("bench", "compare", old, new, "--fail-over", "30")
    told = json.loads(program("bench", "compare", old, new, "--fail-over", "5%", "--json").out)
    assert [row["failed"] for row in told["comparisons"]] == [True, False, False] and told["failed"] == 1


def test_a_difference_within_the_noise_never_fails(program, tmp_path):
    old = results(tmp_path / "old", a=("tokens/s", "higher", [100, 140, 60, 120, 80]))
    new = results(tmp_path / "new", a=("tokens/s", "higher", [90, 120, 60, 110, 70]))
    assert "no difference beyond the noise" in program.good("bench", "compare", old, new, "--fail-over", "5%")


def test_counts_are_exact(program, tmp_path):
    old = results(tmp_path / "old", a=("instructions", "lower", [1000]))
    new = results(tmp_path / "new", a=("instructions", "lower", [1100]))
    assert program("bench", "compare", old, new, "--fail-over", "5%").returncode == 1
    program.good("bench", "compare", old, new, "--fail-over", "11%")
    program.good("bench", "compare", new, old, "--fail-over", "0%")


def test_a_measurement_that_vanished_fails_the_gate(program, tmp_path):
    old = results(tmp_path / "old", a=speeds(100), b=speeds(100))
    new = results(tmp_path / "new", a=speeds(100))
    assert "missing in the new results" in program.good("bench", "compare", old, new)
    assert program("bench", "compare", old, new, "--fail-over", "5%").returncode == 1


@pytest.mark.parametrize("text, message", [
    ("{", "not JSON"), ("[]", "no result of 'mistral bench'"), ('{"format": "mistral-bench/2", "measurements": []}', "no result"),
    ('{"format": "mistral-bench/1", "measurements": [{}]}', "measurements[0]: name, unit"),
    ('{"format": "mistral-bench/1", "measurements": [{"name": "a", "unit": "s", "better": "lower", "samples": [-1]}]}',
     "no number above 0"),
    ('{"format": "mistral-bench/1", "measurements": [{"name": "a", "unit": "s", "better": "up", "samples": []}]}', "better is neither"),
])
def test_a_file_that_is_no_result_is_refused(program, tmp_path, text, message):
    good = results(tmp_path / "good", a=speeds(100))
    (tmp_path / "bad").write_text(text)
    assert message in program("bench", "compare", good, str(tmp_path / "bad")).err


def test_a_file_that_is_missing_is_named(program, tmp_path):
    good = results(tmp_path / "good", a=speeds(100))
    assert "nowhere.json" in program.bad(3, "bench", "compare", good, "nowhere.json")


@pytest.mark.release_only
def test_the_commands_of_the_guide_run(mistral, source_root, smollm2, tmp_path):
    """As they stand, but shorter: at the end of an engine's benchmark, less to measure."""
    page = (source_root / "docs/benchmarking.md").read_text()
    commands = [line for line in re.findall(r"^    (mistral (?:bench (?:engine|compare|kernels)|tune) .*)$", page, re.MULTILINE)]
    assert len(commands) >= 7
    folder = tmp_path / ".local/share/mistral/models"
    folder.mkdir(parents=True)
    (folder / "SmolLM2-135M-Instruct.Q4_1.gguf").symlink_to(smollm2)
    environment = {**Program(mistral, tmp_path).environment, "PATH": f"{mistral.parent}:{os.environ['PATH']}"}
    for command in commands:
        shorter = re.sub(r"(bench engine [^>]*)", r"\1 --prompt 16 --generate 4 --no-limits ", command)
        done = subprocess.run(["bash", "-c", shorter], cwd=tmp_path, env=environment, capture_output=True, text=True)
        assert done.returncode == 0, (command, done.stderr)
