"""Rules for single files: a file opens with what it is, tells one story, and leaves nothing undone."""

import re
import subprocess

import pytest

LONGEST_FILE = 800
LONGEST_PUBLIC_HEADER = 300
# A longer file says why, in its opening comment, in these words.
EXCEPTION = re.compile(r"Longer than \d+ lines because ")
UNFINISHED = re.compile(r"\b(TO" r"DO|FIX" r"ME|XX" r"X|HA" r"CK)\b")


def tracked_files(root, *patterns):
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard", "--", *patterns],
        cwd=root, check=True, capture_output=True, text=True,
    ).stdout.split("\n")
    return [root / name for name in listed if name and (root / name).is_file()]


def opening_comment(text):
    match = re.match(r"\s*/\*.*?\*/", text, re.DOTALL)
    return match.group(0) if match else ""


def too_long(text):
    lines = text.count("\n")
    return lines > LONGEST_FILE and not EXCEPTION.search(opening_comment(text))


def test_no_file_is_too_long(source_root):
    files = tracked_files(source_root, "src/*.c", "src/*.h", "tests/*.c", "tests/*.py", "scripts/*", "web/*")
    assert files
    assert [str(path) for path in files if too_long(path.read_text(encoding="utf-8"))] == []


def test_a_long_file_must_say_why():
    body = "int x;\n" * (LONGEST_FILE + 1)
    assert too_long("/* a.c - something. */\n" + body)
    assert not too_long("/* a.c - tables. Longer than 800 lines because the table is one. */\n" + body)
    assert not too_long("/* a.c - something. */\nint x;\n")


def test_public_headers_are_short(source_root):
    lengths = {path.name: path.read_text(encoding="utf-8").count("\n") for path in (source_root / "include").glob("*.h")}
    assert {name: n for name, n in lengths.items() if n > LONGEST_PUBLIC_HEADER} == {}


def test_every_source_file_opens_with_what_it_is(source_root):
    """'/* name.c - what it owns ...': the name and a sentence."""
    wrong = []
    for path in tracked_files(source_root, "src/*.c", "src/*.h", "include/*.h", "examples/*.c", "tests/*.c", "web/*.js", "web/*.css"):
        opening = opening_comment(path.read_text(encoding="utf-8"))
        if f"{path.name} - " not in opening:
            wrong.append(str(path.relative_to(source_root)))
    assert wrong == []


def test_nothing_is_left_for_later(source_root):
    files = tracked_files(source_root, "*.c", "*.h", "*.py", "*.sh", "*.md", "*.build", "*.def", "*.js", "*.css", "*.html")
    assert files
    found = [str(path) for path in files if UNFINISHED.search(path.read_text(encoding="utf-8", errors="replace"))]
    assert found == []


@pytest.mark.parametrize("word", ["TO" "DO", "FIX" "ME"])
def test_the_words_for_later_are_known(word):
    assert UNFINISHED.search(f"/* {word}: do it properly */")
