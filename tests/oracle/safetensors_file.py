"""Reads and writes the safetensors container with numpy and json alone.

The container: 8 bytes, the header's length (little-endian); the header, a JSON object that gives
for each tensor its dtype, its shape and its begin and end in the data, and under "__metadata__"
an object of strings; the data, without holes. The header is padded with spaces so that the data
starts at a multiple of 8.

Only the two dtypes of this project, F32 and U8, are known here.
"""

import json
import math
import struct

import numpy as np

DTYPES = {"F32": np.dtype("<f4"), "U8": np.dtype("u1")}


def write(path, tensors, metadata):
    """tensors: name -> array of float32 or uint8. metadata: name -> string."""
    # Wide elements first, so that every tensor is aligned to its own element.
    ordered = sorted(tensors.items(), key=lambda item: (-item[1].dtype.itemsize, item[0]))
    header = {"__metadata__": metadata}
    end = 0
    for name, array in ordered:
        dtype = next(key for key, value in DTYPES.items() if value == array.dtype)
        begin, end = end, end + array.nbytes
        header[name] = {"dtype": dtype, "shape": list(array.shape), "data_offsets": [begin, end]}
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    with open(path, "wb") as file:
        file.write(struct.pack("<Q", len(text)))
        file.write(text)
        for _, array in ordered:
            file.write(np.ascontiguousarray(array).tobytes())


def read(path):
    """Returns (tensors, metadata) as write takes them."""
    with open(path, "rb") as file:
        content = file.read()
    if len(content) < 8:
        raise ValueError(f"{path}: too short for a safetensors file")
    (length,) = struct.unpack_from("<Q", content)
    if length > len(content) - 8:
        raise ValueError(f"{path}: its header ends beyond the file")
    header = json.loads(content[8 : 8 + length])
    data = memoryview(content)[8 + length :]
    metadata = header.pop("__metadata__", {})
    if not all(isinstance(value, str) for value in metadata.values()):
        raise ValueError(f"{path}: its metadata holds something else than strings")
    # As strict as the public library: the tensors cover the data, one after another.
    covered = 0
    for begin, end in sorted(entry["data_offsets"] for entry in header.values()):
        if begin != covered:
            raise ValueError(f"{path}: a hole or an overlap at byte {begin} of its data")
        covered = end
    if covered != len(data):
        raise ValueError(f"{path}: its data is {len(data)} bytes, the tensors take {covered}")
    tensors = {}
    for name, entry in header.items():
        if entry["dtype"] not in DTYPES:
            raise ValueError(f"{path}: {name} has dtype {entry['dtype']}, not one of F32 and U8")
        dtype = DTYPES[entry["dtype"]]
        begin, end = entry["data_offsets"]
        if not 0 <= begin <= end <= len(data):
            raise ValueError(f"{path}: {name} ends beyond the file")
        if end - begin != math.prod(entry["shape"]) * dtype.itemsize:
            raise ValueError(f"{path}: {name} does not fill its shape {entry['shape']}")
        tensors[name] = np.frombuffer(data[begin:end], dtype).reshape(entry["shape"])
    return tensors, metadata
