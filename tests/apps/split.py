"""split.py MB_TRAIN MB_EVAL MB_DATA: what is held out, and that all programs take it from the run.

The split of single files is computed here again, with an xxHash64 of this test's own. A run keeps
the size of its blocks and the file's name; one of an older version, which kept no size, goes on
with the blocks that it had.
"""

import csv
import json
import os
import re
import shutil
import struct
import subprocess
import sys
import tarfile
import tempfile

MODEL = """seq_len=64 global.dim=32 global.heads=2 global.layers=1 local.dim=16 local.heads=2
    local.layers=1 patch_size=4 batch=4 warmup=5""".split()
MASK = (1 << 64) - 1
P1, P2, P3, P4, P5 = (0x9E3779B185EBCA87, 0xC2B2AE3D27D4EB4F, 0x165667B19E3779F9,
                      0x85EBCA77C2B2AE63, 0x27D4EB2F165667C5)


def rotated(x, bits):
    return (x << bits | x >> (64 - bits)) & MASK


def mixed(lane, word):
    return rotated((lane + word * P2) & MASK, 31) * P1 & MASK


def xxh64(data, seed=0):
    at, whole = 0, len(data) - len(data) % 32
    if whole:
        lanes = [(seed + P1 + P2) & MASK, (seed + P2) & MASK, seed, (seed - P1) & MASK]
        for at in range(0, whole, 32):
            lanes = [mixed(lane, word)
                     for lane, word in zip(lanes, struct.unpack_from("<4Q", data, at))]
        at = whole
        h = sum(rotated(lane, bits) for lane, bits in zip(lanes, (1, 7, 12, 18))) & MASK
        for lane in lanes:
            h = ((h ^ mixed(0, lane)) * P1 + P4) & MASK
    else:
        h = (seed + P5) & MASK
    h = (h + len(data)) & MASK
    for at in range(at, len(data) - 7, 8):
        h = (rotated(h ^ mixed(0, struct.unpack_from("<Q", data, at)[0]), 27) * P1 + P4) & MASK
    at = len(data) - len(data) % 8
    if len(data) - at >= 4:
        h = (rotated(h ^ struct.unpack_from("<I", data, at)[0] * P1 & MASK, 23) * P2 + P3) & MASK
        at += 4
    for byte in data[at:]:
        h = rotated(h ^ byte * P5 & MASK, 11) * P1 & MASK
    h = (h ^ h >> 33) * P2 & MASK
    h = (h ^ h >> 29) * P3 & MASK
    return h ^ h >> 32


def block_size(size):
    block = 1024
    while block < 65536 and size // (2 * block) >= 256:
        block *= 2
    while block > 64 and size // block < 16:
        block //= 2
    return block


def held_blocks(name, size, fraction, block, old):
    """Numbers of the blocks that are held out."""
    name_hash = xxh64(name.encode())
    count = -(-size // block)
    hashes = [xxh64(struct.pack("<Q", i), name_hash) for i in range(-(-count // 8) * 8)]
    if old:
        return [i for i in range(count) if (hashes[i] >> 11) / 2.0**53 < fraction]
    held = []
    for first in range(0, count, 8):
        wanted = int(fraction * (first + 8) + 0.5) - int(fraction * first + 0.5)
        group = sorted(range(first, first + 8), key=lambda i: (hashes[i], i))
        held += sorted(group[:wanted])
    return [i for i in held if i < count]


def sides(name, data, fraction, block, old=False):
    held = set(held_blocks(name, len(data), fraction, block, old))
    parts = [data[at:at + block] for at in range(0, len(data), block)]
    return (b"".join(part for i, part in enumerate(parts) if i in held),
            b"".join(part for i, part in enumerate(parts) if i not in held))


def text(size, first=0):
    lines, total = [], 0
    while total < size:
        lines.append(b"%d\n" % (first + 7 * len(lines)))
        total += len(lines[-1])
    return b"".join(lines)[:size]


def run(status, *line):
    done = subprocess.run(line, stdout=subprocess.PIPE, stderr=subprocess.PIPE, check=False)
    assert done.returncode == status, (line, done.returncode, done.stderr.decode())
    return done.stdout, done.stderr.decode()


def train(out, *more, status=0, model=True):
    line = [mb_train, "--device", "cpu", "--json", "--out", out]
    for setting in MODEL if model else ():
        line += ["--set", setting]
    result, notes = run(status, *line, *more)
    return (json.loads(result) if result else None), notes


def evaluate(*more, status=0):
    result, notes = run(status, mb_eval, "--device", "cpu", "--json", *more)
    return (json.loads(result) if result else None), notes


def cat(side, fraction, path):
    return run(0, mb_data, "cat", "--side", side, "--val-fraction", str(fraction), path)[0]


def check_blocks():
    for size, fraction in ((700, 0.1), (5000, 0.1), (20000, 0.5), (1100000, 0.1), (3 << 20, 0.37)):
        for name in "one.txt", "another name":
            data = text(size)
            with open(name, "wb") as f:
                f.write(data)
            held, rest = sides(name, data, fraction, block_size(size))
            assert cat("val", fraction, name) == held, (name, size, fraction)
            assert cat("train", fraction, name) == rest, (name, size, fraction)
            assert abs(len(held) - fraction * size) <= block_size(size) * 1.5, (name, len(held))
    with open("one.txt", "wb") as f:  # from 16 MiB on as ever
        f.truncate(16 << 20)
    held, _ = sides("one.txt", bytes(16 << 20), 0.01, 65536, old=True)
    assert len(cat("val", 0.01, "one.txt")) == len(held)


def check_told():
    os.mkdir("folder")
    for i in range(9):
        with open("folder/%d" % i, "wb") as f:
            f.write(text(1000 + i, i))
    with open("own.txt", "wb") as f:
        f.write(text(30000))
    held, _ = sides("own.txt", text(30000), 0.1, 1024)
    result, notes = train("own", "--steps", "3", "--val-fraction", "0.1", "own.txt")
    assert "held out: %d of 30000 bytes (%.1f %%)\n" % (len(held), len(held) / 300) in notes, notes
    assert result["held_out_bytes"] == len(held), result
    with open("own/checkpoints/00000003/state.json") as f:
        assert json.load(f)["state"]["data"]["sources"][0]["split"] == 1024
    size = len(cat("val", 0.4, "folder"))
    result, notes = train("in-folder", "--steps", "3", "--val-fraction", "0.4", "folder")
    assert "held out: %d of 9036 bytes" % size in notes and result["held_out_bytes"] == size, notes
    # Of an archive one knows when its end is reached, and that there is less than a window at once.
    with tarfile.open("folder.tar", "w") as tar:
        tar.add("folder")
    size = len(cat("val", 0.4, "folder.tar"))
    result, notes = train("tar", "--steps", "3", "--val-fraction", "0.4", "folder.tar")
    assert "held out: %d bytes\n" % size in notes and result["held_out_bytes"] == size, notes
    _, notes = train("tar-2", "--steps", "3", "--val-fraction", "0.4", "--val-bytes", "64",
                     "folder.tar")
    assert "held out: more than the 64 bytes that are scored" in notes, notes
    with open("few", "wb") as f:
        f.write(b"few")
    _, notes = train("few.run", "--steps", "3", "--val", "few", "own.txt")
    assert "3 bytes are less than one window of 64" in notes and "more with --val" in notes, notes
    with tarfile.open("few.tar", "w") as tar:
        tar.add("few")
    _, notes = train("few-2.run", "--steps", "3", "--val", "few.tar", "own.txt")
    assert notes.index("3 bytes are less than one window") < notes.index("first step"), notes
    train("none", "--steps", "3", "--val-fraction", "0.0001", "own.txt", status=1)
    assert not os.path.exists("none")


def check_own():
    """The held-out side of the run's own data, whatever its file is called; all of other data."""
    held = len(sides("own.txt", text(30000), 0.1, 1024)[0])
    result, notes = evaluate("own", "own.txt")
    assert (result["bytes"], result["side"], result["val_fraction"]) == (held, "val", 0.1), result
    assert result["sources"][0]["trained_on"] is True, result
    assert "own.txt is training data of this run: scoring what it held out" in notes, notes
    shutil.copy("own.txt", "renamed")
    again, _ = evaluate("own", "renamed")
    assert (again["bytes"], again["nats"]) == (held, result["nats"]), again
    both, _ = evaluate("own", "own.txt", "few")
    assert both["bytes"] == held + 3 and both["side"] == "mixed", both
    assert [(s["side"], s["trained_on"]) for s in both["sources"]] == [("val", True),
                                                                       ("all", False)], both
    for more, size, side in ((("--side", "all"), 30000, "all"), (("--side", "train"), 30000 - held,
                             "train"), (("--val-fraction", "0"), 30000, "all"),
                             (("--ignore-run",), 30000, "all")):
        result, notes = evaluate(*more, "own", "own.txt")
        assert (result["bytes"], result["side"]) == (size, side), (more, result)
        assert "training data of this run" in notes, notes
    new, notes = evaluate("own", "folder")
    assert new["bytes"] == 9036 and new["side"] == "all" and "training data" not in notes, notes
    _, notes = evaluate("--side", "val", "own", "folder", status=2)
    assert "--side wants --val-fraction: this data is not the run's own" in notes, notes
    _, notes = evaluate("--val-fraction", "0.5", "--bytes", "100", "own", "own.txt")
    assert "held out 0.1 of it and not 0.5" in notes, notes
    train("nothing", "--steps", "3", "own.txt")
    result, notes = evaluate("--bytes", "1000", "nothing", "own.txt")
    assert result["side"] == "all" and "the score is not of new data" in notes, notes


def check_options():
    """Options of the run are those of all that takes it, and are told; others are refused, or hold
    in its place."""
    with tarfile.open("mixed.tar", "w") as tar:
        for name, data in (("a.txt", b'{"t": "abc%s"}\n' % (b"x" * 300)), ("b.bin", text(500)),
                           ("c.txt", b'{"t": "defgh%s"}\n' % (b"y" * 300))):
            with open(name, "wb") as f:
                f.write(data)
            tar.add(name)
    options = ("--jsonl-field", "t", "--include", "*.txt", "--max-size", "1M", "--max-ratio", "inf")
    train("options", "--steps", "3", "--shuffle", "1K", *options, "mixed.tar")
    result, notes = evaluate("options", "mixed.tar")
    assert result["bytes"] == 608, result
    assert ("data as the run was trained: --include '*.txt' --jsonl-field 't' --max-ratio inf"
            " --max-size 1048576\n") in notes, notes
    result, _ = evaluate("--include", "a.txt", "options", "mixed.tar")
    assert result["bytes"] == 303, result
    result, _ = evaluate("--ignore-run", "options", "b.bin")
    assert result["bytes"] == 500, result
    _, notes = train("options", "--steps", "5", "mixed.tar", model=False)
    assert "data as the run was trained: --include '*.txt'" in notes, notes
    assert "going on in options after step 3" in notes, notes
    for other in (("--include", "*"), ("--shuffle", "2K"), ("--max-ratio", "5", "--nested", "0")):
        _, notes = train("options", "--steps", "7", *other, "mixed.tar", status=1, model=False)
        assert "give the same, or another --out" in notes, notes


def check_names():
    """Names are bytes; the table of members has them so that they can be had back."""
    names = [b"plain", b"a,b", b'quo"te', b"two\nlines", b"cr\rlf\r\n", b"back\\xff", b"\xff\xfe",
             "\u00e4\u20ac\U0001f600".encode(), b"\xc3", b"\xe2\x82", b"\xed\xa0\x80", b"\xc0\xaf",
             b"\xf4\x90\x80\x80", b"\xf0\x8f\xbf\xbf", b" lead", b"=1+1"]
    os.mkdir(b"names \xff")
    for name in names:
        with open(os.path.join(b"names \xff", name), "wb") as f:
            f.write(b"x")
    result, _ = evaluate("--by-member=members.csv", "own", b"names \xff")
    with open("members.csv", encoding="utf-8", newline="") as f:
        rows = list(csv.DictReader(f))
    assert len(rows) == len(names) == result["bytes"], rows

    def back(field):
        parts = re.split(r"(\\\\|\\x[0-9a-f]{2})", field)
        return b"".join(bytes.fromhex(part[2:]) if part.startswith("\\x") else
                        b"\\" if part == "\\\\" else part.encode() for part in parts)

    assert sorted(back(row["member"]) for row in rows) == sorted(names), rows
    assert {row["source"] for row in rows} == {"names \\xff"}, rows
    assert result["sources"][0]["path"] == "names \\xff", result


def older_state(folder):
    """As a version that kept neither blocks nor limits wrote it."""
    path = folder + "/state.json"
    with open(path) as f:
        state = json.load(f)
    data = state["state"]["data"]
    del data["limits"]
    for source in data["sources"]:
        del source["split"]
    state["xxh64"] = "0" * 16
    plain = json.dumps({key: state[key] for key in state if key != "xxh64"})
    body = '{\n "xxh64": "%s",\n' % state["xxh64"] + plain[1:]
    digest = "%016x" % xxh64(body.encode())
    with open(path, "w") as f:
        f.write(body.replace("0" * 16, digest, 1))


def check_older():
    data = text(300000)
    name = next(name for name in ("older%d" % i for i in range(99))
                if len(held_blocks(name, len(data), 0.3, 65536, True)) == 1)
    with open(name, "wb") as f:
        f.write(data)
    held, _ = sides(name, data, 0.3, 65536, old=True)
    split = ("--val-fraction", "0.3", "--val-bytes", "500")
    train("older", "--steps", "3", *split, name)
    older_state("older/checkpoints/00000003")
    result, notes = train("older", "--steps", "5", *split, name, model=False)
    assert "going on in older after step 3" in notes, notes
    assert "held out: %d of 300000 bytes" % len(held) in notes, notes
    assert result["held_out_bytes"] == len(held), result
    with open("held", "wb") as f:
        f.write(held)
    own, _ = evaluate("--bytes", "640", "older", name)
    assert own["side"] == "val", own
    same, _ = evaluate("--bytes", "640", "older", "held")
    assert own["nats"] == same["nats"], (own, same)
    with open("older/checkpoints/00000005/state.json") as f:
        assert "split" not in json.load(f)["state"]["data"]["sources"][0]


if __name__ == "__main__":
    assert xxh64(b"") == 0xEF46DB3751D8E999
    assert xxh64(b"a" * 100) != xxh64(b"a" * 101)
    mb_train, mb_eval, mb_data = [os.path.realpath(path) for path in sys.argv[1:4]]
    with tempfile.TemporaryDirectory() as scratch:
        os.chdir(scratch)
        os.environ.setdefault("OMP_NUM_THREADS", "1")
        check_blocks()
        check_told()
        check_own()
        check_options()
        check_names()
        check_older()
