"""The llama family's forward pass in NumPy and 64-bit floats: slow, plain, and read from the GGUF
with the gguf package, so that it shares nothing with the program but the file.

    ReferenceModel("tiny.gguf", kv_type=np.float16).logits([1, 300, 301])
"""

import gguf
import numpy as np


class ReferenceModel:
    def __init__(self, path, kv_type=np.float64):
        """kv_type: what keys (rotated) and values are rounded to, as a KV cache does."""
        self.kv_type = kv_type
        reader = gguf.GGUFReader(path)
        self.values = {name: field.contents() for name, field in reader.fields.items()}
        self.weights = {
            tensor.name: gguf.quants.dequantize(tensor.data, tensor.tensor_type).astype(np.float64)
            for tensor in reader.tensors
        }
        self.heads = self.values["llama.attention.head_count"]
        self.kv_heads = self.values["llama.attention.head_count_kv"]
        self.head_dim = self.values["llama.attention.key_length"]
        self.window = self.values.get("llama.attention.sliding_window", 0)
        self.frequencies, self.magnitude = self.rope()

    def rope(self):
        """Radians a token for each pair of a head, and the factor YaRN gives the rotated vectors."""
        base = self.values["llama.rope.freq_base"]
        pairs = np.arange(self.head_dim // 2)
        plain = base ** (-2.0 * pairs / self.head_dim)
        if "rope_freqs.weight" in self.weights:
            plain = plain / self.weights["rope_freqs.weight"]
        kind = self.values.get("llama.rope.scaling.type", "none")
        factor = self.values.get("llama.rope.scaling.factor", 1.0)
        if kind == "none":
            return plain, 1.0
        if kind == "linear":
            return plain / factor, 1.0
        # YaRN, Peng et al. 2023: pairs that turn 32 times over the original context or more keep
        # their frequency, those that turn once or less are interpolated.
        original = self.values["llama.rope.scaling.original_context_length"]

        def pair_of(turns):
            return self.head_dim * np.log(original / (turns * 2 * np.pi)) / (2 * np.log(base))

        low, high = max(0, np.floor(pair_of(32))), min(self.head_dim - 1, np.ceil(pair_of(1)))
        ramp = np.clip((pairs - low) / max(0.001, high - low), 0, 1)
        return plain / factor * ramp + plain * (1 - ramp), 1 + 0.1 * np.log(factor)

    def linear(self, x, name):
        """x [n][columns] → [n][rows], with the bias where there is one."""
        return x @ self.weights[f"{name}.weight"].T + self.weights.get(f"{name}.bias", 0.0)

    def norm(self, x, name):
        epsilon = self.values["llama.attention.layer_norm_rms_epsilon"]
        return x / np.sqrt(np.mean(x * x, axis=-1, keepdims=True) + epsilon) * self.weights[f"{name}.weight"]

    def rotate(self, x):
        """x [n][heads][head_dim]: pair i is elements 2i and 2i + 1, as the llama architecture has it."""
        angles = np.arange(len(x))[:, None, None] * self.frequencies
        cosine, sine = np.cos(angles) * self.magnitude, np.sin(angles) * self.magnitude
        even, odd = x[..., 0::2], x[..., 1::2]
        return np.stack([even * cosine - odd * sine, even * sine + odd * cosine], axis=-1).reshape(x.shape)

    def attention(self, x, layer):
        n = len(x)
        q = self.rotate(self.linear(x, f"{layer}.attn_q").reshape(n, self.heads, -1))
        k = self.rotate(self.linear(x, f"{layer}.attn_k").reshape(n, self.kv_heads, -1))
        v = self.linear(x, f"{layer}.attn_v").reshape(n, self.kv_heads, -1)
        group = self.heads // self.kv_heads
        k, v = (part.astype(self.kv_type).astype(np.float64) for part in (k, v))
        k, v = np.repeat(k, group, axis=1), np.repeat(v, group, axis=1)
        scores = np.einsum("qhd,khd->hqk", q, k) / np.sqrt(self.head_dim)
        age = np.arange(n)[:, None] - np.arange(n)
        seen = (age >= 0) & (age < (self.window or n))
        scores = np.where(seen, scores, -np.inf)
        weights = np.exp(scores - scores.max(axis=-1, keepdims=True))
        weights /= weights.sum(axis=-1, keepdims=True)
        mixed = np.einsum("hqk,khd->qhd", weights, v).reshape(n, -1)
        return self.linear(mixed, f"{layer}.attn_output")

    def feed_forward(self, x, layer):
        gate = self.linear(x, f"{layer}.ffn_gate")
        silu = gate / (1 + np.exp(-gate))
        return self.linear(silu * self.linear(x, f"{layer}.ffn_up"), f"{layer}.ffn_down")

    def hidden(self, tokens):
        """[n] token ids → [n][width]: the last hidden states, after the final norm."""
        x = self.weights["token_embd.weight"][np.asarray(tokens)]
        for number in range(self.values["llama.block_count"]):
            layer = f"blk.{number}"
            x = x + self.attention(self.norm(x, f"{layer}.attn_norm"), layer)
            x = x + self.feed_forward(self.norm(x, f"{layer}.ffn_norm"), layer)
        return self.norm(x, "output_norm")

    def logits(self, tokens):
        """[n] token ids → [n][vocabulary]."""
        output = self.weights.get("output.weight", self.weights["token_embd.weight"])
        return self.hidden(tokens) @ output.T
