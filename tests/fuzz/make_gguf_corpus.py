"""Writes the seeds in corpus/gguf: small files that show a fuzzer every part of the format.

Needs the gguf package (tests/requirements.txt). Run by hand when the format's reader grows:
    python tests/fuzz/make_gguf_corpus.py
"""

from pathlib import Path

import gguf
import numpy as np

FOLDER = Path(__file__).parent / "corpus" / "gguf"


def finish(writer):
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def values():
    writer = gguf.GGUFWriter(FOLDER / "values.gguf", "llama")
    writer.add_uint8("u8", 1)
    writer.add_int8("i8", -1)
    writer.add_uint16("u16", 2)
    writer.add_int16("i16", -2)
    writer.add_int32("i32", -3)
    writer.add_uint64("u64", 4)
    writer.add_int64("i64", -4)
    writer.add_float32("f32", 0.5)
    writer.add_float64("f64", -0.5)
    writer.add_bool("flag", True)
    writer.add_string("text", "naïve")
    writer.add_array("strings", ["", "a", "▁b"])
    writer.add_array("numbers", [1, 2, 3])
    finish(writer)


def tensors():
    writer = gguf.GGUFWriter(FOLDER / "tensors.gguf", "llama")
    writer.add_custom_alignment(8)
    for name in "F32 F16 BF16 Q4_0 Q4_1 Q5_0 Q5_1 Q8_0".split():
        kind = gguf.GGMLQuantizationType[name]
        _, block_bytes = gguf.GGML_QUANT_SIZES[kind]
        writer.add_tensor(name, np.arange(2 * block_bytes, dtype=np.uint8).reshape(2, -1), raw_dtype=kind)
    finish(writer)


def k_quants():
    writer = gguf.GGUFWriter(FOLDER / "k_quants.gguf", "llama")
    for name in "Q2_K Q3_K Q4_K Q5_K Q6_K".split():
        kind = gguf.GGMLQuantizationType[name]
        _, block_bytes = gguf.GGML_QUANT_SIZES[kind]
        writer.add_tensor(name, np.arange(block_bytes, dtype=np.uint8), raw_dtype=kind)
    finish(writer)


def variants():
    """The values as version 2, as version 1, and cut in the middle of an array of strings."""
    content = (FOLDER / "values.gguf").read_bytes()
    for version in (1, 2):
        changed = content[:4] + version.to_bytes(4, "little") + content[8:]
        (FOLDER / f"version_{version}.gguf").write_bytes(changed)
    (FOLDER / "cut.gguf").write_bytes(content[: content.index("▁b".encode()) + 2])


if __name__ == "__main__":
    values()
    tensors()
    k_quants()
    variants()
