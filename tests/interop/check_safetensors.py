"""Compares cog with the Python packages `safetensors` and `numpy`: each reads what the other writes.

    python3 check_safetensors.py INTEROP     INTEROP is the program built from interop.cpp
Exits with 77 where a package is missing.
"""
import io
import json
import pathlib
import struct
import subprocess
import sys
import tempfile

try:
    import numpy as np
    from safetensors import safe_open
    from safetensors.numpy import save_file
except ImportError as e:
    print(f"skipped: the Python package `{e.name}` is not installed")
    sys.exit(77)

TYPES = {"F64": "f8", "F32": "f4", "F16": "f2", "I64": "i8", "I32": "i4", "I16": "i2", "U8": "u1", "BOOL": "?"}
SHAPES = [(), (1,), (7,), (0,), (2, 3), (0, 4), (3, 1, 5), (2, 3, 2, 2)]


def array(kind, shape, random):
    if kind == "?":
        return np.asarray(random.random(shape) > 0.5)
    if kind[0] == "f":
        return np.asarray(random.standard_normal(shape) * 100, kind)
    return np.asarray(random.integers(0, 100, shape), kind)


def write_raw(path, content):
    """Writes (dtype, shape, bytes) by name, whatever the dtype."""
    header, at = {}, 0
    for name, (dtype, shape, data) in content.items():
        header[name] = {"dtype": dtype, "shape": shape, "data_offsets": [at, at + len(data)]}
        at += len(data)
    text = json.dumps(header).encode()
    path.write_bytes(struct.pack("<Q", len(text)) + text + b"".join(data for _, _, data in content.values()))


def read_raw(path):
    data = path.read_bytes()
    length = struct.unpack("<Q", data[:8])[0]
    assert length % 8 == 0, "the data are not aligned"
    header, data = json.loads(data[8:8 + length]), data[8 + length:]
    return {name: (t["dtype"], t["shape"], data[slice(*t["data_offsets"])]) for name, t in header.items()}


def check_safetensors(program, folder):
    random = np.random.default_rng(1)
    arrays = {f"{name} {shape} é": array(kind, shape, random) for name, kind in TYPES.items() for shape in SHAPES}
    theirs, ours = folder / "theirs.safetensors", folder / "ours.safetensors"
    save_file(arrays, theirs, metadata={"format": "pt", "ключ": "値 \"quoted\"\n"})
    subprocess.run([program, "safetensors", theirs, ours], check=True)
    with safe_open(ours, "numpy") as file:
        assert set(file.keys()) == set(arrays), "names differ"
        assert file.metadata() == {"format": "pt", "ключ": "値 \"quoted\"\n"}, file.metadata()
        for name, expected in arrays.items():
            got = file.get_tensor(name)
            assert got.dtype == expected.dtype and got.shape == expected.shape and np.array_equal(got, expected), name
    print(f"safetensors: {len(arrays)} arrays equal, metadata equal")

    # NumPy has no bfloat16 and no 8-bit floats: as bytes.
    content = {dtype: (dtype, [3, 4], random.bytes(12 * width))
               for dtype, width in [("BF16", 2), ("C64", 8), ("F8_E4M3", 1), ("F16", 2), ("U64", 8)]}
    write_raw(theirs, content)
    subprocess.run([program, "safetensors", theirs, ours], check=True)
    assert read_raw(ours) == content, "raw content differs"
    with safe_open(ours, "numpy") as file:  # checks the header
        assert set(file.keys()) == set(content), "names differ"
    print(f"safetensors: {len(content)} raw tensors equal")


def check_npy(program, folder):
    random = np.random.default_rng(2)
    theirs, ours, count = folder / "theirs.npy", folder / "ours.npy", 0
    for kind in ("f8", "f4", "f2", "i8", "i4", "u1", "?"):
        for shape in SHAPES:
            for order in "CF":
                for ends in "<>":
                    for version in ((1, 0), (2, 0), (3, 0)):
                        expected = np.asarray(array(kind, shape, random), order=order)
                        file = io.BytesIO()
                        np.lib.format.write_array(file, expected.astype(expected.dtype.newbyteorder(ends), order=order), version)
                        theirs.write_bytes(file.getvalue())
                        subprocess.run([program, "npy", theirs, ours], check=True)
                        got = np.load(ours, allow_pickle=False)
                        assert got.dtype == expected.dtype and got.shape == expected.shape, (kind, shape, order, ends, version)
                        assert np.array_equal(got, expected), (kind, shape, order, ends, version)
                        count += 1
    print(f"npy: {count} arrays equal")


with tempfile.TemporaryDirectory() as name:
    check_safetensors(sys.argv[1], pathlib.Path(name))
    check_npy(sys.argv[1], pathlib.Path(name))
