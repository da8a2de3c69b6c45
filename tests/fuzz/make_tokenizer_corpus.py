"""Writes the seeds in corpus/tokenizer: one for each family and pre-tokenizer, with all kinds of tokens.

The format is described in fuzz_tokenizer.c. Run by hand when it or the tokenizers grow:
    python tests/fuzz/make_tokenizer_corpus.py
"""

from pathlib import Path

FOLDER = Path(__file__).parent / "corpus" / "tokenizer"
SENTENCEPIECE, SPACE_PREFIX, REMOVE_SPACES, TYPES, SCORES, SPECIAL, ALL_BYTES, RANKS = (1 << bit for bit in range(8))
NORMAL, UNKNOWN, CONTROL, USER_DEFINED, UNUSED, BYTE = range(1, 7)
PRES = ["default", "gpt-2", "smollm", "llama-bpe", "qwen2", "tekken", "falcon", "deepseek-llm", "deepseek-coder",
        "unheard-of", "gpt-4o", "qwen35", "deepseek-v3", "youtu"]
NONE = 255
TEXT = "I'm <|im_end|> The  cat's 123, \u4e2d\u6587 e\u0301\n\n \u2581\u2581x\U0001f600".encode() + b"\xff\xc3 \xe4\xb8"


def token(text, kind=NORMAL, score=0):
    text = text.encode()
    return bytes([0, kind, score % 256, len(text)]) + text


def merge(text):
    text = text.encode()
    return bytes([1, len(text)]) + text


def seed(name, options, *records, pre=0, ids=(NONE,) * 4, text=TEXT):
    FOLDER.mkdir(parents=True, exist_ok=True)
    (FOLDER / name).write_bytes(bytes([options, pre, *ids]) + b"".join(records) + b"\x02" + text)


BYTE_LEVEL = [token("th"), token("\u0120th"), token("at"), token("cat"), merge("t h"), merge("\u0120 th"),
              merge("a t"), merge("c at"), token("<|im_end|>", CONTROL), token("  ", USER_DEFINED)]
PIECES = [token("<unk>", UNKNOWN), token("<s>", CONTROL), token("</s>", CONTROL), token("\u2581", score=-1),
          token("\u2581c", score=-2), token("at", score=-3), token("\u2581cat", score=-4),
          token("\u2581\u2581", score=-5), token("<|im_end|>", USER_DEFINED)]


def main():
    for number, pre in enumerate(PRES):
        seed(f"byte_level_{pre}", ALL_BYTES | TYPES, *BYTE_LEVEL, pre=number)
    seed("byte_level_special", ALL_BYTES | TYPES | SPECIAL, *BYTE_LEVEL, pre=3, ids=(1, 2, NONE, 3))
    seed("byte_level_few_bytes", TYPES, token("a"), token("t"), token("at"), merge("a t"), pre=1)
    seed("byte_level_broken_merge", ALL_BYTES, merge("ab"))
    seed("byte_level_no_types", ALL_BYTES, *BYTE_LEVEL, ids=(1, 2, 0, 3))
    seed("pieces", SENTENCEPIECE | ALL_BYTES | TYPES | SCORES | SPACE_PREFIX, *PIECES)
    seed("pieces_special", SENTENCEPIECE | ALL_BYTES | TYPES | SCORES | SPACE_PREFIX | SPECIAL, *PIECES, ids=(1, 2, 0, 3))
    seed("pieces_remove_spaces", SENTENCEPIECE | ALL_BYTES | TYPES | SCORES | REMOVE_SPACES, *PIECES)
    seed("pieces_without_bytes", SENTENCEPIECE | TYPES | SCORES, *PIECES, ids=(1, 2, 0, NONE))
    seed("spaces_inside", SENTENCEPIECE | ALL_BYTES | TYPES | SCORES, *PIECES, token("s\u25811", score=3))
    merges = [merge("a t"), merge("c at"), merge("\u2581 cat"), merge("\u2581 \u2581"), merge("x nothing")]
    tokens = [*PIECES, token("a"), token("t"), token("c"), token("cat")]
    seed("pieces_ranked", SENTENCEPIECE | RANKS | ALL_BYTES | TYPES, *tokens, *merges)
    seed("pieces_ranked_without_bytes", SENTENCEPIECE | RANKS | TYPES, *tokens, *merges, ids=(1, 2, 0, NONE))
    seed("duplicates", ALL_BYTES | TYPES, token("a"), token("a"), token(""), token("<x>", CONTROL), token("<x>", CONTROL))
    seed("id_out_of_range", TYPES, token("a"), ids=(7, 7, 7, 7))


if __name__ == "__main__":
    main()
