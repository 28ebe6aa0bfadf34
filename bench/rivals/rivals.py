"""The rivals in PyTorch: a name and a set-up for each, which gives a function of no arguments to be timed.

attention(kind, who, rule, dtype, mask, B, H, N, D), decode(...), train(model, size, rule, who). `who` is
    sdpa      torch.nn.functional.scaled_dot_product_attention (softmax only)
    eager     the formula as the authors of Cog attention write it
    compiled  the same under torch.compile; for training: the whole model
"""
import math

import torch
import torch._functorch.config
import torch.nn as nn
import torch.nn.functional as F

torch._functorch.config.donated_buffer = False  # so that a backward pass may be timed more than once
VOCABULARY = 256
SIZES = {"small": (4, 4, 128, 64, 12), "medium": (6, 6, 384, 256, 4)}  # layers, heads, width, context, batch
DTYPES = {"float": torch.float32, "bf16": torch.bfloat16}


def formula(q, k, v, visible, signed):
    s = (q * (1 / math.sqrt(q.shape[-1]))) @ k.transpose(-2, -1)
    u = s.abs() if signed else s
    if visible is not None:
        u = u.masked_fill(~visible, float("-inf"))
    w = u.softmax(dim=-1)
    return (torch.sign(s) * w if signed else w) @ v


def sdpa(q, k, v, visible, signed):
    assert not signed
    return F.scaled_dot_product_attention(q, k, v, is_causal=visible is not None and q.shape[2] > 1)


def attention_function(who):
    torch._dynamo.reset()
    return {"sdpa": sdpa, "eager": formula, "compiled": torch.compile(formula, dynamic=False)}[who]


def normal(shape, dtype, seed):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed)).to(DTYPES[dtype])


def attention(kind, who, rule, dtype, mask, b, h, n, d):
    q, k, v, g = (normal((b, h, n, d), dtype, seed) for seed in range(1, 5))
    visible = torch.ones(n, n, dtype=torch.bool).tril() if mask == "causal" else None
    f, signed = attention_function(who), rule == "cog"
    if kind == "forward":
        def call():
            with torch.no_grad():
                f(q, k, v, visible, signed)
        return call
    for x in (q, k, v):
        x.requires_grad_()
    out = f(q, k, v, visible, signed)
    return lambda: torch.autograd.grad(out, (q, k, v), g, retain_graph=True)


def decode(who, rule, dtype, b, h, key_heads, n, d):
    q = normal((b, h, 1, d), dtype, 1)
    k, v = (normal((b, key_heads, n, d), dtype, seed) for seed in (2, 3))
    f, signed = attention_function(who), rule == "cog"

    def call():
        with torch.no_grad():
            if key_heads == h:
                f(q, k, v, None, signed)
            elif who == "sdpa":
                F.scaled_dot_product_attention(q, k, v, enable_gqa=True)
            else:
                f(q, k.repeat_interleave(h // key_heads, 1), v.repeat_interleave(h // key_heads, 1), None, signed)
    return call


# ---- Language models, the same as bench/models.hpp

class Attention(nn.Module):
    """Causal self-attention: nanoGPT's one product for q, k and v, PyTorch's kernel for softmax, the formula for Cog."""

    def __init__(self, dim, heads, context, signed, rotary):
        super().__init__()
        self.heads, self.signed = heads, signed
        self.qkv, self.out = nn.Linear(dim, 3 * dim, bias=False), nn.Linear(dim, dim, bias=False)
        self.register_buffer("visible", torch.ones(context, context, dtype=torch.bool).tril(), persistent=False)
        angle = torch.outer(torch.arange(context), 10000.0 ** -(torch.arange(0, dim // heads, 2) / (dim // heads)))
        self.register_buffer("turns", torch.polar(torch.ones_like(angle), angle) if rotary else None, persistent=False)

    def turn(self, x):  # [b, h, n, d], by complex numbers as the authors do
        pairs = torch.view_as_complex(x.float().reshape(*x.shape[:-1], -1, 2))
        return torch.view_as_real(pairs * self.turns).flatten(3).type_as(x)

    def forward(self, x):
        b, n, dim = x.shape
        q, k, v = (y.view(b, n, self.heads, -1).transpose(1, 2) for y in self.qkv(x).split(dim, dim=2))
        if self.turns is not None:
            q, k = self.turn(q), self.turn(k)
        if self.signed:
            z = formula(q, k, v, self.visible, True)
        else:
            z = F.scaled_dot_product_attention(q, k, v, is_causal=True)
        return self.out(z.transpose(1, 2).contiguous().view(b, n, dim))


class SwiGLU(nn.Module):
    def __init__(self, dim, hidden):
        super().__init__()
        self.g, self.p = nn.Linear(dim, hidden, bias=False), nn.Linear(dim, hidden, bias=False)
        self.out = nn.Linear(hidden, dim, bias=False)

    def forward(self, x):
        return self.out(self.g(x) * F.silu(self.p(x)))


class Block(nn.Module):
    def __init__(self, attention, ffn, norm):
        super().__init__()
        self.attention, self.ffn, self.norm1, self.norm2 = attention, ffn, norm(), norm()

    def forward(self, x):
        x = x + self.attention(self.norm1(x))
        return x + self.ffn(self.norm2(x))


class Model(nn.Module):
    def __init__(self, kind, layers, heads, dim, context, signed, vocabulary=VOCABULARY, hidden=None):
        super().__init__()
        gpt = kind == "gpt"
        self.wte = nn.Embedding(vocabulary, dim)
        self.wpe = nn.Embedding(context, dim) if gpt else None
        norm = (lambda: nn.LayerNorm(dim)) if gpt else (lambda: nn.RMSNorm(dim, eps=1e-6))
        blocks = []
        for layer in range(layers):
            inner = gpt or 0 < layer < layers - 1  # a Cogformer's outer layers are softmax
            if gpt:
                ffn = nn.Sequential(nn.Linear(dim, 4 * dim), nn.GELU(), nn.Linear(4 * dim, dim))
            else:
                ffn = SwiGLU(dim, hidden or (344 if dim == 128 else 8 * dim // 3))
            blocks.append(Block(Attention(dim, heads, context, signed and inner, not gpt), ffn, norm))
        self.blocks, self.norm = nn.Sequential(*blocks), norm()
        self.head = nn.Linear(dim, vocabulary, bias=False)
        if gpt:
            self.head.weight = self.wte.weight
        for p in self.parameters():
            if p.dim() == 2:
                nn.init.normal_(p, std=0.02)

    def forward(self, tokens, targets):
        x = self.wte(tokens)
        if self.wpe is not None:
            x = x + self.wpe(torch.arange(tokens.shape[1], device=tokens.device))
        logits = self.head(self.norm(self.blocks(x)))
        return F.cross_entropy(logits.flatten(0, 1), targets.flatten())


def train(kind, size, rule, who):
    layers, heads, dim, context, batch = SIZES[size]
    torch.manual_seed(1)
    torch._dynamo.reset()
    model = Model(kind, layers, heads, dim, context, rule == "cog")
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3, fused=True)
    tokens, targets = torch.randint(VOCABULARY, (2, batch, context))
    loss_of = torch.compile(model, dynamic=False) if who == "compiled" else model

    def step():
        optimizer.zero_grad(set_to_none=True)
        loss = loss_of(tokens, targets)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        return loss.item()
    step.parameters = sum(p.numel() for p in model.parameters())
    return step
