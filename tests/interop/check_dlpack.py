"""Sends arrays of NumPy, and tensors of PyTorch where it is installed, to cog and back by DLPack: nothing is copied.

    python3 check_dlpack.py LIBRARY     LIBRARY is the shared library built from dlpack.cpp
Exits with 77 where NumPy is missing.
"""
import ctypes
import gc
import sys

try:
    import numpy as np
except ImportError:
    print("skipped: the Python package `numpy` is not installed")
    sys.exit(77)
try:
    import torch
except ImportError:
    torch = None

library = ctypes.CDLL(sys.argv[1])
api = ctypes.pythonapi
api.PyCapsule_GetPointer.restype = ctypes.c_void_p
api.PyCapsule_GetPointer.argtypes = [ctypes.py_object, ctypes.c_char_p]
api.PyCapsule_SetName.argtypes = [ctypes.py_object, ctypes.c_char_p]
api.PyCapsule_New.restype = ctypes.py_object
api.PyCapsule_New.argtypes = [ctypes.c_void_p, ctypes.c_char_p, ctypes.c_void_p]

NAMES = {"unversioned": (b"dltensor", b"used_dltensor"), "versioned": (b"dltensor_versioned", b"used_dltensor_versioned")}


class Capsule:
    """A managed tensor of cog's, as Python libraries ask for one."""

    def __init__(self, pointer, kind):
        self.capsule = api.PyCapsule_New(pointer, NAMES[kind][0], None)

    def __dlpack__(self, **_):
        return self.capsule

    def __dlpack_device__(self):
        return (1, 0)


def through_cog(x, kind):
    capsule = x.__dlpack__(max_version=(1, 0)) if kind == "versioned" else x.__dlpack__()
    name, used = NAMES[kind]
    pointer = api.PyCapsule_GetPointer(capsule, name)
    api.PyCapsule_SetName(capsule, used)  # its new owner is cog
    function = getattr(library, f"twice_transposed_{kind}")
    function.restype, function.argtypes = ctypes.c_void_p, [ctypes.c_void_p]
    result = function(pointer)
    assert result, "cog refused it"
    return Capsule(result, kind)


def check(make, back, same, kind):
    x = make()
    expected = (x + x).T
    views = [("whole", lambda a: a), ("slice", lambda a: a[1:, ::2]), ("transposed", lambda a: a.T)]
    for name, view in views:
        x = make()
        part = view(x)
        y = back(through_cog(part, kind))
        assert same(y, view(expected.T).T), (name, y)
        assert same(part.T, y), (name, "what cog wrote is not seen")
        part[0, 0] = 7
        assert y[0, 0] == 7, (name, "it is a copy")
        del x, part
        gc.collect()
        assert y[0, 0] == 7, (name, "the memory is gone")
    return len(views)


count = 0
# NumPy gives versioned capsules from 2.1 on.
kinds = ["unversioned"] + (["versioned"] if np.lib.NumpyVersion(np.__version__) >= "2.1.0" else [])
for kind in kinds:
    for dtype in ("float64", "float32", "float16", "int64", "int32", "uint8"):
        count += check(lambda: np.arange(12).reshape(3, 4).astype(dtype), np.from_dlpack, np.array_equal, kind)
if "versioned" in kinds:
    constant = np.arange(6, dtype="float32").reshape(2, 3)
    constant.flags.writeable = False
    y = np.from_dlpack(through_cog(constant, "versioned"))
    assert np.array_equal(y, 2 * constant.T) and constant[1, 2] == 5, "what is read-only was written"
print(f"dlpack: {count} arrays of NumPy")
if torch:
    count = 0
    for dtype in (torch.float64, torch.float32, torch.float16, torch.bfloat16, torch.int64, torch.uint8):
        count += check(lambda: torch.arange(12).reshape(3, 4).to(dtype), torch.from_dlpack, torch.equal, "unversioned")
    print(f"dlpack: {count} tensors of PyTorch")
