"""Every kind of model that make_model writes, run by the program and by the NumPy reference.

The cache rounds keys and values to f16, and so does the reference here. What is left is f32
arithmetic against f64: 1e-5, and up to 4e-4 where a key falls to the other side of a rounding
boundary (root mean square; the logits' is about 4).
"""

import subprocess

import gguf
import numpy as np
import pytest
from make_model import make_model
from reference_model import ReferenceModel

TOKENS = [1] + [int(token) for token in np.random.default_rng(3).integers(3, 512, 90)]

SHAPES = {
    "plain": {},
    "one layer, one head": {"layers": 1, "heads": 1, "kv_heads": 1},
    "tied embeddings": {"tied": True},
    "biases": {"biases": True},
    "heads wider than the model": {"head_dim": 32, "kv_heads": 1},
    "sliding window": {"window": 20},
    "linear scaling": {"rope_scaling": {"type": "linear", "factor": 4.0}},
    "yarn scaling": {"rope_scaling": {"type": "yarn", "factor": 4.0, "original": 64}},
    "llama 3 scaling": {"rope_scaling": {"type": "llama3", "factor": 8, "low": 1, "high": 4, "original": 128}},
    "another base": {"rope_base": 500000.0},
}
FORMATS = "F16 BF16 Q4_0 Q4_1 Q5_0 Q5_1 Q8_0 Q2_K Q3_K Q4_K Q5_K Q6_K".split()
SIZES_FOR_K_QUANTS = {"width": 256, "head_dim": 64, "feed_forward": 512}


@pytest.fixture
def run_logits(build_dir):
    def run(path, kernels):
        result = subprocess.run([build_dir / "tests" / "tools" / "logits", path, kernels, "0"],
                                input=" ".join(map(str, TOKENS)).encode(), capture_output=True, check=False)
        assert result.returncode == 0, result.stderr.decode()
        return np.frombuffer(result.stdout, np.float32).reshape(len(TOKENS), -1)

    return run


@pytest.fixture
def codec(build_dir):
    return build_dir / "tests" / "tools" / "quant_codec"


def assert_close(got, wanted, bound):
    error = float(np.sqrt(np.mean((got - wanted) ** 2)))
    assert error < bound, f"root mean square error {error:.6f}; the logits' is {np.std(wanted):.2f}"


@pytest.mark.parametrize("kernels", ["portable", "auto"])
@pytest.mark.parametrize("shape", SHAPES)
def test_every_shape_gives_the_logits_of_the_reference(run_logits, tmp_path, shape, kernels):
    path = make_model(tmp_path / "tiny.gguf", **SHAPES[shape])
    assert_close(run_logits(path, kernels), ReferenceModel(path, kv_type=np.float16).logits(TOKENS), 1e-3)


@pytest.mark.parametrize("name", FORMATS)
def test_every_format_gives_the_logits_of_the_reference(run_logits, codec, tmp_path, name):
    sizes = SIZES_FOR_K_QUANTS if name.endswith("_K") else {}
    path = make_model(tmp_path / "tiny.gguf", format=name, codec=codec, **sizes)
    tensor = next(t for t in gguf.GGUFReader(path).tensors if t.name == "blk.0.ffn_down.weight")
    assert tensor.tensor_type.name == name
    assert_close(run_logits(path, "portable"), ReferenceModel(path, kv_type=np.float16).logits(TOKENS), 1e-3)


def test_each_shape_is_another_model(tmp_path):
    """The options act: no two of the shapes above give the same logits."""
    logits = [ReferenceModel(make_model(tmp_path / "tiny.gguf", **options)).logits(TOKENS)
              for options in SHAPES.values()]
    for index, one in enumerate(logits):
        for other in logits[:index]:
            assert np.abs(one - other).max() > 0.1


def test_the_same_arguments_give_the_same_bytes(tmp_path):
    one = make_model(tmp_path / "one.gguf", seed=5, biases=True).read_bytes()
    assert one == make_model(tmp_path / "two.gguf", seed=5, biases=True).read_bytes()
    assert one != make_model(tmp_path / "two.gguf", seed=6, biases=True).read_bytes()


def test_sizes_that_do_not_fit_are_refused(tmp_path):
    with pytest.raises(ValueError, match="cannot be Q4_K"):
        make_model(tmp_path / "tiny.gguf", format="Q4_K")
    with pytest.raises(ValueError, match="too small"):
        make_model(tmp_path / "tiny.gguf", vocabulary=300)
    with pytest.raises(ValueError, match="multiple of kv_heads"):
        make_model(tmp_path / "tiny.gguf", heads=4, kv_heads=3)


def test_the_vocabulary_can_spell_its_words(tmp_path):
    """Every piece is an earlier piece and one character, as a tokenizer that merges pairs needs."""
    path = make_model(tmp_path / "tiny.gguf", vocabulary=700)
    fields = gguf.GGUFReader(path).fields
    tokens = fields["tokenizer.ggml.tokens"].contents()
    scores = fields["tokenizer.ggml.scores"].contents()
    assert len(tokens) == len(scores) == len(set(tokens)) == 700
    assert tokens[3 + 0x41] == "<0x41>"
    number = {token: index for index, token in enumerate(tokens)}
    words = [token for token in tokens[259:] if len(token) > 1]
    assert "▁the" in words
    for word in words:
        assert number[word[:-1]] < number[word] and word[-1] in number
        assert scores[number[word]] < scores[number[word[:-1]]]
