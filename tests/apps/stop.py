"""stop.py cpu|vulkan MB_TRAIN: stop and go.

A run that is interrupted (SIGINT) or killed (SIGKILL) again and again, each time started by the
same command, ends with the bits of a run that was never stopped: weights, moments, state, and the
lines of metrics.jsonl, each once. The data is smaller than the run, so shuffled blocks cross
epochs; it comes from an archive of several members and from a folder. Dropout and accumulation
are on, since both have a place in the stream of random numbers.
"""

import json
import os
import random
import signal
import subprocess
import sys
import tarfile
import tempfile
import time

MODEL = """seq_len=64 global.dim=32 global.heads=2 global.layers=1 local.dim=16 local.heads=2
    local.layers=1 batch=4 micro_batch=2 dropout=0.1 warmup=5 lr=0.01""".split()
FILES = ("model.safetensors", "optimizer.safetensors", "state.json")
# What programs are started with, on a driver that needs a loader of its own (tools/drivers).
RUN_WITH = os.environ.get("RUN_WITH", "").split()
STOPPING = "\nstopping; press Ctrl-C again to stop at once\n"
CLOCKED = ("bytes_per_second", "flops_per_second", "data_wait_share", "host_share")


def make_data():
    os.mkdir("folder")
    os.mkdir("members")
    for i in range(1, 9):
        text = "".join("%d\n" % n for n in range(i * 1000, i * 1000 + 150 * i))
        with open("members/member %d" % i, "w") as f:
            f.write(text)
        with open("folder/file%d.txt" % i, "w") as f:
            f.write(text.upper()[:: 1 + i % 3])
    open("members/empty", "w").close()
    with tarfile.open("data.tar", "w") as tar:
        tar.add("members")
    if subprocess.call(["zstd", "-q", "data.tar"], stderr=subprocess.DEVNULL) == 0:
        return "data.tar.zst"
    return "data.tar"


class Plan:
    """Steps in all, and between lines, checkpoints and validations: less where devices are slow."""

    def __init__(self, device):
        on_cpu = device == "cpu"
        self.steps, self.log, self.save, self.val = (600, 7, 20, 40) if on_cpu else (20, 2, 5, 10)
        # At most; EVERY=N in the environment: of many an Nth.
        self.stops = max(40 // int(os.environ.get("EVERY", "1")), 4) if on_cpu else 4


def command(mb_train, device, out, plan, archive):
    line = RUN_WITH + [mb_train, "--quiet", "--device", device, "--out", out, "--preset", "tiny"]
    for setting in MODEL:
        line += ["--set", setting]
    line += ["--steps", str(plan.steps), "--log-every", str(plan.log)]
    line += ["--save-every", str(plan.save), "--keep", "0"]
    line += ["--val-fraction", "0.3", "--val-every", str(plan.val), "--val-bytes", "600"]
    # Both ways of reading two things at once, by size and by weight; and both precisions.
    return line + (["--shuffle", "4K", archive, "folder"] if device == "cpu"
                   else ["--precision", "bf16", archive + "=2", "folder"])


def lines_of(out):
    try:
        with open(out + "/metrics.jsonl", "rb") as f:
            return f.read().count(b"\n")
    except FileNotFoundError:
        return 0


def wait_for_lines(process, out, wanted):
    while process.poll() is None and lines_of(out) < wanted:
        time.sleep(0.005)


def seconds_per_line(out, plan):
    with open(out + "/metrics.jsonl") as f:
        speeds = [json.loads(line).get("bytes_per_second", 0) for line in f]
    return plan.log * 256 / max(speeds)


def stopped_run(line, out, number, draw, plan, pace):
    """Starts the command until it ends by itself; returns how often it was stopped.

    The moment is random: a few lines of the metrics later, or none (before the first step), and
    somewhere on the way to the next line, which takes `pace` seconds.
    """
    stops = 0
    while True:
        process = subprocess.Popen(line, stderr=subprocess.PIPE)
        if stops < plan.stops:
            before = lines_of(out)
            # A killed run goes on from its last checkpoint, so now and then it needs to reach one.
            most = 2 if number == signal.SIGINT else 5
            wait_for_lines(process, out, before + draw.randint(0, most))
            time.sleep(draw.random() * pace)
            process.send_signal(number)
        errors = process.communicate()[1].decode()
        # The signal may come before the program has a handler for it.
        if process.returncode not in (130, -signal.SIGINT, -signal.SIGKILL):
            assert process.returncode == 0, (process.returncode, errors)
            return stops
        # It may also come before --quiet is read.
        assert not errors.replace(STOPPING, ""), errors
        stops += 1


def read_metrics(out):
    with open(out + "/metrics.jsonl") as f:
        lines = [json.loads(line) for line in f]
    for line in lines:
        for field in CLOCKED:
            line.pop(field, None)
    return lines


def compare(whole, out, plan):
    for name in FILES:
        path = "/checkpoints/%08d/%s" % (plan.steps, name)
        with open(whole + path, "rb") as a, open(out + path, "rb") as b:
            assert a.read() == b.read(), out + path
    left = [name for name in os.listdir(out + "/checkpoints") if not name.isdigit()]
    assert not left, left
    a, b = read_metrics(whole), read_metrics(out)
    assert a == b, [pair for pair in zip(a, b) if pair[0] != pair[1]][:1] or (len(a), len(b))
    logged = [line["step"] for line in b if "val_bits_per_byte" not in line]
    assert logged == sorted(set(range(plan.log, plan.steps, plan.log)) | {plan.steps})


def vulkan_devices(mb_train):
    line = RUN_WITH + [mb_train, "--list-devices"]
    listed = subprocess.run(line, stdout=subprocess.PIPE, check=True)
    names = [line.split()[0] for line in listed.stdout.decode().splitlines()]
    return [name for name in names if name.startswith("vulkan:")]


def check_device(mb_train, device, draw, archive):
    name, plan = device.replace(":", "-"), Plan(device)
    whole = name + "-whole"
    subprocess.run(command(mb_train, device, whole, plan, archive), check=True)
    state = json.load(open("%s/checkpoints/%08d/state.json" % (whole, plan.steps)))["state"]
    if device == "cpu":
        assert state["data"]["cursor"]["epoch"] > 1, state
    for number in (signal.SIGINT, signal.SIGKILL):
        out = "%s-%d" % (name, number)
        line = command(mb_train, device, out, plan, archive)
        stops = stopped_run(line, out, number, draw, plan, seconds_per_line(whole, plan))
        compare(whole, out, plan)
        print("%s: signal %d, stopped %d times in %d steps" % (device, number, stops, plan.steps))
        assert stops > 0


def main():
    kind, mb_train = sys.argv[1], os.path.realpath(sys.argv[2])
    devices = vulkan_devices(mb_train) if kind == "vulkan" else ["cpu"]
    if not devices:
        print("skipped: no Vulkan device")
        sys.exit(77)
    draw = random.Random(os.environ.get("SEED", "1"))
    with tempfile.TemporaryDirectory() as scratch:
        os.chdir(scratch)
        os.environ["XDG_CACHE_HOME"] = scratch + "/cache"
        os.environ.setdefault("OMP_NUM_THREADS", "2" if kind == "cpu" else "1")
        os.environ["GOMP_SPINCOUNT"] = "0"
        os.environ["OMP_WAIT_POLICY"] = "passive"
        archive = make_data()
        for device in devices:
            check_device(mb_train, device, draw, archive)
        os.chdir("/")


main()
