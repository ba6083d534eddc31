"""Makes the tiny random checkpoints of tests/golden/models with their golden logits (needs torch, transformers).

usage: make_models.py DIR

Each folder is laid out as a published checkpoint, with golden.safetensors beside it: input_ids [L], logits
[L, V] at every prompt position, greedy_ids [32], greedy_logits [32, V], computed in f32 by transformers from
the weights as stored (the checkpoint is loaded again, in f32, so that nothing but the weights is rounded)."""
import os
import sys

import torch
import transformers
from safetensors.torch import save_file

COMMON = dict(vocab_size=384, hidden_size=64, intermediate_size=160, num_hidden_layers=3, num_attention_heads=4,
              num_key_value_heads=2, head_dim=16, max_position_embeddings=512, initializer_range=0.2,
              rms_norm_eps=1e-5, tie_word_embeddings=False, bos_token_id=1, eos_token_id=2)


def rope(**parameters):
    return dict(rope_parameters=dict(rope_theta=10000.0, **parameters))


MODELS = {
    "llama-yarn-f32": ("Llama", torch.float32, 90, {**COMMON, "max_position_embeddings": 256, **rope(
        rope_type="yarn", factor=4.0, original_max_position_embeddings=64)}),
    "llama-dynamic-f32": ("Llama", torch.float32, 90, {**COMMON, "max_position_embeddings": 64, **rope(
        rope_type="dynamic", factor=4.0)}),
    "llama-plain-f16": ("Llama", torch.float16, 60, {**COMMON, **rope(rope_type="default")}),
    "llama3-rope-exact-bf16": ("Llama", torch.bfloat16, 90, {**COMMON, **rope(
        rope_type="llama3", factor=8.0, low_freq_factor=1.0, high_freq_factor=4.0,
        original_max_position_embeddings=64)}),
    "qwen2-sliding-f32": ("Qwen2", torch.float32, 60, {**{k: v for k, v in COMMON.items() if k != "head_dim"},
        "use_sliding_window": True, "sliding_window": 12, "max_window_layers": 1, **rope(rope_type="default")}),
}


def make(name, folder):
    family, dtype, length, options = MODELS[name]
    torch.manual_seed(sum(name.encode()))
    config = getattr(transformers, family + "Config")(**options)
    model_class = getattr(transformers, family + "ForCausalLM")
    path = os.path.join(folder, name)
    model = model_class(config)
    for parameter_name, parameter in model.named_parameters():
        if parameter_name.endswith(".bias"):
            torch.nn.init.normal_(parameter, std=0.2)
    model.to(dtype).save_pretrained(path)
    model = model_class.from_pretrained(path, dtype=torch.float32, attn_implementation="eager").eval()
    ids = torch.randint(3, config.vocab_size, (1, length))
    with torch.no_grad():
        logits = model(ids).logits[0]
        past, token, greedy, rows = None, ids, [], []
        for _ in range(32):
            step = model(token, past_key_values=past, use_cache=True)
            past, row = step.past_key_values, step.logits[0, -1]
            rows.append(row)
            greedy.append(int(row.argmax()))
            token = torch.tensor([[greedy[-1]]])
    save_file({"input_ids": ids[0].to(torch.int32), "logits": logits.contiguous(),
               "greedy_ids": torch.tensor(greedy, dtype=torch.int32), "greedy_logits": torch.stack(rows)},
              os.path.join(path, "golden.safetensors"))
    print(name, "inverse frequencies", model.model.rotary_emb.inv_freq.dtype, flush=True)


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    for model_name in MODELS:
        make(model_name, sys.argv[1])
