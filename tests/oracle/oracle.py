#!/usr/bin/env python3
"""Writes tests/oracle/oracle.safetensors: what a tiny MEGABYTE computes, according to PyTorch.

The C code must reproduce the file. The model is that of model.py, written from the paper's
equations; everything here is computed in float64 from weights that are exact in float32, and
stored rounded to float32.

    oracle.py            writes the file
    oracle.py --check    computes it again and compares it with the committed one, within 1e-6;
                         compares float32, too; tries the model on facts that need no file

In the file (letters in model.py; N training steps):

    weight.<name>   F32                every parameter, under its name in model.safetensors
    input           U8  (B, T)         one batch
    logits          F32 (B, T, 256)    of that batch
    loss            F32 (1)            of that batch: nats, mean over all its bytes
    grad.<name>     F32                of that loss
    inputs          U8  (N, B, T)      a batch for each training step
    losses          F32 (N)            of batch s before update s, the first one with weight.<name>
    grad_norms      F32 (N)            of all gradients together, before they are clipped to 1

and in __metadata__ "config", the settings as JSON. Training is AdamW (0.9, 0.98), eps 1e-8, decay
0.1 of all tensors with two or more dimensions, clip 1, the learning rate of model.learning_rate.

Two things that a comparison should know. A key bias has no influence (softmax cancels it), so its
gradient is rounding noise: compare a gradient with a tolerance for the whole tensor, not element
by element. And rows of global.position that belong to the last patch never enter: their gradient
is 0.
"""

import argparse
import json
import math
import pathlib
import sys

import numpy as np
import torch

import model as megabyte
import safetensors_file

FILE = pathlib.Path(__file__).with_name("oracle.safetensors")
STEPS = 10  # of training
SETTINGS = {
    "patch_size": 4,
    "seq_len": 24,
    "global.dim": 24,
    "global.layers": 2,
    "global.heads": 3,
    "local.dim": 16,
    "local.layers": 2,
    "local.heads": 2,
    "dropout": 0.0,
    "batch": 3,
    "lr": 0.01,
    "warmup": 3,
}


def draw_weights(random, shapes):
    """Values that leave nothing at 0 or 1, so that no gradient is zero by chance of the start."""
    weights = {}
    for name, shape in shapes.items():
        normal = random.standard_normal(shape)
        if name.endswith(".gain"):
            value = 1 + 0.2 * normal
        elif name.endswith(".bias"):
            value = 0.1 * normal
        elif name.endswith(".weight"):
            value = 0.15 * normal
        elif name.startswith("global."):  # embedding, position, pad: so small that eps shows
            value = 0.05 * normal
        else:
            value = 0.3 * normal
        weights[name] = value.astype(np.float32)
    return weights


def draw_bytes(random, shape):
    """Mostly a few values that can be learned, 0 and 255 among them; one in four is any byte."""
    few = random.choice(np.array([0, 10, 32, 97, 101, 116, 128, 255]), shape)
    any_byte = random.randint(0, 256, shape)
    return np.where(random.random_sample(shape) < 0.75, few, any_byte).astype(np.uint8)


def indices(array):
    return torch.from_numpy(array.astype(np.int64))


def make_model(weights, dtype):
    model = megabyte.Megabyte(SETTINGS).to(dtype)
    model.load_state_dict({name: torch.tensor(value) for name, value in weights.items()})
    return model


def compute(dtype):
    """Everything in the file, as name -> array."""
    # RandomState and not default_rng: numpy keeps its stream the same from version to version.
    random = np.random.RandomState(2305)
    shapes = {n: tuple(p.shape) for n, p in megabyte.Megabyte(SETTINGS).named_parameters()}
    weights = draw_weights(random, shapes)
    batch = (SETTINGS["batch"], SETTINGS["seq_len"])
    first = draw_bytes(random, batch)
    inputs = draw_bytes(random, (STEPS, *batch))
    tensors = {"weight." + name: value for name, value in weights.items()}
    tensors.update(input=first, inputs=inputs)

    def store(name, value):
        tensors[name] = np.atleast_1d(value.detach().numpy()).astype(np.float32)

    model = make_model(weights, dtype)
    store("logits", model(indices(first)))
    value = megabyte.loss(model, indices(first))
    value.backward()
    store("loss", value)
    for name, parameter in model.named_parameters():
        store("grad." + name, parameter.grad)

    adam = megabyte.optimizer(model, SETTINGS["lr"])
    results = []
    for step in range(1, STEPS + 1):
        lr = megabyte.learning_rate(step, SETTINGS["lr"], SETTINGS["warmup"], STEPS)
        results.append(megabyte.train_step(model, adam, indices(inputs[step - 1]), lr))
    store("losses", torch.stack([loss for loss, _ in results]))
    store("grad_norms", torch.stack([norm for _, norm in results]))
    return tensors


def compare(found, expected, what, tolerance):
    """Largest difference of each tensor against its largest value; exits when one is too far."""
    if found.keys() != expected.keys():
        sys.exit(f"{what}: other tensors: {sorted(found.keys() ^ expected.keys())}")
    worst, worst_name = 0.0, "none"
    for name, array in expected.items():
        if found[name].shape != array.shape or found[name].dtype != array.dtype:
            sys.exit(f"{what}: {name} has another shape or type")
        a, b = found[name].astype(np.float64), array.astype(np.float64)
        difference = np.abs(a - b).max() / max(np.abs(b).max(), 1e-30)
        if not difference <= worst:
            worst, worst_name = difference, name
    print(f"{what}: largest relative difference {worst:.2e} ({worst_name})")
    if not worst <= tolerance:
        sys.exit(f"{what}: that is beyond {tolerance:g}")


def facts(weights):
    """What must hold of the model whatever its weights are."""
    torch.manual_seed(1)
    random = np.random.RandomState(1)
    length, patch = SETTINGS["seq_len"], SETTINGS["patch_size"]
    x = indices(draw_bytes(random, (2, length)))
    model = make_model(weights, torch.float64).eval()
    with torch.no_grad():
        logits = model(x)
        for t in range(length):
            other = x.clone()
            other[:, t] = (other[:, t] + 1) % megabyte.V
            moved = (model(other) != logits).any(-1).any(0)
            assert not moved[: t + 1].any(), f"logits up to {t} depend on byte {t}"
            assert moved[t + 1 :].all(), f"some logits behind {t} do not depend on byte {t}"
        start = getattr(model, "global")(x)[:, :patch]
        other = getattr(model, "global")((x + 1) % megabyte.V)[:, :patch]
        assert torch.equal(start, other), "the first patch of the global model depends on the input"
        # Positions go up to T, but a shorter input is the start of a longer one.
        assert torch.allclose(model(x[:, : 2 * patch]), logits[:, : 2 * patch], atol=1e-12)

        megabyte.initialise(model)
        bits = megabyte.loss(model, x).item() / math.log(2)
    assert abs(bits - 8) < 0.05, f"untrained: {bits} bits a byte"
    paper_text = {
        "patch_size": 8, "seq_len": 8192, "global.dim": 2048, "global.layers": 14,
        "local.dim": 1024, "local.layers": 18,
    }  # fmt: skip
    flops = megabyte.flops_per_byte(paper_text)
    assert abs(flops / 645e6 - 1) < 1e-3, f"paper-text takes {flops} FLOPs a byte"
    print(f"facts: causal; the first patch sees nothing; untrained {bits:.4f} bits a byte; "
          f"paper-text {flops / 1e6:.1f} MFLOP a byte")  # fmt: skip


def check():
    expected, metadata = safetensors_file.read(FILE)
    if json.loads(metadata["config"]) != SETTINGS:
        sys.exit(f"{FILE.name}: made with other settings")
    compare(compute(torch.float64), expected, "float64 against the file", 1e-6)
    compare(compute(torch.float32), expected, "float32 against the file", 1e-4)
    facts({n[len("weight.") :]: v for n, v in expected.items() if n.startswith("weight.")})


def main():
    parser = argparse.ArgumentParser(description="Writes or checks the PyTorch oracle.")
    parser.add_argument("--check", action="store_true", help="compare with the committed file")
    if parser.parse_args().check:
        check()
        return
    tensors = compute(torch.float64)
    safetensors_file.write(FILE, tensors, {"config": json.dumps(SETTINGS)})
    print(f"{FILE.name}: {FILE.stat().st_size} bytes, losses {tensors['losses'].round(4)}")


if __name__ == "__main__":
    main()
