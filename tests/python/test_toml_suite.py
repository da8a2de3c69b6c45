"""The public toml-test suite (github.com/toml-lang/toml-test), its TOML 1.0 cases, valid and invalid.

The suite is fetched as the Go module it is, by the module proxy's own protocol, checked against its
checksum and kept in build/; GOPROXY names another proxy.
"""

import hashlib
import json
import math
import os
import re
import subprocess
import urllib.request
import zipfile
from pathlib import Path

import pytest

MODULE, VERSION = "github.com/toml-lang/toml-test", "v1.6.0"
SHA256 = "457ec12a2fc2a2eae13deeed1271eda9a95f2ecc157e54b6934567bc8a875286"


def fetch(target):
    proxies = [p for p in re.split("[,|]", os.environ.get("GOPROXY", "")) if p.startswith("http")]
    proxy = (proxies or ["https://proxy.golang.org"])[0].rstrip("/")
    with urllib.request.urlopen(f"{proxy}/{MODULE}/@v/{VERSION}.zip", timeout=60) as answer:
        data = answer.read()
    assert hashlib.sha256(data).hexdigest() == SHA256
    partial = target.with_suffix(f".{os.getpid()}")
    partial.write_bytes(data)
    partial.rename(target)


@pytest.fixture(scope="module")
def suite(source_root):
    """Name → bytes of every file of the suite's tests folder."""
    archive = source_root / "build" / f"toml-test-{VERSION}.zip"
    modules = Path.home() / "go/pkg/mod/cache/download" / MODULE / "@v" / f"{VERSION}.zip"
    if not archive.is_file():
        archive.parent.mkdir(exist_ok=True)
        if modules.is_file():
            archive.write_bytes(modules.read_bytes())
        else:
            fetch(archive)
    assert hashlib.sha256(archive.read_bytes()).hexdigest() == SHA256
    with zipfile.ZipFile(archive) as opened:
        prefix = f"{MODULE}@{VERSION}/tests/"
        return {name.removeprefix(prefix): opened.read(name) for name in opened.namelist()
                if name.startswith(prefix)}


def cases(suite, kind):
    names = suite["files-toml-1.0.0"].decode().split()
    return [name for name in names if name.startswith(f"{kind}/") and name.endswith(".toml")]


def parse(build_dir, text):
    return subprocess.run([build_dir / "tests/tools/toml_dump"], input=text, capture_output=True, check=False)


def normal_time(kind, text):
    """Separators and zones in one spelling, fractions without trailing zeros, to the nanosecond."""
    text = text.upper().replace(" ", "T", 1) if "T" in kind.upper() else text
    text = text.replace("Z", "+00:00")
    match = re.fullmatch(r"(.*?:\d\d)(?:\.(\d+))?([+-]\d\d:\d\d)?", text)
    if not match:
        return text
    head, fraction, zone = match.groups()
    fraction = (fraction or "")[:9].rstrip("0")
    return head + (f".{fraction}" if fraction else "") + (zone or "").replace("-00:00", "+00:00")


def normal(value):
    if isinstance(value, list):
        return [normal(item) for item in value]
    if set(value) == {"type", "value"} and isinstance(value["value"], str):
        kind, text = value["type"], value["value"]
        if kind == "integer":
            return kind, int(text)
        if kind == "float":
            number = float(text)
            return kind, "nan" if math.isnan(number) else number
        return kind, normal_time(kind, text) if kind.startswith(("date", "time")) else text
    return {key: normal(item) for key, item in value.items()}


def test_every_valid_case_has_the_expected_value(suite, build_dir):
    names = cases(suite, "valid")
    assert len(names) > 150
    wrong = {}
    for name in names:
        done = parse(build_dir, suite[name])
        if done.returncode != 0:
            wrong[name] = done.stderr.decode()
            continue
        expected = normal(json.loads(suite[name.removesuffix(".toml") + ".json"]))
        got = normal(json.loads(done.stdout))
        if got != expected:
            wrong[name] = f"{got} instead of {expected}"
    assert wrong == {}


def test_every_invalid_case_is_refused_with_its_place(suite, build_dir):
    names = cases(suite, "invalid")
    assert len(names) > 300
    wrong = {}
    for name in names:
        done = parse(build_dir, suite[name])
        message = done.stderr.decode(errors="replace")
        if done.returncode != 1 or not re.match(r"stdin:\d+:\d+: .", message):
            wrong[name] = (done.returncode, message)
    assert wrong == {}
