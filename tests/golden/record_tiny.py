"""Makes the tiny random models of tiny/ with transformers, converts them to GGUF, records logits.

usage: record_tiny.py      (needs PyPI's torch and transformers besides gguf and numpy)

Each model shows one property of the llama family. For each, tiny/NAME.gguf (F32) and tiny/NAME.npz:
  tokens      [64] i32
  logits      [64][vocabulary] f32, transformers' own, computed in f32
  difference  how far the logits would be off (largest, any token) without the property, so that a
              test sees that its bound can tell
"""

import json
import sys
from pathlib import Path

import gguf
import numpy
import torch
import transformers

TOKENS = 64
SPECIALS = ["<unk>", "<s>", "</s>"]
PIECES = ["▁", "▁the", "▁a", "e", "t", "a", "o", "n", "i", "s", "h", "r", "l"]
VOCABULARY = len(SPECIALS) + 256 + len(PIECES)

SMALL = {
    "vocab_size": VOCABULARY,
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "num_key_value_heads": 1,
    "max_position_embeddings": 256,
    "rms_norm_eps": 1e-5,
    "tie_word_embeddings": False,
    "attention_dropout": 0.0,
}
PLAIN_ROPE = {"rope_type": "default", "rope_theta": 10000.0}
LLAMA3 = {
    "rope_type": "llama3", "rope_theta": 10000.0, "factor": 8.0, "low_freq_factor": 1.0,
    "high_freq_factor": 4.0, "original_max_position_embeddings": 32,
}
YARN = {
    "rope_type": "yarn", "rope_theta": 10000.0, "factor": 4.0,
    "original_max_position_embeddings": 64, "beta_fast": 8.0, "beta_slow": 1.0,
}
LINEAR = {"rope_type": "linear", "rope_theta": 10000.0, "factor": 4.0}

# name: (class, configuration, what is changed to lose the property)
MODELS = {
    "mistral_window": ("Mistral", {
        **SMALL, "hidden_size": 64, "intermediate_size": 96, "num_attention_heads": 4,
        "num_key_value_heads": 2, "sliding_window": 12,
    }, {"sliding_window": None}),
    "mistral_head_dim": ("Mistral", {**SMALL, "head_dim": 24, "sliding_window": None}, None),
    "llama_grouped": ("Llama", {**SMALL, "num_attention_heads": 4, "num_key_value_heads": 2}, None),
    "llama_tied": ("Llama", {**SMALL, "tie_word_embeddings": True}, None),
    "llama_bias": ("Llama", {**SMALL, "attention_bias": True, "mlp_bias": True}, "zero biases"),
    "llama_theta": ("Llama", {**SMALL, "rope_parameters": {**PLAIN_ROPE, "rope_theta": 500.0}},
                    {"rope_parameters": PLAIN_ROPE}),
    "llama_rope_linear": ("Llama", {**SMALL, "rope_parameters": LINEAR}, {"rope_parameters": PLAIN_ROPE}),
    "llama_rope_llama3": ("Llama", {**SMALL, "rope_parameters": LLAMA3}, {"rope_parameters": PLAIN_ROPE}),
    "llama_rope_yarn": ("Llama", {**SMALL, "rope_parameters": YARN}, {"rope_parameters": PLAIN_ROPE}),
}


def make(kind, settings):
    settings = {"rope_parameters": PLAIN_ROPE, **settings}
    configuration = getattr(transformers, kind + "Config")(**settings)
    configuration._attn_implementation = "eager"
    return getattr(transformers, kind + "ForCausalLM")(configuration).float().eval()


def randomise(model, seed):
    """Weights wide enough that each property shows in the logits, which spread by about one, and
    narrow enough that a KV cache in f16 costs less than 1e-3."""
    generator = torch.Generator().manual_seed(seed)
    embedding_width = 0.12 if model.config.tie_word_embeddings else 0.5
    layer_width = 0.3 if model.config.tie_word_embeddings else 0.7
    with torch.no_grad():
        for name, tensor in model.named_parameters():
            noise = torch.randn(tensor.shape, generator=generator)
            if "norm" in name:
                tensor.copy_(1 + 0.1 * noise)
            elif name.endswith("bias"):
                tensor.copy_(0.3 * noise)
            elif "q_proj" in name or "k_proj" in name:
                tensor.copy_(0.8 * noise / tensor.shape[1] ** 0.5)
            elif "embed" in name or "lm_head" in name:
                tensor.copy_(noise * (embedding_width if "embed" in name else 0.7 / tensor.shape[1] ** 0.5))
            else:
                tensor.copy_(layer_width * noise / tensor.shape[1] ** 0.5)


def logits_of(model, tokens):
    with torch.no_grad():
        return model(input_ids=torch.tensor([tokens.tolist()])).logits[0].numpy()


def without_property(kind, settings, model, change):
    """The same weights, less the property that this model is about."""
    if change == "zero biases":
        other = make(kind, settings)
        other.load_state_dict(model.state_dict())
        with torch.no_grad():
            for name, tensor in other.named_parameters():
                if name.endswith("bias"):
                    tensor.zero_()
        return other
    other = make(kind, {**settings, **change})
    other.load_state_dict(model.state_dict())
    return other


def adjacent_pairs(values, heads):
    """transformers turns dimension i with i + half; GGUF's llama turns 2i with 2i + 1. So row i of a
    head's first half goes to 2i, row i of the second half to 2i + 1."""
    rows = values.reshape(heads, 2, -1, *values.shape[1:])
    return numpy.swapaxes(rows, 1, 2).reshape(values.shape)


LAYER_TENSORS = {
    "input_layernorm": "attn_norm",
    "self_attn.q_proj": "attn_q",
    "self_attn.k_proj": "attn_k",
    "self_attn.v_proj": "attn_v",
    "self_attn.o_proj": "attn_output",
    "post_attention_layernorm": "ffn_norm",
    "mlp.gate_proj": "ffn_gate",
    "mlp.up_proj": "ffn_up",
    "mlp.down_proj": "ffn_down",
}


def gguf_name(name):
    ends = {
        "model.embed_tokens.weight": "token_embd.weight",
        "model.norm.weight": "output_norm.weight",
        "lm_head.weight": "output.weight",
    }
    if name in ends:
        return ends[name]
    layer, inner = name.removeprefix("model.layers.").split(".", 1)
    module, kind = inner.rsplit(".", 1)
    return f"blk.{layer}.{LAYER_TENSORS[module]}.{kind}"


def write_metadata(writer, configuration, head_dim):
    writer.add_block_count(configuration.num_hidden_layers)
    writer.add_context_length(configuration.max_position_embeddings)
    writer.add_embedding_length(configuration.hidden_size)
    writer.add_feed_forward_length(configuration.intermediate_size)
    writer.add_head_count(configuration.num_attention_heads)
    writer.add_head_count_kv(configuration.num_key_value_heads)
    writer.add_layer_norm_rms_eps(configuration.rms_norm_eps)
    writer.add_rope_dimension_count(head_dim)
    if head_dim * configuration.num_attention_heads != configuration.hidden_size:
        writer.add_key_length(head_dim)
        writer.add_value_length(head_dim)
    if getattr(configuration, "sliding_window", None):
        writer.add_sliding_window(configuration.sliding_window)
    rope = configuration.rope_parameters
    writer.add_rope_freq_base(rope["rope_theta"])
    if rope["rope_type"] == "linear":
        writer.add_rope_scaling_type(gguf.RopeScalingType.LINEAR)
        writer.add_rope_scaling_factor(rope["factor"])
    if rope["rope_type"] == "yarn":
        writer.add_rope_scaling_type(gguf.RopeScalingType.YARN)
        writer.add_rope_scaling_factor(rope["factor"])
        writer.add_rope_scaling_orig_ctx_len(rope["original_max_position_embeddings"])
        writer.add_rope_scaling_yarn_beta_fast(rope["beta_fast"])
        writer.add_rope_scaling_yarn_beta_slow(rope["beta_slow"])


def write_tokenizer(writer):
    byte_tokens = [f"<0x{byte:02X}>" for byte in range(256)]
    kinds = [gguf.TokenType.UNKNOWN, gguf.TokenType.CONTROL, gguf.TokenType.CONTROL]
    kinds += [gguf.TokenType.BYTE] * 256 + [gguf.TokenType.NORMAL] * len(PIECES)
    writer.add_tokenizer_model("llama")
    writer.add_token_list(SPECIALS + byte_tokens + PIECES)
    writer.add_token_scores([0.0] * (len(SPECIALS) + 256) + [-float(i) for i in range(len(PIECES))])
    writer.add_token_types([int(kind) for kind in kinds])
    writer.add_bos_token_id(1)
    writer.add_eos_token_id(2)
    writer.add_unk_token_id(0)


def write_gguf(path, model):
    configuration = model.config
    heads, kv_heads = configuration.num_attention_heads, configuration.num_key_value_heads
    head_dim = model.model.layers[0].self_attn.head_dim
    writer = gguf.GGUFWriter(path, "llama")
    writer.add_name(path.stem)
    write_metadata(writer, configuration, head_dim)
    write_tokenizer(writer)
    if configuration.rope_parameters["rope_type"] == "llama3":
        plain = configuration.rope_parameters["rope_theta"] ** (-numpy.arange(0, head_dim, 2) / head_dim)
        scaled = model.model.rotary_emb.inv_freq.numpy()
        writer.add_tensor("rope_freqs.weight", (plain / scaled).astype(numpy.float32))
    for name, tensor in model.named_parameters():
        values = tensor.detach().numpy()
        if "q_proj" in name:
            values = adjacent_pairs(values, heads)
        elif "k_proj" in name:
            values = adjacent_pairs(values, kv_heads)
        writer.add_tensor(gguf_name(name), numpy.ascontiguousarray(values))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def main():
    folder = Path(__file__).parent / "tiny"
    folder.mkdir(exist_ok=True)
    made = {
        "script": "tests/golden/record_tiny.py",
        "torch": torch.__version__,
        "transformers": transformers.__version__,
        "python": sys.version.split()[0],
        "models": {},
    }
    for seed, (name, (kind, settings, change)) in enumerate(MODELS.items(), start=1):
        model = make(kind, settings)
        randomise(model, seed)
        tokens = numpy.random.default_rng(seed).integers(3, VOCABULARY, TOKENS, dtype=numpy.int32)
        logits = logits_of(model, tokens)
        difference = 0.0
        if change is not None:
            other = logits_of(without_property(kind, settings, model, change), tokens)
            difference = float(numpy.abs(other - logits).max())
        write_gguf(folder / f"{name}.gguf", model)
        numpy.savez_compressed(
            folder / f"{name}.npz", tokens=tokens, logits=logits, difference=numpy.float32(difference)
        )
        made["models"][name] = {
            "class": kind, "settings": settings, "seed": seed,
            "logits_spread": round(float(logits.std()), 3), "difference": round(difference, 4),
        }
        print(name, made["models"][name]["logits_spread"], made["models"][name]["difference"])
    text = json.dumps(made, indent=1, ensure_ascii=False)
    (folder / "made.json").write_text(text + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
