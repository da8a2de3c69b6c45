"""mistral bench kernels: every kernel timed or counted; the committed counts hold."""

import json
import os
import platform
import subprocess

import pytest

from program import Program

pytestmark = pytest.mark.release_only # valgrind and a sanitizer do not go together


@pytest.fixture
def program(mistral, tmp_path):
    return Program(mistral, tmp_path)


def test_times_stand_beside_the_machines_limits(program):
    text = program.good("bench", "kernels", "--only", "matmul Q8_0 x 1", "-r", "2")
    assert "memory is read at" in text and "matmul Q8_0 x 16" in text and "GOP/s" in text
    told = json.loads(program.good("bench", "kernels", "--only", "sampling greedy", "-r", "2", "--json"))
    assert [(row["unit"], row["better"], len(row["samples"])) for row in told["measurements"]] == [("us", "lower", 2)]


def test_a_word_that_no_kernel_has_is_refused(program):
    assert "no kernel's name has 'Q9'" in program.bad(2, "bench", "kernels", "--only", "Q9")


def counts(program, *arguments):
    told = json.loads(program.good("bench", "kernels", "--instructions", "--json", *arguments))
    return {row["name"]: row["samples"] for row in told["measurements"]}


def test_counts_repeat_and_follow_the_work(program):
    first = counts(program, "--only", "matmul Q4_K")
    assert first == counts(program, "--only", "matmul Q4_K")
    assert set(first) == {"matmul Q4_K x 1", "matmul Q4_K x 16", "matmul Q4_K x 64"}
    assert first["matmul Q4_K x 1"] < first["matmul Q4_K x 16"] < first["matmul Q4_K x 64"]
    portable = counts(program, "--only", "matmul Q4_K", "--kernels", "portable")
    if platform.machine() == "x86_64":
        assert portable["matmul Q4_K x 64"][0] > 2 * first["matmul Q4_K x 64"][0]


def test_without_valgrind_it_says_what_to_install(program):
    program.environment["PATH"] = "/nowhere"
    assert "apt install valgrind" in program.bad(3, "bench", "kernels", "--instructions")


def test_no_kernel_takes_more_instructions_than_committed(mistral, source_root):
    done = subprocess.run(["bash", source_root / "bench/regression/run.sh"], capture_output=True, text=True,
                          env={**os.environ, "MISTRAL": str(mistral)})
    assert done.returncode == 0, done.stdout + done.stderr
