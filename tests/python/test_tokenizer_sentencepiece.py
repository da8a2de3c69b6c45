"""SentencePiece's options, on small models trained here: the same ids as its own library gives."""

import io
import random

import pytest
import sentencepiece
from tokenizer_models import PLAIN_TEXTS, Driver, assert_same_ids, from_sentencepiece, random_texts

CORPUS = PLAIN_TEXTS + [
    "the cat sat on the mat", "a cat and a hat", "  indented   text with   runs of spaces", "x = y + z;", "naïve café",
] * 20

# What differs from Mistral's models: identity normalization, byte fallback, a space in front.
OPTIONS = {
    "plain": {},
    "no-space-in-front": {"add_dummy_prefix": False},
    "extra-spaces-removed": {"remove_extra_whitespaces": True},
    "extra-spaces-removed-no-space-in-front": {"remove_extra_whitespaces": True, "add_dummy_prefix": False},
    "no-byte-tokens": {"byte_fallback": False, "vocab_size": 300},
    "spaces-inside-tokens": {"split_by_whitespace": False},
    # Gemma's way: runs of white space, and HTML; converters spell the spaces in user-defined tokens out.
    "white-space-user-defined": {
        "user_defined_symbols": ["\u2581\u2581", "\u2581\u2581\u2581", "\n\n", "\n\n\n", "\t\t", "</s>>", "<b>"],
        "add_dummy_prefix": False,
    },
    "user-defined": {"user_defined_symbols": ["<sep>", "<sep>>", "cat", "...", "é"], "add_dummy_prefix": False},
}


def train(options):
    model = io.BytesIO()
    settings = {
        "vocab_size": 600, "model_type": "bpe", "byte_fallback": True, "character_coverage": 0.98,
        "normalization_rule_name": "identity", "add_dummy_prefix": True, "remove_extra_whitespaces": False,
        "split_digits": True, "minloglevel": 2, "num_threads": 1,
    } | options
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(line for text in CORPUS for line in text.replace("\0", " ").split("\n") if line.strip()),
        model_writer=model, **settings)
    return sentencepiece.SentencePieceProcessor(model_proto=model.getvalue())


def some_texts(seed):
    """Random texts, and words of the corpus in random order so that merges compete."""
    source = random.Random(seed)
    words = " ".join(CORPUS[-5:]).split(" ") + ["<sep>", "<sep>>>", "....", "  ", "\n"]
    marks = ["a \u2581", "\u2581", " \u2581 b  \u2581\u2581 "]
    mixed = [source.choice(["", " "]).join(source.choices(words, k=source.randint(1, 12))) for _ in range(500)]
    return PLAIN_TEXTS + marks + random_texts(500, seed) + mixed


@pytest.mark.parametrize("name", OPTIONS)
def test_a_small_model_encodes_the_same(build_dir, tmp_path, name):
    options = OPTIONS[name]
    reference = train(options)
    path = from_sentencepiece(
        tmp_path / "small.gguf", reference, user_defined=options.get("user_defined_symbols", ()),
        add_space_prefix=options.get("add_dummy_prefix", True),
        remove_extra_whitespaces=options.get("remove_extra_whitespaces", False),
    )
    left_out = "\0\u2581" if name == "white-space-user-defined" else "\0"  # a mark beside spaces is not theirs to find
    texts = [text for text in some_texts(seed=41) if not set(text) & set(left_out)]
    answers = Driver(build_dir / "tests" / "tools" / "tokenize_texts", path).run(texts)
    assert_same_ids(texts, answers, [reference.encode(text) for text in texts])
    if options.get("byte_fallback", True) and not options.get("remove_extra_whitespaces", False):
        assert [answer.text for answer in answers] == [text.replace("\u2581", " ") for text in texts]
