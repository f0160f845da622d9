"""allocations.py MB_TRAIN MB_EVAL MB_GENERATE MB_DATA: every allocation fails in turn.

The programs are linked with refuse.c. Each place at which one allocates, told by the calls that
lead there, is made to fail once: the program says so in a line and ends with status 1, or does
without and ends as it would have. It never crashes (under AddressSanitizer: nor leaks), and what
it leaves on disk is whole and right. PLACE_EVERY=N in the environment: each Nth place is tried. Of
training with --tune on a Vulkan device, where each try takes a second or two, only places that
training on the cpu lacks are tried, and of them each Nth of TUNE_EVERY=N (8 times PLACE_EVERY).
"""

import concurrent.futures
import filecmp
import json
import os
import shutil
import subprocess
import sys
import tempfile

MODEL = """seq_len=32 global.dim=16 global.heads=2 global.layers=1 local.dim=8 local.heads=2
    local.layers=1 batch=2 micro_batch=1 dropout=0.1 warmup=2""".split()
FILES = ("model.safetensors", "optimizer.safetensors")


def settings():
    line = ["--preset", "tiny"]
    for setting in MODEL:
        line += ["--set", setting]
    return line


class Work:
    """A program with its arguments; OUT in them is a folder of each run's own. `env` is added to
    the environment. If the runs are not `exact`, two of them may end with different bits."""

    def __init__(self, name, line, prepare=None, exact=True, **env):
        self.name, self.line, self.prepare = name, line, prepare
        self.exact, self.env = exact, env

    def run(self, folder, **env):
        shutil.rmtree(folder, ignore_errors=True)
        os.mkdir(folder)
        if self.prepare:
            shutil.copytree(self.prepare, folder + "/run")
        line = [arg.replace("OUT", folder + "/run") for arg in self.line]
        env = dict(os.environ, REFUSED=folder + "/refused", **self.env, **env)
        env["XDG_CACHE_HOME"] = folder + "/cache"
        return subprocess.run(line, env=env, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                              stderr=subprocess.PIPE, timeout=120)


def state(path):
    with open(path + "/state.json") as f:
        return json.load(f)["state"]


def check_run(folder, right, exact):
    """The checkpoints of a run folder are those of a run that had memory; returns their number."""
    path, good = folder + "/run/checkpoints", right + "/run/checkpoints"
    names = [n for n in os.listdir(path) if n.isdigit()] if os.path.isdir(path) else []
    for name in names if exact else []:
        for file in FILES:
            a, b = "%s/%s/%s" % (path, name, file), "%s/%s/%s" % (good, name, file)
            assert filecmp.cmp(a, b, shallow=False), a
        assert state(path + "/" + name) == state(good + "/" + name), path + "/" + name
    if os.path.exists(folder + "/run/latest"):
        with open(folder + "/run/latest") as f:
            assert f.read().strip().split("/")[1] in names
    return len(names)


def without_time(text):
    return [line for line in text.splitlines() if b"second" not in line and b'"io"' not in line]


def try_place(work, place, right, want):
    """Returns the status, or None where nothing asked for memory there this time."""
    folder = "%s-%s" % (work.name, place)
    done = work.run(folder, REFUSE=place)
    errors = done.stderr.decode(errors="replace")
    what = (work.name, place, done.returncode, errors[-3000:])
    assert done.returncode in (0, 1), what
    assert "Sanitizer" not in errors and "runtime error" not in errors, what
    if not os.path.exists(folder + "/refused"):
        assert done.returncode == 0, what
        status = None
    else:
        status = done.returncode
    if done.returncode == 1:
        assert len([l for l in errors.splitlines() if l.startswith("mb-")]) >= 1, what
    else:
        assert without_time(done.stdout) == without_time(want), (what, done.stdout, want)
    if os.path.isdir(right + "/run"):
        count = check_run(folder, right, work.exact)
        # A save may fail, with a line, if there is another one.
        assert done.returncode or "not saved" in errors or "cannot save" in errors or \
            count == check_run(right, right, work.exact), what
    shutil.rmtree(folder)
    return status


def called(work, place):
    """The calls to the allocation that failed, for people."""
    path = "%s-%s/refused" % (work.name, place)
    if not os.path.exists(path):
        return "no allocation failed"
    with open(path) as f:
        addresses = f.read().split()[2:]
    line = ["addr2line", "-sfCe", work.line[0]] + addresses
    done = subprocess.run(line, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
    names = done.stdout.decode().splitlines()
    return " < ".join("%s %s" % pair for pair in zip(names[::2], names[1::2]))


def try_and_tell(work, place, right, want):
    try:
        return try_place(work, place, right, want)
    except (AssertionError, subprocess.TimeoutExpired) as error:
        return "%s: %s\n  %s" % (work.name, error, called(work, place))


def check(work, every, without=()):
    """Tries places of `work` that are not in `without`. Returns whether all was well, and all its
    places."""
    places, right = work.name + ".places", work.name + "-right"
    for _ in range(2):  # what one run does not come to another may
        done = work.run(right, PLACES=os.path.abspath(places))
        assert done.returncode == 0, (work.name, done.returncode, done.stderr)
    with open(places) as f:
        all_places = [p for p in dict.fromkeys(f.read().split()) if p not in without]
    some = all_places[::every]
    with concurrent.futures.ThreadPoolExecutor(2) as pool:
        results = list(pool.map(lambda p: try_and_tell(work, p, right, done.stdout), some))
    wrong = [result for result in results if isinstance(result, str)]
    print("\n".join(wrong))
    told, done_without = results.count(1), results.count(0)
    print("%s: %d places, %d tried: %d told, %d done without, %d not met" %
          (work.name, len(all_places), len(some), told, done_without, results.count(None)))
    sys.stdout.flush()
    return told > 0 and not wrong, all_places


def software_device(mb_train):
    """Lavapipe, if there is one, else any Vulkan device."""
    listed = subprocess.run([mb_train, "--list-devices"], stdout=subprocess.PIPE, check=True)
    lines = [l.split(None, 1) for l in listed.stdout.decode().splitlines()]
    names = [l for l in lines if l and l[0].startswith("vulkan:")]
    return ([l[0] for l in names if "llvmpipe" in l[1]] + [l[0] for l in names] + [None])[0]


def main():
    train, evaluate, generate, data = [os.path.realpath(path) for path in sys.argv[1:5]]
    every = int(os.environ.get("PLACE_EVERY", "1"))
    with tempfile.TemporaryDirectory() as scratch:
        os.chdir(scratch)
        os.environ.update(OMP_NUM_THREADS="1", OMP_WAIT_POLICY="passive")
        vulkan, drivers = software_device(train), os.environ.get("VK_DRIVER_FILES")
        os.environ["VK_DRIVER_FILES"] = "/nonexistent"
        os.mkdir("members")
        for i in range(5):
            with open("members/%d" % i, "w") as f:
                f.write("".join("%d\n" % n for n in range(i * 1000, i * 1000 + 400)))
        subprocess.check_call(["tar", "-czf", "data.tar.gz", "members"])
        with open("lines.jsonl", "w") as f:
            for i in range(8):
                f.write(json.dumps({"number": i, "text": "\u00e9%d " % i * 1000 * i}) + "\n")
        run = ["--quiet", "--device", "cpu", "--out", "OUT", "--save-every", "1", "--keep", "0",
               "--log-every", "1"] + settings()
        held = ["--val-fraction", "0.4", "--val-bytes", "100", "data.tar.gz"]
        works = [Work("train", [train] + run + ["--steps", "2"] + held),
                 Work("resume", [train] + run + ["--steps", "3"] + held, "train-right/run")]
        model = ["--quiet", "--device", "cpu", "train-right/run"]
        works += [Work("evaluate", [evaluate, "--json", "--bytes", "200"] + model +
                       ["data.tar.gz"]),
                  Work("generate", [generate, "--seed", "1", "--bytes", "20", "--prompt", "12"] +
                       model),
                  Work("list", [data, "ls", "--json", "data.tar.gz"]),
                  Work("stat", [data, "stat", "--json", "data.tar.gz"]),
                  Work("cat", [data, "cat", "data.tar.gz", "members"]),
                  Work("lines", [data, "cat", "--jsonl-field", "text", "lines.jsonl"])]
        done = {work.name: check(work, every) for work in works}
        good = [fine for fine, _ in done.values()]
        if vulkan:
            tune = run + ["--steps", "1", "--tune", "--disable", "long-loads"] + held
            tune[tune.index("cpu")] = vulkan
            env = {"VK_DRIVER_FILES": drivers} if drivers else {}
            work = Work("tune", [train] + tune, exact=False, **env)
            if not drivers:
                del os.environ["VK_DRIVER_FILES"]
            every = int(os.environ.get("TUNE_EVERY", 8 * every))
            good.append(check(work, every, set(done["train"][1]))[0])
        else:
            print("tune: skipped, no Vulkan device")
        os.chdir("/")
    sys.exit(0 if all(good) else 1)


main()
