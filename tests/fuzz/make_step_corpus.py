"""Writes the seeds in corpus/step: models so small that a step of them takes no time, of several families.

Needs the gguf package (tests/requirements.txt). Run by hand when families are added:
    PYTHONPATH=tests/tools python tests/fuzz/make_step_corpus.py
"""

from pathlib import Path

import gguf
import make_model as tiny
import numpy as np

FOLDER = Path(__file__).parent / "corpus" / "step"
SHAPE = {"layers": 1, "width": 32, "heads": 2, "kv_heads": 1, "head_dim": 16, "feed_forward": 32,
         "vocabulary": 8, "context": 64}


def write(name, architecture="llama", format_name="F32", biases=False, window=0, scaling=None, extra=(), add=None):
    writer = gguf.GGUFWriter(FOLDER / f"{name}.gguf", architecture)
    tiny.add_metadata(writer, SHAPE, 10000.0, scaling, window, 1e-5)
    for key, value in extra:
        writer.add_uint32(f"{architecture}.{key}", value)
    random = np.random.default_rng(1)
    weights = tiny.tensors(random, SHAPE, False, biases, None)
    weights.update((add or (lambda random: {}))(random))
    kind = gguf.GGMLQuantizationType[format_name]
    for key, values in weights.items():
        if values.ndim == 2 and format_name != "F32":
            writer.add_tensor(key, gguf.quants.quantize(values, kind), raw_dtype=kind)
        else:
            writer.add_tensor(key, values)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def normal(*shape):
    return lambda random: random.standard_normal(shape).astype(np.float32)


def head_norms(random):
    return {f"blk.0.attn_{part}_norm.weight": normal(16)(random) for part in "qk"}


def gemma_norms(random):
    return head_norms(random) | {f"blk.0.post_{part}_norm.weight": normal(32)(random) for part in ("attention", "ffw")}


def experts(random):
    return {"blk.0.ffn_gate_inp.weight": normal(4, 32)(random)} | {
        f"blk.0.ffn_{part}_exps.weight": normal(4, 32, 32)(random) for part in ("gate", "up", "down")}


def main():
    FOLDER.mkdir(parents=True, exist_ok=True)
    write("llama")
    for format_name in ("Q4_0", "Q8_0", "F16", "BF16"):
        write(format_name.lower(), format_name=format_name)
    write("window", window=4)
    write("yarn", scaling={"type": "yarn", "factor": 4, "original": 16})
    write("qwen2", "qwen2", biases=True)
    write("qwen3", "qwen3", add=head_norms)
    write("gemma3", "gemma3", window=4, add=gemma_norms)
    write("mixtral", extra=(("expert_count", 4), ("expert_used_count", 2)), add=experts)
    write("qwen3moe", "qwen3moe", extra=(("expert_count", 4), ("expert_used_count", 2),
                                         ("expert_feed_forward_length", 32)),
          add=lambda random: head_norms(random) | experts(random))


if __name__ == "__main__":
    main()
