"""Hugging Face folders: weights, shapes, tokenizers and templates as transformers and tokenizers have them."""

import json
import struct

import gguf
import numpy as np
import pytest
import sentencepiece
import tokenizers

import checkpoint_folder
from checkpoint_folder import make_folder, write_json
from program import Program


@pytest.fixture
def program(mistral, tmp_path):
    return Program(mistral, tmp_path)


def convert(program, folder, out, mix="f32"):
    program.good("quantize", str(folder), str(out), mix)
    return gguf.GGUFReader(out)


@pytest.mark.parametrize("shards", [1, 3])
@pytest.mark.parametrize("name", checkpoint_folder.NAMES)
def test_folders_become_the_golden_models(program, tmp_path, name, shards):
    """The golden files give transformers' logits (tests/golden/test_tiny_models.py); a folder of the same weights
    must become the same tensors and the same hyper-parameters, bit for bit."""
    made = convert(program, make_folder(tmp_path / name, name, shards), tmp_path / "out.gguf")
    wanted = gguf.GGUFReader(checkpoint_folder.GOLDEN / "tiny" / f"{name}.gguf")
    tensors = {tensor.name: tensor.data for tensor in made.tensors}
    assert set(tensors) == {tensor.name for tensor in wanted.tensors}
    for tensor in wanted.tensors:
        if tensor.name == "rope_freqs.weight":
            assert np.allclose(tensors[tensor.name], tensor.data, rtol=1e-5)
        else:
            assert np.array_equal(tensors[tensor.name], tensor.data), tensor.name
    for key, field in wanted.fields.items():
        if key.startswith("llama."):
            assert made.fields[key].contents() == field.contents(), key
    assert made.fields["tokenizer.ggml.tokens"].contents() == wanted.fields["tokenizer.ggml.tokens"].contents()
    assert made.fields["tokenizer.ggml.token_type"].contents() == wanted.fields["tokenizer.ggml.token_type"].contents()


@pytest.mark.parametrize("key", ["rope_scaling", "rope_parameters"])
def test_both_spellings_of_rope_are_read(program, tmp_path, key):
    rope = {"type" if key == "rope_scaling" else "rope_type": "linear", "factor": 4.0}
    config = {"rope_parameters": None, "rope_theta": 500.0, key: rope}
    made = convert(program, make_folder(tmp_path / "m", config=config), tmp_path / "out.gguf")
    assert made.fields["llama.rope.scaling.factor"].contents() == 4.0
    assert made.fields["llama.rope.freq_base"].contents() == 500.0


@pytest.mark.parametrize("dtype", ["f16", "bf16"])
def test_half_precision_folders(program, tmp_path, dtype):
    folder = make_folder(tmp_path / "m", dtype=np.float16 if dtype == "f16" else np.float32)
    if dtype == "bf16":
        checkpoint_folder.as_bfloat16(folder)
    made = {tensor.name: tensor for tensor in convert(program, folder, tmp_path / "out.gguf", dtype).tensors}
    kind = gguf.GGMLQuantizationType[dtype.upper()]
    for tensor in gguf.GGUFReader(checkpoint_folder.GOLDEN / "tiny" / "llama_grouped.gguf").tensors:
        got = made[tensor.name]
        assert got.tensor_type == (kind if tensor.data.ndim == 2 else gguf.GGMLQuantizationType.F32)
        wanted = gguf.quants.dequantize(gguf.quants.quantize(tensor.data.reshape(1, -1), kind), kind)
        assert np.array_equal(gguf.quants.dequantize(got.data, got.tensor_type).ravel(), wanted.ravel()), tensor.name


def test_the_template_has_two_places(program, tmp_path):
    folder = make_folder(tmp_path / "m")
    assert "m.content" in program.good("show", str(folder), "--template")
    (folder / "chat_template.jinja").write_text("from the file")
    assert program.good("show", str(folder), "--template") == "from the file\n"
    (folder / "chat_template.jinja").unlink()
    named = [{"name": "tool_use", "template": "tools"}, {"name": "default", "template": "plain"}]
    write_json(folder / "tokenizer_config.json", {**checkpoint_folder.SETTINGS, "chat_template": named})
    assert program.good("show", str(folder), "--template") == "plain\n"


# ---- tokenizers ----

LLAMA3 = (r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+"
          r"|\s+(?!\S)|\s+")
TEKKEN = (r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+"
          r"|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*"
          r"|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+")
SUFFIX = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)"
QWEN35 = SUFFIX + (r"|[^\r\n\p{L}\p{N}]?[\p{L}\p{M}]+|\p{N}| ?[^\s\p{L}\p{M}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+")
O200K = TEKKEN.replace("]+|[^", "]+" + SUFFIX + "?|[^").replace("]*|\\p{N}|", "]*" + SUFFIX + r"?|\p{N}{1,3}|")
DEEPSEEK3 = ("[!\"#$%&'()*+,\\-./:;<=>?@\\[\\\\\\]^_`{|}~][A-Za-z]+|[^\r\n\\p{L}\\p{P}\\p{S}]?[\\p{L}\\p{M}]+"
             "| ?[\\p{P}\\p{S}]+[\r\n]*|\\s*[\r\n]+|\\s+(?!\\S)|\\s+")
steps = tokenizers.pre_tokenizers


def splits(*patterns):
    return steps.Sequence([*(steps.Split(tokenizers.Regex(pattern), "isolated") for pattern in patterns),
                           steps.ByteLevel(add_prefix_space=False, use_regex=False)])


WORDS = {
    "gpt-2": lambda: steps.ByteLevel(add_prefix_space=False),
    "smollm": lambda: steps.Sequence([steps.Digits(individual_digits=True), steps.ByteLevel(add_prefix_space=False)]),
    "llama-bpe": lambda: splits(LLAMA3),
    "qwen2": lambda: splits(LLAMA3.replace("{1,3}", "")),
    "qwen35": lambda: splits(QWEN35),
    "tekken": lambda: splits(TEKKEN),
    "gpt-4o": lambda: splits(O200K),
    "deepseek-v3": lambda: splits(r"\p{N}{1,3}", "[\u4e00-\u9fa5\u3040-\u309f\u30a0-\u30ff]+", DEEPSEEK3),
}
TEXTS = ["Hello there, World!", "  two spaces\n\n\tand 12345 numbers", "naïve café — 日本語 🙂", "don't WON'T we'Ll", "x=3.14;"]
CORPUS = ["Hello there, World! and numbers 123 456, naïve café", "don't do that, we'll see the two words"] * 50


def ids_of(program, folder, text):
    return [int(word) for word in program.good("tokenize", str(folder), "--ids", "-", input=text.encode()).split()]


@pytest.mark.parametrize("name", WORDS)
def test_byte_level_tokenizers_give_the_same_tokens(program, tmp_path, name):
    oracle = tokenizers.Tokenizer(tokenizers.models.BPE())
    oracle.pre_tokenizer = WORDS[name]()
    trainer = tokenizers.trainers.BpeTrainer(
        vocab_size=268, initial_alphabet=steps.ByteLevel.alphabet(), special_tokens=["<s>", "</s>"], show_progress=False)
    oracle.train_from_iterator(CORPUS, trainer)
    folder = make_folder(tmp_path / "m")
    oracle.save(str(folder / "tokenizer.json"))
    write_json(folder / "tokenizer_config.json", {"bos_token": "<s>", "eos_token": "</s>"})
    for text in TEXTS:
        assert ids_of(program, folder, text) == oracle.encode(text).ids, text
    made = convert(program, folder, tmp_path / "out.gguf")
    assert made.fields["tokenizer.ggml.pre"].contents() == name
    assert made.fields["tokenizer.ggml.tokens"].contents()[-1] == "[PAD271]"  # the model has rows for 272


def test_sentencepiece_by_merges_gives_the_same_tokens(program, tmp_path):
    folder = make_folder(tmp_path / "m")
    oracle = tokenizers.Tokenizer.from_file(str(folder / "tokenizer.json"))
    for text in ["the rat", "a lot of the ions", "naïve 🙂", "  tee  "]:
        assert ids_of(program, folder, text) == [1, *oracle.encode(text, add_special_tokens=False).ids], text


def test_sentencepiece_models_give_the_same_tokens(program, tmp_path):
    folder = make_folder(tmp_path / "m")
    prefix = tmp_path / "trained"
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(CORPUS), model_prefix=str(prefix), vocab_size=272 + 28, model_type="bpe",
        byte_fallback=True, character_coverage=0.98, minloglevel=2, hard_vocab_limit=False,
        normalization_rule_name="identity", remove_extra_whitespaces=False)
    (folder / "tokenizer.json").unlink()
    prefix.with_suffix(".model").rename(folder / "tokenizer.model")
    oracle = sentencepiece.SentencePieceProcessor(model_file=str(folder / "tokenizer.model"))
    for text in TEXTS:
        assert ids_of(program, folder, text) == [1, *oracle.encode(text)], text


def test_an_unknown_way_of_cutting_words_is_refused(program, tmp_path):
    folder = make_folder(tmp_path / "m")
    oracle = tokenizers.Tokenizer(tokenizers.models.BPE())
    oracle.pre_tokenizer = steps.Sequence([
        steps.Split(tokenizers.Regex("x+"), "isolated"), steps.ByteLevel(add_prefix_space=False, use_regex=False)])
    oracle.save(str(folder / "tokenizer.json"))
    assert "convert_hf_to_gguf" in program.bad(1, "quantize", str(folder), str(tmp_path / "out"), "q8_0")


# ---- what is not a model ----

def refuse(program, folder, tmp_path):
    message = program.bad(1, "quantize", str(folder), str(tmp_path / "out.gguf"), "q8_0")
    assert not (tmp_path / "out.gguf").exists()
    return message


def head(value, data=b"", length=None):
    text = value if isinstance(value, bytes) else json.dumps(value).encode()
    return struct.pack("<Q", len(text) if length is None else length) + text + data


def one(shape=(2,), begin=0, end=8, dtype="F32"):
    return {"dtype": dtype, "shape": list(shape), "data_offsets": [begin, end]}


@pytest.mark.parametrize("wanted, content", [
    ("7 bytes", b"1234567"),
    ("no whole safetensors", head({}, length=2**63)),
    ("no whole safetensors", head({}, length=100)),
    ("no JSON object", head(b"[1]")),
    ("no JSON object", head(b"{" * 3000)),
    ("duplicate", head(b'{"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]},"a":{}}', bytes(8))),
    ("past the end", head({"a": one()}, bytes(4))),
    ("overflows", head({"a": one((2**40, 2**40))}, bytes(8))),
    ("do not fit", head({"a": one((3,))}, bytes(8))),
    ("in order", head({"a": one((2,), 8, 0)}, bytes(8))),
    ("in order", head({"a": one((2,), -8, 0)}, bytes(8))),
    ("shares bytes", head({"a": one(), "b": one((2,), 4, 12)}, bytes(12))),
    ("whole numbers", head({"a": one((1.5,))}, bytes(8))),
    ("4 dimensions", head({"a": one((1, 1, 1, 1, 2))}, bytes(8))),
    ("'F4'", head({"a": one(dtype="F4")}, bytes(8))),
    ("no supported model has", head({"a": one()}, bytes(8))),
    ("not quantised", head({"model.norm.weight": one((8,), dtype="F8_E4M3")}, bytes(8))),
])
def test_hostile_safetensors_are_refused(program, tmp_path, wanted, content):
    folder = make_folder(tmp_path / "m")
    (folder / "model.safetensors").write_bytes(content)
    assert wanted in refuse(program, folder, tmp_path)


@pytest.mark.parametrize("wanted, change", [
    ("'gemma'", {"model_type": "gemma"}), ("hidden_act", {"hidden_act": "gelu"}),
    ("quantised already", {"quantization_config": {"bits": 4}}), ("num_hidden_layers", {"num_hidden_layers": -1}),
    ("hidden_size", {"hidden_size": 2**40}), ("num_attention_heads", {"num_attention_heads": "4"}),
    ("heads", {"num_key_value_heads": 3}), ("'dynamic'"[1:-1], {"rope_parameters": {"rope_type": "dynamic"}}),
    ("partial_rotary_factor", {"partial_rotary_factor": 0.5}), ("outputs", {"head_dim": 64}),
])
def test_configurations_that_cannot_be_are_refused(program, tmp_path, wanted, change):
    assert wanted in refuse(program, make_folder(tmp_path / "m", config=change), tmp_path)


def test_broken_folders_are_refused(program, tmp_path):
    folder = make_folder(tmp_path / "m", shards=2)
    index = folder / "model.safetensors.index.json"
    index.write_text(json.dumps({"weight_map": {"a": "../model.safetensors"}}))
    assert "index.json" in refuse(program, folder, tmp_path)
    index.write_text("{")
    assert "line 1" in refuse(program, folder, tmp_path)
    (folder / "config.json").unlink()
    assert "directory" in program.bad(2, "quantize", str(folder), str(tmp_path / "out.gguf"), "q8_0")
