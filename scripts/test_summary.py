"""Counts the tests of one run from the records that the runners left, and says how it ended.

usage: test_summary.py FOLDER

FOLDER holds *.json (meson's testlog, one object a line), *.xml (pytest's JUnit), *.txt of lint
("ok NAME" or "not ok NAME" a line) and failed-stages.txt. Prints "N passed, N failed" as its last
line and exits with 1 when anything failed, or when nothing ran at all.
"""

import json
import re
import sys
import xml.etree.ElementTree as ElementTree
from pathlib import Path


def count_meson(path):
    """cmocka says how many of a program's tests passed; a program that died counts as one failure."""
    passed = failed = 0
    for line in path.read_text().splitlines():
        program = json.loads(line)
        output = program.get("stdout", "") + program.get("stderr", "")
        program_passed = sum(int(n) for n in re.findall(r"\[  PASSED  \] (\d+) test", output))
        program_failed = sum(int(n) for n in re.findall(r"\[  FAILED  \] (\d+) test", output))
        if program["result"] == "OK":
            passed += program_passed or 1
        else:
            passed += program_passed
            failed += program_failed or 1
    return passed, failed, 0


def count_pytest(path):
    """By test, as pytest's own last line: the attributes of a suite also count subtests."""
    passed = failed = skipped = 0
    for test in ElementTree.parse(path).getroot().iter("testcase"):
        outcomes = {child.tag for child in test}
        if outcomes & {"failure", "error"}:
            failed += 1
        elif "skipped" in outcomes:
            skipped += 1
        else:
            passed += 1
    return passed, failed, skipped


def count_lint(path):
    lines = path.read_text().splitlines()
    failed = sum(line.startswith("not ok ") for line in lines)
    return len(lines) - failed, failed, 0


READERS = {".json": count_meson, ".xml": count_pytest, ".txt": count_lint}


def main(folder):
    passed = failed = skipped = 0
    failed_stages = (folder / "failed-stages.txt").read_text().split()
    for path in sorted(folder.iterdir()):
        if path.name == "failed-stages.txt":
            continue
        counts = READERS[path.suffix](path)
        print(f"{path.stem}: {counts[0]} passed, {counts[1]} failed, {counts[2]} skipped;")
        passed += counts[0]
        failed += counts[1]
        skipped += counts[2]
    # A stage that failed before its runner could write a record must not vanish from the count.
    if failed_stages and failed == 0:
        failed = len(failed_stages)
    if failed_stages:
        print("failed: " + ", ".join(failed_stages))
    print(f"{passed} passed, {failed} failed" + (f", {skipped} skipped" if skipped else ""))
    return 1 if failed or passed == 0 else 0


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
