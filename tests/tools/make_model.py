"""Writes small random models of the llama family as GGUF, for tests of whatever runs a model.

    from make_model import make_model
    make_model("tiny.gguf", layers=2, heads=4, kv_heads=2, head_dim=16, window=32, format="Q4_K")

or `python tests/tools/make_model.py tiny.gguf --layers 2 --format Q8_0`. Same arguments, same bytes.

The weights are random but not idle: attention is far from uniform and the logits are several units
apart, so that greedy continuations are stable and a mistake anywhere shows in them. The vocabulary
is like SentencePiece's: control tokens, 256 byte tokens, characters, then pieces of English words
with the scores that a byte-pair merge order gives. Formats that the gguf package cannot encode
(K-quants) go through the project's own encoder, build/tests/tools/quant_codec.
"""

import argparse
import os
import subprocess
from pathlib import Path

import gguf
import numpy as np

UNKNOWN, BOS, EOS = 0, 1, 2
FIRST_BYTE = 3
FIRST_PIECE = FIRST_BYTE + 256

CHARACTERS = "▁etaoinsrhldcumfpgwybvkxjqzETAOINSRHLDCUMFPGWYBVKXJQZ0123456789.,;:!?'\"-()\n"
WORDS = (
    "the of and to in is that it was for on are as with his they at be this from have or by one had "
    "not but what all were when we there can an your which their said if do will each about how up "
    "out them then she many some so these would other into has more her two like him see time could "
    "no make than first been its who now people my made over did down only way find use may water "
    "long little very after words called just where most know get through back much before go good "
    "new write our used me man too any day same right look think also around another came come work "
    "three word must because does part even place well such here take why things help put years "
    "different away again off went old number great tell men say small every found still between name"
).split()


def pieces():
    """Characters, then every prefix of every word: each is an earlier piece and one character, so
    that merging can build it. Earlier means merged sooner."""
    ordered = dict.fromkeys(CHARACTERS)
    longest = max(map(len, WORDS)) + 1
    for length in range(2, longest + 1):
        ordered.update(dict.fromkeys(f"▁{word}"[:length] for word in WORDS))
    return list(ordered)


def vocabulary(size, controls=()):
    """Tokens, scores and types of GGUF's "llama" tokenizer, `size` of each; the last are `controls`."""
    smallest = FIRST_PIECE + len(CHARACTERS)
    if size < smallest:
        raise ValueError(f"a vocabulary of {size} is too small: bytes and characters alone are {smallest}")
    tokens = ["<unk>", "<s>", "</s>"] + [f"<0x{byte:02X}>" for byte in range(256)] + pieces()
    tokens += [f"▁[{number}]" for number in range(len(tokens), size)]  # when the words run out
    tokens = tokens[:size]
    scores = [0.0] * FIRST_PIECE + [-float(rank) for rank in range(size - FIRST_PIECE)]
    kind = gguf.TokenType
    types = [kind.UNKNOWN, kind.CONTROL, kind.CONTROL] + [kind.BYTE] * 256
    types += [kind.NORMAL] * (size - FIRST_PIECE)
    if controls:
        tokens[-len(controls):] = controls
        types[-len(controls):] = [kind.CONTROL] * len(controls)
    return tokens, scores, types


def default_codec():
    root = Path(__file__).resolve().parents[2]
    return Path(os.environ.get("BUILD_FOLDER", root / "build")) / "tests" / "tools" / "quant_codec"


def encode(values, format_name, codec):
    """f32 [rows][columns] → the format's bytes [rows][bytes of a row]."""
    kind = gguf.GGMLQuantizationType[format_name]
    block_values, block_bytes = gguf.GGML_QUANT_SIZES[kind]
    if values.shape[-1] % block_values != 0:
        raise ValueError(f"rows of {values.shape[-1]} values cannot be {format_name}: "
                         f"its blocks hold {block_values}; choose other sizes or another format")
    try:
        return gguf.quants.quantize(values, kind)
    except NotImplementedError:
        result = subprocess.run([codec, "encode", format_name], input=values.astype("<f4").tobytes(),
                                capture_output=True, check=True)
    return np.frombuffer(result.stdout, np.uint8).reshape(*values.shape[:-1], -1, block_bytes).reshape(
        *values.shape[:-1], -1)


def llama3_factors(head_dim, base, factor, low, high, original):
    """What Llama 3's converter stores in rope_freqs.weight: each frequency's divisor. Waves much
    shorter than the original context keep their frequency, longer ones are slowed by `factor`."""
    frequencies = base ** (-np.arange(0, head_dim, 2, dtype=np.float64) / head_dim)
    turns = original * frequencies / (2 * np.pi)  # of each wave over the original context
    smooth = np.clip((turns - low) / (high - low), 0, 1)
    return (1 / ((1 - smooth) / factor + smooth)).astype(np.float32)


def tensors(random, shape, tied, biases, factors):
    """Name → f32 array, rows of inputs as GGUF has them; `shape` is make_model's arguments."""
    width, hidden, head_dim = shape["width"], shape["feed_forward"], shape["head_dim"]
    queries, keys = shape["heads"] * head_dim, shape["kv_heads"] * head_dim

    def matrix(rows, columns, gain=1.0):
        return (random.standard_normal((rows, columns)) * (gain / np.sqrt(columns))).astype(np.float32)

    def norm():
        return (1 + 0.1 * random.standard_normal(width)).astype(np.float32)

    result = {"token_embd.weight": matrix(shape["vocabulary"], width, gain=4.0)}
    for layer in range(shape["layers"]):
        rows = {
            "attn_q": matrix(queries, width, gain=1.5), "attn_k": matrix(keys, width, gain=1.5),
            "attn_v": matrix(keys, width), "attn_output": matrix(width, queries),
            "ffn_gate": matrix(hidden, width), "ffn_up": matrix(hidden, width),
            "ffn_down": matrix(width, hidden),
        }
        for name, weight in rows.items():
            result[f"blk.{layer}.{name}.weight"] = weight
            if biases:
                bias = 0.1 * random.standard_normal(weight.shape[0])
                result[f"blk.{layer}.{name}.bias"] = bias.astype(np.float32)
        result[f"blk.{layer}.attn_norm.weight"] = norm()
        result[f"blk.{layer}.ffn_norm.weight"] = norm()
    result["output_norm.weight"] = norm()
    if not tied:
        result["output.weight"] = matrix(shape["vocabulary"], width, gain=4.0)
    if factors is not None:
        result["rope_freqs.weight"] = factors
    return result


def add_rope_scaling(writer, scaling):
    if scaling is None or scaling["type"] == "llama3":
        return
    writer.add_rope_scaling_type(gguf.RopeScalingType(scaling["type"]))
    writer.add_rope_scaling_factor(scaling["factor"])
    if "original" in scaling:
        writer.add_rope_scaling_orig_ctx_len(scaling["original"])


def add_metadata(writer, shape, rope_base, rope_scaling, window, norm_epsilon):
    writer.add_name("tiny random llama")
    writer.add_context_length(shape["context"])
    writer.add_embedding_length(shape["width"])
    writer.add_block_count(shape["layers"])
    writer.add_feed_forward_length(shape["feed_forward"])
    writer.add_head_count(shape["heads"])
    writer.add_head_count_kv(shape["kv_heads"])
    writer.add_key_length(shape["head_dim"])
    writer.add_value_length(shape["head_dim"])
    writer.add_layer_norm_rms_eps(norm_epsilon)
    writer.add_rope_dimension_count(shape["head_dim"])
    writer.add_rope_freq_base(rope_base)
    writer.add_vocab_size(shape["vocabulary"])
    add_rope_scaling(writer, rope_scaling)
    if window:
        writer.add_sliding_window(window)


def add_tokenizer(writer, size, chat_template, controls):
    tokens, scores, types = vocabulary(size, controls)
    writer.add_tokenizer_model("llama")
    writer.add_token_list(tokens)
    writer.add_token_scores(scores)
    writer.add_token_types(types)
    writer.add_unk_token_id(UNKNOWN)
    writer.add_bos_token_id(BOS)
    writer.add_eos_token_id(EOS)
    writer.add_add_bos_token(True)
    writer.add_add_eos_token(False)
    writer.add_add_space_prefix(True)
    if chat_template is not None:
        writer.add_chat_template(chat_template)


def make_model(path, *, layers=2, width=64, heads=4, kv_heads=2, head_dim=16, feed_forward=160,
               vocabulary=512, context=512, window=0, tied=False, biases=False, rope_base=10000.0,
               rope_scaling=None, norm_epsilon=1e-5, format="F32", embedding_format=None,
               output_format=None, chat_template=None, controls=(), seed=0, codec=None):
    """Writes the model and returns its path.

    controls: texts of control tokens, the last of the vocabulary.

    heads * head_dim need not be width. `format` is that of the matrices, and of the embedding and
    output matrices unless they have their own; norms, biases and rope factors are F32, as in real
    files. window: tokens of sliding-window attention, 0 for none. rope_scaling: None, or
      {"type": "linear", "factor": 4}
      {"type": "yarn", "factor": 4, "original": 128}
      {"type": "llama3", "factor": 8, "low": 1, "high": 4, "original": 128}   (a rope_freqs tensor)
    """
    path = Path(path)
    shape = {"layers": layers, "width": width, "heads": heads, "kv_heads": kv_heads, "head_dim": head_dim,
             "feed_forward": feed_forward, "vocabulary": vocabulary, "context": context}
    if heads % kv_heads != 0 or head_dim % 2 != 0:
        raise ValueError("heads must be a multiple of kv_heads, and head_dim even")
    factors = None
    if rope_scaling is not None and rope_scaling["type"] == "llama3":
        factors = llama3_factors(head_dim, rope_base, **{k: v for k, v in rope_scaling.items() if k != "type"})
    formats = {"token_embd.weight": embedding_format or format, "output.weight": output_format or format}
    writer = gguf.GGUFWriter(path, "llama")
    add_metadata(writer, shape, rope_base, rope_scaling, window, norm_epsilon)
    add_tokenizer(writer, vocabulary, chat_template, controls)
    writer.add_quantization_version(gguf.GGML_QUANT_VERSION)
    for name, values in tensors(np.random.default_rng(seed), shape, tied, biases, factors).items():
        format_name = formats.get(name, format) if values.ndim == 2 else "F32"
        writer.add_tensor(name, encode(values, format_name, codec or default_codec()),
                          raw_dtype=gguf.GGMLQuantizationType[format_name])
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def main():
    parser = argparse.ArgumentParser(description="Writes a small random model of the llama family as GGUF.")
    parser.add_argument("path", type=Path)
    for name, default in (("layers", 2), ("width", 64), ("heads", 4), ("kv-heads", 2), ("head-dim", 16),
                          ("feed-forward", 160), ("vocabulary", 512), ("context", 512), ("window", 0),
                          ("seed", 0)):
        parser.add_argument(f"--{name}", type=int, default=default)
    parser.add_argument("--format", default="F32")
    parser.add_argument("--tied", action="store_true")
    parser.add_argument("--biases", action="store_true")
    make_model(**vars(parser.parse_args()))


if __name__ == "__main__":
    main()
