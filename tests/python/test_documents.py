"""What the documents name exists: files, commands, options, test names."""

import re
import subprocess
import sys
from pathlib import Path

import gguf
import pytest

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tests" / "golden"))

import models_table  # noqa: E402

DOCUMENTS = ["README.md", "CONTRIBUTING.md", "CHANGELOG.md", "tests/golden/README.md",
             *sorted(str(path.relative_to(ROOT)) for path in (ROOT / "docs").rglob("*.md"))]


@pytest.mark.parametrize("document", DOCUMENTS)
def test_links_and_paths_lead_somewhere(source_root, document):
    path = source_root / document
    text = path.read_text(encoding="utf-8")
    links = [link.split("#")[0] for link in re.findall(r"\]\(([^)]+)\)", text) if not link.startswith("http")]
    missing = [link for link in links if link and not (path.parent / link).exists()]
    named = re.findall(r"`((?:src|tests|scripts|docs|include|examples)/[\w./*-]+)`", text)
    missing += [name for name in named if not list(source_root.glob(name.rstrip("/")))]
    assert missing == []


@pytest.mark.parametrize("document", DOCUMENTS)
def test_commands_exist(source_root, mistral, document):
    text = (source_root / document).read_text(encoding="utf-8")
    overview = subprocess.run([mistral, "--help"], capture_output=True, text=True, check=True).stdout
    known = set(re.findall(r"^  ([a-z]+) ", overview, re.MULTILINE))
    used = set(re.findall(r"build/mistral ([a-z]+)", text)) | set(re.findall(r"`mistral ([a-z]+)", text))
    assert used <= known, f"{document} uses {used - known}, which {mistral} does not know"
    for command, option in re.findall(r"build/mistral ([a-z]+)[^\n#`]* (--[a-z-]+)", text):
        shown = subprocess.run([mistral, command, "--help"], capture_output=True, text=True, check=True).stdout
        assert re.search(rf"{option}\b", shown), f"{document}: {command} has no {option}"


def test_the_table_of_models_is_made_of_the_tests(source_root):
    """tests/golden/models_table.py prints it."""
    assert models_table.table() in (source_root / "docs" / "models.md").read_text(encoding="utf-8")


def test_the_table_of_models_has_every_architecture(source_root, mistral, tmp_path):
    unknown = tmp_path / "unknown.gguf"
    writer = gguf.GGUFWriter(unknown, "unknown")
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    told = subprocess.run([mistral, "run", unknown, "--raw", "x"], capture_output=True, text=True, check=False).stderr
    names = re.search(r"this program runs: ([^(]*) \(docs/models.md\)", told).group(1).split(", ")
    assert sorted(names) == sorted(models_table.MODELS), told


def test_a_script_s_help_names_its_options(source_root):
    for name in ("test.sh", "quickstart.sh", "lint.sh", "try-in-bare-root.sh"):
        script = source_root / "scripts" / name
        shown = subprocess.run(["bash", script, "--help"], capture_output=True, text=True, check=True).stdout
        for option in re.findall(r"^ +(--[a-z]+)(?: \| -h)?\)", script.read_text(encoding="utf-8"), re.MULTILINE):
            assert option in shown, f"{name} does not explain {option}"
