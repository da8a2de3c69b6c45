"""llama.cpp's own tokenizer tests: its vocabularies, its strings, its ids.

They lie in llama.cpp's models/ folder; llama_cpp_sources.py says where that comes from.
"""

import unicodedata
from pathlib import Path

import pytest
from llama_cpp_sources import models_folder
from tokenizer_models import Driver, assert_same_ids

pytestmark = pytest.mark.timeout(900)  # the first run downloads

# Every vocabulary there that has strings and ids and is of a family this program knows.
VOCABULARIES = [
    "llama-spm", "phi-3", "gpt-2", "llama-bpe", "starcoder", "refact", "qwen2", "qwen35", "command-r", "mpt",
    "falcon", "deepseek-llm", "deepseek-coder", "gemma-4",
]
# Their tokenizers bring text into Unicode's form C first, which llama.cpp leaves out.
NORMALIZES = {"qwen2", "qwen35"}
UNSUPPORTED = {"bert-bge": "the tokenizer 'bert' (tokenizer.ggml.model) is not supported; known are"}


@pytest.fixture(scope="module")
def vocabularies(source_root):
    return models_folder(source_root)


def read_cases(vocabularies, name):
    """The texts, and the ids llama.cpp expects for each."""
    path = vocabularies / f"ggml-vocab-{name}.gguf"
    texts = Path(f"{path}.inp").read_bytes().decode().split("\n__ggml_vocab_test__\n")
    lines = Path(f"{path}.out").read_text(encoding="utf-8").split("\n")
    ids = [[int(number) for number in line.split()] for line in lines[: len(texts)]]
    assert len(ids) == len(texts)
    if name in NORMALIZES:
        cases = [(text, row) for text, row in zip(texts, ids, strict=True) if unicodedata.is_normalized("NFC", text)]
        texts, ids = (list(column) for column in zip(*cases, strict=True))
    assert len(texts) > 40
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
