"""Writes a Hugging Face model folder with made-up weights: for speed measurements, not for text.

usage: make_model.py SHAPE DIR      SHAPE: llama-1.1b, or hidden,layers,heads,kv_heads,intermediate,vocab

The tokenizer has one word per id, so that the generated ids can be shown. Needs numpy."""
import json
import os
import struct
import sys

import numpy as np

SHAPES = {"llama-1.1b": (2048, 22, 32, 4, 5632, 32000)}


def tensors(hidden, layers, heads, kv_heads, intermediate, vocab):
    kv = hidden // heads * kv_heads
    yield "model.embed_tokens.weight", (vocab, hidden)
    for i in range(layers):
        layer = f"model.layers.{i}."
        yield layer + "input_layernorm.weight", (hidden,)
        yield layer + "self_attn.q_proj.weight", (hidden, hidden)
        yield layer + "self_attn.k_proj.weight", (kv, hidden)
        yield layer + "self_attn.v_proj.weight", (kv, hidden)
        yield layer + "self_attn.o_proj.weight", (hidden, hidden)
        yield layer + "post_attention_layernorm.weight", (hidden,)
        yield layer + "mlp.gate_proj.weight", (intermediate, hidden)
        yield layer + "mlp.up_proj.weight", (intermediate, hidden)
        yield layer + "mlp.down_proj.weight", (hidden, intermediate)
    yield "model.norm.weight", (hidden,)
    yield "lm_head.weight", (vocab, hidden)


def write_weights(path, shape):
    header, offset = {}, 0
    listed = list(tensors(*shape))
    for name, dims in listed:
        size = int(np.prod(dims)) * 2
        header[name] = {"dtype": "F16", "shape": list(dims), "data_offsets": [offset, offset + size]}
        offset += size
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    pool = (np.random.default_rng(1).standard_normal(1 << 22) * 0.02).astype("<f2")
    with open(path, "wb") as out:
        out.write(struct.pack("<Q", len(text)) + text)
        for _, dims in listed:
            count = int(np.prod(dims))
            values = np.ones(count, "<f2") if len(dims) == 1 else np.resize(pool, count)
            out.write(values.tobytes())


def main(shape_name, folder):
    shape = SHAPES.get(shape_name) or tuple(int(part) for part in shape_name.split(","))
    hidden, layers, heads, kv_heads, intermediate, vocab = shape
    os.makedirs(folder, exist_ok=True)
    with open(os.path.join(folder, "config.json"), "w") as out:
        json.dump({"architectures": ["LlamaForCausalLM"], "hidden_size": hidden, "num_hidden_layers": layers,
                   "num_attention_heads": heads, "num_key_value_heads": kv_heads, "intermediate_size": intermediate,
                   "vocab_size": vocab, "max_position_embeddings": 2048, "rms_norm_eps": 1e-5,
                   "rope_theta": 10000.0, "tie_word_embeddings": False, "torch_dtype": "float16"}, out)
    words = {"<unk>": 0, **{f"w{i}": i for i in range(1, vocab)}}
    for character in "w0123456789":
        words.setdefault(character, len(words) + vocab)
    added = [{"id": i, "content": f"w{i}", "special": False, "normalized": False, "single_word": True, "lstrip": False,
              "rstrip": False} for i in range(1, 1000)]
    with open(os.path.join(folder, "tokenizer.json"), "w") as out:
        json.dump({"added_tokens": added, "normalizer": None, "pre_tokenizer": None, "post_processor": None,
                   "decoder": None, "model": {"type": "BPE", "vocab": {w: i for w, i in words.items() if i < vocab},
                                              "merges": [], "unk_token": "<unk>", "fuse_unk": False}}, out)
    write_weights(os.path.join(folder, "model.safetensors"), shape)


if __name__ == "__main__":
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    main(sys.argv[1], sys.argv[2])
