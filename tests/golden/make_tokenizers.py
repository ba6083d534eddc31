#!/usr/bin/env python3
"""Makes tests/golden/tokenizers: small tokenizers with what Hugging Face's tokenizers make of odd texts.

Needs the Python package `tokenizers` (0.23.3 made what is committed). Run from the project's folder with
the fixtures beside it (../shared/data), of which only the ones that are ours are read:

    python3 tests/golden/make_tokenizers.py

The layout is that of ../shared/data/tokenizers: NAME/tokenizer.json, and NAME/golden.jsonl with text, ids,
ids_no_special, decoded (of ids_no_special, special tokens kept) and decoded_skip_special (of ids).
"""
import copy
import json
import pathlib
import random

from tokenizers import Tokenizer

SHARED = pathlib.Path("../shared/data")
OUT = pathlib.Path("tests/golden/tokenizers")
LINES = 160
RANDOM = random.Random(7)

# What texts are made of: blanks of every kind, contractions (with the long s), marks in and out of order,
# Hangul, digits of many scripts, emoji, added tokens and pieces of them, marks of word beginnings, controls.
ATOMS = [
    " ", "  ", "   ", "\t", "\n", "\r", "\r\n", "\n\n", " \n", "\u0085", "\u00a0", "\u2028", "\u3000", "\u200b",
    "\u200d", "\ufeff", "\u1680", "'s", "'S", "'\u017f", "'t", "'RE", "'Ve", "'ll", "'d", "'M", "'", "''",
    "\u2019s", "a", "B", "the", "Hello", "world", "don", "\u00e9", "e\u0301", "\u0301", "\u0323\u0301",
    "\u0301\u0323", "\u212b", "\u1e9b\u0323", "\uac00", "\u1100\u1161", "\u1100\u1161\u11a8", "\u0958", "1", "12",
    "123", "1234", "\u0663", "\u096a\u096b", "\u00b2", "\u00bd", "\u2167", "\u65e5\u672c\u8a9e", "\U0001f600",
    "\U0001f468\u200d\U0001f469", "^", "!!", "...", "_", "\u203f", "-", "<", "<s", "<s>", "</s>", "<unk>",
    "<|im_start|>", "<|im_end|>", "<|endoftext|>", "[A]", "[B]", "[BB]", "[W]", "yes", "\u2581", "\u2581\u2581",
    "\u2581a", "\0", "\x01", "\x7f", "\ufffd", "\u0345", "\ufb01", "\u0130", "\u02b0", "\u0903", "\u20dd", "\u24d0",
    "<0x41>", "\u0120",
]


def texts():
    """Fixed beginnings and random rows of atoms."""
    result = ["", " ", "  ", "a", " a", "<s>", "<s> a", " <s>a", "a<s>", "<s><s>", "\u2581", "\u2581 a", "\u2581\u2581"]
    while len(result) < LINES:
        result.append("".join(RANDOM.choice(ATOMS) for _ in range(RANDOM.randint(1, 12))))
    return result


def write(name, spec):
    """Writes one folder."""
    tokenizer = Tokenizer.from_str(json.dumps(spec))
    folder = OUT / name
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "tokenizer.json").write_text(json.dumps(spec, ensure_ascii=False, separators=(",", ":")))
    with open(folder / "golden.jsonl", "w") as file:
        for text in texts():
            ids = tokenizer.encode(text).ids
            plain = tokenizer.encode(text, add_special_tokens=False).ids
            line = {
                "text": text,
                "ids": ids,
                "ids_no_special": plain,
                "decoded": tokenizer.decode(plain, skip_special_tokens=False),
                "decoded_skip_special": tokenizer.decode(ids, skip_special_tokens=True),
            }
            file.write(json.dumps(line, separators=(",", ":")) + "\n")


def small(path, merges):
    """A tokenizer of ours with only its first merges, ids numbered anew."""
    spec = json.loads(path.read_text())
    model = spec["model"]
    made = {a + b for a, b in model["merges"]}
    model["merges"] = model["merges"][:merges]
    kept = {a + b for a, b in model["merges"]}
    order = sorted(model["vocab"], key=model["vocab"].get)
    order = [token for token in order if token not in made or token in kept]
    model["vocab"] = {token: i for i, token in enumerate(order)}
    for i, token in enumerate(spec["added_tokens"]):
        token["id"] = model["vocab"].get(token["content"], len(order) + i)
    return spec


def add_tokens(spec, normalized):
    """One added token for each way of matching; every second one is special."""
    kinds = [
        ("[A]", {"lstrip": True}),
        ("[B]", {"rstrip": True}),
        ("[W]", {"single_word": True}),
        ("[BB]", {"lstrip": True, "rstrip": True}),
        ("yes", {"single_word": True, "lstrip": True}),
        ("[", {}),
    ]
    first = max(list(spec["model"]["vocab"].values()) + [token["id"] for token in spec["added_tokens"]]) + 1
    for content, kind in kinds:
        known = spec["model"]["vocab"].get(content)
        token = {"id": first if known is None else known, "content": content, "single_word": False, "lstrip": False,
                 "rstrip": False, "normalized": normalized, "special": len(content) % 2 == 1}
        spec["added_tokens"].append(token | kind)
        first += known is None


def metaspace(spec, scheme, split):
    spec["normalizer"] = None
    step = {"type": "Metaspace", "replacement": "\u2581", "prepend_scheme": scheme, "split": split}
    spec["pre_tokenizer"] = step
    spec["decoder"] = step


def template(before, after):
    """A TemplateProcessing with these (token, ids) before and after the text."""
    piece = lambda token: {"SpecialToken": {"id": token, "type_id": 0}}
    single = [piece(t) for t, _ in before] + [{"Sequence": {"id": "A", "type_id": 0}}] + [piece(t) for t, _ in after]
    return {"type": "TemplateProcessing", "single": single, "pair": single + [{"Sequence": {"id": "B", "type_id": 1}}],
            "special_tokens": {t: {"id": t, "ids": ids, "tokens": [t] * len(ids)} for t, ids in before + after}}


def main():
    bytes_base = small(SHARED / "tokenizers/qwen2-style/tokenizer.json", 120)
    gpt2_base = small(SHARED / "tokenizers/gpt2-style/tokenizer.json", 120)
    fallback_base = small(SHARED / "default-model/tokenizer.json", 200)

    for scheme, split in [("always", True), ("first", False), ("never", True)]:
        spec = copy.deepcopy(fallback_base)
        metaspace(spec, scheme, split)
        write(f"metaspace-{scheme}", spec)

    spec = copy.deepcopy(fallback_base)
    metaspace(spec, "first", False)
    spec["decoder"] = copy.deepcopy(fallback_base["decoder"])
    add_tokens(spec, normalized=False)
    write("metaspace-added", spec)

    for normalized in [False, True]:
        spec = copy.deepcopy(fallback_base)
        add_tokens(spec, normalized)
        write(f"prepend-added-{'normalized' if normalized else 'raw'}", spec)

    spec = copy.deepcopy(bytes_base)
    add_tokens(spec, normalized=True)
    ids = {token["content"]: token["id"] for token in spec["added_tokens"]}
    spec["post_processor"] = {"type": "Sequence", "processors": [
        {"type": "ByteLevel", "add_prefix_space": True, "trim_offsets": False, "use_regex": True},
        template([("<|im_start|>", [ids["<|im_start|>"]])],
                 [("<|im_end|>", [ids["<|im_end|>"], ids["<|endoftext|>"]])])]}
    spec["model"]["merges"] = [" ".join(merge) for merge in spec["model"]["merges"]]
    write("bytes-template", spec)

    spec = copy.deepcopy(bytes_base)
    spec["normalizer"] = {"type": "Sequence", "normalizers": [
        {"type": "Replace", "pattern": {"String": "  "}, "content": " "}, {"type": "NFC"}]}
    spec["model"]["ignore_merges"] = True
    write("bytes-replace", spec)

    spec = copy.deepcopy(gpt2_base)
    spec["pre_tokenizer"] = {"type": "Sequence", "pretokenizers": [
        {"type": "Digits", "individual_digits": True}, spec["pre_tokenizer"] | {"add_prefix_space": True}]}
    write("gpt2-digits-prefix", spec)

    spec = copy.deepcopy(fallback_base)
    spec["model"]["byte_fallback"] = False
    spec["decoder"] = None
    write("unknown-fused", spec)

    spec = copy.deepcopy(fallback_base)
    spec["model"] |= {"byte_fallback": False, "fuse_unk": False, "ignore_merges": True}
    metaspace(spec, "always", True)
    write("unknown-single", spec)

    for name in ["qwen2-style", "gpt2-style"]:
        folder = OUT / f"{name}-400"
        folder.mkdir(parents=True, exist_ok=True)
        source = SHARED / "tokenizers" / name
        (folder / "tokenizer.json").write_bytes((source / "tokenizer.json").read_bytes())
        lines = (source / "golden.jsonl").read_bytes().splitlines(keepends=True)
        (folder / "golden.jsonl").write_bytes(b"".join(lines[:400]))


if __name__ == "__main__":
    main()
