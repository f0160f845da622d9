"""layout.py WRITE_ONE: the files of a checkpoint against their published layout.

Runs write_one.c's program, and reads what it saved with nothing but Python's own modules: the
container byte for byte, the digests with an XXH64 written here from its specification.
"""

import json
import os
import struct
import subprocess
import sys
import tempfile

MASK = 2**64 - 1
P1, P2, P3, P4, P5 = (
    0x9E3779B185EBCA87,
    0xC2B2AE3D27D4EB4F,
    0x165667B19E3779F9,
    0x85EBCA77C2B2AE63,
    0x27D4EB2F165667C5,
)


def rotate(x, n):
    return (x << n | x >> (64 - n)) & MASK


def mix(lane, word):
    return rotate((lane + word * P2) & MASK, 31) * P1 & MASK


def xxh64(data):
    at, size = 0, len(data)
    if size >= 32:
        lanes = [(P1 + P2) & MASK, P2, 0, -P1 & MASK]
        while at + 32 <= size:
            words = struct.unpack_from("<4Q", data, at)
            lanes = [mix(lane, word) for lane, word in zip(lanes, words)]
            at += 32
        hashed = sum(rotate(lane, n) for lane, n in zip(lanes, (1, 7, 12, 18))) & MASK
        for lane in lanes:
            hashed = ((hashed ^ mix(0, lane)) * P1 + P4) & MASK
    else:
        hashed = P5
    hashed = (hashed + size) & MASK
    while at + 8 <= size:
        (word,) = struct.unpack_from("<Q", data, at)
        hashed = (rotate(hashed ^ mix(0, word), 27) * P1 + P4) & MASK
        at += 8
    if at + 4 <= size:
        (word,) = struct.unpack_from("<I", data, at)
        hashed = (rotate(hashed ^ word * P1 & MASK, 23) * P2 + P3) & MASK
        at += 4
    for byte in data[at:]:
        hashed = rotate(hashed ^ byte * P5 & MASK, 11) * P1 & MASK
    hashed = (hashed ^ hashed >> 33) * P2 & MASK
    hashed = (hashed ^ hashed >> 29) * P3 & MASK
    return hashed ^ hashed >> 32


def refuse_twice(pairs):
    assert len(dict(pairs)) == len(pairs), "a key twice"
    return dict(pairs)


def read_safetensors(path):
    with open(path, "rb") as file:
        content = file.read()
    (length,) = struct.unpack_from("<Q", content)
    assert length % 8 == 0, "data is not aligned"
    text = content[8 : 8 + length]
    assert text[:1] == b"{" and text.rstrip(b" ")[-1:] == b"}", "not padded with spaces"
    header = json.loads(text, object_pairs_hook=refuse_twice)
    metadata = header.pop("__metadata__")
    assert all(isinstance(value, str) for value in metadata.values())
    data, tensors, end = content[8 + length :], {}, 0
    for name, entry in header.items():
        assert set(entry) == {"dtype", "shape", "data_offsets"}, entry
        begin, behind = entry["data_offsets"]
        assert begin == end, "a hole or an overlap"
        end = behind
        code, size = {"F32": ("f", 4), "U32": ("I", 4), "U8": ("B", 1)}[entry["dtype"]]
        values = struct.unpack(f"<{(behind - begin) // size}{code}", data[begin:behind])
        tensors[name] = (entry["dtype"], entry["shape"], list(values))
    assert end == len(data), "more data than tensors"
    return metadata, tensors


def check_state(folder):
    with open(os.path.join(folder, "state.json"), "rb") as file:
        text = file.read()
    state = json.loads(text, object_pairs_hook=refuse_twice)
    own = state["xxh64"].encode()
    assert text.startswith(b'{\n "xxh64": "' + own), "the digest is not in its place"
    assert xxh64(text.replace(own, b"0" * 16, 1)) == int(own, 16), "state.json's own digest"
    assert (state["format"], state["version"], state["step"]) == ("megabyte-checkpoint", 1, 500)
    assert state["state"] == {"bytes": 9007199254740993, "note": "ä"}, state["state"]
    assert set(state["files"]) == {"model.safetensors", "optimizer.safetensors"}
    for name, digest in state["files"].items():
        with open(os.path.join(folder, name), "rb") as file:
            content = file.read()
        assert digest == {"size": len(content), "xxh64": f"{xxh64(content):016x}"}, name


def main():
    assert xxh64(b"") == 0xEF46DB3751D8E999 and xxh64(b"abc") == 0x44BC2CF5AD770999
    with tempfile.TemporaryDirectory() as run:
        subprocess.run([sys.argv[1], run], check=True)
        with open(os.path.join(run, "latest")) as file:
            assert file.read() == "checkpoints/00000500\n"
        with open(os.path.join(run, "config.json")) as file:
            assert json.load(file) == {"preset": "tiny"}
        folder = os.path.join(run, "checkpoints", "00000500")
        assert sorted(os.listdir(folder)) == [
            "model.safetensors",
            "optimizer.safetensors",
            "state.json",
        ]
        check_state(folder)
        metadata, tensors = read_safetensors(os.path.join(folder, "model.safetensors"))
        assert (metadata["format"], metadata["version"]) == ("megabyte", "1")
        assert json.loads(metadata["config"]) == {"preset": "tiny"}
        assert list(tensors) == ["third.bytes", "first.weight", 'second."ä"'], list(tensors)
        assert tensors["third.bytes"] == ("U8", [12], [(250 + i) % 256 for i in range(12)])
        assert tensors["first.weight"] == ("F32", [3, 5], [i / 4 - 1 for i in range(15)])
        assert tensors['second."ä"'] == ("U32", [2, 1, 2], [4000000000 + i for i in range(4)])


main()
