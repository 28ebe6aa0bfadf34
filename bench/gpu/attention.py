"""Attention beside its rivals in one process: LIBRARY OUT [words], e.g. forward,decode width128 n2048,n8192: what holds one of each word's
alternatives, "errors" being one (default: everything).

First each is compared with the formula in double. Then, shape by shape, all of them run in turn, round after round, on normal
numbers in buffers that the L2 cache does not hold; CUDA events; medians. Decoding is captured in a graph. Times of ours hold every kernel
of a call. OUT/gpu_attention.json, written anew after every shape, and pictures (speed by length)."""
import ctypes
import json
import math
import pathlib
import statistics
import sys

import torch
import torch.nn.functional as F
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.nn.attention.flex_attention import create_block_mask, flex_attention

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent))
import charts

ROUNDS, WARM, BEYOND_CACHE = 31, 5, 256 << 20


class Tensor(ctypes.Structure):
    _fields_ = [("data", ctypes.c_void_p), ("strides", ctypes.c_int64 * 4)]

    @staticmethod
    def of(x):
        return Tensor(x.data_ptr(), (ctypes.c_int64 * 4)(*x.stride()))


class Call(ctypes.Structure):  # examples/libtorch/kernels.hpp
    _fields_ = [(n, Tensor) for n in ("q", "k", "v", "out", "out_gradient", "dq", "dk", "dv")] + [("logsumexp", ctypes.c_void_p)] + \
        [(n, ctypes.c_int64) for n in ("batch", "heads", "key_heads", "queries", "keys", "width", "value_width")] + \
        [("scale", ctypes.c_float), ("half", ctypes.c_bool), ("signed_weights", ctypes.c_bool), ("causal", ctypes.c_bool),
         ("device", ctypes.c_int), ("stream", ctypes.c_void_p)]


class Ours:
    def __init__(self, library, signed):
        self.run, self.signed = ctypes.CDLL(library).attention_run, signed
        self.run.restype = ctypes.c_char_p

    def call(self, q, k, v, causal):
        self.out = torch.empty(*q.shape[:3], v.shape[3], dtype=q.dtype, device=q.device)
        self.logsumexp = torch.empty(q.shape[:3], device=q.device)
        c = Call(q=Tensor.of(q), k=Tensor.of(k), v=Tensor.of(v), out=Tensor.of(self.out), logsumexp=self.logsumexp.data_ptr(), batch=q.shape[0],
                 heads=q.shape[1], key_heads=k.shape[1], queries=q.shape[2], keys=k.shape[2], width=q.shape[3], value_width=v.shape[3],
                 scale=1 / math.sqrt(q.shape[3]), half=q.dtype == torch.half, signed_weights=self.signed, causal=causal,
                 stream=torch.cuda.current_stream().cuda_stream)
        return c

    def check(self, c, backward):
        text = self.run(ctypes.byref(c), backward)
        if text:
            raise RuntimeError(text.decode())

    def forward(self, q, k, v, causal):
        self.check(self.call(q, k, v, causal), 0)
        return self.out

    def backward(self, q, k, v, causal, g):
        """A function that runs the backward pass, and its results."""
        c = self.call(q, k, v, causal)
        self.check(c, 0)
        results = [torch.empty_like(x) for x in (q, k, v)]
        c.out_gradient, (c.dq, c.dk, c.dv) = Tensor.of(g), map(Tensor.of, results)
        kept = (self.out, self.logsumexp)
        return lambda: (self.check(c, 1), kept) and results


def formula(q, k, v, causal, signed=True):
    k, v = (x.repeat_interleave(q.shape[1] // x.shape[1], 1) for x in (k, v))
    s = q @ k.transpose(-2, -1) / math.sqrt(q.shape[3])
    u = s.abs() if signed else s
    if causal:
        u = u.masked_fill(torch.ones(q.shape[2], k.shape[2], dtype=torch.bool, device=q.device).triu(1 + k.shape[2] - q.shape[2]), -math.inf)
    p = u.float().softmax(-1).to(q.dtype) if q.dtype != torch.double else u.softmax(-1)
    return (p * s.sign() if signed else p) @ v


def flex_signed(compiled, blocks, q, k, v):
    """Signed attention as two softmaxes, one over positive scores and one over negative ones. Exact where no score is 0: such a one would
    have to be counted by a third."""
    groups = q.shape[1] != k.shape[1]

    def part(sign):
        def only(score, b, h, i, j):
            return torch.where(score * sign > 0, score * sign, -float("inf"))
        return compiled(q, k, v, score_mod=only, block_mask=blocks, return_lse=True, enable_gqa=groups)
    (a, x), (b, y) = part(1), part(-1)
    z = torch.logaddexp(x, y)
    return a.nan_to_num() * (x - z).exp().unsqueeze(-1).to(a.dtype) - b.nan_to_num() * (y - z).exp().unsqueeze(-1).to(b.dtype)


def autograd(f):
    """The backward pass of a PyTorch function, as Ours.backward."""
    def start(q, k, v, causal, g):
        x = [t.detach().requires_grad_() for t in (q, k, v)]
        out = f(*x, causal)
        return lambda: torch.autograd.grad(out, x, g, retain_graph=True)
    return start


def rivals(library):
    """Name: forward(q, k, v, causal), backward, the longest for which it is asked, whether its weights are signed."""
    def sdpa(backend):
        def run(q, k, v, causal):
            with sdpa_kernel(backend):
                return F.scaled_dot_product_attention(q, k, v, is_causal=causal and q.shape[2] > 1, enable_gqa=q.shape[1] != k.shape[1])
        return run
    compiled_formula, compiled_flex = torch.compile(formula), torch.compile(flex_attention)
    blocks = {}

    def flex(q, k, v, causal):
        key = (q.shape[2], k.shape[2])
        if causal and key not in blocks:
            blocks[key] = create_block_mask(lambda b, h, i, j: i + key[1] - key[0] >= j, None, None, *key, device="cuda")
        return flex_signed(compiled_flex, blocks[key] if causal else None, q, k, v)
    ours = {f"cog, {'signed' if s else 'softmax'}": Ours(library, s) for s in (True, False)}
    out = {n: (o.forward, o.backward, 1 << 30, o.signed) for n, o in ours.items()}
    for name, f, longest, signed in (("PyTorch flash", sdpa(SDPBackend.FLASH_ATTENTION), 1 << 30, False), ("PyTorch cuDNN", sdpa(SDPBackend.CUDNN_ATTENTION), 1 << 30, False),
                                     ("FlexAttention, two passes", flex, 1 << 30, True), ("formula, compiled", compiled_formula, 8192, True),
                                     ("formula", formula, 8192, True)):
        out[name] = (f, autograd(f), longest, signed)
    return out


def drawn(batch, heads, key_heads, queries, keys, width, dtype):
    def normal(h, n):
        return torch.randn(batch, n, h, width, device="cuda", dtype=dtype).transpose(1, 2)
    return normal(heads, queries), normal(key_heads, keys), normal(key_heads, keys), normal(heads, queries)


def relative(a, b):
    return ((a.double() - b).norm() / b.norm()).item()


def errors(all_rivals):
    """[rival, what, relative error]: against the formula in double."""
    found = []
    for dtype in (torch.bfloat16, torch.half):
        for width in (64, 128, 256):
            for causal in (False, True):
                q, k, v, g = drawn(2, 4, 2, 700, 700, width, dtype)
                k[:, :, 5] = 0  # scores of exactly 0
                for name, (forward, backward, _, signed) in all_rivals.items():
                    x = [t.double().requires_grad_() for t in (q, k, v)]
                    want = formula(*x, causal, signed)
                    want_gradients = torch.autograd.grad(want, x, g.double())
                    row = {"rival": name, "dtype": str(dtype), "width": width, "causal": causal}
                    try:
                        row["out"] = relative(forward(q, k, v, causal), want)
                        row["dq"], row["dk"], row["dv"] = map(relative, backward(q, k, v, causal, g)(), want_gradients)
                    except Exception as e:  # a rival may lack a case
                        row["error"] = str(e).splitlines()[0][:200]
                    found.append(row)
                    print(row, flush=True)
    return found


def in_turn(runs):
    """Medians, 10th and 90th percentiles in ms of functions (lists of them: one for each set of buffers) that run one after the other, round
    after round. A time is that of as many runs as take about a millisecond."""
    times, counts, turns = {n: [] for n in runs}, dict.fromkeys(runs, 1), dict.fromkeys(runs, 0)
    for round_ in range(-WARM, ROUNDS):
        for name, sets in runs.items():
            a, b = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
            a.record()
            for _ in range(counts[name]):
                sets[turns[name] % len(sets)]()
                turns[name] += 1
            b.record()
            torch.cuda.synchronize()
            ms = a.elapsed_time(b) / counts[name]
            if round_ >= 0:
                times[name].append(ms)
            elif round_ == -1:
                counts[name] = max(1, min(200, int(1 / ms)))
    return {n: [statistics.median(t), *(statistics.quantiles(t, n=10)[i] for i in (0, 8))] for n, t in times.items()}


def captured(run):
    """A graph of what run() does, replayed."""
    stream = torch.cuda.Stream()
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):
        run()
        run()
    torch.cuda.synchronize()
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph, stream=stream):
        run()
    return graph.replay


def prepared(what, starts, capture):
    """A function for each set of buffers, or None where the rival can't; and the memory of one."""
    try:
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated()
        first = starts[0]()
        first()
        torch.cuda.synchronize()
        memory = torch.cuda.max_memory_allocated() - before
        runs = [first] + [start() for start in starts[1:]]
        return [captured(run) for run in runs] if capture else runs, memory
    except Exception as e:
        print(f"{what}: {str(e).splitlines()[0][:120]}", flush=True)
        torch.cuda.empty_cache()
        return None, 0


def main(library, out, words):
    def wanted(*name):
        return all(set(word.split(",")) & set(name) for word in words)

    everybody = rivals(library)
    report = {"gpu": torch.cuda.get_device_name(), "torch": torch.__version__, "errors": [], "times": []}
    torch._dynamo.config.cache_size_limit = 256

    def write():
        (out / "gpu_attention.json").write_text(json.dumps(report, indent=1) + "\n")

    if wanted("errors"):
        report["errors"] = errors(everybody)
        write()

    def measure(kind, shape, causal, work, unit, size):
        """work / size / s is the speed in `unit`."""
        bytes_ = 2 * shape[0] * shape[5] * (shape[1] * shape[3] + shape[2] * shape[4]) * (4 if kind == "backward" else 2)
        sets = [drawn(*shape, torch.bfloat16) for _ in range(max(1, min(64, -(-BEYOND_CACHE // bytes_))))]
        runs, memory = {}, {}
        for name, (forward, backward, longest, _) in everybody.items():
            if shape[4] > longest:
                continue
            if kind == "backward":
                starts = [lambda x=x: backward(*x[:3], causal, x[3]) for x in sets]
            else:
                starts = [lambda x=x: lambda: forward(*x[:3], causal) for x in sets]
            ready, needed = prepared(f"{name}, {kind}, {shape}", starts, kind == "decode")
            if ready:
                runs[name], memory[name] = ready, needed
        for name, (median, low, high) in in_turn(runs).items():
            row = {"kind": kind, "rival": name, "shape": shape, "causal": causal, "ms": median, "ms_10": low, "ms_90": high, unit: work / size / (median * 1e-3), "memory": memory[name]}
            report["times"].append(row)
            print(f"{kind:9} {str(shape):38} {'causal' if causal else 'full':6} {name:26} {median:9.3f} ms {row[unit]:8.1f} {unit}", flush=True)
        write()

    for kind in ("forward", "backward"):
        for width, heads, key_heads in ((64, 32, 32), (128, 16, 16), (256, 8, 8), (128, 64, 8)):
            for causal in (False, True):
                lines = {}
                for n in (512, 1024, 2048, 4096, 8192, 16384):
                    if not wanted(kind, f"width{width}", f"heads{heads}/{key_heads}", f"n{n}", "causal" if causal else "full"):
                        continue
                    batch = 1 if key_heads != heads else 16384 // n
                    flops = 4 * batch * heads * n * n * width * (2.5 if kind == "backward" else 1) / (2 if causal else 1)
                    first = len(report["times"])
                    measure(kind, (batch, heads, key_heads, n, n, width), causal, flops, "TFLOP/s", 1e12)
                    for row in report["times"][first:]:
                        lines.setdefault(row["rival"], []).append((n, row["TFLOP/s"]))
                name = f"gpu_attention_{kind}_{width}_{heads}_{key_heads}_{'causal' if causal else 'full'}"
                if lines:
                    charts.write(out / f"{name}.svg", f"{kind}, width {width}, {heads} / {key_heads} heads, {'causal' if causal else 'full'}", "positions", "TFLOP/s", list(lines.items()))
    for batch, keys in ((8, 65536), (64, 16384), (1, 131072), (8, 16384), (64, 4096)):
        for heads, key_heads in ((8, 8), (32, 8), (64, 8)):
            if wanted("decode", "width128", f"batch{batch}", f"heads{heads}/{key_heads}", f"n{keys}", "causal"):
                measure("decode", (batch, heads, key_heads, 1, keys, 128), True, 2 * 2 * batch * key_heads * keys * 128, "GB/s", 1e9)


if __name__ == "__main__":
    main(sys.argv[1], pathlib.Path(sys.argv[2]), sys.argv[3:])
