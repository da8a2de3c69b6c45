"""mistral quantize: what it writes is what the gguf package and the encoders say, whole or not at all."""

import json
import signal
import time

import gguf
import numpy as np
import pytest

from make_model import default_codec, encode, make_model
from program import Program, wait_until

# A width of 256, so that K-quants fit.
SHAPE = {"layers": 8, "heads": 8, "kv_heads": 2, "head_dim": 32, "width": 256, "feed_forward": 512, "vocabulary": 500}
FORMATS = "q2_k q3_k_s q3_k_m q3_k_l q4_0 q4_1 q4_k_s q4_k_m q5_0 q5_1 q5_k_s q5_k_m q6_k q8_0 f16 bf16 f32".split()


@pytest.fixture
def program(mistral, tmp_path):
    return Program(mistral, tmp_path)


@pytest.fixture(scope="session")
def plain(tmp_path_factory):
    return make_model(tmp_path_factory.mktemp("quantize") / "plain.gguf", format="F32", **SHAPE)


def tensors(path):
    return {tensor.name: tensor for tensor in gguf.GGUFReader(path).tensors}


def values(path):
    return {name: field.contents() for name, field in gguf.GGUFReader(path).fields.items()
            if not name.startswith("GGUF.")}


@pytest.mark.parametrize("name", FORMATS)
def test_every_tensor_is_its_encoders_bytes(program, plain, tmp_path, name):
    out = tmp_path / "out.gguf"
    told = json.loads(program.good("quantize", str(plain), str(out), name, "--json"))
    before, after = tensors(plain), tensors(out)
    assert list(before) == list(after)
    for tensor in after.values():
        wanted = before[tensor.name].data
        if wanted.ndim > 1 and tensor.name.endswith(".weight"):
            wanted = encode(wanted, tensor.tensor_type.name, default_codec())
        assert np.array_equal(tensor.data.view(np.uint8).ravel(), np.ascontiguousarray(wanted).view(np.uint8).ravel()), tensor.name
    assert (told["format"], told["bytes"], told["tensor_count"]) == (name, out.stat().st_size, len(after))
    counts = {}
    for tensor in after.values():
        counts[tensor.tensor_type.name] = counts.get(tensor.tensor_type.name, 0) + 1
    assert told["formats"] == counts


BETTER = {0, 3, 6, 7}  # of eight layers: the first and last eighth, and every third between them

# Of each mix: the format of most matrices, and those of attn_v, ffn_down and attn_output by layer, as llama-quantize
# of llama-cpp-python 0.3.36 chooses them (src/llama-quant.cpp) where four query heads share a key-value head.
MIXES = {
    "q2_k": ("Q2_K", lambda layer: ("Q4_K", "Q3_K", "Q3_K")),
    "q3_k_s": ("Q3_K", lambda layer: ("Q3_K", "Q3_K", "Q3_K")),
    "q3_k_m": ("Q3_K", lambda layer: ("Q5_K" if layer < 2 else "Q4_K", "Q4_K", "Q4_K")),
    "q3_k_l": ("Q3_K", lambda layer: ("Q5_K", "Q5_K", "Q5_K")),
    "q4_k_s": ("Q4_K", lambda layer: ("Q5_K" if layer < 4 else "Q4_K", "Q5_K" if layer < 1 else "Q4_K", "Q4_K")),
    "q4_k_m": ("Q4_K", lambda layer: (("Q6_K", "Q6_K") if layer in BETTER else ("Q4_K", "Q4_K")) + ("Q4_K",)),
    "q5_k_s": ("Q5_K", lambda layer: ("Q5_K", "Q5_K", "Q5_K")),
    "q5_k_m": ("Q5_K", lambda layer: (("Q6_K", "Q6_K") if layer in BETTER else ("Q5_K", "Q5_K")) + ("Q5_K",)),
    **{name.lower(): (name, lambda layer, name=name: (name, name, name))
       for name in ("Q4_0", "Q4_1", "Q5_0", "Q5_1", "Q6_K", "Q8_0")},
}


@pytest.mark.release_only  # the same runs as above
@pytest.mark.parametrize("name", MIXES)
def test_formats_are_mixed_as_llama_quantize_mixes_them(program, plain, tmp_path, name):
    program.good("quantize", str(plain), str(tmp_path / "out.gguf"), name)
    made = {tensor.name: tensor.tensor_type.name for tensor in gguf.GGUFReader(tmp_path / "out.gguf").tensors}
    base, special = MIXES[name]
    for layer in range(SHAPE["layers"]):
        parts = dict(zip(("attn_v", "ffn_down", "attn_output"), special(layer)))
        for part in ("attn_q", "attn_k", "attn_v", "attn_output", "ffn_gate", "ffn_up", "ffn_down"):
            assert made[f"blk.{layer}.{part}.weight"] == parts.get(part, base), (layer, part)
        assert made[f"blk.{layer}.attn_norm.weight"] == "F32"
    assert made["token_embd.weight"] == base
    assert made["output.weight"] == ("Q8_0" if name == "q8_0" else "Q6_K")


def test_rows_that_do_not_fit_get_the_next_format(program, tmp_path):
    """Rows of 96 are whole blocks of 32 values but not of 256; rows of 40 are neither."""
    for width, heads, wanted in ((96, 3, {"q2_k": "Q4_0", "q3_k_s": "Q4_0", "q4_k_s": "Q5_0", "q5_k_s": "Q5_1", "q6_k": "Q8_0"}),
                                 (40, 2, {"q4_0": "F16", "q4_k_s": "F16", "q8_0": "F16"})):
        source = make_model(tmp_path / f"{width}.gguf", width=width, heads=heads, kv_heads=1, head_dim=16, tied=True)
        for name, format_name in wanted.items():
            program.good("quantize", str(source), str(tmp_path / "out.gguf"), name, "--force")
            made = tensors(tmp_path / "out.gguf")
            assert made["blk.0.attn_q.weight"].tensor_type.name == format_name, name
            # The embedding is the output matrix here, and so better.
            assert made["token_embd.weight"].tensor_type.name == ("F16" if width == 40 else "Q8_0"), name


def test_the_metadata_is_kept(program, plain, tmp_path):
    out = tmp_path / "out.gguf"
    program.good("quantize", str(plain), str(out), "Q4_K_M", "--num-threads", "3")
    before, after = values(plain), values(out)
    assert after.pop("general.file_type") == gguf.LlamaFileType.MOSTLY_Q4_K_M
    assert after.pop("general.quantization_version") == 2
    before.pop("general.file_type", None)
    before.pop("general.quantization_version", None)
    assert before == after


@pytest.mark.parametrize("source", ["F16", "BF16"])
def test_half_precision_is_read(program, tmp_path, source):
    plain = make_model(tmp_path / "half.gguf", format=source, **SHAPE)
    program.good("quantize", str(plain), str(tmp_path / "out.gguf"), "q8_0")
    for name, tensor in tensors(tmp_path / "out.gguf").items():
        if tensor.tensor_type.name != "F32":
            half = tensors(plain)[name]
            wanted = gguf.quants.dequantize(half.data, half.tensor_type)
            assert np.array_equal(tensor.data, gguf.quants.quantize(wanted, gguf.GGMLQuantizationType.Q8_0)), name


def test_threads_change_no_byte(program, plain, tmp_path):
    for threads in ("1", "2", "5"):
        program.good("quantize", str(plain), str(tmp_path / threads), "q3_k_m", "--num-threads", threads)
    assert (tmp_path / "1").read_bytes() == (tmp_path / "2").read_bytes() == (tmp_path / "5").read_bytes()


def test_the_result_runs(program, plain, tmp_path):
    program.good("quantize", str(plain), str(tmp_path / "small.gguf"), "q4_k_m")
    text = program.good("run", str(tmp_path / "small.gguf"), "--raw", "--max-tokens", "8", "the water")
    assert text.strip()


def test_what_is_there_is_replaced_by_force_only(program, plain, tmp_path):
    out = tmp_path / "out.gguf"
    out.write_text("mine")
    assert "--force" in program.bad(2, "quantize", str(plain), str(out), "q8_0")
    assert out.read_text() == "mine"
    program.good("quantize", str(plain), str(out), "q8_0", "--force")
    assert tensors(out)


def test_errors_say_what_to_do(program, plain, smollm2, tmp_path):
    out = str(tmp_path / "out.gguf")
    assert "q4_k_m" in program.bad(2, "quantize", str(plain), out, "q4_k_x")
    assert "quantised already" in program.bad(1, "quantize", str(smollm2), out, "q8_0")
    assert "directory" in program.bad(2, "quantize", str(plain), str(tmp_path), "q8_0")
    assert "cannot create" in program.bad(3, "quantize", str(plain), str(tmp_path / "no" / "out.gguf"), "q8_0")
    assert "no model" in program.bad(3, "quantize", "nowhere", out, "q8_0")
    assert list(tmp_path.glob("out*")) == []


def write_large_model(path, layers=2):
    """Gigabytes of zeros, none of them on the disk."""
    writer = gguf.GGUFWriter(path, "llama")
    writer.add_context_length(512)
    writer.add_embedding_length(4096)
    writer.add_block_count(layers)
    writer.add_feed_forward_length(14336)
    writer.add_head_count(32)
    writer.add_head_count_kv(8)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_vocab_size(32000)
    for name, shape in [("token_embd", (32000, 4096))] + [
            (f"blk.{layer}.ffn_{part}", (14336, 4096)) for layer in range(layers) for part in ("up", "gate")]:
        writer.add_tensor_info(f"{name}.weight", shape, np.dtype(np.float32), 4 * shape[0] * shape[1])
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_ti_data_to_file()
    writer.close()
    with open(path, "r+b") as file:
        file.truncate(path.stat().st_size + 64 + 4 * 4096 * (32000 + layers * 2 * 14336))


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_stopping_leaves_nothing(program, tmp_path, number):
    write_large_model(tmp_path / "large.gguf")
    process = program.start("quantize", str(tmp_path / "large.gguf"), str(tmp_path / "out.gguf"), "q2_k")
    wait_until(lambda: any(path.stat().st_size > 0 for path in tmp_path.glob("out.gguf.*")))
    start = time.monotonic()
    process.send_signal(number)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 130, err
    assert time.monotonic() - start < 30
    assert list(tmp_path.glob("out*")) == []


def test_a_full_disk_leaves_nothing(program, plain, tmp_path):
    import resource

    def limit():
        resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))

    done = program("quantize", str(plain), str(tmp_path / "out.gguf"), "q8_0", preexec_fn=limit)
    assert done.returncode == 5 and "cannot write" in done.err
    assert list(tmp_path.glob("out*")) == []


def test_one_file_is_written_by_one_process(program, plain, tmp_path):
    import fcntl

    with open(tmp_path / "out.gguf.part", "wb") as other:
        fcntl.flock(other, fcntl.LOCK_EX)
        done = program("quantize", str(plain), str(tmp_path / "out.gguf"), "q8_0")
        assert done.returncode == 1 and "another process is writing" in done.err
        other.write(b"half of something")
    program.good("quantize", str(plain), str(tmp_path / "out.gguf"), "q8_0")  # a killed one's leavings do not matter
    assert sorted(path.name for path in tmp_path.glob("out*")) == ["out.gguf"]


def test_progress_is_told_and_json_stands_alone(program, plain, tmp_path):
    done = program("quantize", str(plain), str(tmp_path / "out.gguf"), "q6_k", "--json")
    assert json.loads(done.out)["path"] == str(tmp_path / "out.gguf")
    assert "quantising: 90%" in done.err
