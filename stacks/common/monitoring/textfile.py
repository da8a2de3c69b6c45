#!/usr/bin/env python3
"""Turns a benchmark's CSV into metrics for the node exporter's textfile collector.

    python3 textfile.py results.csv textfile/benchmark.prom

Columns: engine, model, scenario, and any of tokens_per_second, first_token_seconds, answer_seconds; others, of which
'mistral bench serve' writes many, are not read. The dashboard "beside Ollama" shows them; its ratio needs the engines "mistral.c" and "ollama".
"""

import csv
import os
import sys

LABELS = ("engine", "model", "scenario")
VALUES = {
    "tokens_per_second": "Generated tokens a second",
    "first_token_seconds": "Median time to the first token",
    "answer_seconds": "Median time of a whole answer",
}


def quoted(text):
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n") + '"'


def convert(rows):
    lines = []
    names = [tuple(row.get(label) for label in LABELS) for row in rows]
    twice = {name for name in names if names.count(name) > 1}
    if twice or any(None in name for name in names):
        sys.exit(f"textfile.py: each row needs its own engine, model and scenario: {sorted(map(str, twice)) or names}")
    for column, help_text in VALUES.items():
        given = [row for row in rows if row.get(column)]
        if given:
            name = f"mistral_benchmark_{column}"
            lines += [f"# HELP {name} {help_text}.", f"# TYPE {name} gauge"]
        for row in given:
            labels = ",".join(f"{label}={quoted(row[label])}" for label in LABELS)
            lines.append(f"{name}{{{labels}}} {float(row[column])}")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    if len(sys.argv) != 3:
        sys.exit("usage: textfile.py RESULTS.csv OUT.prom")
    with open(sys.argv[1], newline="", encoding="utf-8") as results:
        text = convert(list(csv.DictReader(results)))
    with open(sys.argv[2] + ".tmp", "w", encoding="utf-8") as out:
        out.write(text)
    os.replace(sys.argv[2] + ".tmp", sys.argv[2])
