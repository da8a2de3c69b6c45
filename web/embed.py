"""embed.py - writes the web page's files into a C source, as the table that src/server/web_page.h declares.

usage: embed.py OUTPUT.c FILE...   The first file is the page itself.
"""

import hashlib
import sys
from pathlib import Path

CONTENT_TYPES = {
    ".html": "text/html; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
}
BYTES_A_LINE = 24


def array(name, data):
    lines = [",".join(str(byte) for byte in data[at:at + BYTES_A_LINE]) for at in range(0, len(data), BYTES_A_LINE)]
    return f"static const unsigned char {name}[] = {{\n" + ",\n".join(lines) + "};\n"


def main(output, *names):
    arrays, rows = [], []
    for index, path in enumerate(map(Path, names)):
        data = path.read_bytes()
        tag = hashlib.sha256(data).hexdigest()[:20]
        arrays.append(array(f"bytes_{index}", data))
        rows.append(f'    {{"{path.name}", "{CONTENT_TYPES[path.suffix]}", "\\"{tag}\\"", '
                    f"bytes_{index}, sizeof bytes_{index}}},\n")
    Path(output).write_text(
        f"/* {Path(output).name} - the files of web/, written by embed.py. */\n"
        '#include "server/web_page.h"\n\n' + "\n".join(arrays) +
        "\nconst struct web_file web_files[] = {\n" + "".join(rows) + "};\n"
        f"const size_t web_file_count = {len(rows)};\n", encoding="utf-8")


if __name__ == "__main__":
    main(*sys.argv[1:])
