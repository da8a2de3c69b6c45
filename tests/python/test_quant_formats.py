"""Tensor formats against the gguf package: the same bits, both ways, for every format it knows.

NaNs compare equal to NaNs whatever their payload: IEEE 754 leaves open which operand's payload an
operation passes on, and NumPy's vector loops choose differently from machine to machine.
"""

import json
import subprocess
import warnings
from pathlib import Path

import gguf
import make_grids
import numpy as np
import pytest
import record_ggml_errors

READ_ONLY = ("IQ4_NL IQ4_XS NVFP4 TQ1_0 TQ2_0 "
             "IQ1_S IQ1_M IQ2_XXS IQ2_XS IQ2_S IQ3_XXS IQ3_S").split()
ENCODED = "F32 F16 BF16 Q4_0 Q4_1 Q5_0 Q5_1 Q8_0 Q2_K Q3_K Q4_K Q5_K Q6_K MXFP4".split()
DECODED = ENCODED + READ_ONLY
ENCODED_EXACTLY = "F32 F16 BF16 Q4_0 Q4_1 Q5_0 Q5_1 Q8_0".split()
K_QUANTS = "Q2_K Q3_K Q4_K Q5_K Q6_K".split()

# Byte offsets of the f16 scales and minima of each format's block.
SCALE_OFFSETS = {
    "Q4_0": [0], "Q4_1": [0, 2], "Q5_0": [0], "Q5_1": [0, 2], "Q8_0": [0],
    "Q2_K": [80, 82], "Q3_K": [108], "Q4_K": [0, 2], "Q5_K": [0, 2], "Q6_K": [208],
    "IQ4_NL": [0], "IQ4_XS": [0], "TQ1_0": [52], "TQ2_0": [64],
    "IQ1_S": [0], "IQ2_XXS": [0], "IQ2_XS": [0], "IQ2_S": [0], "IQ3_XXS": [0], "IQ3_S": [0],
}

# Zero, subnormals (least, odd, greatest), least normal, one, greatest, infinity, NaN; both signs.
EXTREME_HALVES = np.array(
    [sign | bits for bits in (0, 1, 0x155, 0x3FF, 0x400, 0x3C00, 0x7BFF, 0x7C00, 0x7E01)
     for sign in (0, 0x8000)], dtype="<u2")


@pytest.fixture(scope="session")
def codec(build_dir):
    program = build_dir / "tests" / "tools" / "quant_codec"

    def run(direction, name, array):
        result = subprocess.run([program, direction, name], input=np.ascontiguousarray(array).tobytes(),
                                capture_output=True, check=False)
        assert result.returncode == 0, f"quant_codec {direction} {name}: {result.stderr.decode()}"
        return np.frombuffer(result.stdout, dtype="<f4" if direction == "decode" else np.uint8)

    return run


@pytest.fixture(scope="session")
def ggml_error_data():
    """The recording script's own data, name -> rows of 256."""
    return record_ggml_errors.weights()


def reference_decode(name, blocks):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # infinities and NaNs are what some of the blocks are for
        return gguf.quants.dequantize(blocks, gguf.GGMLQuantizationType[name]).ravel()


def assert_same_bits(got, wanted):
    assert got.shape == wanted.shape
    got_bits, wanted_bits = got.view(np.uint32), wanted.view(np.uint32)
    differs = (got_bits != wanted_bits) & ~(np.isnan(got) & np.isnan(wanted))
    first = int(np.argmax(differs))
    assert not differs.any(), (
        f"{differs.sum()} of {got.size} values differ; first at {first}: "
        f"{got[first]!r} (0x{got_bits[first]:08x}), wanted {wanted[first]!r} (0x{wanted_bits[first]:08x})")


@pytest.mark.parametrize("name", DECODED)
def test_random_blocks_decode_to_the_same_bits(codec, name):
    block_values, block_bytes = gguf.GGML_QUANT_SIZES[gguf.GGMLQuantizationType[name]]
    count = max(2000, 100_000 // block_values)
    blocks = np.random.default_rng(1).integers(0, 256, (count, block_bytes), dtype=np.uint8)
    assert_same_bits(codec("decode", name, blocks), reference_decode(name, blocks))


@pytest.mark.parametrize("name", SCALE_OFFSETS)
def test_extreme_scales_decode_to_the_same_bits(codec, name):
    _, block_bytes = gguf.GGML_QUANT_SIZES[gguf.GGMLQuantizationType[name]]
    offsets = SCALE_OFFSETS[name]
    choices = np.array(np.meshgrid(*[EXTREME_HALVES] * len(offsets))).reshape(len(offsets), -1)
    blocks = np.random.default_rng(2).integers(0, 256, (4 * choices.shape[1], block_bytes), dtype=np.uint8)
    blocks[: choices.shape[1], :] = 0
    blocks[choices.shape[1] : 2 * choices.shape[1], :] = 255
    for offset, halves in zip(offsets, choices):
        blocks[:, offset : offset + 2] = np.tile(halves, 4).astype("<u2").view(np.uint8).reshape(-1, 2)
    assert_same_bits(codec("decode", name, blocks), reference_decode(name, blocks))


def test_extreme_scales_of_iq1_m_decode_to_the_same_bits(codec):
    # Its scale lies in the upper four bits of four words.
    blocks = np.random.default_rng(6).integers(0, 256, (4 * len(EXTREME_HALVES), 56), dtype=np.uint8)
    halves = np.tile(EXTREME_HALVES, 4)
    for word in range(4):
        top = blocks[:, 49 + 2 * word]
        top[:] = (top & 15) | ((halves >> (4 * word)) & 15).astype(np.uint8) << 4
    assert_same_bits(codec("decode", "IQ1_M", blocks), reference_decode("IQ1_M", blocks))


def test_the_codebooks_are_those_of_gguf():
    path = Path(__file__).parents[2] / "src" / "quant" / "grids.c"
    assert path.read_text() == make_grids.source(), "run tests/tools/make_grids.py > src/quant/grids.c"


def test_every_half_widens_as_in_numpy(codec):
    halves = np.arange(65536, dtype="<u2")
    got = codec("decode", "F16", halves)
    wanted = halves.view("<f2").astype(np.float32)
    assert_same_bits(got, wanted)
    # The payload of a NaN is kept, and it becomes quiet (IEEE 754-2019, 6.2; so do F16C and arm64).
    # NumPy built without F16C keeps the 1,022 signalling NaNs signalling: one bit, the quiet one.
    nans = np.isnan(wanted)
    quiet = np.uint32(0x00400000)
    assert np.array_equal(got.view(np.uint32)[nans], wanted.view(np.uint32)[nans] | quiet)


def rounding_cases():
    """All finite halves and the midpoints between neighbours, each with the f32 on either side."""
    halves = np.arange(0x7C00, dtype=np.uint16).view(np.float16).astype(np.float64)
    beyond = np.append(halves, 65536.0)
    exact = np.concatenate([beyond, (beyond[:-1] + beyond[1:]) / 2]).astype(np.float32)
    around = np.concatenate([exact, np.nextafter(exact, np.float32(0)), np.nextafter(exact, np.float32(np.inf))])
    special = np.array([0, 1, 0x007FFFFF, 0x00800000, 0x7F7FFFFF, 0x7F800000, 0x7FC00000], dtype=np.uint32)
    random = np.random.default_rng(3).integers(0, 2**32, 500_000, dtype=np.uint32)
    values = np.concatenate([around, special.view(np.float32), random.view(np.float32)])
    return np.concatenate([values, -values])


def test_f32_rounds_to_half_as_in_numpy(codec):
    values = rounding_cases()
    got = codec("encode", "F16", values).view("<u2")
    with np.errstate(over="ignore", invalid="ignore"):
        wanted = values.astype(np.float16)
    nans = np.isnan(values)
    differs = got[~nans] != wanted.view(np.uint16)[~nans]
    assert not differs.any(), f"{differs.sum()} differ, first {values[~nans][np.argmax(differs)]!r}"
    assert np.isnan(got.view("<f2")[nans]).all()


def test_f32_rounds_to_bfloat16_as_in_gguf(codec):
    values = rounding_cases()
    got = codec("encode", "BF16", values)
    wanted = gguf.quants.quantize(values.reshape(1, -1), gguf.GGMLQuantizationType.BF16).ravel()
    assert np.array_equal(got, wanted)


def weights_to_encode():
    """Rows of 256: what weights look like, and what breaks a careless encoder."""
    random = np.random.default_rng(4)
    gaussian = random.normal(size=(500, 256)) * 10.0 ** random.uniform(-6, 2, (500, 1))
    outliers = random.normal(size=(50, 256))
    outliers[np.arange(50), random.integers(0, 256, 50)] = 1000
    ties = random.integers(-254, 255, (50, 256)) / 2  # many values halfway between two steps
    rows = [gaussian, outliers, ties, random.uniform(0, 1, (50, 256)), -random.uniform(0, 1, (50, 256)),
            np.zeros((1, 256)), np.full((1, 256), 3.25), np.full((1, 256), -3.25), np.eye(8, 256),
            # Scales that are subnormal as f16, and that vanish in it. (Where the reciprocal of the
            # scale overflows f32, below 3e-39, gguf's own result depends on the processor.)
            random.normal(size=(20, 256)) * 1e-6, random.normal(size=(20, 256)) * 1e-30]
    return np.concatenate(rows).astype(np.float32)


@pytest.mark.parametrize("name", ENCODED_EXACTLY)
def test_encoders_give_the_bits_of_gguf(codec, name):
    values = weights_to_encode()
    got = codec("encode", name, values)
    wanted = gguf.quants.quantize(values, gguf.GGMLQuantizationType[name])
    wanted = np.ascontiguousarray(wanted).view(np.uint8).ravel()
    assert got.shape == wanted.shape
    assert np.array_equal(got, wanted), f"{(got != wanted).sum()} of {got.size} bytes differ"


def test_mxfp4_gives_the_bits_of_gguf(codec):
    # gguf leaves open which of two codes a zero gets, and how large a block may be.
    values = weights_to_encode()
    values = values[(np.abs(values).max(axis=-1) > 1e-20)]
    got = codec("decode", "MXFP4", codec("encode", "MXFP4", values))
    wanted = reference_decode("MXFP4", gguf.quants.quantize(values, gguf.GGMLQuantizationType.MXFP4))
    assert np.array_equal(got, wanted), f"{(got != wanted).sum()} of {got.size} values differ"


@pytest.mark.parametrize("name", READ_ONLY)
def test_a_format_that_is_only_read_says_so(build_dir, name):
    program = build_dir / "tests" / "tools" / "quant_codec"
    result = subprocess.run([program, "encode", name], input=b"\0" * 1024, capture_output=True, check=False)
    assert result.returncode != 0 and b"only read" in result.stderr


@pytest.mark.parametrize("name", ENCODED)
def test_encoders_survive_what_is_not_a_weight(codec, name):
    # Infinities, NaNs and magnitudes beyond f16 have no good encoding; the sanitizers judge here,
    # and a neighbouring block must not suffer.
    rows = np.random.default_rng(5).normal(size=(8, 256)).astype(np.float32)
    strange = rows.copy()
    strange[1::2, ::7] = np.array([np.inf, -np.inf, np.nan, 3e38, -3e38, 1e-45, 0], np.float32).repeat(6)[:37]
    got = codec("encode", name, strange).reshape(8, -1)
    assert np.array_equal(got[::2], codec("encode", name, rows).reshape(8, -1)[::2])


def relative_error(decoded, values):
    """Root mean square of the error, relative to that of the values."""
    values = values.astype(np.float64).ravel()
    return float(np.sqrt(np.mean((decoded - values) ** 2) / np.mean(values**2)))


# Made by tests/tools/record_ggml_errors.py, which says how.
RECORDED = json.loads((Path(__file__).parent / "ggml_quant_errors.json").read_text())


@pytest.mark.parametrize("name", K_QUANTS)
@pytest.mark.parametrize("data", RECORDED["relative_errors"])
def test_k_quants_lose_no_more_than_ggml_does(codec, ggml_error_data, name, data):
    values = ggml_error_data[data]
    error = relative_error(reference_decode(name, codec("encode", name, values).reshape(len(values), -1)), values)
    ggml_error = RECORDED["relative_errors"][data][name]
    print(f"{name} {data}: {error:.6f}, ggml {ggml_error:.6f}, ratio {error / ggml_error:.4f}")
    assert error <= ggml_error
    assert error > 0.5 * ggml_error, "too good to be true: is it the same data?"


@pytest.mark.parametrize("name", ["Q4_0", "Q4_1", "Q5_0", "Q5_1", "Q8_0"])
@pytest.mark.parametrize("data", RECORDED["relative_errors"])
def test_other_formats_lose_what_ggml_loses(codec, ggml_error_data, name, data):
    values = ggml_error_data[data]
    error = relative_error(reference_decode(name, codec("encode", name, values).reshape(len(values), -1)), values)
    assert error == pytest.approx(RECORDED["relative_errors"][data][name], rel=1e-9)


@pytest.mark.parametrize("name", K_QUANTS)
def test_k_quants_keep_constant_blocks(codec, name):
    for constant in (0.0, 1.0, -1.0, 0.02):
        values = np.full((1, 256), constant, np.float32)
        decoded = codec("decode", name, codec("encode", name, values))
        # d may be subnormal as f16 (0.02 / 63 / 15 is): then half its last place is 0.15 % of it.
        assert np.abs(decoded - constant).max() <= 0.005 * abs(constant), (constant, decoded[:4])


@pytest.mark.parametrize("name", K_QUANTS)
def test_k_quants_find_an_exact_fit(codec, name):
    """Values that the format can say exactly, over the whole range of its steps, come back closely."""
    steps = 2 ** int(name[1])
    values = np.random.default_rng(8).integers(0, steps, (50, 256)).astype(np.float32) - steps // 2
    values[:, ::16], values[:, 1::16] = -(steps // 2), steps // 2 - 1  # each sub-block spans it all
    decoded = codec("decode", name, codec("encode", name, values))
    assert np.abs(decoded - values.ravel()).max() < 0.02 * steps
