"""Byte-level BPE against Hugging Face's tokenizers, built from the same vocabulary and merges.

SmolLM2's vocabulary serves for every pre-tokenizer: what differs is where words end, and the steps
below are those of the models' own tokenizer.json files.
"""

import random

import pytest
import tokenizers
from tokenizer_models import (
    CONTROL, PARSE_SPECIAL, PLAIN_TEXTS, SHOW_SPECIAL, Driver, assert_same_ids, random_texts, read_metadata,
    write_vocabulary,
)
from tokenizers import Regex, normalizers
from tokenizers.pre_tokenizers import ByteLevel, Digits, Sequence, Split

SUFFIX = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)"
SPACES = r"\s*[\r\n]+|\s+(?!\S)|\s+"
WORDS = r"[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}%s| ?[^\s\p{L}\p{N}]+[\r\n]*|" + SPACES
CASELESS = SUFFIX + "|" + WORDS
CASED = (r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+SUFFIX"
         r"|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*SUFFIX|\p{N}DIGITS"
         r"| ?[^\s\p{L}\p{N}]+[\r\n/]*|" + SPACES)
TEKKEN = CASED.replace("SUFFIX", "").replace("DIGITS", "")
O200K = CASED.replace("SUFFIX", SUFFIX + "?")
MARKED = (SUFFIX + r"|[^\r\n\p{L}\p{N}]?[\p{L}\p{M}]+|\p{N}| ?[^\s\p{L}\p{M}\p{N}]+[\r\n]*|" + SPACES)
DEEPSEEK3 = (r"[!\"#$%&'()*+,\-./:;<=>?@\[\\\]^_`{|}~][A-Za-z]+|[^\r\n\p{L}\p{P}\p{S}]?[\p{L}\p{M}]+"
             r"| ?[\p{P}\p{S}]+[\r\n]*|" + SPACES)
BAILING = (r"'(?i:[sdmt]|ll|ve|re)|[^\r\n\p{L}\p{N}]?+\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]++[\r\n]*|\s*[\r\n]|\s+(?!\S)|\s+")
SEED = SUFFIX + r"|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1}| ?[^\s\p{L}\p{N}\r\n]+|" + SPACES
YOUTU = "[\uac00-\ud7a3\u3131-\u318e]+|[\uff01\u2026\u201c\u201d\u2018\u2019\u2014\uff1a\uff1b\uff0c\u3001-\u303f\ufe30-\ufe4f]+|[\u3105-\u312f]+"
GPT2 = r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"
CJK = "[\u4e00-\u9fa5\u0800-\u4e00\uac00-\ud7ff]+"
CJK3 = "[\u4e00-\u9fa5\u3040-\u309f\u30a0-\u30ff]+"


def splits(*patterns):
    return [Split(Regex(pattern), "isolated") for pattern in patterns]


def byte_level(use_regex):
    return ByteLevel(add_prefix_space=False, use_regex=use_regex)


# name → the steps of the pre-tokenizer. "default" is no model's: it is llama.cpp's for files without a name.
STEPS = {
    "default": [*splits(r"[\p{P}\$\+<=>\^~\|]+", GPT2, r"\p{N}+", "[0-9][0-9][0-9]"), byte_level(False)],
    "smollm": [Digits(individual_digits=True), byte_level(True)],
    "starcoder": [Digits(individual_digits=True), byte_level(True)],
    "gpt-2": [byte_level(True)],
    "llama-bpe": [*splits(CASELESS % "{1,3}"), byte_level(False)],
    "qwen2": [*splits(CASELESS % ""), byte_level(False)],
    "tekken": [*splits(TEKKEN), byte_level(False)],
    "deepseek-coder": [*splits("[\r\n]", r"\s?\p{L}+", r"\s?\p{P}+", CJK), Digits(individual_digits=True),
                       byte_level(False)],
    "qwen35": [*splits(MARKED), byte_level(False)],
    "gpt-4o": [*splits(O200K.replace("DIGITS", "{1,3}")), byte_level(False)],
    "deepseek-v3": [*splits(r"\p{N}{1,3}", CJK3, DEEPSEEK3), byte_level(False)],
    "bailingmoe": [*splits(BAILING), byte_level(False)],
    "seed-coder": [*splits(SEED), byte_level(False)],
    "minicpm5": [*splits(r"\p{N}{1,3}", CASELESS % "+"), byte_level(False)],
    "ufakzeka": [*splits(WORDS % ""), byte_level(False)],
    "laguna": [*splits(r"[^\n]+|[\n]+", CASELESS % ""), byte_level(False)],
    "youtu": [*splits(YOUTU + "|" + CJK3, O200K.replace("DIGITS", "")), byte_level(False)],
}
IGNORES_MERGES = {"llama-bpe", "tekken", "gpt-4o", "minicpm5", "youtu"}
NORMALIZES = {"qwen2", "qwen35"}


@pytest.fixture(scope="module")
def vocabulary(smollm2):
    metadata = read_metadata(smollm2)
    prefix = "tokenizer.ggml."
    return {key[len(prefix):]: value for key, value in metadata.items() if key.startswith(prefix)}


def twin(vocabulary, name):
    merges = [tuple(merge.split(" ")) for merge in vocabulary["merges"]]
    ids = {token: number for number, token in enumerate(vocabulary["tokens"])}
    model = tokenizers.models.BPE(vocab=ids, merges=merges, ignore_merges=name in IGNORES_MERGES)
    reference = tokenizers.Tokenizer(model)
    reference.pre_tokenizer = Sequence(STEPS[name])
    reference.decoder = tokenizers.decoders.ByteLevel()
    if name in NORMALIZES:
        reference.normalizer = normalizers.NFC()
    return reference


def specials(vocabulary):
    pairs = zip(vocabulary["tokens"], vocabulary["token_type"], strict=True)
    return [token for token, kind in pairs if kind == CONTROL]


def expected(reference, texts):
    return [encoding.ids for encoding in reference.encode_batch(texts, add_special_tokens=False)]


@pytest.fixture(scope="module")
def program(build_dir):
    return build_dir / "tests" / "tools" / "tokenize_texts"


@pytest.fixture(scope="module")
def ours(program, smollm2):
    return Driver(program, smollm2)


def test_smollm2_on_5000_random_texts(vocabulary, ours):
    assert vocabulary["pre"] == "smollm"
    texts = PLAIN_TEXTS + random_texts(5000, seed=5)
    answers = ours.run(texts)
    reference = twin(vocabulary, "smollm")
    assert_same_ids(texts, answers, expected(reference, texts))
    # Not the texts themselves: SmolLM2 has no token for some bytes of rare characters.
    assert [answer.text for answer in answers] == [reference.decode(answer.ids) for answer in answers]


def test_smollm2_with_special_tokens_in_the_text(vocabulary, ours):
    reference = twin(vocabulary, "smollm")
    names = specials(vocabulary)
    assert "<|im_end|>" in names
    reference.add_special_tokens([tokenizers.AddedToken(name, special=True, normalized=False) for name in names])
    source = random.Random(7)
    texts = []
    for number, text in enumerate(random_texts(500, seed=8)):
        name = source.choice(names)
        cut = source.randint(0, len(text))
        texts.append(text[:cut] + name + text[cut:] + (name[: source.randint(0, len(name))] if number % 2 else name))
    answers = ours.run(texts, PARSE_SPECIAL | SHOW_SPECIAL)
    assert_same_ids(texts, answers, expected(reference, texts))
    shown = [reference.decode(answer.ids, skip_special_tokens=False) for answer in answers]
    assert [answer.text for answer in answers] == shown


@pytest.mark.parametrize("name", STEPS)
def test_each_pre_tokenizer_on_random_texts(vocabulary, program, tmp_path, name):
    path = write_vocabulary(tmp_path / f"{name}.gguf", "gpt2", vocabulary["tokens"], vocabulary["token_type"], pre=name,
                            merges=vocabulary["merges"])
    texts = PLAIN_TEXTS + random_texts(1500, seed=21)
    assert_same_ids(texts, Driver(program, path).run(texts), expected(twin(vocabulary, name), texts))


def test_random_ids_decode_the_same(vocabulary, ours):
    """Cut and impossible characters too: a lone byte token is replaced as `tokenizers` replaces it."""
    reference = twin(vocabulary, "smollm")
    source = random.Random(9)
    control = {number for number, kind in enumerate(vocabulary["token_type"]) if kind == CONTROL}
    usable = [number for number in range(len(vocabulary["tokens"])) if number not in control]
    single = [number for number in usable if len(vocabulary["tokens"][number]) == 1]
    lists = [[source.choice(single if source.random() < 0.6 else usable) for _ in range(source.randint(1, 40))]
             for _ in range(1000)]
    decoded = [answer.text for answer in ours.detokenize(lists)]
    assert decoded == [reference.decode(ids) for ids in lists]
    assert any("\ufffd" in text for text in decoded)
