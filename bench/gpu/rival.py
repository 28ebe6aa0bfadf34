"""PyTorch's side of the training step in main.cu, on the same GPU: the 141 M model, context 2,048, float weights under bf16 autocast.

    python rival.py OUT.json [--device cuda] [--batch 16]

Eager, and the whole model under torch.compile. Layers of softmax run PyTorch's kernel in both, layers of Cog attention the authors'
formula. Where a batch does not fit, half of it is tried; the rate is in tokens a second either way.
"""
import argparse
import json
import pathlib
import statistics
import sys
import time

import torch

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent / "rivals"))
import rivals

MODEL = dict(layers=12, heads=12, dim=768, context=2048, vocabulary=32000, hidden=2304)


def seconds_of(step, synchronize, repeats):
    for _ in range(3):
        step()
    times = []
    for _ in range(repeats):
        synchronize()
        start = time.perf_counter()
        step()
        synchronize()
        times.append(time.perf_counter() - start)
    return statistics.median(times)


def training_step(device, rule, who, batch, shape):
    torch.manual_seed(1)
    torch._dynamo.reset()
    model = rivals.Model("cogformer", signed=rule == "cog", **shape).to(device)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-4, weight_decay=0.1, fused=True)
    tokens, targets = torch.randint(shape["vocabulary"], (2, batch, shape["context"]), device=device)
    loss_of = torch.compile(model, dynamic=False) if who == "compiled" else model

    def step():
        optimizer.zero_grad(set_to_none=True)
        with torch.autocast(device, torch.bfloat16):
            loss = loss_of(tokens, targets)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
    return step


def work_of_token(shape):
    """Operations of the model itself, as main.cu counts them: 6 for every weight of a product, and causal attention's half of 12 n dim a layer."""
    dim, layers = shape["dim"], shape["layers"]
    weights = layers * (4 * dim * dim + 3 * dim * shape["hidden"] + 2 * dim) + dim + shape["vocabulary"] * dim
    return 6 * (weights + layers * shape["context"] * dim)


def main():
    options = argparse.ArgumentParser()
    options.add_argument("out")
    options.add_argument("--device", default="cuda")
    options.add_argument("--batch", type=int, default=16)
    options.add_argument("--repeats", type=int, default=21)
    for name, value in MODEL.items():
        options.add_argument("--" + name, type=int, default=value)
    o = options.parse_args()
    on_gpu = o.device == "cuda"
    if on_gpu and not torch.cuda.is_available():
        print("rival.py: skipped, PyTorch sees no GPU")
        sys.exit(77)
    shape = {name: getattr(o, name) for name in MODEL}
    results = []
    for rule in ("cog", "softmax"):
        for who in ("eager", "compiled"):
            batch = o.batch
            while True:
                try:
                    seconds = seconds_of(training_step(o.device, rule, who, batch, shape), torch.cuda.synchronize if on_gpu else lambda: None, o.repeats)
                    break
                except torch.OutOfMemoryError:
                    torch.cuda.empty_cache()
                    batch //= 2
                    if batch == 0:
                        raise
            name = f"training step, 141 M {rule}, PyTorch {who}, tokens"
            rate = batch * shape["context"] / seconds
            results.append(dict(name=name, value=rate, unit="tokens/s", seconds=seconds, batch=batch, tflops=rate * work_of_token(shape) * 1e-12))
            print(f"{name:58} {rate:10.2f} tokens/s, {results[-1]['tflops']:7.1f} TFLOP/s, batch {batch}", flush=True)
            device = torch.cuda.get_device_name() if on_gpu else "cpu"
            pathlib.Path(o.out).write_text(json.dumps(dict(device=device, torch=torch.__version__, results=results), indent=1) + "\n")


main()
