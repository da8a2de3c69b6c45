"""Makes a tiny random model of every architecture with transformers, converts it with llama.cpp's converter, records
transformers' logits.

usage: record_architectures.py LLAMA_CPP [NAME...]

LLAMA_CPP is a folder with llama.cpp's convert_hf_to_gguf.py (the source distribution of llama-cpp-python carries one).
Needs PyPI's torch and transformers besides gguf and numpy. For each model, architectures/NAME.gguf (F32) and
architectures/NAME.npz:
  tokens      [TOKENS] i32
  logits      [TOKENS][vocabulary] f32, transformers' own, computed in f32
architectures/made.json tells with what they were made and what each is about; docs/models.md's table is made of it.
Where a file says less than a real one would (a tokenizer of 272 pieces), it is because logits do not depend on it.
"""

import json
import sys
import tempfile
from pathlib import Path

import numpy
import safetensors.torch
import torch
import transformers

LLAMA_CPP = Path(sys.argv[1])
sys.path[:0] = [str(LLAMA_CPP), str(LLAMA_CPP / "gguf-py")]  # its own gguf, which knows what its converter writes

import gguf  # noqa: E402
from conversion import ModelBase, ModelType, get_model_architecture, get_model_class  # noqa: E402

from record_tiny import VOCABULARY, write_tokenizer  # noqa: E402

TOKENS = 96
FOLDER = Path(__file__).parent / "architectures"

SIZES = {
    "vocab_size": VOCABULARY, "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 3,
    "num_attention_heads": 4, "num_key_value_heads": 2, "max_position_embeddings": 512, "rms_norm_eps": 1e-5,
    "tie_word_embeddings": False, "attention_dropout": 0.0, "bos_token_id": 1, "eos_token_id": 2, "pad_token_id": 0,
}
PLAIN = {"rope_type": "default", "rope_theta": 10000.0}
YARN = {
    "rope_type": "yarn", "rope_theta": 10000.0, "factor": 8.0, "original_max_position_embeddings": 64,
    "beta_fast": 32.0, "beta_slow": 1.0,
}
MOE = {"num_experts": 8, "num_experts_per_tok": 3, "moe_intermediate_size": 24}
VISION = {"depth": 1, "hidden_size": 16, "embed_dim": 16, "num_heads": 2, "intermediate_size": 16, "out_hidden_size": 32}
LATENT = {
    "q_lora_rank": 24, "kv_lora_rank": 16, "qk_nope_head_dim": 12, "qk_rope_head_dim": 8, "v_head_dim": 10,
    "n_routed_experts": 8, "num_experts_per_tok": 3, "moe_intermediate_size": 24, "n_shared_experts": 2,
    "first_k_dense_replace": 1, "num_key_value_heads": 4, "rope_interleave": True,
}


def layers(pattern):
    return {"layer_types": [{"w": "sliding_attention", "f": "full_attention"}[kind] for kind in pattern],
            "num_hidden_layers": len(pattern)}


# name: (GGUF architecture, what it shows, class, settings)
MODELS = {
    "mixtral": ("llama", "experts, normalised softmax", "MixtralForCausalLM",
                {"num_local_experts": 6, "num_experts_per_tok": 2, "rope_parameters": PLAIN, "sliding_window": None}),
    "ministral3": ("mistral3", "YaRN, attention temperature", "Ministral3ForCausalLM",
                   {"head_dim": 8, "sliding_window": None, "rope_parameters": {
                       **YARN, "mscale": 1.0, "mscale_all_dim": 1.0, "llama_4_scaling_beta": 0.5, "type": "yarn"}}),
    "qwen2": ("qwen2", "biases of Q, K and V", "Qwen2ForCausalLM", {"rope_parameters": PLAIN, "use_sliding_window": False}),
    "qwen2moe": ("qwen2moe", "a shared expert with a gate", "Qwen2MoeForCausalLM",
                 {**MOE, "shared_expert_intermediate_size": 40, "decoder_sparse_step": 1, "norm_topk_prob": False,
                  "rope_parameters": PLAIN, "use_sliding_window": False, "mlp_only_layers": []}),
    "qwen3": ("qwen3", "norms of each head", "Qwen3ForCausalLM",
              {"head_dim": 12, "rope_parameters": PLAIN, "use_sliding_window": False}),
    "qwen3moe": ("qwen3moe", "experts and norms of each head", "Qwen3MoeForCausalLM",
                 {**MOE, "head_dim": 16, "norm_topk_prob": True, "decoder_sparse_step": 1, "rope_parameters": PLAIN,
                  "use_sliding_window": False, "mlp_only_layers": []}),
    "gemma2": ("gemma2", "soft caps, windows on every other layer", "Gemma2ForCausalLM",
               {"head_dim": 16, "query_pre_attn_scalar": 16, "sliding_window": 24, "attn_logit_softcapping": 4.0,
                "final_logit_softcapping": 3.0, "rope_parameters": PLAIN, "tie_word_embeddings": True,
                "hidden_activation": "gelu_pytorch_tanh", **layers("wfwf")}),
    "gemma3": ("gemma3", "two rotary bases, windows on five layers of six", "Gemma3ForCausalLM",
               {"head_dim": 16, "query_pre_attn_scalar": 16, "sliding_window": 24, "tie_word_embeddings": True,
                "hidden_activation": "gelu_pytorch_tanh", **layers("wwwwwfw"),
                "rope_parameters": {"sliding_attention": PLAIN, "full_attention": {**PLAIN, "rope_theta": 1000000.0}}}),
    "gpt-oss": ("gpt-oss", "clamped gate, sinks, biases, YaRN", "GptOssForCausalLM",
                {"head_dim": 16, "num_local_experts": 6, "num_experts_per_tok": 2, "sliding_window": 24,
                 "intermediate_size": 32, "attention_bias": True, "rope_parameters": YARN, **layers("wfwf")}),
    "phi3": ("phi3", "fused matrices, partial rotation", "Phi3ForCausalLM",
             {"rope_parameters": {**PLAIN, "partial_rotary_factor": 0.5}, "partial_rotary_factor": 0.5, "sliding_window": None,
              "original_max_position_embeddings": 512}),
    "phi3-long": ("phi3", "factors for long contexts", "Phi3ForCausalLM",
                  {"sliding_window": None, "original_max_position_embeddings": 64,
                   "rope_parameters": {"rope_type": "longrope", "rope_theta": 10000.0, "original_max_position_embeddings": 64,
                                       "short_factor": [1.0, 1.1, 1.2, 1.3], "long_factor": [1.5, 2.0, 3.0, 4.0],
                                       "factor": 8.0}}),
    "deepseek2": ("deepseek2", "latent attention, groups of experts, YaRN", "DeepseekV3ForCausalLM",
                  {**LATENT, "n_group": 4, "topk_group": 2, "norm_topk_prob": True, "routed_scaling_factor": 1.5,
                   "scoring_func": "sigmoid", "topk_method": "noaux_tc",
                   "rope_parameters": {**YARN, "mscale": 1.0, "mscale_all_dim": 1.0}}),
    "glm4-flash": ("deepseek2", "latent attention of GLM-4.7-Flash", "Glm4MoeLiteForCausalLM",
                   {**LATENT, "n_group": 1, "topk_group": 1, "norm_topk_prob": True, "routed_scaling_factor": 1.8,
                    "rope_parameters": PLAIN, "mlp_layer_types": ["dense", "sparse", "sparse"]}),
    "mistral4": ("mistral4", "latent attention with temperature", "Mistral4ForCausalLM",
                 {**LATENT, "n_group": 1, "topk_group": 1, "norm_topk_prob": True, "routed_scaling_factor": 1.0,
                  "rope_parameters": {**YARN, "mscale": 1.0, "mscale_all_dim": 1.0, "llama_4_scaling_beta": 0.5,
                                      "type": "yarn"}}),
    "smollm3": ("smollm3", "every fourth layer without rotation", "SmolLM3ForCausalLM",
                {"num_hidden_layers": 5, "no_rope_layers": [1, 1, 1, 0, 1], "use_sliding_window": False,
                 "rope_parameters": PLAIN}),
}

GEMMA4 = {
    "head_dim": 8, "global_head_dim": 16, "num_global_key_value_heads": 1, "sliding_window": 24, "tie_word_embeddings": True,
    "hidden_activation": "gelu_pytorch_tanh", "final_logit_softcapping": 3.0, "vocab_size_per_layer_input": VOCABULARY,
    "rope_parameters": {"sliding_attention": PLAIN, "full_attention": {
        "rope_type": "proportional", "partial_rotary_factor": 0.25, "rope_theta": 1000000.0}},
}
MODELS["gemma4"] = ("gemma4", "heads by layer, keys as values", "Gemma4ForCausalLM",
                    {**GEMMA4, **layers("wwfwwf"), "hidden_size_per_layer_input": 0, "num_kv_shared_layers": 0,
                     "attention_k_eq_v": True, "use_double_wide_mlp": False, "enable_moe_block": False})
MODELS["gemma4-e"] = ("gemma4", "embeddings for each layer, keys shared by layers", "Gemma4ForCausalLM",
                      {**GEMMA4, **layers("wwfwwf"), "hidden_size_per_layer_input": 8, "num_kv_shared_layers": 2,
                       "num_global_key_value_heads": 2, "use_double_wide_mlp": True, "enable_moe_block": False})
MODELS["gemma4-moe"] = ("gemma4", "experts beside a dense feed-forward", "Gemma4ForCausalLM",
                        {**GEMMA4, **layers("wfwf"), "hidden_size_per_layer_input": 0, "num_kv_shared_layers": 0,
                         "attention_k_eq_v": True, "use_double_wide_mlp": False, "enable_moe_block": True,
                         "num_experts": 6, "top_k_experts": 2, "expert_intermediate_size": 24, "moe_intermediate_size": 24})

TEXT_OF_VISION = {
    "qwen2vl": ("qwen2vl", "M-RoPE for text", "Qwen2VLForConditionalGeneration",
                {"rope_parameters": {**PLAIN, "rope_type": "default", "mrope_section": [2, 1, 1]}, "use_sliding_window": False}),
    "qwen3vl": ("qwen3vl", "M-RoPE for text, norms of each head", "Qwen3VLForConditionalGeneration",
                {"head_dim": 8, "rope_parameters": {**PLAIN, "mrope_section": [2, 1, 1], "mrope_interleaved": True}}),
    "qwen3vlmoe": ("qwen3vlmoe", "M-RoPE for text, experts", "Qwen3VLMoeForConditionalGeneration",
                   {**MOE, "head_dim": 8, "decoder_sparse_step": 1, "mlp_only_layers": [], "norm_topk_prob": True,
                    "rope_parameters": {**PLAIN, "mrope_section": [2, 1, 1], "mrope_interleaved": True}}),
}
MODELS.update(TEXT_OF_VISION)


def make(kind, settings):
    name = kind.removesuffix("ForCausalLM").removesuffix("ForConditionalGeneration")
    if kind.startswith("Gemma4"):
        configuration = transformers.Gemma4TextConfig(**settings)
    elif kind.startswith("Gemma3"):
        configuration = transformers.Gemma3TextConfig(**settings)
    elif kind.endswith("ForConditionalGeneration"):
        configuration = getattr(transformers, name + "Config")(
            text_config=settings, vision_config=VISION, tie_word_embeddings=False,
            image_token_id=260, video_token_id=261, vision_start_token_id=262, vision_end_token_id=263)
    else:
        configuration = getattr(transformers, name + "Config")(**settings)
    configuration._attn_implementation = "eager"
    for part in ("text_config", "vision_config"):
        if hasattr(configuration, part):
            getattr(configuration, part)._attn_implementation = "eager"
    return getattr(transformers, kind)(configuration).float().eval()


def width_of(name, tensor, tied):
    """How wide a weight's values are: so that every part of a layer shows in the logits, which spread by about one."""
    if "correction_bias" in name or "sinks" in name:
        return 0.5
    if name.endswith("bias"):
        return 0.3
    if "embed" in name or "lm_head" in name:
        embedding = 0.12 if tied else 0.5
        return embedding if "embed" in name else 0.7 / tensor.shape[1] ** 0.5
    inputs = tensor.shape[-1] if tensor.dim() != 3 or "gate_up" not in name else max(tensor.shape[1:])
    queries = any(part in name for part in ("q_proj", "k_proj", "q_a_proj", "q_b_proj", "kv_a_proj", "qkv_proj"))
    return (0.8 if queries else 0.3 if tied else 0.7) / inputs ** 0.5


def randomise(model, seed):
    generator = torch.Generator().manual_seed(seed)
    tied = getattr(model.config, "tie_word_embeddings", False)
    buffers = [pair for pair in model.named_buffers() if "correction_bias" in pair[0] or "scal" in pair[0].split(".")[-1]]
    with torch.no_grad():
        for name, tensor in [*model.named_parameters(), *buffers]:
            noise = torch.randn(tensor.shape, generator=generator)
            scales = "norm" in name or name.split(".")[-1] in ("scale", "per_expert_scale", "layer_scalar")
            if "embed_scale" in name:
                continue
            values = 1 + 0.1 * noise if scales else width_of(name, tensor, tied) * noise
            tensor.copy_(values.bfloat16())  # half of each number is zeros, which the repository packs


def every_subclass(kind):
    for child in kind.__subclasses__():
        yield child
        yield from every_subclass(child)


def write_vocabulary(converter):
    write_tokenizer(converter.gguf_writer)
    scaling = converter.rope_parameters.get("llama_4_scaling_beta") if converter.hparams["model_type"] == "mistral4" else None
    if scaling:  # the converter writes these of files in Mistral's own form alone
        converter.gguf_writer.add_attn_temperature_scale(scaling)
        converter.gguf_writer.add_attn_temperature_length(converter.rope_parameters["original_max_position_embeddings"])


def convert(folder, path):
    settings = ModelBase.load_hparams(folder, False)
    name = get_model_architecture(settings, ModelType.TEXT)
    # The converter knows it by the class of its whole, with images.
    model_class = get_model_class({"Mistral4ForCausalLM": "Mistral3ForConditionalGeneration"}.get(name, name))
    for kind in [model_class, *every_subclass(ModelBase)]:
        kind.set_vocab = write_vocabulary
    with torch.inference_mode():
        model_class(folder, gguf.LlamaFileType.ALL_F32, path, eager=True, model_name=path.stem).write()


def turn_experts(path):
    """Published files of this model keep [experts][inputs][outputs], and the converter reads that."""
    tensors = {
        name: tensor.transpose(1, 2).contiguous() if "experts" in name and tensor.dim() == 3 else tensor
        for name, tensor in safetensors.torch.load_file(path).items()
    }
    safetensors.torch.save_file(tensors, path, metadata={"format": "pt"})


def record(name, seed):
    architecture, about, kind, settings = MODELS[name]
    model = make(kind, {**SIZES, **settings})
    randomise(model, seed)
    tokens = numpy.random.default_rng(seed).integers(3, 250, TOKENS, dtype=numpy.int32)
    with torch.no_grad():
        logits = model(input_ids=torch.tensor([tokens.tolist()])).logits[0].numpy()
    path = FOLDER / f"{name}.gguf"
    with tempfile.TemporaryDirectory() as folder:
        model.save_pretrained(folder)
        if name == "qwen3vlmoe":
            turn_experts(Path(folder) / "model.safetensors")
        vocabulary = {"model": {"vocab": dict.fromkeys(map(str, range(VOCABULARY)), 0)}, "added_tokens": []}
        (Path(folder) / "tokenizer.json").write_text(json.dumps(vocabulary), encoding="utf-8")
        convert(Path(folder), path)
    numpy.savez_compressed(FOLDER / f"{name}.npz", tokens=tokens, logits=logits.astype(numpy.float32))
    spread = round(float(logits.std()), 3)
    print(name, architecture, spread, path.stat().st_size)
    return {"architecture": architecture, "about": about, "class": kind, "seed": seed, "logits_spread": spread}


def main():
    FOLDER.mkdir(exist_ok=True)
    made_path = FOLDER / "made.json"
    made = json.loads(made_path.read_text(encoding="utf-8")) if made_path.exists() else {"models": {}}
    made.update({
        "script": "tests/golden/record_architectures.py", "torch": torch.__version__,
        "transformers": transformers.__version__, "python": sys.version.split()[0],
    })
    for seed, name in enumerate(MODELS, start=101):
        if len(sys.argv) == 2 or name in sys.argv[2:]:
            made["models"][name] = record(name, seed)
            made_path.write_text(json.dumps(made, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
