"""Every allocation, and every call of the system, of a program that loads, quantises or fetches a model fails once: it
ends with a result like any other or with an error that says why, and leaves no file that is taken for a whole one.

FAULTS_STRIDE=N as in test_faults.py; of the calls of these programs every fourth multiple of it."""

import os
import sys

import pytest
from fake_hub import FakeHub, model_bytes
from fault_injection import Faults
from make_model import make_model
from program import CHAT_TEMPLATE, Program

pytestmark = [pytest.mark.release_only,
              pytest.mark.skipif(not sys.platform.startswith("linux"), reason="LD_PRELOAD")]

STRIDE = int(os.environ.get("FAULTS_STRIDE", "13"))
STRIDE = 1 if STRIDE == 1 else STRIDE * 4


class Command:
    """A command whose calls fail. `result` tells what it has left: None, or its whole content."""

    def __init__(self, mistral, build_dir, folder, arguments, result, environment=None):
        self.faults = Faults(folder)
        self.program = Program(mistral, folder)
        self.program.environment.update(environment or {})
        self.program.environment.update(self.faults.environment(build_dir))
        self.arguments, self.result = arguments, result

    def run(self, fail_at):
        """→ the finished process, how many calls there were, which one failed, what is there afterwards."""
        self.faults.arm(fail_at)
        done = self.program(*self.arguments)
        calls, failed = self.faults.disarm()
        return done, calls, failed, self.result(done)

    def sweep(self):
        done, calls, _, expected = self.run(0)
        assert done.returncode == 0 and expected is not None, done.err
        findings = []
        for fail_at in range(1 + calls % 3 * (STRIDE > 1), calls + 1, STRIDE):
            done, _, failed, result = self.run(fail_at)
            wrong = None
            if done.returncode < 0 or done.returncode > 100:
                wrong = f"ended with {done.returncode}"
            elif done.returncode == 0 and result != expected:
                wrong = "done, with another result"
            elif done.returncode != 0 and result not in (None, expected):
                wrong = "failed, and left a part"
            elif done.returncode != 0 and done.err.strip() == "":
                wrong = "failed without a word"
            if wrong is not None:
                findings.append(f"call {fail_at} of {calls} ({failed}): {wrong}: {done.out[-200:]} {done.err[-300:]}")
        print(f"{calls} calls")
        assert not findings, f"{len(findings)} of {calls}:\n" + "\n".join(findings[:15])


def take(path):
    """The file's content, and it is gone."""
    if not path.exists():
        return None
    content = path.read_bytes()
    path.unlink()
    return content


def test_a_load_whose_calls_fail(mistral, build_dir, tmp_path):
    model = make_model(tmp_path / "tiny.gguf", layers=1, chat_template=CHAT_TEMPLATE)
    arguments = ["run", str(model), "the water", "--max-tokens", "2", "--temperature", "0", "--num-threads", "2",
                 "--kernels", "portable"]
    Command(mistral, build_dir, tmp_path, arguments, lambda done: done.out if done.returncode == 0 else None).sweep()


def test_a_quantisation_whose_calls_fail(mistral, build_dir, tmp_path):
    model = make_model(tmp_path / "tiny.gguf", layers=1)
    out = tmp_path / "out.gguf"
    Command(mistral, build_dir, tmp_path, ["quantize", str(model), str(out), "q8_0"], lambda done: take(out)).sweep()


def test_a_load_that_quantises_whose_calls_fail(mistral, build_dir, tmp_path):
    model = make_model(tmp_path / "tiny.gguf", layers=1, chat_template=CHAT_TEMPLATE)
    arguments = ["run", str(model), "the water", "--max-tokens", "2", "--temperature", "0", "--num-threads", "1",
                 "--kernels", "portable"]

    def result(done):
        for path in (tmp_path / ".cache").rglob("*.gguf"):
            path.unlink()
        return done.out if done.returncode == 0 else None

    Command(mistral, build_dir, tmp_path, arguments, result, {"MISTRAL_DYNAMIC_QUANTIZATION": "true"}).sweep()


def test_a_pull_whose_calls_fail(mistral, build_dir, tmp_path):
    hub = FakeHub()
    hub.add("o/r", {"a-Q5_K_M.gguf": model_bytes(50_000)})
    models = tmp_path / "models"

    def result(done):
        content = take(models / "a-Q5_K_M.gguf")
        for path in models.glob("*") if models.exists() else []:
            path.unlink()
        return content

    try:
        Command(mistral, build_dir, tmp_path, ["pull", "hf:o/r"], result,
                {"HF_ENDPOINT": hub.url + "/", "MISTRAL_MODELS_PATH": str(models)}).sweep()
    finally:
        hub.close()
