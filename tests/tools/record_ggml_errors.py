"""Records how much ggml's own encoders lose, for tests/python/test_quant_formats.py to compare with.

    pip install llama-cpp-python==0.3.36     # builds ggml; only this script needs it
    python tests/tools/record_ggml_errors.py > tests/python/ggml_quant_errors.json

Encodes the rows of weights() with ggml_quantize_chunk without an importance matrix, decodes with
the gguf package, and writes the relative root-mean-square error of each format on each data set.
"""

import ctypes
import importlib.metadata
import importlib.util
import json
from pathlib import Path

import gguf
import numpy as np

FORMATS = "Q4_0 Q4_1 Q5_0 Q5_1 Q8_0 Q2_K Q3_K Q4_K Q5_K Q6_K".split()


def weights():
    """Data sets, name -> f32 [rows][256]. RandomState: its streams are frozen in NumPy."""
    random = np.random.RandomState(20240601)
    shape = (1000, 256)
    sets = {
        "gaussian": random.normal(0, 0.02, shape),
        # As in a real matrix: rows of different scale, and tails heavier than the normal one's.
        "gaussian, rows of different scale": random.normal(size=shape) * 10 ** random.uniform(-3, 0, (1000, 1)),
        "student's t, 4 degrees of freedom": random.standard_t(4, shape) * 0.02,
        "uniform": random.uniform(-1, 1, shape),
    }
    return {name: values.astype(np.float32) for name, values in sets.items()}


def ggml():
    package = Path(importlib.util.find_spec("llama_cpp").origin).parent
    library = ctypes.CDLL(str(next((package / "lib").glob("libggml-base.*"))))
    library.ggml_quantize_chunk.restype = ctypes.c_size_t
    library.ggml_quantize_chunk.argtypes = [
        ctypes.c_int, ctypes.c_void_p, ctypes.c_void_p,
        ctypes.c_int64, ctypes.c_int64, ctypes.c_int64, ctypes.c_void_p]
    return library


def encode(library, name, values):
    kind = gguf.GGMLQuantizationType[name]
    block_values, block_bytes = gguf.GGML_QUANT_SIZES[kind]
    rows, columns = values.shape
    blocks = np.empty((rows, columns // block_values * block_bytes), dtype=np.uint8)
    written = library.ggml_quantize_chunk(kind, values.ctypes.data, blocks.ctypes.data, 0, rows, columns, None)
    assert written == blocks.nbytes
    return blocks


def relative_error(library, name, values):
    decoded = gguf.quants.dequantize(encode(library, name, values), gguf.GGMLQuantizationType[name])
    wanted = values.astype(np.float64)
    return float(np.sqrt(np.mean((decoded - wanted) ** 2) / np.mean(wanted**2)))


def main():
    library = ggml()
    errors = {data: {name: relative_error(library, name, values) for name in FORMATS}
              for data, values in weights().items()}
    version = importlib.metadata.version("llama_cpp_python")
    made_by = f"tests/tools/record_ggml_errors.py with ggml as in llama-cpp-python {version}"
    print(json.dumps({"made_by": made_by, "relative_errors": errors}, indent=2))


if __name__ == "__main__":
    main()
