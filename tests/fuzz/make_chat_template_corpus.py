"""Writes the seeds of fuzz_chat_template: corpus/chat_template/.

    python tests/fuzz/make_chat_template_corpus.py

They are the patterns and every eighth row of the language tests in tests/python, and two with
variables of their own.
"""

import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent / "python"))

from test_chat_template_language import EXTENSIONS, GROUPS  # noqa: E402
from test_chat_template_patterns import PATTERNS  # noqa: E402

STEP = 8


def seeds():
    yield from PATTERNS.items()
    for group, rows in {**GROUPS, "extensions": EXTENSIONS}.items():
        for number, row in list(enumerate(rows))[::STEP]:
            yield f"{group}-{number}", row
    yield "variables", '{{ x | tojson(indent=1) }}\0{"x": {"a": [1, -2.5e3, null, "\\u00e9\\u0000"]}}'
    yield "variables-nested", "{{ x }}{{ x == y }}\0" + '{"x": ' + "[" * 50 + "]" * 50 + ', "y": [[]]}'


def main():
    folder = HERE / "corpus" / "chat_template"
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in seeds():
        (folder / name).write_bytes(text.encode())


if __name__ == "__main__":
    main()
