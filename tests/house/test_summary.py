"""The last line of a test run is true: scripts/test_summary.py counts what ran, and sees what did not."""

import json
import subprocess
import sys

import pytest

PROGRAM = {"name": "base", "result": "OK", "stdout": "[==========] 3 test(s) run.\n[  PASSED  ] 3 test(s).\n"}
BROKEN = {"name": "quant", "result": "FAIL", "stdout": "[  PASSED  ] 4 test(s).\n[  FAILED  ] 2 test(s), listed below:\n"}
DIED = {"name": "engine", "result": "FAIL", "stdout": "", "stderr": "AddressSanitizer: heap-use-after-free"}
JUNIT = """<testsuites><testsuite tests="5" failures="1" errors="1" skipped="1">
<testcase name="a"/><testcase name="b"><failure/></testcase><testcase name="c"><error/></testcase>
<testcase name="d"><skipped/></testcase><testcase name="e"><system-out>x</system-out></testcase>
</testsuite></testsuites>"""


@pytest.fixture
def summarise(source_root, tmp_path):
    def run(failed_stages="", **records):
        (tmp_path / "failed-stages.txt").write_text(failed_stages)
        for name, text in records.items():
            (tmp_path / name.replace("_dot_", ".")).write_text(text)
        done = subprocess.run(
            [sys.executable, source_root / "scripts" / "test_summary.py", tmp_path],
            capture_output=True, text=True, check=False,
        )
        return done.returncode, done.stdout.splitlines()[-1]

    return run


def meson(*programs):
    return "\n".join(json.dumps(program) for program in programs) + "\n"


def test_everything_passed(summarise):
    records = {"unit_dot_json": meson(PROGRAM, PROGRAM), "lint_dot_txt": "ok layout\nok clang-tidy\n"}
    assert summarise(**records) == (0, "8 passed, 0 failed")


def test_failures_are_counted(summarise):
    records = {"unit_dot_json": meson(PROGRAM, BROKEN), "lint_dot_txt": "ok layout\nnot ok clang-tidy\n"}
    assert summarise("unit\nlint\n", **records) == (1, "8 passed, 3 failed")


def test_a_program_that_died_is_a_failure(summarise):
    assert summarise("unit\n", unit_dot_json=meson(PROGRAM, DIED)) == (1, "3 passed, 1 failed")


def test_pytest_is_counted_by_outcome(summarise):
    assert summarise("python\n", python_dot_xml=JUNIT) == (1, "2 passed, 2 failed, 1 skipped")


def test_a_stage_that_could_not_start_is_a_failure(summarise):
    assert summarise("sanitizers\n", unit_dot_json=meson(PROGRAM)) == (1, "3 passed, 1 failed")


def test_no_test_at_all_is_a_failure(summarise):
    assert summarise() == (1, "0 passed, 0 failed")
