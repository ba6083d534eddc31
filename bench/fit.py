#!/usr/bin/env python3
"""Compares the memory that Cria says a run takes with what the GPU has then given out. Needs Python and nvidia-smi.

  fit.py CRIA SMALL_MODEL MODEL...            for instance  fit.py bin/cria models/cria-stories-11m llama-1.1b.gguf

For each model (a folder or a GGUF file) with each type of weights and length of context it asks for the estimate
(`cria run --dry-run-fit`), then runs `cria bench` with a cache that is full up to the last position, and reads the memory
that all programs use from nvidia-smi. What the driver itself takes is measured with the small model, whose own bytes are
subtracted, and left out. The GPU should have nothing else to do.
"""

import argparse
import json
import statistics
import subprocess
import sys
import time


def used_bytes():
    out = subprocess.run(["nvidia-smi", "--query-gpu=memory.used", "--format=csv,noheader,nounits", "--id=0"],
                         check=True, capture_output=True, text=True).stdout
    return int(out.split()[0]) << 20


def estimate(cria, model, weights, context):
    out = subprocess.run([cria, "run", model, "--dry-run-fit", "--json", "--weights", weights, "--max-context",
                          str(context)], check=True, capture_output=True, text=True).stdout
    return json.loads(out)["total_bytes"]


def most_used(cria, model, weights, context):
    """The most memory in use while the benchmark runs, less what was in use before."""
    before = used_bytes()
    steps = 8
    program = subprocess.Popen([cria, "bench", model, "--weights", weights, "-p", "0", "-n", str(steps), "--depth",
                                str(context - 2 * steps), "-r", "200", "--tuning", "off", "--format", "json"],
                               stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    most = 0
    while program.poll() is None:
        most = max(most, used_bytes())
        time.sleep(0.02)
    if program.returncode != 0:
        sys.exit(f"fit: {program.stderr.read().strip()}")
    time.sleep(0.5)  # the driver takes a while to give back
    return most - before


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("cria")
    parser.add_argument("small_model")
    parser.add_argument("models", nargs="+")
    parser.add_argument("--weights", default="f16,int8,int4")
    parser.add_argument("--contexts", default="2048,16384")
    arguments = parser.parse_args()
    small = (arguments.small_model, "auto", 512)
    driver = most_used(arguments.cria, *small) - estimate(arguments.cria, *small)
    print(f"The driver takes {driver / 1e6:.0f} MB.\n")
    print("| model | weights | context | estimate, MB | in use, MB | off by |\n|---|---|--:|--:|--:|--:|")
    errors = []
    for model in arguments.models:
        for weights in arguments.weights.split(","):
            for context in map(int, arguments.contexts.split(",")):
                said = estimate(arguments.cria, model, weights, context)
                used = most_used(arguments.cria, model, weights, context) - driver
                errors.append(said / used - 1)
                name = model.rsplit("/", 1)[-1]
                print(f"| {name} | {weights} | {context} | {said / 1e6:.0f} | {used / 1e6:.0f} | {errors[-1]:+.1%} |")
    print(f"\nOff by {statistics.mean(map(abs, errors)):.1%} in the mean, {max(errors, key=abs):+.1%} at worst.")


if __name__ == "__main__":
    main()
