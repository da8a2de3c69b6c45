"""Prints docs/models.md's table: for every architecture what it is of and what was tested how.

usage: models_table.py      (no packages needed)

It is made of the tests' own list (architectures/made.json), so that the page cannot say more than the tests hold;
test_documents.py compares the two.
"""

import json
from pathlib import Path

FOLDER = Path(__file__).parent

# general.architecture: the models people know it by.
MODELS = {
    "llama": "Llama 2, 3.x; Mistral 7B, Nemo, Codestral; Mixtral 8x7B, 8x22B; SmolLM2",
    "mistral3": "Ministral 3, Mistral Small 3.x, Devstral, Magistral",
    "mistral4": "Mistral Large 3 and others with latent attention",
    "qwen2": "Qwen 2, 2.5, QwQ",
    "qwen2vl": "Qwen 2 VL, 2.5 VL (text)",
    "qwen2moe": "Qwen 1.5 MoE, Qwen 2 57B-A14B",
    "qwen3": "Qwen 3",
    "qwen3vl": "Qwen 3 VL (text)",
    "qwen3moe": "Qwen 3 30B-A3B, 235B-A22B, Qwen 3 Coder",
    "qwen3vlmoe": "Qwen 3 VL 30B-A3B, 235B-A22B (text)",
    "gemma2": "Gemma 2",
    "gemma3": "Gemma 3 (text)",
    "gemma4": "Gemma 4 (text): E2B, E4B, 26B-A4B, 31B",
    "gpt-oss": "gpt-oss 20B, 120B",
    "phi3": "Phi-3, Phi-3.5, Phi-4",
    "deepseek2": "DeepSeek V2, V3, R1; GLM-4.7-Flash",
    "smollm3": "SmolLM3",
}
# Real files, beside tiny random models: what was compared, in which test.
REAL = {
    "llama": "SmolLM2-135M with llama.cpp: tokens, log-probabilities, perplexity",
}


def rows():
    made = json.loads((FOLDER / "architectures" / "made.json").read_text(encoding="utf-8"))["models"]
    tiny = json.loads((FOLDER / "tiny" / "made.json").read_text(encoding="utf-8"))["models"]
    for architecture, models in MODELS.items():
        shown = [entry["about"] for entry in made.values() if entry["architecture"] == architecture]
        if architecture == "llama":
            shown.insert(0, f"{len(tiny)} models, a property each (tests/golden/tiny)")
        yield architecture, models, "; ".join(shown), REAL.get(architecture, "")


def table():
    lines = ["| architecture | models | tiny random models with `transformers`: what they show | real files |", "|---|---|---|---|"]
    lines += [f"| `{name}` | {models} | {shown} | {real} |" for name, models, shown, real in rows()]
    return "\n".join(lines)


if __name__ == "__main__":
    print(table())
