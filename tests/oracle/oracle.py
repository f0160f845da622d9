#!/usr/bin/env python3
"""Writes tests/oracle/*.safetensors: what tiny models compute, according to PyTorch.

The C code must reproduce the files: oracle.safetensors of a MEGABYTE, and one for each of the
paper's variations and baselines (CASES). The models are those of model.py, written from the paper's
equations; everything here is computed in float64 from weights that are exact in float32, and
stored rounded to float32.

    oracle.py            writes the files
    oracle.py --check    computes them again and compares them with the committed ones, within
                         1e-6; compares float32, too; tries the models on facts that need no file

In a file (letters in model.py; N training steps):

    weight.<name>   F32                every parameter, under its name in model.safetensors
    input           U8  (B, T)         one batch
    logits          F32 (B, T, 256)    of that batch; of a PerceiverAR by spans of P bytes
    loss            F32 (1)            of that batch: nats, mean over all its bytes; of a
                                       PerceiverAR over the P bytes from begins[0] on
    grad.<name>     F32                of that loss
    inputs          U8  (N, B, T)      a batch for each training step
    losses          F32 (N)            of batch s before update s, the first one with weight.<name>
    grad_norms      F32 (N)            of all gradients together, before they are clipped to 1
    begins          U8  (N)            of a PerceiverAR: which bytes each step predicts, as the
                                       trainer draws them under seed 1

and in __metadata__ "config", the settings as JSON. Training is AdamW (0.9, 0.98), eps 1e-8, decay
0.1 of all tensors with two or more dimensions, clip 1, the learning rate of model.learning_rate.

Three things that a comparison should know. A key bias has no influence (softmax cancels it), so its
gradient is rounding noise: compare a gradient with a tolerance for the whole tensor, not element
by element. Rows of global.position that belong to the last patch never enter: their gradient
is 0. And the gradient jumps where the input of a ReLU changes its sign: with an input of 1e-7 the
last bit of a weight decides about a thousandth of a gradient's norm. So batches are drawn again
until no such input lies within NEAR of 0. Those of cross_two are older: with the ones drawn so,
SwiftShader's norm of step 3 is 1.3e-4 off, for a reason that was not found.
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

FOLDER = pathlib.Path(__file__).parent
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
SMALL = SETTINGS | {
    "seq_len": 16, "global.dim": 16, "global.layers": 1, "global.heads": 2, "local.dim": 12,
    "local.heads": 3, "batch": 2, "warmup": 1,
}  # fmt: skip
NEAR = 1e-4  # far beyond what rounding in float32 makes of ten steps
BEGINS = [6, 7, 3]  # megabyte_trainer_begin() under seed 1
CASES = {  # name of the file: settings, training steps
    "oracle": (SETTINGS, 10),
    "cross": (SMALL | {"cross_patch": 4}, 3),
    "cross_two": (SMALL | {"cross_patch": 2}, 3),
    "conv": (SMALL | {"conv": 1}, 3),
    "rope": (SMALL | {"rope": 1}, 3),
    "untied": (SMALL | {"tied": 0}, 3),
    "every": (SMALL | {"cross_patch": 3, "conv": 1, "rope": 1, "tied": 0}, 3),
    "without_local": (SMALL | {"model": "global", "conv": 1}, 3),
    "without_global": (SMALL | {"model": "local"}, 3),
    "without_global_cross": (SMALL | {"model": "local", "cross_patch": 4}, 3),
    "transformer": (SMALL | {"model": "local", "patch_size": 16}, 3),
    "perceiver": (SMALL | {"model": "perceiver", "patch_size": 5}, 3),
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


def least_turn(model, x, begin):
    """How near to 0 an input of a ReLU comes."""
    least = []

    def look(module, inputs, output):
        least.append(output.abs().min().item())

    rectified = [m for n, m in model.named_modules() if n.endswith(".up") or ".conv." in n]
    hooks = [module.register_forward_hook(look) for module in rectified]
    with torch.no_grad():
        model(x, begin) if model.kind == "perceiver" else model(x)
    for hook in hooks:
        hook.remove()
    return min(least)


def draw_batch(random, shape, model, begin):
    """Bytes at which the model's gradient does not jump."""
    while True:
        batch = draw_bytes(random, shape)
        if least_turn(model, indices(batch), begin) > NEAR:
            return batch


def make_model(settings, weights, dtype):
    model = megabyte.Megabyte(settings).to(dtype)
    model.load_state_dict({name: torch.tensor(value) for name, value in weights.items()})
    return model


def all_logits(model, settings, x):
    """Of every byte of x; of a PerceiverAR by spans from 0, P, 2P, ... on, the last up to T."""
    if model.kind != "perceiver":
        return model(x)
    latents, length = settings["patch_size"], settings["seq_len"]
    parts = [model(x, begin) for begin in range(0, length - latents + 1, latents)]
    done = len(parts) * latents
    if done < length:
        parts.append(model(x, length - latents)[:, done - length :])
    return torch.cat(parts, 1)


def compute(settings, steps, dtype, given=None):
    """Everything in the file of a case, as name -> array; from the batches of another, if given."""
    # RandomState and not default_rng: numpy keeps its stream the same from version to version.
    random = np.random.RandomState(2305)
    shapes = {n: tuple(p.shape) for n, p in megabyte.Megabyte(settings).named_parameters()}
    weights = draw_weights(random, shapes)
    batch = (settings["batch"], settings["seq_len"])
    tensors = {"weight." + name: value for name, value in weights.items()}

    def store(name, value):
        tensors[name] = np.atleast_1d(value.detach().numpy()).astype(np.float32)

    model = make_model(settings, weights, dtype)
    begins = [0] * steps
    if model.kind == "perceiver":
        begins = BEGINS
        tensors["begins"] = np.array(begins, dtype=np.uint8)
    first = given["input"] if given else draw_batch(random, batch, model, begins[0])
    store("logits", all_logits(model, settings, indices(first)))
    value = megabyte.loss(model, indices(first), begins[0])
    value.backward()
    store("loss", value)
    for name, parameter in model.named_parameters():
        store("grad." + name, parameter.grad)

    adam = megabyte.optimizer(model, settings["lr"])
    inputs, results = [], []
    for step in range(steps):
        lr = megabyte.learning_rate(step + 1, settings["lr"], settings["warmup"], steps)
        x = given["inputs"][step] if given else draw_batch(random, batch, model, begins[step])
        inputs.append(x)
        results.append(megabyte.train_step(model, adam, indices(x), lr, begin=begins[step]))
    tensors.update(input=first, inputs=np.stack(inputs))
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


def causal(settings, weights):
    """Logits up to t do not depend on byte t; of a MEGABYTE all behind it do."""
    random = np.random.RandomState(1)
    length = settings["seq_len"]
    x = indices(draw_bytes(random, (2, length)))
    model = make_model(settings, weights, torch.float64).eval()
    with torch.no_grad():
        logits = all_logits(model, settings, x)
        for t in range(length):
            other = x.clone()
            other[:, t] = (other[:, t] + 1) % megabyte.V
            moved = (all_logits(model, settings, other) != logits).any(-1).any(0)
            assert not moved[: t + 1].any(), f"logits up to {t} depend on byte {t}"
            if model.kind == "megabyte":
                assert moved[t + 1 :].all(), f"some logits behind {t} do not depend on byte {t}"


def facts(weights):
    """What must hold of the model whatever its weights are."""
    torch.manual_seed(1)
    random = np.random.RandomState(1)
    length, patch = SETTINGS["seq_len"], SETTINGS["patch_size"]
    x = indices(draw_bytes(random, (2, length)))
    model = make_model(SETTINGS, weights, torch.float64).eval()
    with torch.no_grad():
        logits = model(x)
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
    for name, (settings, steps) in CASES.items():
        expected, metadata = safetensors_file.read(FOLDER / f"{name}.safetensors")
        if json.loads(metadata["config"]) != settings:
            sys.exit(f"{name}.safetensors: made with other settings")
        found = compute(settings, steps, torch.float64)
        compare(found, expected, f"{name}: float64 against the file", 1e-6)
        found = compute(settings, steps, torch.float32, found)
        compare(found, expected, f"{name}: float32 against the file", 1e-4)
        weights = {n[len("weight.") :]: v for n, v in expected.items() if n.startswith("weight.")}
        causal(settings, weights)
        if name == "oracle":
            facts(weights)


def main():
    parser = argparse.ArgumentParser(description="Writes or checks the PyTorch oracle.")
    parser.add_argument("--check", action="store_true", help="compare with the committed files")
    if parser.parse_args().check:
        check()
        return
    for name, (settings, steps) in CASES.items():
        tensors = compute(settings, steps, torch.float64)
        file = FOLDER / f"{name}.safetensors"
        safetensors_file.write(file, tensors, {"config": json.dumps(settings)})
        print(f"{file.name}: {file.stat().st_size} bytes, losses {tensors['losses'].round(4)}")


if __name__ == "__main__":
    main()
