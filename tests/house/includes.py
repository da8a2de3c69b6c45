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


def room_of(root, path, rooms):
    """The folder of `rooms` that a file of root/src lies in, or its first folder when no room holds it."""
    parts = path.relative_to(root / "src").parts
    folders = ["/".join(parts[:depth]) for depth in range(len(parts) - 1, 0, -1)]
    return next((folder for folder in folders if folder in rooms), parts[0])
