"""halves.py cpu|vulkan MB_TRAIN: N steps equal N/2 and a resume of N/2, as digests of the files.

On the cpu or on every Vulkan device there is, in every precision, with dropout, accumulation and
validation on. The second half is begun by another process from the checkpoint of the first. What
may change the bits (another split into micro-batches, other threads) must be told in one line.
"""

import concurrent.futures
import hashlib
import json
import os
import shutil
import subprocess
import sys
import tempfile

STEPS, HALF = 6, 3
MODEL = """seq_len=64 patch_size=4 global.dim=32 global.heads=2 global.layers=1 local.dim=16
    local.heads=2 local.layers=1 batch=4 micro_batch=2 local_group=3 dropout=0.2 warmup=4
    lr=0.01""".split()
FILES = ("model.safetensors", "optimizer.safetensors", "state.json")
# What programs are started with, on a driver that needs a loader of its own (tools/drivers).
RUN_WITH = os.environ.get("RUN_WITH", "").split()


def call(mb_train, device, precision, out, more=()):
    line = RUN_WITH + [mb_train, "--device", device, "--precision", precision, "--preset", "tiny"]
    for setting in MODEL:
        line += ["--set", setting]
    line += list(more)
    line += ["--steps", str(STEPS), "--save-every", str(HALF), "--keep", "0", "--seed", "5"]
    line += ["--shuffle", "2K", "--val-fraction", "0.3", "--val-bytes", "300", "--out", out]
    done = subprocess.run(line + ["data"], stderr=subprocess.PIPE)
    errors = done.stderr.decode()
    assert done.returncode == 0, (line, errors)
    return errors


def digests(out, step=STEPS):
    result = {}
    for name in FILES:
        with open("%s/checkpoints/%08d/%s" % (out, step, name), "rb") as f:
            result[name] = hashlib.sha256(f.read()).hexdigest()
    return result


def first_half(whole, out):
    """A run folder as it was when the first half had ended."""
    shutil.copytree(whole, out)
    shutil.rmtree("%s/checkpoints/%08d" % (out, STEPS))


def check(mb_train, device, precision):
    name = "%s-%s" % (device.replace(":", "-"), precision)
    whole, out = name + "-whole", name + "-halves"
    call(mb_train, device, precision, whole)
    first_half(whole, out)
    errors = call(mb_train, device, precision, out)
    assert "bits may differ" not in errors, errors
    assert "after step %d" % HALF in errors, errors
    assert digests(whole) == digests(out), (device, precision)
    assert digests(whole, HALF)["model.safetensors"] != digests(whole)["model.safetensors"]


def check_split(mb_train):
    """The same run in other micro-batches and groups."""
    first_half("cpu-fp32-whole", "split")
    other = ["--set", "micro_batch=4", "--set", "local_group=0"]
    errors = call(mb_train, "cpu", "fp32", "split", other)
    said = [line for line in errors.splitlines() if "bits may differ" in line]
    assert len(said) == 1 and "micro_batch was 2 and is 4" in said[0], errors
    assert "local_group was 3 and is 0" in said[0], errors


def check_moved(mb_train):
    """A checkpoint of another machine, as far as its state says."""
    first_half("cpu-fp32-whole", "moved")
    path = "moved/checkpoints/%08d/state.json" % HALF
    with open(path) as f:
        made_on = json.load(f)["state"]["made_on"]
    assert made_on["device"].startswith("cpu: ") and made_on["micro_batch"] == 2, made_on
    assert set(made_on) >= {"device", "driver", "threads", "build", "micro_batch",
                            "local_group"}, made_on
    if made_on["threads"] == 1 != int(os.environ["OMP_NUM_THREADS"]):
        print("cpu: one thread, whatever is asked for: built without OpenMP")
        return
    assert made_on["threads"] == int(os.environ["OMP_NUM_THREADS"]), made_on
    more = dict(os.environ, OMP_NUM_THREADS=str(made_on["threads"] + 1))
    before = dict(os.environ)
    os.environ.update(more)
    errors = call(mb_train, "cpu", "fp32", "moved")
    os.environ.update(before)
    said = [line for line in errors.splitlines() if "bits may differ" in line]
    assert len(said) == 1 and "threads was" in said[0] and "driver" not in said[0], errors


def devices(kind, mb_train):
    line = RUN_WITH + [mb_train, "--list-devices"]
    listed = subprocess.run(line, stdout=subprocess.PIPE, check=True)
    names = [line.split()[0] for line in listed.stdout.decode().splitlines() if line[:1].strip()]
    return [name for name in names if name.split(":")[0] == kind]


def precisions(mb_train):
    """Those that this build has."""
    for name in ("fp32", "bf16", "fp16"):
        line = [mb_train, "--device", "cpu", "--precision", name, "--dry-run"]
        done = subprocess.run(line, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        if done.returncode == 0:
            yield name


def main():
    kind, mb_train = sys.argv[1], os.path.realpath(sys.argv[2])
    names = devices(kind, mb_train)
    if not names:
        print("skipped: no Vulkan device")
        sys.exit(77)
    with tempfile.TemporaryDirectory() as scratch:
        os.chdir(scratch)
        os.environ["XDG_CACHE_HOME"] = scratch + "/cache"
        os.environ.setdefault("OMP_NUM_THREADS", "2" if kind == "cpu" else "1")
        os.environ["GOMP_SPINCOUNT"] = "0"
        os.environ["OMP_WAIT_POLICY"] = "passive"
        os.mkdir("data")
        for i in range(8):
            with open("data/%d" % i, "w") as f:
                f.write("".join("%d\n" % (n * n) for n in range(100 * i, 100 * i + 100)))
        runs = [(device, precision) for device in names for precision in precisions(mb_train)]
        with concurrent.futures.ThreadPoolExecutor(2) as pool:
            list(pool.map(lambda run: check(mb_train, *run), runs))
        for run in runs:
            print("%s, %s: %d = %d + %d" % (*run, STEPS, HALF, STEPS - HALF))
        if kind == "cpu":
            check_split(mb_train)
            check_moved(mb_train)
        os.chdir("/")


if __name__ == "__main__":
    main()
