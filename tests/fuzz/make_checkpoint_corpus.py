"""Writes the seeds in corpus/checkpoint: safetensors heads, whole and broken, and a tokenizer.model.

Needs sentencepiece (tests/requirements.txt). Run by hand when the readers grow:
    python tests/fuzz/make_checkpoint_corpus.py
"""

import io
import json
import struct
from pathlib import Path

import sentencepiece

FOLDER = Path(__file__).parent / "corpus" / "checkpoint"


def safetensors(head, data=b""):
    text = head if isinstance(head, bytes) else json.dumps(head).encode()
    return b"s" + struct.pack("<Q", len(text)) + text + data


def tensor(dtype, shape, begin, end):
    return {"dtype": dtype, "shape": shape, "data_offsets": [begin, end]}


def main():
    FOLDER.mkdir(parents=True, exist_ok=True)
    whole = {"__metadata__": {"format": "pt"}, "a": tensor("F32", [2, 2], 0, 16), "b": tensor("BF16", [4], 16, 24)}
    seeds = {
        "whole": safetensors(whole, bytes(24)),
        "types": safetensors({name: tensor(name, [], i, i + 1) for i, name in
                              enumerate(["BOOL", "U8", "I8", "F8_E4M3", "F8_E5M2"])}, bytes(5)),
        "cut": safetensors(whole, bytes(20)),
        "overlap": safetensors({"a": tensor("U8", [4], 0, 4), "b": tensor("U8", [4], 2, 6)}, bytes(6)),
        "duplicate": safetensors(b'{"a":{"dtype":"U8","shape":[1],"data_offsets":[0,1]},"a":1}', bytes(1)),
        "huge_shape": safetensors({"a": tensor("F32", [2**62, 2**62], 0, 16)}, bytes(16)),
        "huge_head": b"s" + struct.pack("<Q", 2**63) + b"{}",
    }
    model = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(["a small text to learn from, and another"] * 20), model_writer=model, vocab_size=300,
        model_type="bpe", byte_fallback=True, minloglevel=2, normalization_rule_name="identity")
    seeds["pieces"] = b"m" + model.getvalue()
    seeds["pieces_cut"] = b"m" + model.getvalue()[:100]
    for name, seed in seeds.items():
        (FOLDER / name).write_bytes(seed)


if __name__ == "__main__":
    main()
