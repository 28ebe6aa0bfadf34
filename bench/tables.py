"""docs/benchmarks.md and its pictures (docs/pictures/*.svg) from bench/results/*.json. Only the standard library.

    python3 bench/tables.py bench/results > docs/benchmarks.md
"""
import json
import pathlib
import sys

import charts

TITLES = {
    "attention": "Attention",
    "elementwise": "Element-wise and row-wise kernels",
    "products": "Products",
    "training": "Training steps",
    "sampling": "Text, token by token",
    "diffusion": "Diffusion models",
}
ABOUT = {
    "attention": "Forward counts 4 B H N² D operations (half of that when causal), backward 2.5 times as many. "
                 "`share_of_peak` is of the multiply-add peak of float of the threads used, `share_of_pair_peak` of that of bf16 in pairs "
                 "(AMX, or AVX512-BF16), both measured in the same process. Decoding: `share_of_copy` is of the bytes that a plain copy "
                 "as large as the cache reads and writes, `share_of_read` of those that a plain sum of as many reads.",
    "elementwise": "Bytes that must move a second; `share_of_copy` is of a plain copy of the same size in the same process.",
    "products": "`share_of_peak` is of the multiply-add peak of the threads used, measured in the same process.",
    "training": "One step: forward, backward, clipping, AdamW, of nanoGPT's model (`gpt`) and of this library's Cogformer. `small` is "
                "4 layers, 4 heads, width 128, context 64, batch 12; `medium` is 6 layers, 6 heads, width 384, context 256, batch 4. "
                "Vocabulary 256.",
    "sampling": "`generate` until the context is full. `share_of_copy`: weights read a second, of what a plain copy reads.",
    "diffusion": "`tiny`: pictures of 16 x 16, 4 blocks and a middle one of width 128, batch 32. `small`: U-ViT-S/2 on 32 x 32, width 512, batch 4. "
                 "Convolutions: as they are, with the windows laid out as columns, and as a product for every place of the kernel.",
}
STANDARD = {"name", "run_name", "run_type", "repetitions", "threads", "iterations", "real_time", "cpu_time", "time_unit",
            "aggregate_name", "aggregate_unit", "family_index", "per_family_instance_index", "repetition_index"}


def cores(n):
    return f"{n} cores" if n > 1 else "1 core (by the thread's own time)"


def number(x):
    if abs(x) >= 1000:
        return f"{x:,.0f}"
    return f"{x:.3g}"


def table(rows, clock):
    counters = list(dict.fromkeys(k for r in rows for k in r if k not in STANDARD))
    print("| benchmark | time | " + " | ".join(counters) + " |")
    print("|---|---|" + "---|" * len(counters))
    for r in rows:
        name = r["run_name"].removesuffix("/real_time").removesuffix("/manual_time")
        cells = [number(r[c]) if c in r else "" for c in counters]
        print(f"| {name} | {number(r['real_time' if r['run_name'].endswith('/manual_time') else clock])} {r['time_unit']} | " + " | ".join(cells) + " |")


# ---- Against PyTorch: bench/rivals/compare.py

WHO = {"cog": "cog", "sdpa": "PyTorch SDPA", "eager": "PyTorch eager", "compiled": "torch.compile"}
PICTURES = pathlib.Path(__file__).parent.parent / "docs" / "pictures"


def operations(row):
    """Forward 4 B H N^2 D, half of that when causal; backward 2.5 times as many."""
    count = 4.0 * row["B"] * row["H"] * row["N"] ** 2 * row["D"]
    return count * (0.5 if row["mask"] == "causal" else 1) * (2.5 if row["kind"] == "backward" else 1)


def step_operations(row):
    """Of a training step of bench/models.hpp: 6 a weight of a product and token, and attention's, causal, without what it computes again."""
    layers, dim, context, batch, hidden = (4, 128, 64, 12, 344) if row["size"] == "small" else (6, 384, 256, 4, 1024)
    weights = layers * dim * (4 * dim + (8 * dim if row["model"] == "gpt" else 3 * hidden)) + 256 * dim
    return 6.0 * weights * batch * context + 0.5 * 3.5 * 4 * layers * batch * context ** 2 * dim


def against(rows, columns, name, value, unit, most=lambda row, seconds: None):
    """A table with a line a case and a column a competitor, then how many times faster cog is, and how many times it would be with most(...)."""
    rivals = [w for w in WHO if w != "cog" and any(w in r["who"] for r in rows)]
    print(f"| {columns} | cog, {unit} | " + " | ".join(f"{WHO[w]} | cog is" for w in rivals) + " |")
    print("|---|---|" + "---|---|" * len(rivals))
    for r in rows:
        cells = [number(value(r, r["who"]["cog"]["seconds"]))]
        for w in rivals:
            if w in r["who"]:
                seconds = r["who"][w]["seconds"]
                limit = most(r, seconds)
                cells += [number(value(r, seconds)), f"{seconds / r['who']['cog']['seconds']:.2f} ×" + (f" of {limit:.2f}" if limit else "")]
            else:
                cells += ["", ""]
        print(f"| {name(r)} | " + " | ".join(cells) + " |")
    print()


def speed_lines(rows, kind, d):
    """(label, [(N, GF/s)]) for every competitor and rule at one width, without a mask."""
    lines = {}
    for r in rows:
        if (r["kind"], r.get("dtype"), r.get("mask"), r.get("D")) != (kind, "float", "none", d):
            continue
        for w, result in r["who"].items():
            label = {"cog": f"cog, {'signed' if r['rule'] == 'cog' else 'softmax'}", "sdpa": "PyTorch SDPA, softmax",
                     "eager": "PyTorch eager, signed", "compiled": "torch.compile, signed"}[w]
            lines.setdefault(label, []).append((r["N"], operations(r) / result["seconds"] * 1e-9))
    return sorted((label, sorted(points)) for label, points in lines.items())


def rivals(data, drawn):
    rows, c = data["speed"], data["context"]
    print("\n## Against PyTorch" + ("" if drawn else f", {c['processor']}") + "\n")
    print("The same shapes in turn in every round, with as many threads, by `sh bench/rivals/run.sh`; medians. SDPA is PyTorch's own fused "
          "kernel (softmax only); eager and torch.compile run the formula of Cog attention as its authors write it.\n")
    print(f"{c.get('processor', '?')}, {cores(c['num_cpus'])}; PyTorch {c['torch']}; {c.get('compiler', '?')}; commit {c.get('commit', '?')}; "
          f"{c['date']}. Multiply-add peak {c['fma_peak'] * 1e-9:.0f} GF/s, copy {c['copy_bandwidth'] * 1e-9:.0f} GB/s.\n")

    print("In float, `1.20 × of 1.45` says that cog is 1.20 times as fast, and that a kernel at the peak of multiply-adds, with nothing beside them, would be "
          "1.45 times.\n")
    attention = [r for r in rows if r["kind"] in ("forward", "backward")]
    if attention:
        print("### Attention, GF/s\n")
        against(attention, "pass, rule, dtype, mask, N, D", lambda r: f"{r['kind']} {r['rule']} {r['dtype']} {r['mask']} {r['N']} {r['D']}",
                lambda r, seconds: operations(r) / seconds * 1e-9, "GF/s",
                lambda r, seconds: seconds * c["fma_peak"] / operations(r) if r["dtype"] == "float" else None)
        for kind in ("forward", "backward"):
            for d in (64, 128):
                lines = speed_lines(rows, kind, d)
                if lines and drawn:
                    charts.write(PICTURES / f"attention_{kind}_{d}.svg", f"Attention {kind}, float, width {d}", "N", "GF/s", lines)
                    print(f"![{kind}, width {d}](pictures/attention_{kind}_{d}.svg)")
        print()
    decode = [r for r in rows if r["kind"] == "decode"]
    if decode:
        print("### Decoding: one query over a cache of 32,768 positions, width 64, 8 heads; GB/s of keys and values\n")
        against(decode, "rule, dtype, key heads", lambda r: f"{r['rule']} {r['dtype']} {r['key_heads']}",
                lambda r, seconds: 2 * r["key_heads"] * r["N"] * r["D"] * (4 if r["dtype"] == "float" else 2) / seconds * 1e-9, "GB/s")
    train = [r for r in rows if r["kind"] == "train"]
    if train:
        print("### Training steps, tokens/s\n")
        against(train, "model, size, rule", lambda r: f"{r['model']} {r['size']} {r['rule']}",
                lambda r, seconds: (12 * 64 if r["size"] == "small" else 4 * 256) / seconds, "tokens/s",
                lambda r, seconds: seconds * c["fma_peak"] / step_operations(r))
    if data["memory"]:
        print("### Memory of one forward pass, one head of width 64: growth of the process, MB\n")
        lines = {}
        for m in data["memory"]:
            label = f"{WHO[m['who']]}, {'signed' if m['rule'] == 'cog' else 'softmax'}"
            lines.setdefault(label, {})[m["N"]] = max(m["bytes"], 4096) * 1e-6
        lengths = sorted({n for points in lines.values() for n in points})
        print("| | " + " | ".join(f"{n:,}" for n in lengths) + " |\n|---|" + "---|" * len(lengths))
        for label, points in sorted(lines.items()):
            print(f"| {label} | " + " | ".join(number(points[n]) if n in points else "" for n in lengths) + " |")
        if drawn:
            charts.write(PICTURES / "attention_memory.svg", "Memory of attention forward, one head, width 64", "N", "MB",
                         sorted((label, sorted(points.items())) for label, points in lines.items()), log=True)
            print("\n![memory](pictures/attention_memory.svg)")


def compile_time(data):
    print("\n## Compile time\n")
    print(f"Processor time and peak memory of `{data['command']}`, by `sh bench/compile_time.sh`: what is instantiated once, then the headers that "
          f"cost most. Eigen/Core alone: {data['eigen_core']['seconds']} s, {data['eigen_core']['mib']} MiB. {data['processor']}; "
          f"{data['compiler']}; commit {data['commit']}.\n")
    print("| | seconds | MiB | times Eigen/Core |\n|---|---|---|---|")
    compiled = [r for r in data["items"] if r["item"].startswith("compile/")]
    headers = sorted((r for r in data["items"] if r not in compiled), key=lambda r: -r["seconds"])
    for r in compiled + headers[:8]:
        what = r["item"].removeprefix("compile/").removesuffix(".cpp") if r in compiled else f"`{r['item']}`"
        print(f"| {what} | {r['seconds']:.2f} | {r['mib']} | {r['times_eigen']:.2f} |")


def tinyshakespeare(data):
    print("\n## Language model on tinyshakespeare\n")
    print(f"nanoGPT's small setting (4 layers, 4 heads, width 128, context 64, batch 12, 2,000 steps), by `{data['command']}`: {data['what']}. "
          f"nanoGPT publishes {data['nanogpt_published']}. {data['processor']}, {data['cores']} cores; {data['compiler']}; commit {data['commit']}.\n")
    print("| attention | seed | validation loss | bits per byte | tokens/s |\n|---|---|---|---|---|")
    for r in data["runs"]:
        print(f"| {r['attention']} | {r['seed']} | {r['validation_loss']:.4f} | {r['bits_per_byte']:.4f} | {r['tokens_per_second']:,} |")
    for kind, mean in data["mean_validation_loss"].items():
        print(f"| {kind} | mean | {mean:.4f} | | |")


def main(folder):
    print("# Benchmarks\n")
    print("Made from the files of [bench/results](../bench/results) by `bench/tables.py`; measured by `sh bench/run.sh`. "
          "Medians of interleaved repetitions. Machines are noisy: trust the shares more than the times.")
    for key, title in TITLES.items():
        path = pathlib.Path(folder) / f"{key}.json"
        if not path.exists():
            continue
        data = json.loads(path.read_text())
        rows = [b for b in sorted(data["benchmarks"], key=lambda b: b.get("family_index", 0)) if b.get("aggregate_name") == "median" and not b.get("error_occurred")]
        if not rows:
            continue
        rows.sort(key=lambda b: (b["family_index"], b["per_family_instance_index"]))  # as they are registered, not as they ran
        c = data["context"]
        print(f"\n## {title}\n\n{ABOUT[key]}\n")
        threads = int(c.get("threads", c["num_cpus"]))
        print(f"{c.get('processor', '?')}, {cores(threads)}; {c.get('compiler', '?')}; commit {c.get('commit', '?')}; {c['date'][:10]}.\n")
        table(rows, "cpu_time" if threads == 1 else "real_time")
    newest = pathlib.Path(folder) / "rivals.json"
    for compared in [newest] * newest.exists() + sorted(pathlib.Path(folder).glob("rivals.*.json")):  # then other machines' that were kept
        rivals(json.loads(compared.read_text()), compared == newest)
    compiled = pathlib.Path(folder) / "compile_time.json"
    if compiled.exists():
        compile_time(json.loads(compiled.read_text()))
    lm = pathlib.Path(folder) / "lm_tinyshakespeare.json"
    if lm.exists():
        tinyshakespeare(json.loads(lm.read_text()))


main(sys.argv[1])
