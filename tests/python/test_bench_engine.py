"""mistral bench engine and compare: what they measure, what they write, what they refuse."""

import csv
import io
import json
import math
import os
import re
import signal
import subprocess
import sys

import jsonschema
import pytest

from make_model import make_model
from program import Program, wait_until

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


# --- beside another engine ---

PEER = """
import json, os, signal, sys, time
if sys.argv[-1] == "--help":
    sys.exit("usage: -p <n> -n <n> -d, --n-depth <n> -pg <pp,tg>")
record = os.path.join(os.path.dirname(__file__), "record")
with open(record, "a") as file:
    file.write(json.dumps(sys.argv[1:]) + "\\n")
calls = sum(1 for _ in open(record))
"""


@pytest.fixture
def peer(tmp_path):
    """Makes a program with llama-bench's manners; `answer` is what it does after it recorded its arguments."""
    def make(answer, name="peer"):
        path = tmp_path / "peer folder" / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(f"#!{sys.executable}\n{PEER}{answer}\n")
        path.chmod(0o755)
        return path
    make.calls = lambda: [json.loads(line) for line in (tmp_path / "peer folder/record").read_text().splitlines()]
    return make


def speed_of(value):
    return f'print(json.dumps([{{"avg_ts": 1e9}}, {{"avg_ts": {value}}}]))'


BESIDE = ("bench", "engine", *TINY, "--no-limits", "--num-threads", "1")


def test_another_engine_runs_the_same_tests_with_its_own_options(program, peer):
    command = f"'{peer(speed_of(2))}' -m \"a \\\"b\\\" $HOME\" c\\ d '' -t 2"
    program.good(*BESIDE, "-p", "8", "-n", "4", "-d", "0,32", "-r", "2", "--baseline-command", command)
    given = ["-m", 'a "b" $HOME', "c d", "", "-t", "2"]
    assert all(arguments[:len(given)] == given for arguments in peer.calls())
    told = [arguments[len(given):] for arguments in peer.calls()]
    always = {"-r": "1", "-o": "json"}
    round = [{"-p": "8", "-n": "0", **always}, {"-p": "0", "-n": "4", **always},
             {"-p": "8", "-n": "0", "-d": "32", **always}, {"-p": "0", "-n": "4", "-d": "32", **always}]
    assert [dict(zip(options[::2], options[1::2], strict=True)) for options in told] == 2 * round


# ik_llama.cpp's manners: it refuses -d, has -gp for an answer after a prompt, names both lengths in the result,
# and talks on standard output while it loads.
WITHOUT_DEPTH = """
options = dict(zip(sys.argv[1::2], sys.argv[2::2]))
if "-d" in options:
    print("usage: llama-bench")
    sys.exit("error: invalid parameter for argument: -d")
pair = options.get("-gp")
prompt, answer = pair.split(",") if pair else (options["-p"], options["-n"])
print("[")
print("llama_mmap: using THP with page size 2 MiB {...} done")
print(json.dumps({"test_time": "now", "n_prompt": int(prompt), "n_gen": int(answer), "avg_ts": 0.5, "test": "tg@pp"}, indent=4))
print("]")
"""
HELP_WITHOUT_DEPTH = 'print("  -p, --n-prompt <n>\\n  -gp <pp,tg>  (default: )")'


@pytest.fixture
def peer_without_depth(tmp_path):
    path = tmp_path / "peer folder/ik"
    path.parent.mkdir()
    path.write_text(f"#!{sys.executable}\nimport sys\nif sys.argv[-1] == '--help':\n    {HELP_WITHOUT_DEPTH}\n    sys.exit()\n"
                    f"{PEER}{WITHOUT_DEPTH}")
    path.chmod(0o755)
    return path


def test_a_program_that_knows_no_depth_is_asked_in_its_own_way(program, peer, peer_without_depth):
    told = json.loads(program.good(*BESIDE, "-p", "0", "-n", "4", "-d", "0,32", "-r", "1", "--json",
                                   "--baseline-command", f"'{peer_without_depth}' -t 2"))
    assert [(row["name"], row["baseline"]["samples"]) for row in told["measurements"]] == [
        ("generate 4", [0.5]), ("generate 4 after 32", [0.5])]
    asked = [dict(zip(call[::2], call[1::2], strict=True)) for call in peer.calls()]
    always = {"-t": "2", "-r": "1", "-o": "json"}
    assert asked == [{"-p": "0", "-n": "4", **always}, {"-p": "0", "-n": "0", "-gp": "32,4", **always}]


def test_a_prompt_after_a_context_is_refused_where_nobody_can_ask_for_it(program, peer, peer_without_depth):
    command = f"'{peer_without_depth}'"
    said = program.bad(2, *BESIDE, "-p", "8", "-n", "4", "-d", "0,32", "--baseline-command", command)
    assert said.endswith("has no -d and cannot read a prompt after a context: ask for --prompt 0 with --depth")
    assert not (peer_without_depth.parent / "record").exists()
    program.good(*BESIDE, "-p", "8", "-n", "4", "-r", "1", "--baseline-command", command)


@pytest.mark.parametrize("theirs, better", [(0.5, "faster"), (1e12, "slower")])
def test_ratio_interval_and_verdict_follow_from_the_rounds(program, peer, tmp_path, theirs, better):
    command = str(peer(speed_of(f"{theirs} * calls"))).replace(" ", "\\ ")
    text = program.good(*BESIDE, "-p", "8", "-n", "0", "-r", "4", "--json", "--baseline-command", command)
    told = json.loads(text)
    jsonschema.validate(told, SCHEMA)
    row, = told["measurements"]
    beside = row["baseline"]
    assert beside["samples"] == [theirs * call for call in (1, 2, 3, 4)] and beside["median"] == theirs * 2.5
    ratios = [ours / other for ours, other in zip(row["samples"], beside["samples"], strict=True)]
    assert beside["ratio"] == pytest.approx(math.prod(ratios) ** (1 / 4)) and beside["low"] < beside["ratio"] < beside["high"]
    shown = beside["ratio"] if better == "faster" else 1 / beside["ratio"]
    assert beside["verdict"].startswith(f"{shown:.2f} × {better}, 95 % ")
    assert told["system"]["baseline"] == command
    (tmp_path / "told.json").write_text(text)
    assert "no difference" in program.good("bench", "compare", "told.json", "told.json", cwd=tmp_path)


def test_every_form_of_output_has_the_baseline(program, peer):
    common = (*BESIDE, "-p", "8", "-n", "0", "-r", "3", "--baseline-command", f"'{peer(speed_of(0.25))}'")
    rows = list(csv.DictReader(io.StringIO(program.good(*common, "--csv"))))
    assert [float(row["baseline_tokens_per_second"]) for row in rows] == [0.25] * 3
    ratio = math.prod(float(row["tokens_per_second"]) / 0.25 for row in rows) ** (1 / 3)
    for row in rows:
        assert float(row["ratio"]) == pytest.approx(ratio, rel=1e-3)
        assert float(row["ratio_low"]) <= ratio <= float(row["ratio_high"]) and " × faster, 95 % " in row["verdict"]
    plain = program.good(*common)
    assert re.search(r"^prompt 8 .* 0\.25  \d+\.\d\d × faster, 95 % \d", plain, re.MULTILINE)
    table = [line for line in program.good(*common, "--markdown").splitlines() if line.startswith("|")]
    assert len(table) == 3 and len({line.count("|") for line in table}) == 1
    assert table[0].endswith("| baseline | verdict |") and " × faster, " in table[2]
    fewer = json.loads(program.good(*common, "-r", "1", "--json"))["measurements"][0]["baseline"]
    assert fewer["low"] is None and fewer["verdict"].startswith("too few rounds to tell")


def test_the_engines_take_turns_and_a_late_failure_leaves_partial_results(program, peer):
    """Had ours run all its rounds first, it would have more samples when the other ends at its third call."""
    command = f"'{peer('sys.exit(3) if calls == 3 else ' + speed_of(5))}'"
    done = program(*BESIDE, "-p", "8", "-n", "4", "-r", "5", "--json", "--baseline-command", command)
    assert done.returncode == 1 and "prompt 8: '" in done.err and "failed with exit code 3" in done.err
    told = json.loads(done.out)
    assert told["partial"]
    assert [(len(row["samples"]), row["baseline"]["samples"]) for row in told["measurements"]] == [(2, [5]), (1, [5])]


@pytest.mark.parametrize("answer, code, message", [
    ('sys.exit("loading\\nno such \\x1b[31mmodel\\n")', 1, "failed with exit code 1: no such  [31mmodel"),
    ("os.kill(os.getpid(), signal.SIGKILL)", 1, "was ended by signal 9"),
    ('print("| model | t/s |")', 1, "printed no JSON: does it take '-o json'?"),
    ("pass", 1, "printed no JSON"),
    ('print("[]")', 1, "has no speed: avg_ts of its last element"),
    ('print("{}")', 1, "has no speed"),
    ('print(\'[{"avg_ts": 4}, {"avg_ns": 3}]\')', 1, "has no speed"),
    ('print(\'[{"avg_ts": 0}]\')', 1, "has no speed"),
    ('print(\'[{"avg_ts": 4, "n_prompt": 512, "n_gen": 128}]\')', 1, "measured another test last"),
    ('print("[" + " " * (17 << 20) + "]")', 1, "printed more than 16 MiB"),
    ('print(\'[ loading {\')', 1, "printed no JSON"),
    ('print(\'[ loading {"avg_ts": 4, "n_prompt": 512}\')', 1, "measured another test last"),
])
def test_a_baseline_that_does_not_answer_is_told(program, peer, answer, code, message):
    said = program.bad(code, *BESIDE, "-p", "8", "-n", "0", "--baseline-command", f"'{peer(answer)}'")
    assert said.startswith("--baseline-command, prompt 8: ") and message in said


@pytest.mark.parametrize("command, code, message", [
    ("no-such-llama-bench -m x", 3, "there is no program 'no-such-llama-bench'"),
    ("/nowhere/llama-bench", 3, "there is no program '/nowhere/llama-bench'"),
    ("/tmp", 3, "there is no program '/tmp'"),
    ("  ", 2, "the command is empty"),
    ("sh -c 'x", 2, "a quote is not closed"),
    (" ".join(["x"] * 300), 2, "more than 256 words"),
])
def test_a_command_that_cannot_be_run_is_refused_before_measuring(program, command, code, message):
    assert program.bad(code, *BESIDE, "--baseline-command", command) == f"--baseline-command: {message}"


@pytest.mark.release_only
def test_the_script_that_runs_both_over_several_files(mistral, source_root, tmp_path, peer):
    models = [str(tmp_path / "peer folder" / name) for name in ("one.gguf", "two.gguf")]
    program = peer(speed_of(2))
    for model in models:
        make_model(model)
    script = [source_root / "bench/beside_llama_bench.sh", "-p", "8", "-n", "0", "-r", "1", "-t", "1", "-k", "portable"]
    done = subprocess.run([*script, "-o", "-fa 1", program, *models], capture_output=True, text=True,
                          env={**Program(mistral, tmp_path).environment, "MISTRAL": str(mistral)})
    assert done.returncode == 0, done.stderr
    assert [call[:6] for call in peer.calls()] == [["-m", model, "-t", "1", "-fa", "1"] for model in models]
    assert re.findall(r"^## (\S+), ", done.stdout, re.MULTILINE) == ["one.gguf", "two.gguf"]
    assert done.stdout.count("| prompt 8 |") == 2 and done.stdout.count("resources.kernels=portable") == 2
    assert subprocess.run(script, capture_output=True).returncode == 2  # no program, no model


def test_several_streams_have_no_baseline(program, peer):
    said = program.bad(2, *BESIDE, "-b", "1,2", "--baseline-command", f"'{peer(speed_of(1))}'")
    assert "llama-bench generates one answer at a time" in said


def test_an_interrupt_ends_the_other_engine_too(program, peer, tmp_path):
    waits = 'open(record + ".pid", "w").write(str(os.getpid())); os.rename(record + ".pid", record + ".ready"); time.sleep(300)'
    command = f"'{peer('if calls == 2: ' + waits + chr(10) + speed_of(5))}'"
    process = program.start(*BESIDE, "-p", "8", "-n", "0", "-r", "3", "--json", "--baseline-command", command)
    ready = tmp_path / "peer folder/record.ready"
    wait_until(ready.exists, 60)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=60)
    assert process.returncode == 130 and b"interrupted: the results are partial" in err
    told = json.loads(out)
    assert told["partial"] and told["measurements"][0]["baseline"]["samples"] == [5]
    with pytest.raises(ProcessLookupError):
        os.kill(int(ready.read_text()), 0)


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
def test_the_commands_of_the_guide_run(mistral, source_root, smollm2, tmp_path, peer):
    """As they stand, but shorter: at the end of an engine's benchmark, less to measure."""
    page = (source_root / "docs/benchmarking.md").read_text()
    commands = [line for line in re.findall(r"^    (mistral (?:bench (?:engine|compare|kernels)|tune) .*)$", page, re.MULTILINE)]
    assert len(commands) >= 7
    folder = tmp_path / ".local/share/mistral/models"
    folder.mkdir(parents=True)
    (folder / "SmolLM2-135M-Instruct.Q4_1.gguf").symlink_to(smollm2)
    environment = {**Program(mistral, tmp_path).environment, "PATH": f"{mistral.parent}:{peer(speed_of(10), 'llama-bench').parent}:{os.environ['PATH']}"}
    for command in commands:
        shorter = re.sub(r"(bench engine [^>]*)", r"\1 --prompt 16 --generate 4 --no-limits ", command)
        shorter = shorter.replace("--budget 0.2", "--budget 0.05")
        done = subprocess.run(["bash", "-c", shorter], cwd=tmp_path, env=environment, capture_output=True, text=True)
        assert done.returncode == 0, (command, done.stderr)
