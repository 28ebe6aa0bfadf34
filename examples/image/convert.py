#!/usr/bin/env python3
"""Converts released weights (.pth) of U-ViT, U-ViC, the KL autoencoder or FID's Inception into safetensors, under the same names.

    pip install torch safetensors
    python3 convert.py cifar10_uvit_small.pth model/ --config uvit_s2_cifar10      # a folder for cog-diffusion sample --ckpt model
    python3 convert.py autoencoder_kl.pth autoencoder_kl.safetensors

With --config, a folder with config.json and model.safetensors is made; what the weights themselves tell (widths, blocks, condition) is read off them and
checked; without it, one file.
"""
import argparse
import json
import math
import pathlib
import pickle

# What the weights do not tell: (side of the picture or latent, heads, schedule, Cog attention, scale of latents or 0).
CONFIGS = {
    "uvit_s2_cifar10": (32, 8, "vp", False, 0), "uvit_s4_celeba64": (64, 8, "vp", False, 0), "uvit_m4_imagenet64": (64, 12, "vp", False, 0),
    "uvit_l4_imagenet64": (64, 16, "vp", False, 0), "uvit_l2_imagenet256": (32, 16, "vp", False, 0.18215),
    "uvit_h2_imagenet256": (32, 16, "discrete", False, 0.18215), "uvit_l4_imagenet512": (64, 16, "vp", False, 0.18215),
    "uvit_h4_imagenet512": (64, 16, "discrete", False, 0.18215), "uvit_s2_mscoco": (32, 8, "discrete", False, 0.23010),
    "uvic_s2_mscoco": (32, 8, "discrete", True, 0.23010), "uvit_s2_deep_mscoco": (32, 8, "discrete", False, 0.23010),
    "uvic_s2_deep_mscoco": (32, 8, "discrete", True, 0.23010),
}


def config_of(weights, name):
    size, heads, schedule, cog, scale = CONFIGS[name]
    dim, channels, patch, _ = weights["patch_embed.proj.weight"].shape
    blocks = {key.split(".")[1] for key in weights if key.startswith("in_blocks.")}
    text = weights.get("context_embed.weight")
    labels = weights.get("label_emb.weight")
    tokens, patches = weights["pos_embed"].shape[1], (size // patch) ** 2
    config = {
        "img_size": size, "patch_size": patch, "in_chans": channels, "embed_dim": dim, "depth": 2 * len(blocks), "num_heads": heads,
        "mlp_ratio": weights["mid_block.mlp.fc1.weight"].shape[0] / dim, "qkv_bias": "mid_block.attn.qkv.bias" in weights,
        "mlp_time_embed": "time_embed.0.weight" in weights, "conv": "final_layer.weight" in weights,
        "skip": "out_blocks.0.skip_linear.weight" in weights, "np": cog, "num_classes": 0 if labels is None else labels.shape[0],
        "clip_dim": 0 if text is None else text.shape[1], "num_clip_token": 77 if text is None else tokens - 1 - patches, "schedule": schedule, "scale_factor": scale,
    }
    extras = 1 + (config["num_clip_token"] if text is not None else labels is not None)
    if tokens != extras + patches:
        raise SystemExit(f"convert.py: {tokens} positions in the weights, {extras + patches} in {name}: pictures of side {patch * math.isqrt(tokens - extras)}?")
    return config


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("weights", type=pathlib.Path, help="the released .pth, a state dict")
    parser.add_argument("out", type=pathlib.Path, help="the file to make; with --config the folder")
    parser.add_argument("--config", choices=sorted(CONFIGS), help="which published U-ViT or U-ViC it is")
    parser.add_argument("--unsafe", action="store_true", help="unpickle anything, which runs code that the file brings: only if you trust its origin")
    args = parser.parse_args()

    import torch
    from safetensors.torch import save_file

    try:
        state = torch.load(args.weights, map_location="cpu", weights_only=not args.unsafe)
    except pickle.UnpicklingError as e:
        raise SystemExit(f"convert.py: {args.weights} is not made of tensors alone; if you trust its origin, --unsafe reads the rest too\n{e}")
    except (OSError, EOFError, RuntimeError) as e:
        raise SystemExit(f"convert.py: {args.weights} cannot be read: {e}")
    state = state.get("state_dict", state) if isinstance(state, dict) else {}
    weights = {name: t.detach().contiguous().clone() for name, t in state.items() if torch.is_tensor(t) and not name.startswith("loss.")}
    if not weights:
        raise SystemExit(f"convert.py: {args.weights} is no state dict: it holds {', '.join(map(str, state)) or 'no names'}")
    if args.config:
        config = config_of(weights, args.config)
        args.out.mkdir(parents=True, exist_ok=True)
        save_file(weights, args.out / "model.safetensors")
        (args.out / "config.json").write_text(json.dumps(config, indent=2) + "\n")
    else:
        save_file(weights, args.out)
    print(f"{args.out}: {len(weights)} tensors, {sum(t.numel() for t in weights.values()):,} numbers")


if __name__ == "__main__":
    main()
