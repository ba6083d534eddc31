#!/usr/bin/env python3
"""Makes tests/fuzz/corpus: small inputs that each fuzz target accepts, to begin with.

Needs only Python. Run from the project's folder:

    python3 tests/fuzz/make_corpus.py

Files that it makes begin with "seed-" and are made anew; others, inputs that once were findings, stay. All is made up
here but the tokenizers, cut down from those of tests/golden, and the conversations' templates and cases from there.
"""
import json
import pathlib
import random
import struct

FUZZ = pathlib.Path("tests/fuzz")
GOLDEN = pathlib.Path("tests/golden")
RANDOM = random.Random(1)


def write(target, name, content):
    """Writes one input."""
    data = content.encode() if isinstance(content, str) else content
    folder = FUZZ / "corpus" / target
    folder.mkdir(parents=True, exist_ok=True)
    (folder / f"seed-{name}").write_bytes(data)


def dump(value):
    """JSON as short as it gets."""
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))


# ---- files of tensors ----

SAFE_BYTES = {"F64": 8, "I64": 8, "U64": 8, "C64": 8, "F32": 4, "I32": 4, "U32": 4, "F16": 2, "BF16": 2, "I16": 2,
              "U16": 2, "I8": 1, "U8": 1, "BOOL": 1, "F8_E4M3": 1, "F8_E5M2": 1, "F8_E8M0": 1}


def size_of(shape):
    """How many elements a tensor has."""
    product = 1
    for dimension in shape:
        product *= dimension
    return product


def noise(count):
    """Bytes of small f32, f16 and bf16 numbers alike."""
    return bytes(RANDOM.choice((0, 0x3C, 0x3A, 0xBB, 0x12)) for _ in range(count))


def safetensors(tensors, metadata=None):
    """tensors: (name, dtype, shape) in the order of their data."""
    header = {"__metadata__": metadata} if metadata else {}
    data = b""
    for name, dtype, shape in tensors:
        part = noise(size_of(shape) * SAFE_BYTES[dtype])
        header[name] = {"dtype": dtype, "shape": shape, "data_offsets": [len(data), len(data) + len(part)]}
        data += part
    text = dump(header).encode()
    text += b" " * (-len(text) % 8)
    return struct.pack("<Q", len(text)) + text + data


# name: (number in GGUF files, elements and bytes of a block)
GGUF_TYPES = {"F32": (0, 1, 4), "F16": (1, 1, 2), "Q4_0": (2, 32, 18), "Q4_1": (3, 32, 20), "Q5_0": (6, 32, 22),
              "Q5_1": (7, 32, 24), "Q8_0": (8, 32, 34), "Q2_K": (10, 256, 84), "Q3_K": (11, 256, 110),
              "Q4_K": (12, 256, 144), "Q5_K": (13, 256, 176), "Q6_K": (14, 256, 210), "IQ4_NL": (20, 32, 18),
              "IQ4_XS": (23, 256, 136), "I8": (24, 1, 1), "I64": (27, 1, 8), "F64": (28, 1, 8), "BF16": (30, 1, 2)}


def gguf_string(text):
    """A string with its length."""
    data = text.encode()
    return struct.pack("<Q", len(data)) + data


def gguf_value(value):
    """A value behind its type: bool, int, float, str, or a list of these."""
    if isinstance(value, list):
        kind = {int: 5, float: 6, str: 8}[type(value[0])]
        pack = {5: lambda v: struct.pack("<i", v), 6: lambda v: struct.pack("<f", v), 8: gguf_string}[kind]
        return struct.pack("<IIQ", 9, kind, len(value)) + b"".join(map(pack, value))
    if isinstance(value, bool):
        return struct.pack("<I?", 7, value)
    if isinstance(value, int):
        return struct.pack("<II", 4, value)
    if isinstance(value, float):
        return struct.pack("<If", 6, value)
    return struct.pack("<I", 8) + gguf_string(value)


def gguf(fields, tensors, version=3, alignment=32):
    """tensors: (name, type, shape as [rows, columns])."""
    fields = dict(fields)
    if alignment != 32:
        fields["general.alignment"] = alignment
    head = b"GGUF" + struct.pack("<IQQ", version, len(tensors), len(fields))
    for key, value in fields.items():
        head += gguf_string(key) + gguf_value(value)
    data = b""
    for name, kind, shape in tensors:
        number, elements, size = GGUF_TYPES[kind]
        data += b"\0" * (-len(data) % alignment)
        head += gguf_string(name) + struct.pack("<I", len(shape))
        head += b"".join(struct.pack("<Q", dimension) for dimension in reversed(shape))
        head += struct.pack("<IQ", number, len(data))
        data += noise(size_of(shape) // elements * size)
    return head + b"\0" * (-len(head) % alignment) + data


# ---- a model of one layer that is as small as can be ----

HIDDEN, INNER, VOCAB = 4, 4, 8


def small_config(**more):
    """config.json for it."""
    return {"architectures": ["LlamaForCausalLM"], "hidden_size": HIDDEN, "intermediate_size": INNER,
            "num_attention_heads": 2, "num_key_value_heads": 1, "num_hidden_layers": 1, "head_dim": 2,
            "vocab_size": VOCAB, "max_position_embeddings": 64, "rms_norm_eps": 1e-5, "tie_word_embeddings": True,
            "bos_token_id": 1, "eos_token_id": [2], **more}


def small_tensors(matrix, vector, hidden=HIDDEN, inner=INNER, queries=4, keys=2):
    """Its tensors, under Hugging Face's names."""
    layer = "model.layers.0."
    shapes = {"model.embed_tokens": [VOCAB, hidden], layer + "self_attn.q_proj": [queries, hidden],
              layer + "self_attn.k_proj": [keys, hidden], layer + "self_attn.v_proj": [keys, hidden],
              layer + "self_attn.o_proj": [hidden, queries], layer + "mlp.gate_proj": [inner, hidden],
              layer + "mlp.up_proj": [inner, hidden], layer + "mlp.down_proj": [hidden, inner]}
    norms = [layer + "input_layernorm", layer + "post_attention_layernorm", "model.norm"]
    return ([(name + ".weight", vector, [hidden]) for name in norms] +
            [(name + ".weight", matrix, shape) for name, shape in shapes.items()])


GGUF_NAMES = {"model.embed_tokens": "token_embd", "model.norm": "output_norm", "input_layernorm": "attn_norm",
              "post_attention_layernorm": "ffn_norm", "self_attn.q_proj": "attn_q", "self_attn.k_proj": "attn_k",
              "self_attn.v_proj": "attn_v", "self_attn.o_proj": "attn_output", "mlp.gate_proj": "ffn_gate",
              "mlp.up_proj": "ffn_up", "mlp.down_proj": "ffn_down"}


def gguf_name(name):
    """The name that a tensor has in a GGUF file."""
    for old, new in GGUF_NAMES.items():
        name = name.replace(old, new)
    return name.replace("model.layers.", "blk.")


def gguf_fields(tokens, hidden=HIDDEN, inner=INNER, head=2):
    """The metadata of that model, with a tokenizer."""
    return {"general.architecture": "llama", "llama.block_count": 1, "llama.embedding_length": hidden,
            "llama.feed_forward_length": inner, "llama.attention.head_count": 2,
            "llama.attention.head_count_kv": 1, "llama.attention.key_length": head,
            "llama.attention.value_length": head, "llama.rope.dimension_count": head, "llama.context_length": 64,
            "llama.attention.layer_norm_rms_epsilon": 1e-5, "llama.rope.freq_base": 10000.0,
            "llama.vocab_size": VOCAB, **tokens}


SENTENCE_PIECE = {"tokenizer.ggml.model": "llama", "tokenizer.ggml.tokens":
                  ["<unk>", "<s>", "</s>", "<0x0A>", "\u2581", "a", "b", "ab"],
                  "tokenizer.ggml.scores": [0.0, 0.0, 0.0, 0.0, -1.0, -2.0, -3.0, -4.0],
                  "tokenizer.ggml.token_type": [2, 3, 3, 6, 1, 1, 1, 1], "tokenizer.ggml.bos_token_id": 1,
                  "tokenizer.ggml.eos_token_id": 2, "tokenizer.ggml.unknown_token_id": 0,
                  "tokenizer.ggml.add_bos_token": True, "tokenizer.chat_template": "{{ messages[0].content }}"}
BYTE_LEVEL = {"tokenizer.ggml.model": "gpt2", "tokenizer.ggml.pre": "qwen2", "tokenizer.ggml.tokens":
              ["a", "b", "ab", "\u0120", "\u0120a", "1", "!", "<|end|>"],
              "tokenizer.ggml.token_type": [1, 1, 1, 1, 1, 1, 1, 3],
              "tokenizer.ggml.merges": ["a b", "\u0120 a"], "tokenizer.ggml.eos_token_id": 7}

# ---- the targets ----


def make_safetensors():
    """Every type, shapes of every kind, metadata."""
    for dtype in SAFE_BYTES:
        write("safetensors", dtype, safetensors([("a", dtype, [2, 3])]))
    write("safetensors", "shapes", safetensors([("scalar", "F32", []), ("none", "F32", [0, 4]), ("b", "F16", [1] * 8)],
                                               {"format": "pt"}))
    write("safetensors", "blocks", safetensors([("q", "U8", [2, 34]), ("k", "U8", [1, 144])],
                                               {"block_type.q": "Q8_0", "block_type.k": "Q4_K"}))
    write("safetensors", "model", safetensors(small_tensors("F16", "F16")))
    write("safetensors", "empty", safetensors([]))


def make_gguf():
    """Every type of tensor and of metadata."""
    for kind, (_, elements, _) in GGUF_TYPES.items():
        write("gguf", kind, gguf({"k": 1}, [("t", kind, [1, max(elements, 4)])]))
    fields = {"u32": 7, "text": "words", "yes": True, "half": 0.5, "list": [1, 2, 3], "floats": [0.5, 0.25],
              "strings": ["a", "", "\u00e9"]}
    write("gguf", "fields", gguf(fields, [("t", "F32", [2, 3]), ("u", "F16", [5])]))
    numbers = {0: "<B", 1: "<b", 2: "<H", 3: "<h", 10: "<Q", 11: "<q", 12: "<d"}
    head = b"GGUF" + struct.pack("<IQQ", 3, 1, len(numbers))
    for kind, pack in numbers.items():
        head += gguf_string(f"n{kind}") + struct.pack("<I", kind) + struct.pack(pack, 1)
    head += gguf_string("t") + struct.pack("<IQIQ", 1, 1, 0, 0)
    write("gguf", "numbers", head + b"\0" * (-len(head) % 32) + b"\0\0\0\0")
    write("gguf", "version-2", gguf(fields, [("t", "I8", [3])], version=2))
    write("gguf", "alignment", gguf({"k": 1}, [("t", "I8", [3]), ("u", "I8", [3])], alignment=8))
    write("gguf", "split", gguf({"split.no": 0, "split.count": 2, "split.tensors.count": 1}, []))
    write("gguf", "model", gguf(gguf_fields(SENTENCE_PIECE),
                                [(gguf_name(n), t, s) for n, t, s in small_tensors("F16", "F32")]))


def make_block_formats():
    """Two blocks of each format, and floats for each encoder."""
    sizes = [size for name, (_, elements, size) in GGUF_TYPES.items() if elements > 1]
    for choice in range(len(sizes)):
        write("block_formats", f"decode-{choice:02}", bytes([choice]) + RANDOM.randbytes(420))
        floats = [RANDOM.gauss(0, 1) for _ in range(256)]
        write("block_formats", f"encode-{choice:02}", bytes([choice + len(sizes)]) + struct.pack("<256f", *floats))
    odd = [float("nan"), float("inf"), -float("inf"), 3e38, 1e-45, -0.0, 65504.0, 7e4] * 32
    write("block_formats", "encode-odd", bytes([len(sizes)]) + struct.pack("<256f", *odd))
    write("block_formats", "planes", b"\xff" + RANDOM.randbytes(210))


def make_json():
    """Values of every kind."""
    for number, text in enumerate((
            '{"a":1,"b":-2.5e3,"c":[true,false,null],"d":{"e":"f\\u00e9\\ud83d\\ude00\\n"}}', "[]", '"text"',
            "[[[[[[[[1]]]]]]]]", '{"x":18446744073709551615,"y":-9223372036854775808,"z":1e308,"w":0.1}',
            '{"a":1,"a":2}', ' {"whole" : 17 , "number":0.5,"yes":true,"text":"a"} ', dump(small_config()))):
        write("json", f"{number}", text)


def make_model_config():
    """One of each family and each kind of RoPE."""
    families = {"llama": {}, "mistral": {"architectures": ["MistralForCausalLM"], "sliding_window": 16},
                "qwen2": {"architectures": ["Qwen2ForCausalLM"], "use_sliding_window": True, "sliding_window": 8,
                          "max_window_layers": 1},
                "qwen3": {"architectures": ["Qwen3ForCausalLM"], "layer_types": ["full_attention"]}}
    ropes = {"linear": {"rope_type": "linear", "factor": 2.0}, "dynamic": {"type": "dynamic", "factor": 4.0},
             "llama3": {"rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
                        "original_max_position_embeddings": 32},
             "yarn": {"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 16, "beta_fast": 32,
                      "beta_slow": 1, "truncate": False, "mscale": 1.0}}
    defaults = {"do_sample": True, "temperature": 0.7, "top_p": 0.9, "top_k": 40, "min_p": 0.1,
                "repetition_penalty": 1.1, "eos_token_id": [2, 3]}
    for name, more in families.items():
        write("model_config", name, dump(small_config(**more)) + "\0" + dump(defaults))
    for name, rope in ropes.items():
        write("model_config", name, dump(small_config(rope_scaling=rope, rope_theta=10000.0)) + "\0{}")
        write("model_config", name + "-newer",
              dump(small_config(rope_parameters={"rope_theta": 5e5, **rope})) + "\0" + dump({"eos_token_id": 2}))
    for folder in sorted((GOLDEN / "models").iterdir()):
        config = json.loads((folder / "config.json").read_text())
        generation = json.loads((folder / "generation_config.json").read_text())
        write("model_config", "golden-" + folder.name, dump(config) + "\0" + dump(generation))


def cut_down(spec, wanted):
    """A tokenizer with few tokens: the special ones, those of bytes, and the merges that come first."""
    model = spec["model"]
    added = {token["content"] for token in spec.get("added_tokens") or []}
    merges = [tuple(m.split(" ")) if isinstance(m, str) else tuple(m) for m in model["merges"]]
    kept = [m for m in merges if len(m[0]) == len(m[1]) == 1][:wanted]
    needed = added | {part for m in kept for part in m} | {m[0] + m[1] for m in kept} | {model.get("unk_token")}
    names = [name for name in model["vocab"] if name in needed or (wanted > 20 and name.startswith("<0x"))]
    ids = {name: number for number, name in enumerate(names)}
    spec["model"] = {**model, "vocab": ids, "merges": [f"{a} {b}" for a, b in kept]}
    for token in spec.get("added_tokens") or []:
        token["id"] = ids.setdefault(token["content"], len(ids))
    processor = spec.get("post_processor") or {}
    for step in processor.get("processors", [processor]):
        for special in step.get("special_tokens", {}).values():
            special["ids"] = [ids[token] for token in special["tokens"]]
    return spec


def make_tokenizers():
    """The golden tokenizers, cut down; texts and ids for those that are whole."""
    texts = ["", " Hello world's 1234!", "a<s>b\u2581 c\n\n", "e\u0301\u00e9 \u65e5\u672c \U0001f600\u200d", "\t  \r\n x"]
    settings = dump({"bos_token": "<s>", "eos_token": {"content": "</s>"}, "add_bos_token": True})
    for number, folder in enumerate(sorted((GOLDEN / "tokenizers").iterdir())):
        spec = json.loads((folder / "tokenizer.json").read_text())
        small = dump(cut_down(spec, 12))
        write("tokenizer_json", folder.name, small + "\0" + settings + "\0" + texts[number % len(texts)])
        for flags in (0, 3):
            write("tokenizer_text", f"{folder.name}-{flags}",
                  bytes([number, flags]) + texts[(number + flags) % len(texts)].encode())
    bytes_too = json.loads((GOLDEN / "tokenizers/bytes-replace/tokenizer.json").read_text())
    write("tokenizer_json", "bytes", dump(cut_down(bytes_too, 24)) + "\0\0\u00e9")


def make_gguf_tokenizer():
    """Both models, each pre-tokenizer."""
    def lines(fields):
        kinds = fields.get("tokenizer.ggml.token_type")
        text = "m" + fields["tokenizer.ggml.model"] + "\n"
        for kind, token in zip(kinds, fields["tokenizer.ggml.tokens"]):
            text += f"t{kind}{token}\n"
        return text + "".join(f"g{merge}\n" for merge in fields.get("tokenizer.ggml.merges", []))

    write("gguf_tokenizer", "llama", lines(SENTENCE_PIECE) + "b1\ne2\nu0\nB1\nE1\nS0\n")
    write("gguf_tokenizer", "llama-scores", lines(SENTENCE_PIECE).replace("\n", "\ns7\n"))
    for name in ("default", "tekken", "llama-bpe", "smaug-bpe", "qwen2", "stablelm2", "gpt-2", "smollm"):
        write("gguf_tokenizer", name, lines(BYTE_LEVEL) + f"p{name}\ne7\nb7\nB1\nS1\n")
    write("gguf_tokenizer", "plain", "mgpt2\nt1a\nt1b\nt1ab\nga b\n-\n")


def make_chat_template():
    """Templates that come with Cria, and the cases of the golden tests."""
    conversation = "\0Hi there\0Hello!\0 More?"
    for file in sorted((GOLDEN / "chat").glob("*.jinja")):
        write("chat_template", file.stem, file.read_text() + conversation)
    golden = json.loads((GOLDEN / "jinja/golden.json").read_text())
    variables = "".join("{%% set %s = %s %%}" % (name, dump(value).replace("null", "none"))
                        for name, value in golden["variables"].items())
    sources = [case["source"] for case in golden["cases"] if "error" not in case]
    for number in range(0, len(sources), 6):  # several in one input
        write("chat_template", f"cases-{number:03}", variables + "\n".join(sources[number:number + 6]) + conversation)
    write("chat_template", "macro", "{% macro m(a, b=2) %}{{ a ~ b }}{% endmacro %}{{ m(1) }}{{ m('x', b=[1,2][::-1]) }}"
          "{% set ns = namespace(n=0) %}{% for m in messages %}{% set ns.n = ns.n + 1 %}{{ loop.index }}{% endfor %}"
          "{{ ns.n }}{{ messages | map(attribute='content') | join(', ') | trim | tojson }}" + conversation)


def make_request():
    """What the server's documentation shows."""
    chat = {"model": "model", "messages": [{"role": "system", "content": "a"},
                                           {"role": "user", "content": [{"type": "text", "text": "Hi"}]}],
            "max_tokens": 5, "temperature": 0.5, "top_p": 0.9, "min_p": 0.1, "top_k": 40, "seed": 1, "n": 2,
            "stop": ["a", "b"], "stream": True, "stream_options": {"include_usage": True}, "logprobs": True,
            "top_logprobs": 3, "logit_bias": {"17": -100}, "presence_penalty": 0.5, "frequency_penalty": -0.5,
            "user": "me", "response_format": {"type": "text"}, "tool_choice": "none", "store": False}
    write("request", "chat", "c" + dump(chat))
    call = {"id": "c1", "type": "function", "function": {"name": "f", "arguments": "{\"a\": 1}"}}
    schema = {"type": "object", "properties": {"a": {"type": "integer"}}, "required": ["a"]}
    tools = {"messages": [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": None, "tool_calls": [call]},
                          {"role": "tool", "tool_call_id": "c1", "content": "2"}],
             "tools": [{"type": "function", "function": {"name": "f", "description": "F", "parameters": schema}}],
             "tool_choice": {"type": "function", "function": {"name": "f"}}, "parallel_tool_calls": False}
    write("request", "tools", "c" + dump(tools))
    write("request", "text", "t" + dump({"prompt": "Once", "max_tokens": 5, "echo": False, "best_of": 1, "logprobs": 2,
                                         "ignore_eos": True, "repetition_penalty": 1.1, "stop": "x"}))
    write("request", "tokens", "t" + dump({"prompt": [1, 2, 3]}))
    write("request", "embedding", "e" + dump({"input": ["a", [1, 2]], "encoding_format": "base64", "dimensions": 4}))
    write("request", "tokenize", "k" + dump({"text": "a", "add_special_tokens": False}))
    write("request", "detokenize", "d" + dump({"tokens": [1, 2]}))
    key = "\x02Bearer secret\n\x05application/json; charset=utf-8\n"
    write("request", "head", "hPOST /v1/completions\n\x00localhost:80\n\x0317\n" + key)
    write("request", "head-origin", "hGET /v1/models\n\x00[::1]:80\n\x01http://page.example\n" + key)
    write("request", "head-chunked", "hPOST /tokenize\n\x00host.example\n\x04chunked\n" + key)


def make_model_folder():
    """Models that open, in each form that they may have."""
    def files(**parts):
        return b"".join(b"####" + name.encode() + (part if isinstance(part, bytes) else part.encode())
                        for name, part in parts.items())

    config = dump(small_config())
    tokenizer = dump(cut_down(json.loads((GOLDEN / "tokenizers/metaspace-first/tokenizer.json").read_text()), 3))
    write("model_folder", "one", files(c=config, m=safetensors(small_tensors("F16", "F32")), t=tokenizer,
                                       g=dump({"temperature": 0.5}), T=dump({"chat_template": "{{ 1 }}"})))
    tensors = small_tensors("BF16", "BF16")
    half = len(tensors) // 2
    index = {"metadata": {}, "weight_map": {name: "a.safetensors" if i < half else "b.safetensors"
                                            for i, (name, _, _) in enumerate(tensors)}}
    shards = {"a": safetensors(tensors[:half]), "b": safetensors(tensors[half:])}
    write("model_folder", "index", files(c=config, i=dump(index), **shards))
    write("model_folder", "shards", files(c=config, **shards))
    biased = small_tensors("F16", "F16") + [(f"model.layers.0.self_attn.{x}_proj.bias", "F16", [n])
                                            for x, n in (("q", 4), ("k", 2), ("v", 2))]
    write("model_folder", "qwen2", files(c=dump(small_config(architectures=["Qwen2ForCausalLM"])),
                                         m=safetensors(biased)))
    wide = dump(small_config(hidden_size=32, intermediate_size=32, head_dim=16))
    blocks, metadata = [], {}
    for name, _, shape in small_tensors("F32", "F32", 32, 32, 32, 16):
        if len(shape) == 2:
            blocks.append((name, "U8", [shape[0], shape[1] // 32 * 34]))
            metadata["block_type." + name] = "Q8_0"
        else:
            blocks.append((name, "F32", shape))
    write("model_folder", "blocks", files(c=wide, m=safetensors(blocks, metadata)))
    for name, tokens in (("llama", SENTENCE_PIECE), ("gpt2", BYTE_LEVEL)):
        tensors = [(gguf_name(n), t, s) for n, t, s in small_tensors("F16", "F32")]
        write("model_folder", "gguf-" + name, files(G=gguf(gguf_fields(tokens), tensors)))
    for kind in ("Q4_0", "Q8_0", "Q5_1"):
        tensors = [(gguf_name(n), t, s) for n, t, s in small_tensors(kind, "F32", 32, 32, 32, 16)]
        write("model_folder", "gguf-" + kind, files(G=gguf(gguf_fields(BYTE_LEVEL, 32, 32, 16), tensors)))
    tensors = [(gguf_name(n), t, s) for n, t, s in small_tensors("F32", "F32")]
    fields = gguf_fields(SENTENCE_PIECE)
    split = {"split.count": 2, "split.tensors.count": len(tensors)}
    parts = {"1": gguf({**fields, "split.no": 0, **split}, tensors[:half]),
             "2": gguf({"split.no": 1, **split}, tensors[half:])}
    write("model_folder", "gguf-split", files(**parts))


def main():
    """Everything anew."""
    for old in FUZZ.glob("corpus/*/seed-*"):
        old.unlink()
    for make in (make_safetensors, make_gguf, make_block_formats, make_json, make_model_config, make_tokenizers,
                 make_gguf_tokenizer, make_chat_template, make_request, make_model_folder):
        make()


main()
