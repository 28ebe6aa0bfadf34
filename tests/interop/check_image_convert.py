"""Checks examples/image/convert.py: .pth files of the released kinds, small, become models that cog-diffusion describes and draws with.

    python3 check_image_convert.py COG_DIFFUSION
Exits with 77 where a package is missing.
"""
import json
import pathlib
import subprocess
import sys
import tempfile

try:
    import torch
    from safetensors.torch import load_file
except ImportError as e:
    print(f"skipped: the Python package `{e.name}` is not installed")
    sys.exit(77)

root = pathlib.Path(__file__).resolve().parents[2]
convert = root / "examples" / "image" / "convert.py"


def uvit(size, patch, channels, dim, depth, classes=0, text=0):
    """A state dict under the names of U-ViT."""
    tokens = (size // patch) ** 2 + 1 + (77 if text else classes > 0)
    shapes = {"pos_embed": (1, tokens, dim), "patch_embed.proj.weight": (dim, channels, patch, patch), "patch_embed.proj.bias": (dim,),
              "norm.weight": (dim,), "norm.bias": (dim,), "decoder_pred.weight": (patch * patch * channels, dim), "decoder_pred.bias": (patch * patch * channels,),
              "final_layer.weight": (channels, channels, 3, 3), "final_layer.bias": (channels,)}
    if classes:
        shapes["label_emb.weight"] = (classes, dim)
    if text:
        shapes |= {"context_embed.weight": (dim, text), "context_embed.bias": (dim,)}
    halves = [f"{half}_blocks.{i}" for half in ("in", "out") for i in range(depth // 2)]
    for block in halves + ["mid_block"]:
        linears = {"attn.proj": (dim, dim), "mlp.fc1": (4 * dim, dim), "mlp.fc2": (dim, 4 * dim)} | ({"skip_linear": (dim, 2 * dim)} if block.startswith("out") else {})
        for name, shape in linears.items():
            shapes |= {f"{block}.{name}.weight": shape, f"{block}.{name}.bias": shape[:1]}
        shapes |= {f"{block}.norm{i}.{part}": (dim,) for i in (1, 2) for part in ("weight", "bias")} | {f"{block}.attn.qkv.weight": (3 * dim, dim)}
    return {name: 0.05 * torch.randn(shape) for name, shape in shapes.items()}


def main():
    program = pathlib.Path(sys.argv[1]).resolve()
    torch.manual_seed(1)
    with tempfile.TemporaryDirectory() as work:
        work = pathlib.Path(work)

        def run(*command):
            done = subprocess.run([str(c) for c in command], cwd=work, capture_output=True, text=True)
            assert done.returncode == 0, f"{command}: {done.stderr}"
            return done.stdout

        def refused(text, *command):
            done = subprocess.run([str(c) for c in command], cwd=work, capture_output=True, text=True)
            assert done.returncode != 0 and text in done.stderr, f"{command}: {done.returncode}, {done.stderr}"

        models = {"uvit_s2_cifar10": uvit(32, 2, 3, 16, 2), "uvic_s2_mscoco": uvit(32, 2, 4, 16, 4, text=24), "uvit_l2_imagenet256": uvit(32, 2, 4, 16, 2, classes=1001)}
        for name, weights in models.items():
            torch.save(weights, work / f"{name}.pth")
            run(sys.executable, convert, f"{name}.pth", name, "--config", name)
            about = run(program, "info", "--ckpt", name)
            count = sum(t.numel() for t in weights.values())
            assert f" {count}, " in about, f"{name} has {count} parameters, not {about}"
            assert ("Cog in all blocks" in about) == name.startswith("uvic"), about
        run(program, "sample", "--ckpt", "uvit_s2_cifar10", "--count", 1, "--steps", 2, "--out", "made")

        golden = load_file(root / "tests" / "golden" / "autoencoder_kl.safetensors")
        torch.save({k.removeprefix("param."): v for k, v in golden.items() if k.startswith("param.")}, work / "autoencoder.pth")
        run(sys.executable, convert, "autoencoder.pth", "autoencoder.safetensors")
        run(program, "sample", "--ckpt", "uvit_l2_imagenet256", "--autoencoder", "autoencoder.safetensors", "--class", 7, "--guidance", 0.4, "--count", 1, "--steps", 2,
            "--out", "latent")
        assert (work / "latent" / "pictures" / "00000.png").exists()

        # What convert.py says of a published model is what the program says.
        names = run(program, "info", "--config", "all").split()
        sys.path.insert(0, str(convert.parent))
        from convert import CONFIGS
        assert set(names) == set(CONFIGS), set(names) ^ set(CONFIGS)
        for name, (size, heads, schedule, cog, scale) in CONFIGS.items():
            if "_s2_" not in name and "_s4_" not in name:
                continue  # the others are large
            about = run(program, "info", "--config", name)
            for text in (f"of {size} x {size}", f" {heads} heads", schedule, "Cog in all" if cog else "softmax", f"{scale:g}: of latents" if scale else "pictures"):
                assert text in about, f"{name}: no '{text}' in {about}"

        refused("positions", sys.executable, convert, "uvit_s2_cifar10.pth", "other", "--config", "uvit_s4_celeba64")
        torch.save({"step": 7, "config": {"dim": 3}}, work / "none.pth")
        refused("no state dict", sys.executable, convert, "none.pth", "none.safetensors")
        torch.save(pathlib.PurePosixPath("x"), work / "object.pth")
        refused("--unsafe", sys.executable, convert, "object.pth", "object.safetensors")
        for name, content in {"broken.pth": b"no such file", "empty.pth": b"", "cut.pth": (work / "uvit_s2_cifar10.pth").read_bytes()[:5000]}.items():
            (work / name).write_bytes(content)
            refused(f"convert.py: {name}", sys.executable, convert, name, "broken.safetensors")
        refused("convert.py: nowhere.pth", sys.executable, convert, "nowhere.pth", "broken.safetensors")
        assert json.loads((work / "uvic_s2_mscoco" / "config.json").read_text())["scale_factor"] == 0.23010
    print("converted models are described and drawn with")


if __name__ == "__main__":
    main()
