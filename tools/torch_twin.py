#!/usr/bin/env python3
"""Times a training step of the same model in PyTorch, to compare `mb-bench step` with.

    torch_twin.py --batch 8 --precision fp32 --steps 20 --json

The model and its optimizer are those of tests/oracle/model.py, the paper's. A step is what a step
of mb-train is: forward, loss, backward, clip at 1, AdamW. Attention is PyTorch 2's fused one
where there is one, and so is AdamW. The data is random bytes, already on the device; no value of
it is read back inside a step, and the clock stops when the device is done. bf16 is PyTorch's own
mixed precision (autocast; weights, moments and loss in fp32).

A PyTorch that a distribution built takes the system's BLAS, and Debian's default one is more than
twenty times slower than OpenBLAS: install libopenblas0-openmp first, or the comparison in fp32
means nothing. "blas" in the result names the library that was in use.
"""

import argparse
import contextlib
import json
import os
import pathlib
import statistics
import sys
import time

try:
    import torch

    sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent / "tests" / "oracle"))
    import model as megabyte
except ImportError:
    torch = megabyte = None  # --help does without

PRESETS = {
    "small": {
        "patch_size": 8,
        "seq_len": 1024,
        "global.dim": 512,
        "global.layers": 6,
        "global.heads": 8,
        "local.dim": 256,
        "local.layers": 4,
        "local.heads": 4,
        "dropout": 0.0,
    },
}


def parse():
    attention = megabyte.ATTENTION if megabyte else ("explicit", "fused")
    on_gpu = torch and torch.cuda.is_available()
    parser = argparse.ArgumentParser(description="Training-step speed of MEGABYTE in PyTorch.")
    parser.add_argument("--preset", choices=PRESETS, default="small")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE",
                        help="change a setting of the preset; repeatable")  # fmt: skip
    parser.add_argument("--batch", type=int, default=8, help="sequences in a step (default 8)")
    parser.add_argument("--precision", choices=["fp32", "bf16"], default="fp32")
    parser.add_argument("--dropout", type=float, default=0.0)
    parser.add_argument("--attention", choices=attention,
                        default="fused" if "fused" in attention else "explicit")  # fmt: skip
    parser.add_argument("--device", default="cuda" if on_gpu else "cpu")
    parser.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)),
                        help="CPU threads (default: all that this process may use)")  # fmt: skip
    parser.add_argument("--warm-up", type=int, default=3, help="steps before the clock (default 3)")
    parser.add_argument("--steps", type=int, default=10, help="steps that count (default 10)")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--json", action="store_true", help="one JSON object instead of a line")
    options = parser.parse_args()
    settings = dict(PRESETS[options.preset], dropout=options.dropout)
    for change in options.set:
        key, equals, value = change.partition("=")
        if not equals or key not in settings:
            parser.error(f"--set {change}: not KEY=VALUE with a KEY of {' '.join(settings)}")
        try:
            settings[key] = type(settings[key])(value)
        except ValueError:
            parser.error(f"--set {change}: {value} is not a number")
    if min(options.batch, options.steps, options.threads) < 1 or options.warm_up < 0:
        parser.error("--batch, --steps and --threads are at least 1, --warm-up at least 0")
    return options, settings


def make_optimizer(model, lr):
    """AdamW in one kernel where this PyTorch has it for this device; returns (adam, whether)."""
    try:
        return megabyte.optimizer(model, lr, fused=True), True
    except (TypeError, RuntimeError):
        return megabyte.optimizer(model, lr), False


def blas_libraries():
    """Names of the matrix libraries in this process, as far as they are separate files."""
    with open("/proc/self/maps") as maps:
        paths = {pathlib.Path(line.split()[-1]) for line in maps if ".so" in line}
    return sorted(p.name for p in paths if any(s in p.name for s in ("blas", "mkl", "dnnl")))


def main():
    options, settings = parse()
    if not torch:
        sys.exit("torch_twin.py: this Python has no PyTorch")
    torch.set_num_threads(options.threads)
    torch.manual_seed(options.seed)
    device = torch.device(options.device)
    on_gpu = device.type == "cuda"
    try:
        model = megabyte.Megabyte(settings, options.attention)
    except ValueError as error:
        sys.exit(f"torch_twin.py: {error}")
    megabyte.initialise(model)
    model = model.to(device).train()
    lr = 1e-4
    adam, fused_adam = make_optimizer(model, lr)
    shape = (options.batch, settings["seq_len"])
    x = torch.randint(0, megabyte.V, shape, device=device)

    def step():
        mixed = contextlib.nullcontext()
        if options.precision == "bf16":
            mixed = torch.autocast(device.type, torch.bfloat16)
        start = time.perf_counter()
        loss, _ = megabyte.train_step(model, adam, x, lr, mixed)
        if on_gpu:
            torch.cuda.synchronize(device)
        return time.perf_counter() - start, loss

    for _ in range(options.warm_up):
        step()
    times, losses = zip(*(step() for _ in range(options.steps)))
    median = statistics.median(times)
    flops = megabyte.flops_per_byte(settings)
    speed = options.batch * settings["seq_len"] / median
    result = {
        "bytes_per_second": speed,
        "flops_per_byte": flops,
        "flops_per_second": 3 * flops * speed,  # the backward pass takes twice the forward
        "step_seconds": median,
        "step_seconds_min": min(times),
        "step_seconds_max": max(times),
        "steps": options.steps,
        "batch": options.batch,
        "preset": options.preset,
        "settings": settings,
        "parameters": sum(p.numel() for p in model.parameters()),
        "precision": options.precision,
        "attention": options.attention,
        "fused_adamw": fused_adam,
        "device": torch.cuda.get_device_name(device) if on_gpu else "cpu",
        "threads": torch.get_num_threads(),
        "blas": blas_libraries(),
        "torch": torch.__version__,
        "nats_per_byte": losses[-1].item(),
    }
    if on_gpu:
        result["memory_bytes"] = torch.cuda.max_memory_allocated(device)
    if options.json:
        print(json.dumps(result))
    else:
        print(f"{options.preset} batch {options.batch} {options.precision}", end=" ")
        print(f"on {result['device']}: {speed:.0f} bytes/s, {median * 1e3:.1f} ms a step,", end=" ")
        print(f"{result['flops_per_second'] / 1e9:.1f} GFLOP/s (torch {torch.__version__})")


if __name__ == "__main__":
    main()
