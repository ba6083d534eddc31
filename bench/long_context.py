#!/usr/bin/env python3
"""Compares the logits after a long prompt with PyTorch's in f32, where there is a GPU for both.

  long_context.py LOGITS TOKENIZER_FOLDER TEXT [TOKENS]

LOGITS is the program of examples/logits.cpp. A model of the 1.1B shape with made-up f16 weights and the tokenizer of
TOKENIZER_FOLDER is written to a temporary folder, and TEXT, repeated as needed, is cut to TOKENS tokens (32768).
Weights are as large as those of trained models, so that attention sees single positions, far away ones among them.
"""

import json
import math
import pathlib
import shutil
import subprocess
import sys
import tempfile
import time

import torch
from safetensors.torch import save_file
from tokenizers import Tokenizer

LAYERS, HEADS, KV_HEADS, HEAD_DIM, HIDDEN, MLP = 22, 32, 4, 64, 2048, 5632
EPSILON, THETA = 1e-5, 500000.0


def make_weights(vocab):
    """f16 weights on the GPU under the names of a Llama checkpoint."""
    generator = torch.Generator("cuda").manual_seed(7)

    def matrix(rows, columns, size=1.0):
        noise = torch.randn(rows, columns, generator=generator, device="cuda")
        return (noise * (size / math.sqrt(columns))).half()

    weights = {"model.embed_tokens.weight": matrix(vocab, HIDDEN, math.sqrt(HIDDEN)),
               "lm_head.weight": matrix(vocab, HIDDEN, 3.0),
               "model.norm.weight": torch.ones(HIDDEN, device="cuda").half()}
    for layer in range(LAYERS):
        at = f"model.layers.{layer}."
        weights[at + "self_attn.q_proj.weight"] = matrix(HEADS * HEAD_DIM, HIDDEN, 2.0)
        weights[at + "self_attn.k_proj.weight"] = matrix(KV_HEADS * HEAD_DIM, HIDDEN, 2.0)
        weights[at + "self_attn.v_proj.weight"] = matrix(KV_HEADS * HEAD_DIM, HIDDEN)
        weights[at + "self_attn.o_proj.weight"] = matrix(HIDDEN, HEADS * HEAD_DIM)
        weights[at + "mlp.gate_proj.weight"] = matrix(MLP, HIDDEN)
        weights[at + "mlp.up_proj.weight"] = matrix(MLP, HIDDEN)
        weights[at + "mlp.down_proj.weight"] = matrix(HIDDEN, MLP)
        for norm in ("input_layernorm", "post_attention_layernorm"):
            weights[at + norm + ".weight"] = torch.ones(HIDDEN, device="cuda").half()
    return weights


def write_model(folder, weights, tokenizer_folder, vocab, positions):
    config = {"architectures": ["LlamaForCausalLM"], "model_type": "llama", "hidden_act": "silu",
              "hidden_size": HIDDEN, "intermediate_size": MLP, "num_hidden_layers": LAYERS,
              "num_attention_heads": HEADS, "num_key_value_heads": KV_HEADS, "head_dim": HEAD_DIM,
              "max_position_embeddings": positions, "rms_norm_eps": EPSILON, "rope_theta": THETA,
              "tie_word_embeddings": False, "vocab_size": vocab, "torch_dtype": "float16"}
    (folder / "config.json").write_text(json.dumps(config))
    for name in ("tokenizer.json", "tokenizer_config.json"):
        shutil.copy(pathlib.Path(tokenizer_folder) / name, folder)
    save_file(weights, folder / "model.safetensors")


def norm(x):
    return x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + EPSILON)


def rotate(x, cos, sin):
    half = x.shape[-1] // 2
    a, b = x[..., :half], x[..., half:]
    return torch.cat((a * cos - b * sin, b * cos + a * sin), -1)


def attend(q, k, v, rows=256):
    """Causal attention in f32, a few query rows at a time: [heads, tokens, head_dim]."""
    k, v = (x.repeat_interleave(HEADS // KV_HEADS, 0) for x in (k, v))
    found = torch.empty_like(q)
    positions = torch.arange(q.shape[1], device="cuda")
    for first in range(0, q.shape[1], rows):
        last = min(first + rows, q.shape[1])
        scores = q[:, first:last] @ k[:, :last].transpose(1, 2) / math.sqrt(HEAD_DIM)
        scores.masked_fill_(positions[:last] > positions[first:last, None], -math.inf)
        found[:, first:last] = scores.softmax(-1) @ v[:, :last]
    return found


@torch.no_grad()
def reference(weights, ids):
    """Logits [vocab] after the last token, all in f32."""
    w = {name: weight.float() for name, weight in weights.items()}
    tokens = len(ids)
    inverse = THETA ** (-torch.arange(0, HEAD_DIM, 2, device="cuda", dtype=torch.float64) / HEAD_DIM)
    angles = torch.arange(tokens, device="cuda", dtype=torch.float64)[:, None] * inverse
    cos, sin = angles.cos().float(), angles.sin().float()
    x = w["model.embed_tokens.weight"][torch.tensor(ids, device="cuda")]
    for layer in range(LAYERS):
        at = f"model.layers.{layer}."
        h = norm(x)
        q, k, v = ((h @ w[at + f"self_attn.{name}_proj.weight"].T).view(tokens, -1, HEAD_DIM).transpose(0, 1)
                   for name in "qkv")
        found = attend(rotate(q, cos, sin), rotate(k, cos, sin), v)
        x = x + found.transpose(0, 1).reshape(tokens, -1) @ w[at + "self_attn.o_proj.weight"].T
        h = norm(x)
        gate = torch.nn.functional.silu(h @ w[at + "mlp.gate_proj.weight"].T)
        x = x + (gate * (h @ w[at + "mlp.up_proj.weight"].T)) @ w[at + "mlp.down_proj.weight"].T
    return norm(x[-1]) @ w["lm_head.weight"].T


def main():
    if len(sys.argv) < 4:
        sys.exit(__doc__)
    program, tokenizer_folder, text_file = sys.argv[1:4]
    tokens = int(sys.argv[4]) if len(sys.argv) > 4 else 32768
    torch.backends.cuda.matmul.allow_tf32 = False
    tokenizer = Tokenizer.from_file(str(pathlib.Path(tokenizer_folder) / "tokenizer.json"))
    vocab = tokenizer.get_vocab_size()
    text = pathlib.Path(text_file).read_text()
    ids = tokenizer.encode(text).ids
    while len(ids) < tokens + 8:
        text += text
        ids = tokenizer.encode(text).ids
    # Cut the text, not the tokens: what is cut must give the same tokens again.
    offsets = tokenizer.encode(text).offsets
    text = text[:offsets[tokens - 1][1]]
    ids = tokenizer.encode(text).ids
    weights = make_weights(vocab)
    right = reference(weights, ids)
    # f16 rounds by 2^-11 at most, in six places of each layer; errors that do not conspire add up like their squares.
    # Four times that is never met by chance.
    size = right.abs().max().item()
    tolerance = 4 * math.sqrt(6 * LAYERS) * 2**-11 * size
    with tempfile.TemporaryDirectory() as name:
        folder = pathlib.Path(name)
        write_model(folder, weights, tokenizer_folder, vocab, max(len(ids), 32768))
        (folder / "prompt.txt").write_text(text)
        del weights
        torch.cuda.empty_cache()
        start = time.time()
        result = subprocess.run([program, str(folder), str(folder / "prompt.txt")], capture_output=True, text=True)
        seconds = time.time() - start
    if result.returncode != 0:
        sys.exit(result.stderr)
    got = torch.tensor([float(line) for line in result.stdout.split()])
    error = (got - right.cpu()).abs()
    failed = not error.max().item() <= tolerance
    print(f"{len(ids)} tokens: logits up to {size:.2f}, worst difference {error.max().item():.4f}, mean "
          f"{error.mean().item():.4f}, tolerance {tolerance:.4f}, best token "
          f"{'the same' if got.argmax() == right.cpu().argmax() else 'another'}, {seconds:.1f} s with loading: "
          f"{'FAILED' if failed else 'ok'}")
    sys.exit(failed)


if __name__ == "__main__":
    main()
