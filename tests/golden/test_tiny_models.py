"""Tiny random models, one property of the llama family each, against transformers' logits.

Made by record_tiny.py; tiny/made.json says with what. The KV cache in f16 costs about half of the
bound; the property itself moves logits by more than a hundred times the bound.
"""

import json
from pathlib import Path

import numpy
import pytest

from logits_tool import run_logits

FOLDER = Path(__file__).parent / "tiny"
BOUND = 1e-3
NAMES = sorted(json.loads((FOLDER / "made.json").read_text(encoding="utf-8"))["models"])


@pytest.mark.parametrize("chunk", [0, 1, 7])
@pytest.mark.parametrize("kernels", ["portable", "auto"])
@pytest.mark.parametrize("name", NAMES)
def test_logits_are_those_of_transformers(build_dir, name, kernels, chunk):
    recorded = numpy.load(FOLDER / f"{name}.npz")
    logits = run_logits(build_dir, FOLDER / f"{name}.gguf", recorded["tokens"], kernels, chunk)
    assert logits.shape == recorded["logits"].shape
    off = numpy.abs(logits - recorded["logits"])
    row, token = numpy.unravel_index(off.argmax(), off.shape)
    assert off.max() <= BOUND, f"row {row}, token {token}: off by {off.max():.5f}"


@pytest.mark.parametrize("kernels", ["portable", "auto"])
@pytest.mark.parametrize("name", NAMES)
def test_the_cut_into_steps_changes_no_bit(build_dir, name, kernels):
    tokens = numpy.load(FOLDER / f"{name}.npz")["tokens"]
    whole = run_logits(build_dir, FOLDER / f"{name}.gguf", tokens, kernels, 0)
    for chunk in (1, 5, 32):
        parts = run_logits(build_dir, FOLDER / f"{name}.gguf", tokens, kernels, chunk)
        assert parts.tobytes() == whole.tobytes(), f"{chunk} rows a step"


@pytest.mark.parametrize(
    "name", ["mistral_window", "llama_bias", "llama_theta", "llama_rope_linear", "llama_rope_llama3", "llama_rope_yarn"]
)
def test_the_bound_can_tell(name):
    """Without the property the recorded logits would be far outside the bound."""
    assert numpy.load(FOLDER / f"{name}.npz")["difference"] > 100 * BOUND
