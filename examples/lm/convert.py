#!/usr/bin/env python3
"""Converts a released Cogformer checkpoint into a folder that cog-lm reads.

    pip install torch safetensors
    python3 convert.py cogformer.pt released/ --tokenizer tokenizer.model
    cog-lm info --ckpt released/
    cog-lm sample --ckpt released/ --prompt "The capital of France"
    cog-lm eval --ckpt released/ --data text.txt

A released .pt is a dictionary of "model_cfg" (the model's arguments) and "model" (its weights). The folder gets
config.json, model.safetensors under the same names, and the tokenizer: tokenizer.model (SentencePiece) or
tokenizer.json. The buffers freqs_cis and shortcut_bar are left out: the first is computed, the second is not used.
"""
import argparse
import json
import pathlib
import pickle
import shutil
import sys

KEYS = {"vocab_size": int, "n_layers": int, "max_seq_length": int, "dim": int, "n_heads": int, "head_dim": int,
        "hidden_dim": int, "norm_eps": float, "attn_type": str, "shared_expert_recipe": None}
BUFFERS = ("freqs_cis", "shortcut_bar")


def config_of(model_cfg):
    missing = [key for key in KEYS if key not in model_cfg]
    if missing:
        raise SystemExit(f"convert.py: model_cfg lacks {', '.join(missing)}; it has {', '.join(map(str, model_cfg))}")
    config = {key: kind(model_cfg[key]) if kind else model_cfg[key] for key, kind in KEYS.items()}
    recipe = config["shared_expert_recipe"]
    config["shared_expert_recipe"] = [1] * recipe if isinstance(recipe, int) else [int(share) for share in recipe]
    if config["attn_type"] not in ("np", "vanilla"):
        raise SystemExit(f"convert.py: attn_type {config['attn_type']!r} is neither 'np' nor 'vanilla'")
    return config


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("checkpoint", type=pathlib.Path, help="the released .pt")
    parser.add_argument("out", type=pathlib.Path, help="the folder to make")
    parser.add_argument("--tokenizer", type=pathlib.Path, help="tokenizer.model or .json to put beside the weights")
    parser.add_argument("--unsafe", action="store_true",
                        help="unpickle anything, which runs code that the file brings: only if you trust its origin")
    args = parser.parse_args()

    import torch
    from safetensors.torch import save_file

    try:
        checkpoint = torch.load(args.checkpoint, map_location="cpu", weights_only=not args.unsafe)
    except pickle.UnpicklingError as e:
        raise SystemExit(f"convert.py: {args.checkpoint} holds more than numbers and tensors, or torch is older than "
                         f"2; --unsafe reads it if you trust its origin\n{e}")
    if not isinstance(checkpoint, dict) or not {"model_cfg", "model"} <= checkpoint.keys():
        raise SystemExit(f"convert.py: {args.checkpoint} is no dictionary of 'model_cfg' and 'model'")
    config = config_of(checkpoint["model_cfg"])
    weights = {name: tensor.detach().contiguous().clone() for name, tensor in checkpoint["model"].items()
               if name not in BUFFERS}

    args.out.mkdir(parents=True, exist_ok=True)
    save_file(weights, args.out / "model.safetensors")
    (args.out / "config.json").write_text(json.dumps(config, indent=2) + "\n")
    if args.tokenizer:
        name = "tokenizer.json" if args.tokenizer.suffix == ".json" else "tokenizer.model"
        shutil.copyfile(args.tokenizer, args.out / name)
    count = sum(tensor.numel() for tensor in weights.values())
    print(f"{args.out}: {len(weights)} tensors, {count:,} parameters, {config['n_layers']} layers, "
          f"attn_type {config['attn_type']}")
    if not args.tokenizer:
        print(f"Put the tokenizer beside them: {args.out}/tokenizer.model or tokenizer.json", file=sys.stderr)


if __name__ == "__main__":
    main()
