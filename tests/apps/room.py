"""room.py MB_TRAIN MB_EVAL MB_GENERATE: what does not fit into memory is refused with what would.

The last two are linked with small.c, which lets them have as much memory as we say. The --batch
that they advise fits, takes what they said, and is the most that does.
"""

import os
import re
import subprocess
import sys
import tempfile

MODEL = """seq_len=512 patch_size=4 global.dim=128 global.heads=2 global.layers=1 local.dim=32
    local.heads=2 local.layers=1 batch=1""".split()
UNITS = {"KiB": 1 << 10, "MiB": 1 << 20, "GiB": 1 << 30}


def call(line, memory=None):
    """Status, standard error, largest size in bytes."""
    env = dict(os.environ, **({"MEMORY": str(memory)} if memory else {}))
    with open("errors", "w+b") as errors, open("output", "wb") as output:
        process = subprocess.Popen(line, env=env, stdout=output, stderr=errors)
        _, status, usage = os.wait4(process.pid, 0)
        errors.seek(0)
        text = errors.read().decode()
    assert os.WIFEXITED(status), (line, status, text)
    process.returncode = os.WEXITSTATUS(status)
    return process.returncode, text, usage.ru_maxrss << 10


def refused(line, memory):
    """What the program says of it, before it takes the memory."""
    status, text, size = call(line, memory)
    assert status == 1 and text.count("\n") == 1 and "at a time takes" in text, (status, text)
    assert size < 100 << 20 or "SANITIZED" in os.environ, size
    return text


def advice(line, memory):
    text = refused(line, memory)
    said = re.search(r"; --batch (\d+) would fit \(([0-9.]+) (.iB)\)$", text.strip())
    assert said, text
    return int(said[1]), float(said[2]) * UNITS[said[3]]


def check(program, most):
    """`program` makes a command line of a number at a time."""
    status, text, one = call(program(1))
    assert status == 0, text
    memory = one + (120 << 20)
    fits, size = advice(program(most), memory)
    assert 1 < fits < most and size <= 1.01 * memory, (fits, size, memory)
    status, text, taken = call(program(fits), memory)
    assert status == 0, text
    print("%s: %d of %d fit, said %.0f MiB, took %.0f" % (
        os.path.basename(program(1)[0]), fits, most, size / (1 << 20), taken / (1 << 20)))
    if "SANITIZED" not in os.environ:  # shadow memory is in no plan
        assert abs(taken / size - 1) < 0.1, (taken, size)
        again = advice(program(fits + fits // 20 + 1), memory)[0]
        assert again >= fits - fits // 50 - 1, (again, fits)  # a process may take more pages
    status, text, _ = call(program(1), 1 << 20)
    assert status == 1 and text.count("\n") == 1 and "weights" in text, (status, text)


def main():
    train, evaluate, generate = [os.path.realpath(path) for path in sys.argv[1:4]]
    with tempfile.TemporaryDirectory() as scratch:
        os.chdir(scratch)
        os.environ.setdefault("OMP_NUM_THREADS", "1")
        os.environ["OMP_WAIT_POLICY"] = "passive"
        os.environ["MALLOC_PERTURB_"] = "0"
        with open("data.txt", "w") as f:
            f.write("".join("%d\n" % n for n in range(10000, 20000)))
        line = [train, "--quiet", "--device", "cpu", "--out", "run", "--preset", "tiny"]
        for setting in MODEL:
            line += ["--set", setting]
        subprocess.check_call(line + ["--steps", "1", "data.txt"])
        cpu = ["--quiet", "--device", "cpu", "--batch"]
        check(lambda n: [evaluate] + cpu + [str(n), "run", "data.txt"], 1 << 20)
        check(lambda n: [generate] + cpu + [str(n), "--count", "4096", "--bytes", "4", "--prompt",
                                            "123", "run"], 4096)
        os.chdir("/")


main()
