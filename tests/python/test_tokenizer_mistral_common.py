"""Mistral's own tokenizers (the files in the mistral-common package): the same ids, text for text."""

from importlib.resources import files

import pytest
from mistral_common.tokens.tokenizers.sentencepiece import SentencePieceTokenizer
from mistral_common.tokens.tokenizers.tekken import Tekkenizer
from sentencepiece import SentencePieceProcessor
from tokenizer_models import (
    ADD_SPECIAL, PARSE_SPECIAL, PLAIN_TEXTS, SHOW_SPECIAL, Driver, assert_same_ids, from_sentencepiece, from_tekken,
    random_texts,
)

FILES = {
    "v1": "tokenizer.model.v1",
    "v3": "mistral_instruct_tokenizer_240323.model.v3",
    "v7": "mistral_instruct_tokenizer_241114.model.v7",
    "tekken": "tekken_240911.json",
}
RANDOM_TEXTS = 3000


@pytest.fixture(scope="module", params=FILES)
def pair(request, tmp_path_factory, build_dir):
    """The reference, and our tokenizer on a GGUF file made from the same data."""
    source = str(files("mistral_common") / "data" / FILES[request.param])
    path = tmp_path_factory.mktemp("mistral") / f"{request.param}.gguf"
    if source.endswith(".json"):
        reference = Tekkenizer.from_file(source)
        specials = [reference.id_to_piece(number) for number in range(reference.num_special_tokens)]
        from_tekken(path, source, specials)
    else:
        reference = SentencePieceTokenizer(source)
        from_sentencepiece(path, SentencePieceProcessor(source))
    return reference, Driver(build_dir / "tests" / "tools" / "tokenize_texts", path)


def expected(reference, texts, bos=False):
    return [reference.encode(text, bos=bos, eos=False) for text in texts]


def test_plain_texts(pair):
    reference, ours = pair
    assert_same_ids(PLAIN_TEXTS, ours.run(PLAIN_TEXTS), expected(reference, PLAIN_TEXTS))


def test_random_texts_and_the_way_back(pair):
    reference, ours = pair
    texts = random_texts(RANDOM_TEXTS, seed=11)
    answers = ours.run(texts)
    assert_same_ids(texts, answers, expected(reference, texts))
    # SentencePiece cannot tell U+2581 from a space: it comes back as one.
    space_mark = " " if isinstance(reference, SentencePieceTokenizer) else "\u2581"
    assert [answer.text for answer in answers] == [text.replace("\u2581", space_mark) for text in texts]


def test_every_kind_of_character_is_cut_the_same(pair):
    """Every fifth code point of the planes in use, where its being a letter, mark or number shows."""
    reference, ours = pair
    points = [*range(0x20, 0xD800, 5), *range(0xE000, 0x32400, 5), *range(0xE0000, 0xE0200)]
    texts = [f"!{chr(point)}'d {chr(point)}1 \n{chr(point)}\n" for point in points]
    assert_same_ids(texts, ours.run(texts), expected(reference, texts))


def test_bos_is_added_without_being_asked_for_in_the_file(pair):
    reference, ours = pair
    assert_same_ids(PLAIN_TEXTS, ours.run(PLAIN_TEXTS, ADD_SPECIAL), expected(reference, PLAIN_TEXTS, bos=True))


def test_every_control_token_is_found_only_when_asked_for(pair):
    reference, ours = pair
    numbers = [number for number in range(1000) if reference.is_special(number)]
    assert numbers
    texts = [reference.id_to_piece(number) for number in numbers]
    assert [answer.ids for answer in ours.run(texts, PARSE_SPECIAL)] == [[number] for number in numbers]
    assert_same_ids(texts, ours.run(texts), expected(reference, texts))
    shown = ours.run(["a" + text for text in texts], PARSE_SPECIAL | SHOW_SPECIAL)
    assert [answer.text for answer in shown] == ["a" + text for text in texts]
    hidden = ours.run(["a" + text for text in texts], PARSE_SPECIAL)
    assert {answer.text for answer in hidden} == {"a"}


def test_a_prompt_with_control_tokens(pair):
    """Between control tokens each text is encoded as if it stood alone."""
    reference, ours = pair
    first, second = (3, 4) if reference.is_special(3) else (1, 2)  # [INST] and [/INST], where there are such
    begin, end = reference.id_to_piece(first), reference.id_to_piece(second)
    pieces = [" What is 2+2?", " Four.", "And \u00bd?"]
    ids = [reference.encode(piece, bos=False, eos=False) for piece in pieces]
    texts = [f"<s>{begin}{pieces[0]}{end}{pieces[1]}</s>{begin}{pieces[2]}{end}"]
    wanted = [1, first, *ids[0], second, *ids[1], 2, first, *ids[2], second]
    assert_same_ids(texts, ours.run(texts, PARSE_SPECIAL), [wanted])


def test_bytes_that_are_not_utf8_come_back_as_themselves(pair):
    reference, ours = pair
    texts = [b"\xff", b"a\xc3", b"\xe2\x82 \xf0\x9f\x98 x", bytes(range(256)), b"ok \xed\xa0\x80 ok", b"\xf5" * 50]
    prefix = b" " if isinstance(reference, SentencePieceTokenizer) else b""
    for text, answer in zip(texts, ours.run(texts), strict=True):
        assert answer.pieces == prefix + text
        assert answer.text == text.decode(errors="replace")
