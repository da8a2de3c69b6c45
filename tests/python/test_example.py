"""examples/minimal.c: one header, one library, a whole program."""

import re
import subprocess

QUESTION = "What is photosynthesis? Answer in one sentence."


def run(build_dir, *arguments):
    return subprocess.run(
        [build_dir / "examples" / "minimal", *arguments], capture_output=True, text=True, timeout=250, check=False,
    )


def test_it_answers(build_dir, smollm2):
    done = run(build_dir, smollm2, QUESTION)
    assert done.returncode == 0, done.stderr
    assert len(done.stdout.split()) >= 3, done.stdout
    assert re.search(r"^\d+ prompt tokens in [\d.]+ s, \d+ tokens in [\d.]+ s$", done.stderr, re.MULTILINE), done.stderr


def test_a_missing_model_is_said(build_dir, tmp_path):
    done = run(build_dir, tmp_path / "none.gguf", QUESTION)
    assert done.returncode == 1
    assert "none.gguf" in done.stderr
    assert done.stdout == ""


def test_it_uses_the_public_header_and_nothing_else_of_ours(source_root):
    text = (source_root / "examples" / "minimal.c").read_text(encoding="utf-8")
    includes = re.findall(r'^#include [<"]([^>"]+)[>"]', text, re.MULTILINE)
    assert "mistral.h" in includes
    assert {name for name in includes if "/" in name} == set()
    assert set(includes) <= {"mistral.h", "stdio.h", "stdlib.h", "string.h", "stdbool.h", "stdint.h"}
