#!/usr/bin/env python3
"""Makes the golden values of clip_text, inception_v3 and the Frechet distance:  python3 make_pictures.py OUT

Needs numpy, scipy, torch, torchvision, transformers and safetensors. The modules are those of transformers and torchvision with few channels
and random weights; Inception is patched as FID's is (see include/cog/models/inception_v3.hpp).
"""
import json
import pathlib
import sys

import numpy
import scipy.linalg
import torch
import torch.nn.functional as F
import torchvision
import transformers
from safetensors.torch import save_file

out = pathlib.Path(sys.argv[1])


def clip():
    torch.manual_seed(1)
    config = transformers.CLIPTextConfig(vocab_size=99, hidden_size=24, intermediate_size=40, num_hidden_layers=2, num_attention_heads=3,
                                         max_position_embeddings=11, hidden_act="quick_gelu")
    model = transformers.CLIPTextModel(config).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.copy_(torch.randn_like(parameter) * 0.3)
        tokens = torch.randint(0, 99, (3, 9))
        names = {k if k.startswith("text_model.") else "text_model." + k: v for k, v in model.state_dict().items() if "position_ids" not in k}
        values = {"param." + k: v.contiguous() for k, v in names.items()}
        values |= {"tokens": tokens, "states": model(tokens).last_hidden_state}
    save_file(values, out / "clip_text.safetensors")


def tokens():
    """A vocabulary of a few merges, and what CLIP's tokenizer makes of texts with it."""
    from transformers.models.clip.tokenization_clip import CLIPTokenizer
    letters = bytes_to_unicode()
    symbols = list(letters.values()) + [s + "</w>" for s in letters.values()]
    merges = [("t", "h"), ("th", "e</w>"), ("a", "n"), ("c", "a"), ("ca", "t</w>"), ("i", "n"), ("in", "g</w>"), ("o", "f</w>"), ("r", "e"), ("e", "d</w>"), ("an", "d</w>"),
              ("'", "s</w>"), ("Ã", "¼"), ("l", "l"), (".", ".")]
    symbols += [a + b for a, b in merges] + ["<|startoftext|>", "<|endoftext|>"]
    ids = {s: i for i, s in enumerate(symbols)}
    folder = out / "clip_tokenizer"
    folder.mkdir(exist_ok=True)
    (folder / "vocab.json").write_text(json.dumps(ids, ensure_ascii=False))
    (folder / "merges.txt").write_text("#version: 0.2\n" + "\n".join(" ".join(m) for m in merges) + "\n")
    tokenizer = CLIPTokenizer(str(folder / "vocab.json"), str(folder / "merges.txt")) if not hasattr(CLIPTokenizer, "_tokenizer_cls") else None
    if tokenizer is None or not callable(getattr(tokenizer, "__call__", None)):
        tokenizer = CLIPTokenizer.from_pretrained(str(folder))
    texts = ["the cat", "The  red CAT's\tending...", "", "a photo of 1024 cats, and the dog!", "über Ärger naïve ЁЖ", "it's we'll they've", "日本 — emoji 🙂 end", "don't stop; the the the the the the"]
    rows = [{"text": t, "ids": tokenizer(t, padding="max_length", max_length=12, truncation=True)["input_ids"]} for t in texts]
    (folder / "reference.json").write_text(json.dumps(rows, ensure_ascii=False, indent=1) + "\n")


def bytes_to_unicode():
    kept = list(range(ord("!"), ord("~") + 1)) + list(range(ord("¡"), ord("¬") + 1)) + list(range(ord("®"), ord("ÿ") + 1))
    table, more = {b: chr(b) for b in kept}, 0
    for b in range(256):
        if b not in table:
            table[b], more = chr(256 + more), more + 1
    return table


def inception():
    torch.manual_seed(2)
    narrower = 16
    whole = torch.nn.Conv2d.__init__

    def narrow(self, i, o, *args, **kwargs):
        whole(self, i if i == 3 else i // narrower, o // narrower, *args, **kwargs)

    norm = torch.nn.BatchNorm2d.__init__
    torch.nn.Conv2d.__init__ = narrow
    torch.nn.BatchNorm2d.__init__ = lambda self, c, **kwargs: norm(self, c // narrower, **kwargs)
    linear = torch.nn.Linear.__init__
    torch.nn.Linear.__init__ = lambda self, i, o, *a, **k: linear(self, i // narrower, 5, *a, **k)
    model = torchvision.models.Inception3(num_classes=5, aux_logits=False, transform_input=False, init_weights=False).eval()
    torch.nn.Conv2d.__init__, torch.nn.BatchNorm2d.__init__, torch.nn.Linear.__init__ = whole, norm, linear

    average = F.avg_pool2d
    model.Mixed_7c.forward = lambda x: torch.cat(mixed_7c(model.Mixed_7c, x), 1)
    torchvision.models.inception.F.avg_pool2d = lambda x, kernel_size, stride=1, padding=0: average(x, kernel_size, stride, padding, count_include_pad=False)
    with torch.no_grad():
        for name, p in model.state_dict().items():
            if name.endswith("conv.weight"): p.copy_(torch.randn_like(p) * (1.6 / p[0].numel()) ** 0.5)
            if name.endswith(("bn.weight", "running_var")): p.copy_(torch.rand_like(p) + 0.5)
            if name.endswith(("bn.bias", "running_mean")): p.copy_(torch.randn_like(p) * 0.2)
        x = torch.rand(2, 3, 91, 107) * 2 - 1
        features = {}
        model.avgpool.register_forward_hook(lambda module, inputs, result: features.update(all=result.flatten(1)))
        model(x)
        values = {"param." + k: v for k, v in model.state_dict().items() if not k.startswith("fc.") and "num_batches" not in k}
        values |= {"x": x, "features": features["all"]}
    save_file(values, out / "inception_v3.safetensors", {"narrower": str(narrower)})
    F.avg_pool2d = average


def mixed_7c(m, x):
    three, double = m.branch3x3_1(x), m.branch3x3dbl_2(m.branch3x3dbl_1(x))
    return [m.branch1x1(x), m.branch3x3_2a(three), m.branch3x3_2b(three), m.branch3x3dbl_3a(double), m.branch3x3dbl_3b(double),
            m.branch_pool(F.max_pool2d(x, 3, 1, 1))]


def frechet():
    random = numpy.random.default_rng(3)
    first, second = random.normal(size=(40, 6)).astype("f4"), (random.normal(size=(50, 6)) @ random.normal(size=(6, 6)) + 0.3).astype("f4")
    few = random.normal(size=(4, 6)).astype("f4")  # a singular covariance
    mean, covariance = second.astype("f8").mean(0), numpy.cov(second.astype("f8"), rowvar=False)

    def distance(a):
        m, s = a.astype("f8").mean(0), numpy.cov(a.astype("f8"), rowvar=False)
        root = scipy.linalg.sqrtm(s @ covariance)
        return float(((m - mean) ** 2).sum() + numpy.trace(s) + numpy.trace(covariance) - 2 * numpy.trace(root).real)

    numpy.savez_compressed(out / "frechet_second.npz", mu=mean, sigma=covariance)
    save_file({"first": torch.from_numpy(first), "second": torch.from_numpy(second), "few": torch.from_numpy(few),
               "first_to_second": torch.tensor([distance(first)], dtype=torch.float64), "few_to_second": torch.tensor([distance(few)], dtype=torch.float64)},
              out / "frechet.safetensors")


for make in (clip, tokens, inception, frechet):
    make()
