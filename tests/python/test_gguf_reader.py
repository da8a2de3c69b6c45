"""The GGUF reader on files made by the gguf package: the same content, and no harm from damage."""

import re
import struct
import subprocess
import zlib

import gguf
import numpy as np
import pytest

TENSOR_TYPES = ("F32 F16 BF16 Q4_0 Q4_1 Q5_0 Q5_1 Q8_0 Q2_K Q3_K Q4_K Q5_K Q6_K "
                "IQ4_NL IQ4_XS MXFP4 NVFP4 TQ1_0 TQ2_0 "
                "IQ1_S IQ1_M IQ2_XXS IQ2_XS IQ2_S IQ3_XXS IQ3_S").split()


@pytest.fixture(scope="session")
def sample(tmp_path_factory):
    """A file with every type of value and of tensor, some of them under awkward names."""
    path = tmp_path_factory.mktemp("gguf") / "sample.gguf"
    writer = gguf.GGUFWriter(path, "llama")
    writer.add_uint8("v.uint8", 255)
    writer.add_int8("v.int8", -128)
    writer.add_uint16("v.uint16", 65535)
    writer.add_int16("v.int16", -32768)
    writer.add_uint32("v.uint32", 2**32 - 1)
    writer.add_int32("v.int32", -(2**31))
    writer.add_uint64("v.uint64", 2**64 - 1)
    writer.add_int64("v.int64", -(2**63))
    writer.add_float32("v.float32", 1.1)
    writer.add_float64("v.float64", -1.1e300)
    writer.add_bool("v.bool", True)
    writer.add_string("v.string", "naïve 日本語 \x00 \n end")
    writer.add_string("v.long", "x" * 2000)
    writer.add_array("v.strings", ["", "▁the", "💡", "a" * 300])
    writer.add_array("v.floats", [0.0, -1.5, 3.25])
    writer.add_array("v.ints", list(range(-5, 50)))
    writer.add_array("v.bools", [True, False, True])
    random = np.random.default_rng(1)
    for number, name in enumerate(TENSOR_TYPES):
        kind = gguf.GGMLQuantizationType[name]
        _, block_bytes = gguf.GGML_QUANT_SIZES[kind]
        shape = (3, 2, (number % 3 + 1) * block_bytes)
        data = random.integers(0, 256, shape, dtype=np.uint8)
        writer.add_tensor(f"blk.{number}.{name.lower()}.weight", data, raw_dtype=kind)
    writer.add_tensor("norm.weight", random.normal(size=7).astype(np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


@pytest.fixture(scope="session")
def dump(build_dir):
    """Runs the reader on paths; gives the answer's lines."""
    program = build_dir / "tests" / "tools" / "gguf_dump"

    def run(paths):
        result = subprocess.run([program], input="".join(f"{path}\n" for path in paths).encode(),
                                capture_output=True, check=False)
        assert result.returncode == 0, f"gguf_dump died ({result.returncode}): {result.stderr.decode()}"
        return result.stdout.decode().splitlines()

    return run


def value_line(field):
    """What gguf_dump should print for a field of gguf's own reader."""
    kinds = [kind.name.lower() for kind in field.types]
    if field.types[0] == gguf.GGUFValueType.ARRAY:
        first = 5  # after the key's length and bytes, the type, the element type and the count
        elements = len(field.data)
        kinds = kinds if len(kinds) == 2 else kinds[:1] + kinds[-1:]
    else:
        first, elements, kinds = 3, 1, kinds * 2
    raw = b"".join(part.tobytes() for part in field.parts[first:])
    return f"value {kinds[0]} {kinds[1]} {elements} {raw.hex()} {field.name}"


def tensor_line(tensor):
    dimensions = "x".join(str(size) for size in tensor.shape)
    rows = int(np.prod(tensor.shape[1:]))
    checksum = zlib.adler32(np.ascontiguousarray(tensor.data).tobytes())
    return (f"tensor {tensor.tensor_type.name} {dimensions} {rows} {tensor.n_bytes} "
            f"{checksum:08x} {tensor.name}")


def expected_dump(path):
    reader = gguf.GGUFReader(path)
    fields = [field for name, field in reader.fields.items() if not name.startswith("GGUF.")]
    lines = [f"open 3 {len(fields)} {len(reader.tensors)}"]
    return lines + [value_line(field) for field in fields] + [tensor_line(t) for t in reader.tensors]


def test_content_is_what_the_gguf_package_reads(dump, sample):
    assert dump([sample]) == expected_dump(sample)


def test_a_real_model_reads_the_same(dump, smollm2):
    assert dump([smollm2]) == expected_dump(smollm2)


def test_alignment_of_the_writer_is_followed(dump, tmp_path):
    path = tmp_path / "aligned.gguf"
    writer = gguf.GGUFWriter(path, "llama")
    writer.add_custom_alignment(256)
    writer.add_tensor("a", np.arange(5, dtype=np.float32))
    writer.add_tensor("b", np.arange(9, dtype=np.float16))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    assert dump([path]) == expected_dump(path)


def test_a_big_endian_file_is_named_as_such(dump, tmp_path):
    path = tmp_path / "big.gguf"
    writer = gguf.GGUFWriter(path, "llama", endianess=gguf.GGUFEndian.BIG)
    writer.add_uint32("v", 1)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    (line,) = dump([path])
    assert line.startswith("error") and "big-endian" in line and "byte 4" in line


@pytest.mark.parametrize("kind", ["Q8_1", "Q8_K", "I32", "F64"])
def test_an_unsupported_tensor_type_is_named(dump, tmp_path, kind):
    kind = gguf.GGMLQuantizationType[kind]
    _, block_bytes = gguf.GGML_QUANT_SIZES[kind]
    path = tmp_path / "unsupported.gguf"
    writer = gguf.GGUFWriter(path, "llama")
    writer.add_tensor("blk.0.ffn_up.weight", np.zeros((2, block_bytes), dtype=np.uint8), raw_dtype=kind)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    (line,) = dump([path])
    assert f"tensor 'blk.0.ffn_up.weight' has type {kind.name}, which is not supported" in line


def end_of_data(path):
    """Where the last tensor's last byte is; padding may follow."""
    return max(tensor.data_offset + tensor.n_bytes for tensor in gguf.GGUFReader(path).tensors)


def test_truncation_at_200_positions_is_refused(dump, sample, tmp_path):
    content = sample.read_bytes()
    positions = np.linspace(0, end_of_data(sample) - 1, 200).astype(int)
    paths = []
    for position in positions:
        paths.append(tmp_path / f"cut-{position}.gguf")
        paths[-1].write_bytes(content[:position])
    lines = dump(paths)
    assert len(lines) == 200
    for path, position, line in zip(paths, positions, lines):
        wanted = r"error 3 .*is empty" if position == 0 else r"error 3 '.*', byte (\d+): \S+"
        match = re.match(wanted, line)
        assert match and str(path) in line, f"cut at {position}: {line}"
        assert position == 0 or int(match[1]) <= position


def test_flipped_bytes_at_2000_positions_do_no_harm(dump, sample, tmp_path):
    content = sample.read_bytes()
    random = np.random.default_rng(6)
    # Three quarters in the metadata, where damage matters; the rest anywhere.
    start_of_data = min(tensor.data_offset for tensor in gguf.GGUFReader(sample).tensors)
    positions = np.concatenate([random.integers(0, start_of_data, 1500), random.integers(0, len(content), 500)])
    paths = []
    for number, position in enumerate(positions):
        damaged = bytearray(content)
        damaged[position] ^= int(random.integers(1, 256))
        paths.append(tmp_path / f"flip-{number}.gguf")
        paths[-1].write_bytes(damaged)
    answers = [line for line in dump(paths) if line.startswith(("open ", "error "))]
    assert len(answers) == 2000
    refused = [line for line in answers if line.startswith("error ")]
    assert 100 < len(refused) < 1900, "the damage is too little or too great to tell anything"
    for line in refused:
        assert re.match(r"error [34] '.*', byte \d+: ", line), line
    for position, line in zip(positions, answers):
        if position < 4 or 8 < position < 24:
            assert line.startswith("error "), f"a damaged header opened: byte {position}, {line}"
        if position >= start_of_data:
            assert line.startswith("open "), f"tensor data is not the reader's to judge: {line}"


@pytest.mark.parametrize("offset", [8, 16])
@pytest.mark.parametrize("count", [2**20, 2**32, 2**48, 2**63, 2**64 - 1])
def test_absurd_counts_are_refused_at_once(dump, sample, tmp_path, offset, count):
    content = bytearray(sample.read_bytes())
    content[offset : offset + 8] = struct.pack("<Q", count)
    path = tmp_path / "absurd.gguf"
    path.write_bytes(content)
    (line,) = dump([path])
    assert line.startswith("error 3") and f"byte {offset}: the header" in line and str(count) in line
