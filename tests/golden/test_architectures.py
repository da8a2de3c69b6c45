"""Tiny random models of every architecture against transformers' logits.

Made by record_architectures.py; architectures/made.json says with what. Weights are such that a layer left out, a norm
in another place or a rotation of another form moves logits by their own spread, hundreds of times the bound.
"""

import json
from pathlib import Path

import numpy
import pytest

from logits_tool import run_logits

FOLDER = Path(__file__).parent / "architectures"
BOUND = 1e-3
NAMES = sorted(json.loads((FOLDER / "made.json").read_text(encoding="utf-8"))["models"])


@pytest.mark.parametrize("kernels", ["portable", "auto"])
@pytest.mark.parametrize("name", NAMES)
def test_logits_are_those_of_transformers(build_dir, name, kernels):
    recorded = numpy.load(FOLDER / f"{name}.npz")
    logits = run_logits(build_dir, FOLDER / f"{name}.gguf", recorded["tokens"], kernels, 0, "f32")
    assert logits.shape == recorded["logits"].shape
    off = numpy.abs(logits - recorded["logits"])
    row, token = numpy.unravel_index(off.argmax(), off.shape)
    assert off.max() <= BOUND, f"row {row}, token {token}: off by {off.max():.5f}"


@pytest.mark.parametrize("name", NAMES)
def test_the_cut_into_steps_changes_no_bit(build_dir, name):
    tokens = numpy.load(FOLDER / f"{name}.npz")["tokens"]
    whole = run_logits(build_dir, FOLDER / f"{name}.gguf", tokens, "auto", 0)
    for chunk in (1, 7, 64):
        parts = run_logits(build_dir, FOLDER / f"{name}.gguf", tokens, "auto", chunk)
        assert parts.tobytes() == whole.tobytes(), f"{chunk} rows a step"
