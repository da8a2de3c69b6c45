"""Reads #include lines; shared by the tests of the rooms' order."""

import re

INCLUDE = re.compile(r'^[ \t]*#[ \t]*include[ \t]*([<"])([^>"]+)[>"]', re.MULTILINE)


def source_files(root):
    """All C files under root/src, sorted."""
    return sorted(path for path in (root / "src").rglob("*") if path.suffix in (".c", ".h"))


def quoted_includes(path):
    return [name for mark, name in INCLUDE.findall(path.read_text(encoding="utf-8")) if mark == '"']


def system_includes(path):
    return [name for mark, name in INCLUDE.findall(path.read_text(encoding="utf-8")) if mark == "<"]


def room_of(root, path):
    return path.relative_to(root / "src").parts[0]
