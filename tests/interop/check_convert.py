"""A checkpoint as the published code writes it, through examples/lm/convert.py and `cog-lm eval`, against the model written out in
PyTorch.

    python3 check_convert.py COG_LM     COG_LM is the program
Exits with 77 where a package is missing.
"""
import math
import pathlib
import re
import subprocess
import sys
import tempfile

try:
    import safetensors.torch
    import torch
    import torch.nn.functional as F
except ImportError as e:
    print(f"skipped: the Python package `{e.name}` is not installed")
    sys.exit(77)

ROOT = pathlib.Path(__file__).parents[2]
VOCABULARY, LAYERS, WINDOW, DIM, HEADS, WIDTH, HIDDEN, EPS = 257, 4, 32, 48, 3, 16, 112, 1e-5


def checkpoint(attn_type):
    torch.manual_seed(1)
    matrix = lambda *shape: torch.randn(shape) / 4
    model = {"freqs_cis": torch.zeros(2 * WINDOW, WIDTH // 2, dtype=torch.complex64), "shortcut_bar": torch.zeros(4095),
             "embedding.weight": torch.randn(VOCABULARY, DIM), "norm.weight": torch.rand(DIM) + 0.5,
             "output.weight": matrix(VOCABULARY, DIM)}
    for l in range(LAYERS):
        for name in ("qw", "kw", "vw"):
            model[f"layers.{l}.attention.{name}"] = matrix(DIM, HEADS * WIDTH)
        model[f"layers.{l}.attention.ow"] = matrix(HEADS * WIDTH, DIM)
        for expert in range(2):  # the second is kept and not run
            for name in ("gw", "pw"):
                model[f"layers.{l}.ffn.shared_experts.{expert}.{name}"] = matrix(DIM, HIDDEN)
            model[f"layers.{l}.ffn.shared_experts.{expert}.ow"] = matrix(HIDDEN, DIM)
        for name in ("attention_norm", "ffn_norm"):
            model[f"layers.{l}.{name}.weight"] = torch.rand(DIM) + 0.5
    model["layers.1.attention.qw"] = model["layers.1.attention.qw"].half()
    config = {"vocab_size": VOCABULARY, "n_layers": LAYERS, "max_seq_length": WINDOW, "dim": DIM, "n_heads": HEADS, "head_dim": WIDTH,
              "hidden_dim": 2 * HIDDEN, "norm_eps": EPS, "attn_type": attn_type, "shared_expert_recipe": 2, "dropout": 0.1}
    return {"model_cfg": config, "model": model, "global_step": 7}


def logits(model, attn_type, tokens):
    def normal(x, name):
        return x * torch.rsqrt((x * x).mean(-1, keepdim=True) + EPS) * model[name]

    def turned(x):
        angles = torch.arange(len(tokens))[:, None] * 10000.0 ** (-torch.arange(0, WIDTH, 2) / WIDTH)
        pairs = torch.view_as_complex(x.unflatten(-1, (-1, 2)))
        return torch.view_as_real(pairs * torch.polar(torch.ones_like(angles), angles)[:, None]).flatten(-2)

    x = model["embedding.weight"][tokens]
    seen = torch.ones(len(tokens), len(tokens)).tril().bool()
    for l in range(LAYERS):
        attention, expert = f"layers.{l}.attention.", f"layers.{l}.ffn.shared_experts.0."
        h = normal(x, f"layers.{l}.attention_norm.weight")
        q, k, v = ((h @ model[attention + w]).unflatten(-1, (HEADS, WIDTH)) for w in ("qw", "kw", "vw"))
        q, k, v = turned(q).transpose(0, 1), turned(k).transpose(0, 1), v.transpose(0, 1)
        s = q @ k.transpose(1, 2) / math.sqrt(WIDTH)
        cog = attn_type == "np" and 0 < l < LAYERS - 1
        w = (s.abs() if cog else s).masked_fill(~seen, -math.inf).softmax(-1) * (s.sign() if cog else 1)
        x = x + (w @ v).transpose(0, 1).flatten(1) @ model[attention + "ow"]
        h = normal(x, f"layers.{l}.ffn_norm.weight")
        x = x + ((h @ model[expert + "gw"]) * F.silu(h @ model[expert + "pw"])) @ model[expert + "ow"]
    return normal(x, "norm.weight") @ model["output.weight"].T


def main(program, folder):
    text = (ROOT / "README.md").read_bytes()[:3000]
    (folder / "text").write_bytes(text)
    run = lambda *command: subprocess.run(command, cwd=folder, check=True, capture_output=True, text=True).stdout
    # A checkpoint of its own brings the tokenizer of bytes, in which a text begins with 256.
    run(program, "train", "--data", "text", "--steps", "1", "--layers", "3", "--dim", "8", "--context", "8", "--out", "own")
    tokens = torch.tensor([256, *text])
    for attn_type in ("np", "vanilla"):
        torch.save(checkpoint(attn_type), folder / "model.pt")
        run(sys.executable, ROOT / "examples/lm/convert.py", "model.pt", attn_type, "--tokenizer",
            "own/step-00000001/tokenizer.json")
        model = {name: x.float() for name, x in checkpoint(attn_type)["model"].items() if name != "freqs_cis"}
        written = safetensors.torch.load_file(folder / attn_type / "model.safetensors")
        assert not {"freqs_cis", "shortcut_bar"} & written.keys() and len(written) == len(model) - 1
        expected = sum(F.cross_entropy(logits(model, attn_type, tokens[i:i + WINDOW][:len(text) - i]), tokens[i + 1:i + 1 + WINDOW],
                                       reduction="sum").item() for i in range(0, len(text), WINDOW)) / len(text)
        head, row = (re.split("  +", line) for line in run(program, "eval", "--ckpt", attn_type, "--data", "text").splitlines())
        got = float(row[head.index("loss")])
        assert abs(got - expected) < 1e-3, (attn_type, got, expected)
        print(f"convert: {attn_type}: loss {got}, PyTorch {expected:.4f}")

    broken = checkpoint("np")
    del broken["model_cfg"]["n_heads"]
    torch.save(broken, folder / "broken.pt")
    refused = subprocess.run([sys.executable, ROOT / "examples/lm/convert.py", "broken.pt", "broken"], cwd=folder, capture_output=True, text=True)
    assert refused.returncode == 1 and "n_heads" in refused.stderr, refused.stderr


with tempfile.TemporaryDirectory() as name:
    main(pathlib.Path(sys.argv[1]).resolve(), pathlib.Path(name))
