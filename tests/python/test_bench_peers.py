"""The programs of bench/ that stand before other engines, with a stand-in for the engine itself."""

import json
import subprocess
import sys
import urllib.request

import pytest

from program import Program

pytestmark = pytest.mark.release_only  # nothing of ours is in it but the load generator

# What mistralrs 0.9.5 has of this: names, attributes, a last piece without text that carries the usage, and no
# patience with a second request while it takes one.
MISTRALRS = """
import pathlib
import time
from types import SimpleNamespace as Thing

class Which:
    class GGUF:
        def __init__(self, quantized_model_id, quantized_filename):
            assert (pathlib.Path(quantized_model_id) / quantized_filename).is_file()

def ChatCompletionRequest(**asked):
    assert asked["stream"] and asked["messages"][0]["role"] == "user"
    return asked

def piece(text, reason=None, usage=None):
    return Thing(id="1", usage=usage, choices=[Thing(index=0, finish_reason=reason, delta=Thing(content=text))])

class Runner:
    def __init__(self, which):
        self.borrowed = False

    def send_chat_completion_request(self, asked):
        if self.borrowed:
            raise RuntimeError("Already borrowed")
        self.borrowed = True
        time.sleep(0.01)
        self.borrowed = False
        return self.answer(asked)

    def answer(self, asked):
        for _ in range(asked["max_tokens"]):
            yield piece(" word")
        yield piece("", "length", Thing(prompt_tokens=5, completion_tokens=asked["max_tokens"], total_tokens=5 + asked["max_tokens"]))
"""


@pytest.fixture
def server(source_root, tmp_path):
    (tmp_path / "modules").mkdir()
    (tmp_path / "modules/mistralrs.py").write_text(MISTRALRS)
    (tmp_path / "m.gguf").touch()
    process = subprocess.Popen([sys.executable, source_root / "bench/mistralrs_server.py", tmp_path / "m.gguf", "--port", "0"],
                               stdout=subprocess.PIPE, text=True, env={"PYTHONPATH": str(tmp_path / "modules")})
    yield process.stdout.readline().split()[-1]
    process.terminate()
    process.wait()


def test_mistral_rs_is_measured_through_its_python_package(mistral, tmp_path, server):
    told = json.loads(Program(mistral, tmp_path).good(
        "bench", "serve", server, "--requests", "2", "--warmup", "0", "--concurrency", "1,3", "--max-tokens", "7", "--json"))
    assert told["targets"][0]["model"] == "m"
    for run in told["runs"]:
        assert run["outcomes"] == {"ok": 10} and (run["prompt_tokens"], run["output_tokens"]) == (10 * 5, 10 * 7)
    with urllib.request.urlopen(f"{server}/cost") as answer:
        cost = json.load(answer)
    assert cost["pieces"] == 2 * 10 * 8 and cost["microseconds_a_piece"] > 0
