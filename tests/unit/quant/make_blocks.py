"""Writes ggml_blocks.bin: blocks of every GGUF type, and the numbers that llama.cpp's own decoder makes of them.

    make_blocks.py CRIA LLAMA_QUANTIZE

CRIA writes the default model as a GGUF file, LLAMA_QUANTIZE (bench/peers.sh) quantises it to each type, and then that
file to F32, which is what its decoder says. Of the first row of blk.0.ffn_down.weight the first 256 weights are kept:
for each type its name (8 bytes, zeros at the end), the blocks, then 256 floats.
"""
import struct
import subprocess
import sys
import tempfile
from pathlib import Path

TYPES = {"Q4_0": (32, 18), "Q4_1": (32, 20), "Q5_0": (32, 22), "Q5_1": (32, 24), "Q8_0": (32, 34), "Q2_K": (256, 84),
         "Q3_K": (256, 110), "Q4_K": (256, 144), "Q5_K": (256, 176), "Q6_K": (256, 210), "IQ4_NL": (32, 18),
         "IQ4_XS": (256, 136)}
IDS = {"F32": 0, "Q4_0": 2, "Q4_1": 3, "Q5_0": 6, "Q5_1": 7, "Q8_0": 8, "Q2_K": 10, "Q3_K": 11, "Q4_K": 12,
       "Q5_K": 13, "Q6_K": 14, "IQ4_NL": 20, "IQ4_XS": 23}
TENSOR = "blk.0.ffn_down.weight"
HERE = Path(__file__).parent


class Reader:
    def __init__(self, data):
        self.data, self.at = data, 0

    def number(self, form):
        value, = struct.unpack_from("<" + form, self.data, self.at)
        self.at += struct.calcsize(form)
        return value

    def string(self):
        size = self.number("Q")
        self.at += size
        return self.data[self.at - size:self.at].decode()

    def value(self, kind):
        if kind == 8:
            return self.string()
        if kind == 9:
            kind, count = self.number("I"), self.number("Q")
            return [self.value(kind) for _ in range(count)]
        return self.number("BbHhIif?.."[kind] if kind < 8 else "Qqd"[kind - 10])


def first_bytes(path, kind, count):
    """The first bytes of TENSOR, which must be of that type."""
    reader = Reader(path.read_bytes())
    assert reader.data[:4] == b"GGUF"
    reader.at = 8
    tensors, fields = reader.number("Q"), reader.number("Q")
    for _ in range(fields):
        reader.string()
        reader.value(reader.number("I"))
    offset = None
    for _ in range(tensors):
        name = reader.string()
        for _ in range(reader.number("I")):
            reader.number("Q")
        found, place = reader.number("I"), reader.number("Q")
        if name == TENSOR:
            assert found == IDS[kind], (path, found)
            offset = place
    begin = (reader.at + 31) // 32 * 32 + offset
    return reader.data[begin:begin + count]


def main():
    cria, quantize = sys.argv[1:]
    with tempfile.TemporaryDirectory() as folder, open(HERE / "ggml_blocks.bin", "wb") as out:
        base = Path(folder) / "f32.gguf"
        model = HERE.parents[2] / "models/cria-stories-11m"
        subprocess.run([cria, "quantize", model, base, "--weights", "f32"], check=True)
        for name, (elements, size) in TYPES.items():
            blocks, floats = Path(folder) / "blocks.gguf", Path(folder) / "floats.gguf"
            subprocess.run([quantize, "--pure", base, blocks, name], check=True, capture_output=True)
            subprocess.run([quantize, "--allow-requantize", blocks, floats, "F32"], check=True, capture_output=True)
            out.write(name.encode().ljust(8, b"\0") + first_bytes(blocks, name, 256 // elements * size))
            out.write(first_bytes(floats, "F32", 1024))


main()
