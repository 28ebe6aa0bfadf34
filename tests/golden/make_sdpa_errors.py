"""What PyTorch's scaled_dot_product_attention errs by, against the formula in double, on the inputs of `precision` in tests/cuda_attention.hpp:
prints the table there. python make_sdpa_errors.py, with torch and numpy; the table was made on a CPU by 2.15."""

import numpy
import torch


def drawn(n, width, seed):
    """The same numbers as `hashed` there, exactly: between -2 and 2."""
    h = (numpy.arange(n * width, dtype=numpy.uint64) + 1) * 2654435761 + seed * 40503 & 0xFFFFFFFF
    h = (h ^ h >> 15) * 2246822519 & 0xFFFFFFFF
    h = (h ^ h >> 13) * 3266489917 & 0xFFFFFFFF
    return torch.from_numpy(((h & 0xFFFF) + (h >> 16)).astype(numpy.float64) / 32768 - 2).reshape(1, 1, n, width)


def run(attention, inputs, gradient):
    q, k, v = (x.clone().requires_grad_() for x in inputs)
    out = attention(q, k, v)
    out.backward(gradient)
    return [x.double() for x in (out.detach(), q.grad, k.grad, v.grad)]


def exact(causal):
    def attention(q, k, v):
        s = q @ k.transpose(2, 3) / q.shape[-1] ** 0.5
        if causal:
            s = s.masked_fill(torch.ones(s.shape[-2:], dtype=torch.bool).triu(1), -torch.inf)
        return s.softmax(-1) @ v

    return attention


def fused(causal):
    return lambda q, k, v: torch.nn.functional.scaled_dot_product_attention(q, k, v, is_causal=causal)


for dtype in (torch.bfloat16, torch.half):
    for width in (64, 128):
        for causal in (False, True):
            squares = numpy.zeros(4)
            for first in (21, 33, 53, 65):
                inputs = [drawn(300, width, first + i).to(dtype) for i in range(4)]
                want = run(exact(causal), [x.double() for x in inputs[:3]], inputs[3].double())
                got = run(fused(causal), inputs[:3], inputs[3])
                squares += [((a - b).square().mean() / b.square().mean()).item() / 4 for a, b in zip(got, want)]
            errors = ", ".join(f"{e:.4g}" for e in numpy.sqrt(squares))
            print(f"    {{{width}, {str(causal).lower()}, {{{errors}}}}},  // {dtype}".replace("torch.", ""))
