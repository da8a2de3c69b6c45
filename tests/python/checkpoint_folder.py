"""Makes Hugging Face folders for tests: the tiny golden models as transformers would have saved them."""

import json
import struct
from pathlib import Path

import gguf
import numpy as np
import safetensors
import safetensors.numpy

GOLDEN = Path(__file__).resolve().parent.parent / "golden"
LAYER_TENSORS = {
    "attn_norm": "input_layernorm", "attn_q": "self_attn.q_proj", "attn_k": "self_attn.k_proj",
    "attn_v": "self_attn.v_proj", "attn_output": "self_attn.o_proj", "ffn_norm": "post_attention_layernorm",
    "ffn_gate": "mlp.gate_proj", "ffn_up": "mlp.up_proj", "ffn_down": "mlp.down_proj",
}
END_TENSORS = {"token_embd.weight": "model.embed_tokens.weight", "output_norm.weight": "model.norm.weight",
               "output.weight": "lm_head.weight"}
NAMES = sorted(json.loads((GOLDEN / "tiny" / "made.json").read_text(encoding="utf-8"))["models"])


def halves(values, heads):
    """GGUF turns row 2i of a head with row 2i + 1; transformers turns row i with row i + half."""
    rows = values.reshape(heads, -1, 2, *values.shape[1:])
    return np.ascontiguousarray(np.swapaxes(rows, 1, 2).reshape(values.shape))


def hugging_face_name(name):
    if name in END_TENSORS:
        return END_TENSORS[name]
    _, layer, module, kind = name.split(".")
    return f"model.layers.{layer}.{LAYER_TENSORS[module]}.{kind}"


def config_of(name):
    row = json.loads((GOLDEN / "tiny" / "made.json").read_text(encoding="utf-8"))["models"][name]
    return {"model_type": row["class"].lower(), "architectures": [row["class"] + "ForCausalLM"], "hidden_act": "silu",
            "rope_parameters": {"rope_type": "default", "rope_theta": 10000.0}, **row["settings"]}


def weights_of(name):
    config = config_of(name)
    result = {}
    for tensor in gguf.GGUFReader(GOLDEN / "tiny" / f"{name}.gguf").tensors:
        values = np.array(tensor.data)
        if tensor.name == "rope_freqs.weight":
            continue
        if ".attn_q." in tensor.name:
            values = halves(values, config["num_attention_heads"])
        elif ".attn_k." in tensor.name:
            values = halves(values, config["num_key_value_heads"])
        result[hugging_face_name(tensor.name)] = values
    return result


def sentencepiece_tokenizer(name):
    """tokenizer.json of the golden models' vocabulary: every pair of tokens that makes a token is a merge."""
    fields = gguf.GGUFReader(GOLDEN / "tiny" / f"{name}.gguf").fields
    tokens = fields["tokenizer.ggml.tokens"].contents()
    pieces = tokens[3 + 256:]
    merges = [f"{piece[:cut]} {piece[cut:]}" for piece in pieces for cut in range(1, len(piece))
              if piece[:cut] in pieces and piece[cut:] in pieces]
    flags = dict.fromkeys(["single_word", "lstrip", "rstrip", "normalized"], False)
    added = [{"id": i, "content": tokens[i], "special": True, **flags} for i in range(3)]
    return {
        "version": "1.0", "added_tokens": added, "pre_tokenizer": None, "post_processor": None,
        "normalizer": {"type": "Sequence", "normalizers": [
            {"type": "Prepend", "prepend": "▁"},
            {"type": "Replace", "pattern": {"String": " "}, "content": "▁"}]},
        "model": {"type": "BPE", "unk_token": "<unk>", "byte_fallback": True, "fuse_unk": True,
                  "vocab": {token: i for i, token in enumerate(tokens)}, "merges": merges},
    }


SETTINGS = {"bos_token": "<s>", "eos_token": {"content": "</s>"}, "unk_token": "<unk>", "add_bos_token": True,
            "chat_template": "{% for m in messages %}{{ m.content }}{% endfor %}"}


def write_json(path, value):
    path.write_text(json.dumps(value), encoding="utf-8")


def make_folder(folder, name="llama_grouped", shards=1, dtype=np.float32, config=None):
    """Writes the golden model `name` as a folder and returns its path."""
    folder.mkdir(parents=True, exist_ok=True)
    config = {**config_of(name), **(config or {})}
    weights = {key: values.astype(dtype) for key, values in weights_of(name).items()}
    write_json(folder / "config.json", config)
    write_json(folder / "tokenizer.json", sentencepiece_tokenizer(name))
    write_json(folder / "tokenizer_config.json", SETTINGS)
    if shards == 1:
        safetensors.numpy.save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
        return folder
    place = {}
    for shard in range(shards):
        file = f"model-{shard + 1:05}-of-{shards:05}.safetensors"
        part = {key: weights[key] for key in sorted(weights)[shard::shards]}
        safetensors.numpy.save_file(part, folder / file)
        place.update(dict.fromkeys(part, file))
    write_json(folder / "model.safetensors.index.json", {"metadata": {}, "weight_map": place})
    return folder


def as_bfloat16(folder):
    """The folder's weights rounded to bf16, in place."""
    head, data = {}, b""
    with safetensors.safe_open(folder / "model.safetensors", "numpy") as file:
        for key in file.keys():
            values = file.get_tensor(key)
            bits = gguf.quants.quantize(values.reshape(1, -1), gguf.GGMLQuantizationType.BF16).tobytes()
            head[key] = {"dtype": "BF16", "shape": values.shape, "data_offsets": [len(data), len(data) + len(bits)]}
            data += bits
    text = json.dumps(head).encode()
    (folder / "model.safetensors").write_bytes(struct.pack("<Q", len(text)) + text + data)
    return folder
