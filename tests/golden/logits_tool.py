"""Drives tests/tools/logits.c (token ids in, every row's logits out) and tokenize_texts.c."""

import os
import struct
import subprocess

import numpy


def run_logits(build_dir, model, tokens, kernels, chunk=0, kv="f16"):
    """f32 [len(tokens)][vocabulary]. kernels: as the setting of that name; chunk: rows a step, 0 for all."""
    command = [build_dir / "tests" / "tools" / "logits", model, kernels, str(chunk)]
    # One thread: pytest runs as many files at once as there are cores.
    done = subprocess.run(
        command, input=" ".join(map(str, tokens)).encode(), capture_output=True,
        env={**os.environ, "LOGITS_THREADS": "1", "LOGITS_KV": kv},
    )
    shown = " ".join(map(str, command))
    assert done.returncode == 0, f"{shown} failed: {done.stderr.decode(errors='replace')}"
    return numpy.frombuffer(done.stdout, numpy.float32).reshape(len(tokens), -1)


def tokenize(build_dir, model, text, parse_special):
    """Token ids, with what the model wants before them."""
    data = text.encode()
    request = struct.pack("<II", 3 if parse_special else 1, len(data)) + data
    done = subprocess.run([build_dir / "tests" / "tools" / "tokenize_texts", model], input=request, capture_output=True)
    assert done.returncode == 0, done.stderr.decode(errors="replace")
    (count,) = struct.unpack_from("<I", done.stdout)
    return list(struct.unpack_from(f"<{count}i", done.stdout, 4))


def log_softmax(logits):
    shifted = logits.astype(numpy.float64)
    shifted -= shifted.max(axis=-1, keepdims=True)
    return shifted - numpy.log(numpy.exp(shifted).sum(axis=-1, keepdims=True))
