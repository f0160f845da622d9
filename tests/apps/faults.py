"""faults.py cpu|vulkan MB_TRAIN MB_TRAIN_FAULTY: devices that fail, and values that are not finite.

A run whose device is lost, hangs or refuses memory at any point of a step ends with the bits of a
run that had no trouble. A step whose gradient is not finite changes nothing, is told of, and can
be done again from its replay file. MB_TRAIN_FAULTY is mb-train with faulty.c.
"""

import concurrent.futures
import json
import os
import subprocess
import sys
import tempfile

MODEL = """seq_len=64 global.dim=32 global.heads=2 global.layers=1 local.dim=16 local.heads=2
    local.layers=1 batch=4 micro_batch=2 dropout=0.1 warmup=5 lr=0.01""".split()
FILES = ("model.safetensors", "optimizer.safetensors")
STEPS = 12
POINTS = 20  # of a step, at which the device is lost
BAD = 7      # the step that is spoiled


def make_data():
    with open("data.txt", "w") as f:
        f.write("".join("%d\n" % n for n in range(1000, 9000)))


class Device:
    """A device, with the two programs."""

    def __init__(self, name, programs, first):
        """first: of several drivers; what all have in common is tried there, and less elsewhere."""
        self.name, self.first = name, first
        self.points, self.refused = (POINTS, 12) if first else (1, 2)
        self.train, self.faulty = programs
        # Kernels that are tried whenever a device opens would take more than all else here, where
        # it opens twice in most processes: check_tried() has them, and the test 'fault'.
        self.options = ["--device", name]
        if name != "cpu":
            self.options += ["--disable", "shared-tiles", "--disable", "long-loads"]

    def run(self, out, *more, faults=None, steps=STEPS, counts=None, status=0):
        line = [self.faulty if faults else self.train, *self.options, "--out", out,
                "--preset", "tiny"]
        for setting in MODEL:
            line += ["--set", setting]
        line += ["--steps", str(steps), "--save-every", "4", "--keep", "0", "--log-every", "1"]
        env = dict(os.environ, FAULTS=faults or "", COUNTS=counts or "")
        done = subprocess.run(line + list(more) + ["data.txt"], env=env, stderr=subprocess.PIPE,
                              stdout=subprocess.PIPE, timeout=300)
        errors = done.stderr.decode()
        assert done.returncode == status, (self.name, out, faults, done.returncode, errors)
        return errors

    def replay(self, file, out, faults=None, status=0, plain=False):
        line = [self.train if plain else self.faulty, *self.options, "--replay", file, "--out", out,
                "--json"]
        done = subprocess.run(line, env=dict(os.environ, FAULTS=faults or "", COUNTS=""),
                              stderr=subprocess.PIPE, stdout=subprocess.PIPE, timeout=300)
        assert done.returncode == status, (file, faults, done.returncode, done.stderr.decode())
        return json.loads(done.stdout) if done.stdout else None


def files(out, step):
    return [open("%s/checkpoints/%08d/%s" % (out, step, name), "rb").read() for name in FILES]


def state(out, step):
    """The state of a checkpoint, but for which of the two programs made it."""
    with open("%s/checkpoints/%08d/state.json" % (out, step)) as f:
        read = json.load(f)["state"]
    read["made_on"].pop("build")
    return read


def same(a, b, step=STEPS):
    assert state(a, step) == state(b, step), (state(a, step), state(b, step))
    for x, y, name in zip(files(a, step), files(b, step), FILES):
        assert x == y, (a, b, step, name)


def steps_of(out):
    with open(out + "/metrics.jsonl") as f:
        return [json.loads(line)["step"] for line in f]


def count(device, steps):
    """Points, allocations of a run of so many steps, which ends with the right bits."""
    out = "%s-count-%d" % (device.name, steps)
    if not os.path.exists(out):
        device.run(out, faults="none", steps=steps, counts=out + ".counts")
    points, allocations, _ = open(out + ".counts").read().split()
    return int(points), int(allocations), out


def check_lost(device, whole):
    points, _, out = count(device, STEPS)
    same(out, whole)
    a_step = points - count(device, STEPS - 1)[0]
    assert a_step > POINTS, a_step
    # In the middle of the run, beyond a checkpoint: a step from its first point on.
    first = points - 5 * a_step
    for i in range(device.points):
        at = first + i * a_step // device.points
        out = "%s-lost-%d" % (device.name, at)
        errors = device.run(out, faults="lost@%d" % at)
        assert "was lost" in errors and "opened anew (1 of 3)" in errors, errors
        assert "goes on after step 4" in errors or "goes on after step 8" in errors, errors
        same(out, whole)
        assert steps_of(out) == list(range(1, STEPS + 1)), steps_of(out)
    for at in (first + a_step // 3, first + a_step // 2)[: 2 if device.first else 1]:
        out = "%s-hang-%d" % (device.name, at)
        errors = device.run(out, faults="hang@%d" % at)
        assert "has done nothing" in errors and "in graph \"" in errors, errors
        same(out, whole)
    return first, a_step


def check_tried(device):
    """A loss with the kernels that the device tries as it opens, which it does once more then."""
    plain, device.options = device.options, device.options[:2]
    whole, counted, out = [device.name + "-tried" + end for end in ("", "-count", "-lost")]
    device.run(whole)
    device.run(counted, faults="none", counts=counted + ".counts")
    points = int(open(counted + ".counts").read().split()[0])
    errors = device.run(out, faults="lost@%d" % (points - points // 4))
    assert "was lost" in errors and "opened anew (1 of 3)" in errors, errors
    assert "goes on after step" in errors, errors
    same(counted, whole)
    same(out, whole)
    device.options = plain


def check_again_and_again(device, whole, first, a_step):
    out = device.name + "-without"
    errors = device.run(out, "--save-every", "0", faults="lost@%d" % first)
    assert "goes on after step 0" in errors, errors
    same(out, whole)
    out = device.name + "-often"
    four = " ".join(["lost@%d" % (2 * a_step)] * 4)
    errors = device.run(out, faults=four, status=1)
    assert "(3 of 3)" in errors and "are used up" in errors, errors
    errors = device.run(out, "--device-retries", "0", faults="lost@%d" % (2 * a_step), status=1)
    assert "opened anew" not in errors and "are used up" in errors, errors
    device.run(out)
    same(out, whole)


def check_memory(device, whole):
    """Every allocation of the device fails in turn; on vulkan also those of a run under way."""
    allocations = count(device, 2)[1]
    stride = 1 if device.name == "cpu" else allocations // device.refused
    for at in range(1, allocations + 1, stride):
        out = "%s-memory-%d" % (device.name, at)
        line = "memory@%d" % at
        errors = subprocess.run([device.faulty, *device.options, "--quiet", "--out", out,
                                 "--steps", "2", "--preset", "tiny", "--device-retries", "0"] +
                                sum((["--set", s] for s in MODEL), []) + ["data.txt"],
                                env=dict(os.environ, FAULTS=line, COUNTS=""),
                                stderr=subprocess.PIPE, timeout=300)
        text = errors.stderr.decode()
        assert errors.returncode == 1, (at, errors.returncode, text)
        assert text.startswith("mb-train: ") and any(
            word in text for word in ("memory", "MEMORY", "no room")), (at, text)
        left = os.listdir(out + "/checkpoints") if os.path.isdir(out + "/checkpoints") else []
        assert not left or os.path.exists(out + "/latest"), (at, left)
    if device.name != "cpu":
        out = device.name + "-refused"
        errors = device.run(out, faults="memory@%d" % (count(device, STEPS)[1] - 20))
        assert "OUT_OF_DEVICE_MEMORY" in errors and "opened anew" in errors, errors
        same(out, whole)


def check_not_finite(device, whole, label, runs):
    """The step's graph runs twice a step, the update once: the fault strikes in step BAD."""
    out = "%s-nan-%s" % (device.name, label.strip("'"))
    fault = "nan@%d:%s" % ((BAD - 1) * runs + 1, label)
    every = ("--save-every", "1")
    errors = device.run(out, *every, faults=fault, status=1)
    assert "step %d: the " % BAD in errors and "is not finite" in errors, errors
    assert "seed 1, epoch 0; data.txt member 0 byte 0 block 0 window %d" % ((BAD - 1) * 4) in errors
    kept = sorted(os.listdir(out + "/checkpoints"))
    assert kept[-1] == "%08d" % (BAD - 1), kept
    same(out, whole + "-every", BAD - 1)

    file = "%s/replay-%08d.json" % (out, BAD)
    found = device.replay(file, out, faults="nan@1:" + label)
    assert found["label"] == label and not found["finite"], found
    assert found["same"] or label == "norm", found
    device.replay(file, out, plain=True, status=1)  # it was the device's fault, and is gone

    # Passed over, and the run is stopped and goes on behind it with the same bits.
    two = out + "-two"
    more = every + ("--stop-after-nonfinite", "2")
    errors = device.run(two, *more, faults=fault)
    assert "training goes on (1 of 2)" in errors, errors
    assert state(two, STEPS)["nonfinite"] == 1
    with open("%s/checkpoints/%08d/model.safetensors" % (two, BAD), "rb") as f:
        after = f.read()
    with open("%s/checkpoints/%08d/model.safetensors" % (two, BAD - 1), "rb") as f:
        before = f.read()
    assert after[-1000:] == before[-1000:]


def check_overflow(device):
    """Weights that grow a hundredfold in each step: the replay has the very loss of the run."""
    out = device.name + "-overflow"
    errors = device.run(out, "--set", "lr=10", "--set", "decay=10", "--set", "warmup=1",
                        "--save-every", "0", steps=40, status=1)
    assert "is not finite" in errors, errors
    file = [name for name in os.listdir(out) if name.startswith("replay-")]
    assert len(file) == 1, file
    found = device.replay(out + "/" + file[0], out, plain=True)
    assert found["same"] and not found["finite"] and found["kernel"], found


def tensors(out, step):
    """The files of a checkpoint behind their headers, which name the step."""
    return [data[8 + int.from_bytes(data[:8], "little"):] for data in files(out, step)]


def check_scale(device):
    """In fp16 a gradient that is not finite is no error: the scale is halved, nothing applied."""
    out = device.name + "-scale"
    errors = device.run(out, "--precision", "fp16", "--save-every", "1", faults="nan@%d:norm" % BAD)
    assert "step %d: its gradient overflowed in fp16" % BAD in errors, errors
    assert errors.count("overflowed") == 1 and "is not finite" not in errors, errors
    before, after = state(out, BAD - 1), state(out, BAD)
    assert before["loss_scale"] == 65536 and after["loss_scale"] == 32768, (before, after)
    assert before["loss_scale_steps"] == BAD - 1 and after["loss_scale_steps"] == 0, (before, after)
    assert after["nonfinite"] == 0 and state(out, STEPS)["loss_scale_steps"] == STEPS - BAD
    assert tensors(out, BAD) == tensors(out, BAD - 1) != tensors(out, BAD + 1)


def check_outliers(device):
    """So small a limit that steps are skipped once there are 128 losses, which hardly fall."""
    more = ("--skip-outliers", "0.1", "--set", "lr=1e-7")
    whole, halves = device.name + "-outliers", device.name + "-halves"
    errors = device.run(whole, *more, steps=160)
    assert "was not applied" in errors, errors
    device.run(halves, *more, steps=160, faults="none")
    same(whole, halves, 160)
    resumed = device.name + "-resumed"
    os.makedirs(resumed + "/checkpoints")
    os.rename(halves + "/checkpoints/00000140", resumed + "/checkpoints/00000140")
    device.run(resumed, *more, steps=160)
    same(whole, resumed, 160)
    end = state(whole, 160)
    assert 0 < end["outliers"] < 32 and len(end["losses"]) == 128, end["outliers"]


def check_device(device):
    whole = device.name + "-whole"
    device.run(whole)
    first, a_step = check_lost(device, whole)
    check_memory(device, whole)
    if device.first:
        device.run(whole + "-every", "--save-every", "1")
        check_not_finite(device, whole, "loss'", 2)
        check_again_and_again(device, whole, first, a_step)
        check_not_finite(device, whole, "norm", 1)
        check_overflow(device)
        check_scale(device)
        if device.name != "cpu":
            check_tried(device)
    if device.name == "cpu":
        check_outliers(device)
    print("%s: %d points of a step that has %d" % (device.name, device.points, a_step))


def vulkan_devices(program):
    listed = subprocess.run([program, "--list-devices"], stdout=subprocess.PIPE, check=True)
    lines = [line for line in listed.stdout.decode().splitlines() if line.startswith("vulkan:")]
    # SwiftShader compiles every kernel anew in every process, which takes it ten seconds.
    lines.sort(key=lambda line: "SwiftShader" in line)
    return [line.split()[0] for line in lines]


def main():
    kind, programs = sys.argv[1], [os.path.realpath(path) for path in sys.argv[2:4]]
    names = vulkan_devices(programs[0]) if kind == "vulkan" else ["cpu"]
    if not names:
        print("skipped: no Vulkan device")
        sys.exit(77)
    with tempfile.TemporaryDirectory() as scratch:
        os.chdir(scratch)
        os.environ["XDG_CACHE_HOME"] = scratch + "/cache"
        os.environ.setdefault("OMP_NUM_THREADS", "1")
        os.environ["OMP_WAIT_POLICY"] = "passive"
        make_data()
        devices = [Device(name, programs, i == 0) for i, name in enumerate(names)]
        with concurrent.futures.ThreadPoolExecutor(2) as pool:
            list(pool.map(check_device, devices))
        os.chdir("/")


main()
