"""signals.py MB_TRAIN MB_TRAIN_FAULTY: signals, wherever a run may be.

SIGINT and SIGTERM save and end (130); a second one ends at once, without a save, and loses no
earlier checkpoint; SIGUSR1 saves; SIGKILL in the last validation loses no step. That holds while
data is waited for, during validation, and while a device that failed is opened anew. Standard
streams that nobody reads end nothing.
"""

import json
import os
import signal
import subprocess
import sys
import tempfile
import time

MODEL = """seq_len=64 global.dim=32 global.heads=2 global.layers=1 local.dim=16 local.heads=2
    local.layers=1 batch=4 warmup=5""".split()


def command(program, out, *more):
    line = [program, "--device", "cpu", "--out", out, "--preset", "tiny"]
    for setting in MODEL:
        line += ["--set", setting]
    return line + ["--log-every", "1", "--keep", "0"] + list(more)


def wait_for(condition, process):
    while not condition():
        assert process.poll() is None, (process.returncode, process.communicate())
        time.sleep(0.005)


def lines_of(out):
    try:
        with open(out + "/metrics.jsonl", "rb") as f:
            return f.read().count(b"\n")
    except FileNotFoundError:
        return 0


def checkpoints(out):
    path = out + "/checkpoints"
    return sorted(n for n in os.listdir(path) if n.isdigit()) if os.path.isdir(path) else []


def start(line, env=None, stderr=subprocess.PIPE):
    return subprocess.Popen(line, env=dict(os.environ, **(env or {})), stderr=stderr,
                            stdout=subprocess.PIPE)


def ended(process, status):
    errors = process.communicate(timeout=120)[1].decode()
    assert process.returncode == status, (process.returncode, errors)
    return errors


def goes_on(program, out, step):
    """The same run goes on from that step for two more, and all of its checkpoints can be read."""
    line = command(program, out, "--steps", str(step + 2), "data.txt")
    errors = ended(start(line), 0)
    if step:
        assert "after step %d" % step in errors, errors
    assert checkpoints(out)[-1] == "%08d" % (step + 2)


def check_running(program):
    for number in (signal.SIGINT, signal.SIGTERM):
        out = "running-%d" % number
        process = start(command(program, out, "--steps", "1000000", "data.txt"))
        wait_for(lambda: lines_of(out) > 3, process)
        process.send_signal(signal.SIGUSR1)
        wait_for(lambda: checkpoints(out), process)
        asked = checkpoints(out)
        process.send_signal(number)
        errors = ended(process, 130)
        assert "saved after step" in errors and "as SIGUSR1 asked" in errors, errors
        assert "the same command goes on" in errors, errors
        left = checkpoints(out)
        assert left[0] == asked[0] and len(left) >= 2, (asked, left)
        goes_on(program, out, int(left[-1]))


def check_at_once(program):
    """Two signals behind each other: the second finds the first step under way, or its save."""
    out = "at-once"
    ended(start(command(program, out, "--steps", "2", "data.txt")), 0)
    line = command(program, out, "--set", "batch=4", "--steps", "1000000", "data.txt")
    for _ in range(5):
        before = checkpoints(out)
        os.remove(out + "/metrics.jsonl")  # so that its lines are of this process
        process = start(line)
        wait_for(lambda: lines_of(out) > 12, process)
        process.send_signal(signal.SIGSTOP)  # so that nothing comes between the two
        process.send_signal(signal.SIGINT)
        process.send_signal(signal.SIGTERM)
        process.send_signal(signal.SIGCONT)
        errors = ended(process, 130)
        assert "saved" not in errors, errors
        assert checkpoints(out) == before, (before, checkpoints(out))
    goes_on(program, out, 2)


def check_start(program):
    """While data is waited for: nobody writes into the pipe."""
    os.mkfifo("pipe")
    process = start(command(program, "start", "--steps", "9", "pipe"))
    writer = os.open("pipe", os.O_WRONLY)  # opened: the program reads now
    process.send_signal(signal.SIGTERM)
    ended(process, 130)
    os.close(writer)
    assert not checkpoints("start")


def check_validating(program):
    """A validation that would take hours: the step before it is saved all the same."""
    with open("long.txt", "wb") as f:
        f.truncate(1 << 31)
    line = command(program, "validating", "--steps", "9", "--val", "long.txt", "--val-every", "3",
                   "--val-bytes", "2G", "--save-every", "0", "data.txt")
    process = start(line)
    wait_for(lambda: lines_of("validating") >= 3, process)
    time.sleep(0.2)
    process.send_signal(signal.SIGINT)
    ended(process, 130)
    assert checkpoints("validating") == ["00000003"], checkpoints("validating")


def metrics(out):
    with open(out + "/metrics.jsonl") as f:
        return [json.loads(text) for text in f]


def weights(out, step):
    with open("%s/checkpoints/%08d/model.safetensors" % (out, step), "rb") as f:
        return f.read()


def check_killed_validating(program):
    """Killed in the last validation, which would take hours: the last step is saved already, and
    the same command makes up for the validation."""
    def line(out, val_bytes):
        return command(program, out, "--steps", "9", "--val", "long.txt", "--val-bytes", val_bytes,
                       "data.txt")

    process = start(line("killed", "2G"))
    wait_for(lambda: checkpoints("killed") == ["00000009"], process)
    process.send_signal(signal.SIGKILL)
    process.communicate(timeout=120)
    assert process.returncode == -signal.SIGKILL, process.returncode
    assert not any("val_bits_per_byte" in entry for entry in metrics("killed"))
    ended(start(line("killed", "1K")), 0)
    ended(start(line("whole", "1K")), 0)
    assert checkpoints("killed") == checkpoints("whole") == ["00000009"]
    assert weights("killed", 9) == weights("whole", 9)
    scored = [[entry for entry in metrics(out) if "val_bits_per_byte" in entry]
              for out in ("killed", "whole")]
    assert scored[0] == scored[1] and [entry["step"] for entry in scored[0]] == [9], scored


def check_save_minutes(program):
    """So short a time has gone by after every step; 0 is never. The steps are the same."""
    for out, minutes in ("by-time", "1e-12"), ("never", "0"):
        ended(start(command(program, out, "--steps", "6", "--save-minutes", minutes, "data.txt")),
              0)
    assert checkpoints("by-time") == ["%08d" % step for step in range(1, 7)]
    assert checkpoints("never") == ["00000006"]
    assert weights("by-time", 6) == weights("never", 6)
    line = command(program, "never", "--steps", "9", "--save-minutes", "-1", "data.txt")
    assert "--save-minutes" in ended(start(line), 2)


def check_recovering(faulty):
    """The device fails again and again, with a pause before the second try."""
    out = "recovering"
    line = command(faulty, out, "--steps", "40", "--save-every", "2", "data.txt")
    with open("errors", "wb") as errors:
        process = start(line, {"FAULTS": " ".join(["lost@1500"] * 4)}, errors)
    wait_for(lambda: b"(3 of 3)" in open("errors", "rb").read(), process)
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=120)
    assert process.returncode == 130, (process.returncode, open("errors").read())
    left = checkpoints(out)
    assert left
    goes_on(faulty, out, int(left[-1]))


def check_streams(program):
    """Nobody reads, or the streams are closed: training is not ended by that."""
    read, write = os.pipe()
    os.close(read)
    line = command(program, "unread", "--steps", "5", "--json", "data.txt")
    process = subprocess.Popen(line, stderr=write, stdout=write)
    os.close(write)
    assert process.wait(timeout=120) == 1  # the result could not be told
    assert checkpoints("unread") == ["00000005"]
    script = 'exec "$@" 0<&- 1>&- 2>&-'
    line = command(program, "closed", "--steps", "5", "data.txt")
    assert subprocess.call(["sh", "-c", script, "sh"] + line) == 0
    assert checkpoints("closed") == ["00000005"]
    with open("closed/metrics.jsonl") as f:
        steps = [json.loads(text)["step"] for text in f]
    assert steps == [1, 2, 3, 4, 5], steps


def main():
    program, faulty = [os.path.realpath(path) for path in sys.argv[1:3]]
    with tempfile.TemporaryDirectory() as scratch:
        os.chdir(scratch)
        os.environ.setdefault("OMP_NUM_THREADS", "1")
        os.environ["OMP_WAIT_POLICY"] = "passive"
        os.environ["VK_DRIVER_FILES"] = "/nonexistent"
        with open("data.txt", "w") as f:
            f.write("".join("%d\n" % n for n in range(1000, 9000)))
        check_running(program)
        check_at_once(program)
        check_start(program)
        check_validating(program)
        check_killed_validating(program)
        check_save_minutes(program)
        check_recovering(faulty)
        check_streams(program)
        os.chdir("/")


main()
