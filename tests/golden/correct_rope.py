"""Corrects the golden logits of 16-bit checkpoints whose reference had rounded RoPE's frequencies too (needs numpy).

usage: correct_rope.py MODEL...

A model that is cast to 16 bits and back, instead of being loaded in f32, keeps rounded inverse frequencies: its
logits are those of a slightly different model. This script is a Llama in f64. For each folder it first shows that
with rounded frequencies it gives the logits that are there (within f32's error), and only then writes those with
exact ones to golden.safetensors, for the same input_ids. A folder whose logits are right already is left alone."""
import json
import os
import sys

import numpy as np

TOLERANCE = 2e-4  # between f64 here and the reference's f32


def to_f64(data, dtype):
    if dtype == "BF16":
        return (np.frombuffer(data, "<u2").astype("<u4") << 16).view("<f4").astype(np.float64)
    return np.frombuffer(data, {"F32": "<f4", "F16": "<f2", "I32": "<i4"}[dtype]).astype(np.float64)


def read_safetensors(path):
    with open(path, "rb") as file:
        blob = file.read()
    start = 8 + int.from_bytes(blob[:8], "little")
    header = json.loads(blob[8:start])
    header.pop("__metadata__", None)
    return {name: to_f64(blob[start + entry["data_offsets"][0]:start + entry["data_offsets"][1]],
                         entry["dtype"]).reshape(entry["shape"]) for name, entry in header.items()}


def write_safetensors(path, tensors):
    header, data = {}, b""
    for name, array in tensors.items():
        raw = array.tobytes()
        header[name] = {"dtype": {"float32": "F32", "int32": "I32"}[array.dtype.name], "shape": array.shape,
                        "data_offsets": [len(data), len(data) + len(raw)]}
        data += raw
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    with open(path, "wb") as file:
        file.write(len(text).to_bytes(8, "little") + text + data)


def frequencies(config):
    theta = config.get("rope_theta") or config["rope_parameters"]["rope_theta"]
    scaling = config.get("rope_scaling") or config.get("rope_parameters") or {}
    plain = theta ** -(np.arange(0, config["head_dim"], 2) / config["head_dim"])
    if scaling.get("rope_type", "default") == "default":
        return plain
    assert scaling["rope_type"] == "llama3"
    low, high = scaling["low_freq_factor"], scaling["high_freq_factor"]
    turns = scaling["original_max_position_embeddings"] * plain / (2 * np.pi)
    smooth = np.clip((turns - low) / (high - low), 0, 1)
    return (1 - smooth) * plain / scaling["factor"] + smooth * plain


def rounded(values, dtype):
    if dtype == "float16":
        return values.astype(np.float16).astype(np.float64)
    bits = values.astype("<f4").view("<u4")
    return ((bits + 0x7FFF + (bits >> 16 & 1)) & 0xFFFF0000).astype("<u4").view("<f4").astype(np.float64)


def norm(x, weight, epsilon):
    return x / np.sqrt((x * x).mean(-1, keepdims=True) + epsilon) * weight


def rotate(x, angles):  # x [length, heads, head_dim], angles [length, head_dim / 2]
    cos, sin = np.cos(angles)[:, None], np.sin(angles)[:, None]
    first, second = np.split(x, 2, -1)
    return np.concatenate([first * cos - second * sin, second * cos + first * sin], -1)


def logits(weights, config, inverse_frequencies, ids):  # [length, vocab]
    heads, kv_heads, size = config["num_attention_heads"], config["num_key_value_heads"], config["head_dim"]
    epsilon, length = config["rms_norm_eps"], len(ids)
    angles = np.arange(length)[:, None] * inverse_frequencies
    mask = np.triu(np.full((length, length), -np.inf), 1)
    x = weights["model.embed_tokens.weight"][ids]
    for index in range(config["num_hidden_layers"]):
        layer = {name.split(f"layers.{index}.")[1]: value for name, value in weights.items() if f".{index}." in name}
        h = norm(x, layer["input_layernorm.weight"], epsilon)
        q = rotate((h @ layer["self_attn.q_proj.weight"].T).reshape(length, heads, size), angles)
        k = rotate((h @ layer["self_attn.k_proj.weight"].T).reshape(length, kv_heads, size), angles)
        v = (h @ layer["self_attn.v_proj.weight"].T).reshape(length, kv_heads, size)
        k, v = (np.repeat(part, heads // kv_heads, 1) for part in (k, v))
        scores = np.einsum("qhd,khd->hqk", q, k) / np.sqrt(size) + mask
        scores = np.exp(scores - scores.max(-1, keepdims=True))
        scores /= scores.sum(-1, keepdims=True)
        x = x + np.einsum("hqk,khd->qhd", scores, v).reshape(length, -1) @ layer["self_attn.o_proj.weight"].T
        h = norm(x, layer["post_attention_layernorm.weight"], epsilon)
        gate = h @ layer["mlp.gate_proj.weight"].T
        x = x + (gate / (1 + np.exp(-gate)) * (h @ layer["mlp.up_proj.weight"].T)) @ layer["mlp.down_proj.weight"].T
    head = weights["model.embed_tokens.weight" if config["tie_word_embeddings"] else "lm_head.weight"]
    return norm(x, weights["model.norm.weight"], epsilon) @ head.T


def correct(folder):
    with open(os.path.join(folder, "config.json"), encoding="utf-8") as file:
        config = json.load(file)
    weights = {}
    for name in sorted(os.listdir(folder)):
        if name.startswith("model") and name.endswith(".safetensors"):
            weights.update(read_safetensors(os.path.join(folder, name)))
    path = os.path.join(folder, "golden.safetensors")
    golden = read_safetensors(path)
    ids = golden["input_ids"].astype(int)
    exact = frequencies(config).astype(np.float32).astype(np.float64)
    distance = np.abs(logits(weights, config, exact, ids) - golden["logits"]).max()
    if distance < TOLERANCE:
        print(f"{folder}: right already, within {distance:.1e}")
        return
    dtype = config.get("torch_dtype") or config["dtype"]
    explained = np.abs(logits(weights, config, rounded(exact, dtype), ids) - golden["logits"]).max()
    if explained > TOLERANCE:
        sys.exit(f"{folder}: off by {distance:.1e}, and rounded frequencies leave {explained:.1e}: nothing was written")
    tokens, rows = list(ids), []
    for _ in golden["greedy_ids"]:
        rows.append(logits(weights, config, exact, tokens)[-1])
        tokens.append(int(rows[-1].argmax()))
    write_safetensors(path, {"input_ids": ids.astype("<i4"),
                             "logits": logits(weights, config, exact, ids).astype("<f4"),
                             "greedy_ids": np.array(tokens[len(ids):], "<i4"),
                             "greedy_logits": np.array(rows, "<f4")})
    print(f"{folder}: corrected by {distance:.1e}; rounded frequencies left {explained:.1e}")


if __name__ == "__main__":
    if len(sys.argv) < 2:
        sys.exit(__doc__)
    for model in sys.argv[1:]:
        correct(model)
