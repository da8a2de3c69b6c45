"""Calls go downwards only: fails when an #include in src/ points against the rooms' order.

The table is that of docs/architecture.md ("The rooms"), which one of the tests compares with it.
"""

import re
from pathlib import Path

import pytest

from includes import quoted_includes, room_of, source_files

# A room may include its own headers and those of the rooms in its row, nothing else. "text/jinja" is a room within
# a folder of rooms, which holds no files of its own.
ALLOWED = {
    "base": set(),
    "quant": {"base"},
    "config": {"base"},
    "metrics": {"base"},
    "text/tokenizer": {"base"},
    "text/jinja": {"base"},
    "text/chat": {"base", "text/tokenizer", "text/jinja"},
    "grammar": {"base", "text/tokenizer"},
    "hub": {"base", "config"},
    "backend": {"base", "quant"},
    "model": {"base", "quant", "backend"},
    "convert": {"base", "config", "quant", "backend", "model"},
    "engine": {"base", "quant", "backend", "model", "text/tokenizer", "text/chat", "grammar", "metrics"},
    "server": {
        "base", "config", "metrics", "text/tokenizer", "text/chat", "grammar", "hub", "model", "convert", "engine",
    },
    "bench": {"base", "config", "text/tokenizer", "hub", "quant", "backend", "model", "convert", "engine"},
    "cli": {
        "base", "config", "metrics", "text/tokenizer", "text/chat", "grammar", "hub", "quant", "backend", "model",
        "convert", "engine", "server", "bench",
    },
}

# Headers that do not lie in a room: written by the build, or the public one, and who may use them.
OUTSIDE_ROOMS = {
    "build_info.h": {"base", "cli", "server", "metrics", "bench"},
    "mistral.h": {"engine"},
}


def violations(root):
    found = []
    for path in source_files(root):
        room = room_of(root, path, ALLOWED)
        for name in quoted_includes(path):
            where = f"{path.relative_to(root)} includes \"{name}\""
            if room not in ALLOWED:
                found.append(f"{where}, but '{room}' is no room of the table")
            elif name in OUTSIDE_ROOMS:
                if room not in OUTSIDE_ROOMS[name]:
                    found.append(f"{where}, which {room} may not use")
            elif "/" not in name or not (root / "src" / name).is_file():
                found.append(f"{where}, which is no path below src/")
            elif room_of(root, root / "src" / name, ALLOWED) not in ALLOWED[room] | {room}:
                allowed = ", ".join(sorted(ALLOWED[room])) or "no other room"
                found.append(f"{where}, but {room} may use {allowed} only")
    return found


def test_includes_point_downwards(source_root):
    assert violations(source_root) == []


def test_every_room_has_a_row(source_root):
    rooms = {room_of(source_root, path, ALLOWED) for path in source_files(source_root)}
    assert rooms == set(ALLOWED)


def test_the_order_has_no_cycle():
    settled = set()
    while len(settled) < len(ALLOWED):
        free = {room for room, below in ALLOWED.items() if below <= settled} - settled
        assert free, f"a cycle among {sorted(set(ALLOWED) - settled)}"
        settled |= free


@pytest.mark.parametrize(
    ("file", "include", "expected"),
    [
        ("quant/a.c", "model/gguf.h", "quant may use base only"),
        ("base/a.h", "quant/quant.h", "base may use no other room only"),
        ("engine/a.c", "server/http.h", "engine may use"),
        ("text/jinja/a.c", "config/config.h", "text/jinja may use base only"),
        ("text/tokenizer/a.c", "text/chat/template.h", "text/tokenizer may use base only"),
        ("grammar/a.c", "text/chat/template.h", "grammar may use base, text/tokenizer only"),
        ("engine/a.c", "sampler.h", "no path below src/"),
        ("model/a.c", "model/missing.h", "no path below src/"),
        ("text/chat/a.c", "mistral.h", "text/chat may not use"),
        ("text/a.c", "base/error.h", "'text' is no room of the table"),
        ("extra/a.c", "base/error.h", "no room of the table"),
    ],
)
def test_a_wrong_include_is_found(tmp_path, file, include, expected):
    """The check itself can fail: one wrong line in an otherwise good tree."""
    headers = ("base/error.h", "quant/quant.h", "model/gguf.h", "server/http.h", "config/config.h", "text/chat/template.h")
    for header in headers:
        write(tmp_path, header, "")
    write(tmp_path, "engine/good.c", '#include "base/error.h"\n#include <stdio.h>\n')
    assert violations(tmp_path) == []
    write(tmp_path, file, f'/* text */\n#  include "{include}"\n')
    assert len(violations(tmp_path)) == 1
    assert expected in violations(tmp_path)[0]


def write(root, name, text):
    path = root / "src" / Path(name)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


def test_the_architecture_page_has_this_table(source_root):
    page = (source_root / "docs" / "architecture.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| `([\w/]+)/` \|[^|]*\| ([^|]*) \|$", page, re.MULTILINE)
    told = {room: set(re.findall(r"[\w/]+", uses)) - {"nothing"} for room, uses in rows}
    assert told == ALLOWED
