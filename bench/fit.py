#!/usr/bin/env python3
"""Compares the memory that Cria says a run takes with what the GPU has then given out. Needs Python and an NVIDIA GPU.

  fit.py CRIA SMALL_MODEL MODEL...            for instance  fit.py bin/cria models/cria-stories-11m llama-1.1b.gguf

For each model (a folder or a GGUF file) with each type of weights and length of context it asks for the estimate
(`cria run --dry-run-fit`), then runs `cria bench` with a cache that is full up to the last positions, and reads what
all programs use meanwhile. What the driver itself takes is measured with the small model, whose own bytes
are subtracted, and left out. The GPU should have nothing else to do.
"""

import argparse
import ctypes
import json
import statistics
import subprocess
import sys
import time


def estimate(cria, model, weights, context):
    out = subprocess.run([cria, "run", model, "--dry-run-fit", "--json", "--weights", weights, "--max-context",
                          str(context)], check=True, capture_output=True, text=True).stdout
    return json.loads(out)["total_bytes"]


class Memory(ctypes.Structure):
    """What NVIDIA's management library tells, in bytes."""

    _fields_ = [("total", ctypes.c_ulonglong), ("free", ctypes.c_ulonglong), ("used", ctypes.c_ulonglong)]


class Gpu:
    """The first GPU."""

    def __init__(self):
        self.library = ctypes.CDLL("libnvidia-ml.so.1")
        self.handle = ctypes.c_void_p()
        if self.library.nvmlInit_v2() or self.library.nvmlDeviceGetHandleByIndex_v2(0, ctypes.byref(self.handle)):
            sys.exit("fit: NVIDIA's management library finds no GPU")

    def bytes_in_use(self):
        memory = Memory()
        if self.library.nvmlDeviceGetMemoryInfo(self.handle, ctypes.byref(memory)):
            sys.exit("fit: the GPU does not tell what memory is in use")
        return memory.used


def bytes_of_bench(gpu, cria, model, weights, context):
    """What the GPU has given out while the benchmark generates, less what it had before."""
    before = gpu.bytes_in_use()
    steps = 8
    program = subprocess.Popen([cria, "bench", model, "--weights", weights, "-p", "0", "-n", str(steps), "--depth",
                                str(context - 2 * steps), "-r", "50", "--tuning", "off", "--format", "json"],
                               stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    samples = []
    while program.poll() is None:
        samples.append(gpu.bytes_in_use())
        time.sleep(0.02)
    if program.returncode != 0:
        sys.exit(f"fit: {program.stderr.read().strip()}")
    # It measures the bandwidth first, and in the end frees what it has; generating is what takes longest between.
    return statistics.mode(samples[len(samples) // 2:]) - before


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("cria")
    parser.add_argument("small_model")
    parser.add_argument("models", nargs="+")
    parser.add_argument("--weights", default="f16,int8,int4")
    parser.add_argument("--contexts", default="2048,16384")
    arguments = parser.parse_args()
    gpu = Gpu()
    small = (arguments.small_model, "auto", 512)
    driver = bytes_of_bench(gpu, arguments.cria, *small) - estimate(arguments.cria, *small)
    print(f"The driver takes {driver / 1e6:.0f} MB.\n")
    print("| model | weights | context | estimate, MB | in use, MB | off by |\n|---|---|--:|--:|--:|--:|")
    errors = []
    for model in arguments.models:
        for weights in arguments.weights.split(","):
            for context in map(int, arguments.contexts.split(",")):
                said = estimate(arguments.cria, model, weights, context)
                used = bytes_of_bench(gpu, arguments.cria, model, weights, context) - driver
                errors.append(said / used - 1)
                name = model.rsplit("/", 1)[-1]
                print(f"| {name} | {weights} | {context} | {said / 1e6:.0f} | {used / 1e6:.0f} | {errors[-1]:+.1%} |")
    print(f"\nOff by {statistics.mean(map(abs, errors)):.1%} in the mean, {max(errors, key=abs):+.1%} at worst.")


if __name__ == "__main__":
    main()
