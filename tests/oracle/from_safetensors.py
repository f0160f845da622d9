#!/usr/bin/env python3
"""Bits per byte of a file under a checkpoint of ours, computed by PyTorch alone.

    from_safetensors.py CHECKPOINT FILE [--float64]

CHECKPOINT is a folder with model.safetensors (or that file); the settings come from its metadata.
The file is read in consecutive windows of seq_len bytes, each from a fresh start; the last one is
filled up with zeros that are not scored. That is what `mb-eval --window basic` does, and the two
must agree. Prints one line: bits_per_byte X bytes N. The weights are read with the public
safetensors package where it is installed, else with our own reader.
"""

import argparse
import json
import math
import pathlib
import sys

import numpy as np
import torch
import torch.nn.functional as F

import model as megabyte
import safetensors_file

try:
    import safetensors
except ImportError:
    safetensors = None


def read_checkpoint(path):
    """Returns (tensors, settings)."""
    if safetensors:
        with safetensors.safe_open(str(path), framework="numpy") as file:
            metadata = file.metadata() or {}
            tensors = {name: file.get_tensor(name) for name in file.keys()}
    else:
        tensors, metadata = safetensors_file.read(path)
    if "config" not in metadata:
        raise ValueError(f'{path}: no "config" in its metadata')
    return tensors, json.loads(metadata["config"])


def load(path, dtype=torch.float32):
    """Returns (model, settings); every tensor must be there and have its place and shape."""
    tensors, settings = read_checkpoint(path)
    model = megabyte.Megabyte(settings).to(dtype)
    model.load_state_dict({name: torch.tensor(value) for name, value in tensors.items()})
    return model.eval(), settings


def nats(model, content, length, batch=8):
    """Negative log-likelihood of all the bytes together."""
    count = -(-len(content) // length)
    x = np.zeros(count * length, np.int64)
    x[: len(content)] = np.frombuffer(content, np.uint8)
    real = np.arange(count * length) < len(content)
    x = torch.from_numpy(x).view(count, length)
    real = torch.from_numpy(real).view(count, length)
    total = 0.0
    with torch.no_grad():
        for window, scored in zip(x.split(batch), real.split(batch)):
            logits = model(window)[scored]
            total += F.cross_entropy(logits.double(), window[scored], reduction="sum").item()
    return total


def main():
    parser = argparse.ArgumentParser(description="Bits per byte of a file, by PyTorch.")
    parser.add_argument("checkpoint", type=pathlib.Path, help="folder with model.safetensors")
    parser.add_argument("file", type=pathlib.Path)
    parser.add_argument("--float64", action="store_true", help="compute in double precision")
    options = parser.parse_args()
    path = options.checkpoint
    if path.is_dir():
        path = path / "model.safetensors"
    try:
        model, settings = load(path, torch.float64 if options.float64 else torch.float32)
        content = options.file.read_bytes()
    except (OSError, ValueError, KeyError, RuntimeError) as error:
        sys.exit(f"from_safetensors.py: {error}")
    if not content:
        sys.exit(f"from_safetensors.py: {options.file}: empty, nothing to score")
    total = nats(model, content, settings["seq_len"])
    print(f"bits_per_byte {total / math.log(2) / len(content):.8f} bytes {len(content)}")


if __name__ == "__main__":
    main()
