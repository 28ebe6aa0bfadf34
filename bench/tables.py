"""docs/benchmarks.md from bench/results/*.json (Google Benchmark's format, medians). Only the standard library.

    python3 bench/tables.py bench/results > docs/benchmarks.md
"""
import json
import pathlib
import sys

TITLES = {
    "attention": "Attention",
    "elementwise": "Element-wise and row-wise kernels",
    "products": "Products",
    "training": "Training steps",
}
ABOUT = {
    "attention": "Forward counts 4 B H N² D operations (half of that when causal), backward 2.5 times as many. "
                 "`share_of_peak` is of the multiply-add peak of the threads used, measured in the same process.",
    "elementwise": "Bytes that must move a second; `share_of_copy` is of a plain copy of the same size in the same process.",
    "products": "`share_of_peak` is of the multiply-add peak of the threads used, measured in the same process.",
    "training": "One step: forward, backward, clipping, AdamW. `small` is 4 layers, 4 heads, width 128, context 64, batch 12; "
                "`medium` is 6 layers, 6 heads, width 384, context 256, batch 4. Vocabulary 256.",
}
STANDARD = {"name", "run_name", "run_type", "repetitions", "threads", "iterations", "real_time", "cpu_time", "time_unit",
            "aggregate_name", "aggregate_unit", "family_index", "per_family_instance_index", "repetition_index"}


def number(x):
    if abs(x) >= 1000:
        return f"{x:,.0f}"
    return f"{x:.3g}"


def table(rows):
    counters = [k for k in rows[0] if k not in STANDARD]
    print("| benchmark | time | " + " | ".join(counters) + " |")
    print("|---|---|" + "---|" * len(counters))
    for r in rows:
        name = r["run_name"].replace("/real_time", "")
        cells = [number(r[c]) if c in r else "" for c in counters]
        print(f"| {name} | {number(r['real_time'])} {r['time_unit']} | " + " | ".join(cells) + " |")


def main(folder):
    print("# Benchmarks\n")
    print("Made from the files of [bench/results](../bench/results) by `bench/tables.py`; measured by `sh bench/run.sh`. "
          "Medians of interleaved repetitions. Machines are noisy: trust the shares more than the times.")
    for key, title in TITLES.items():
        path = pathlib.Path(folder) / f"{key}.json"
        if not path.exists():
            continue
        data = json.loads(path.read_text())
        rows = [b for b in data["benchmarks"] if b.get("aggregate_name") == "median" and not b.get("error_occurred")]
        if not rows:
            continue
        c = data["context"]
        print(f"\n## {title}\n\n{ABOUT[key]}\n")
        print(f"{c.get('processor', '?')}, {c['num_cpus']} cores; {c.get('compiler', '?')}; commit {c.get('commit', '?')}; {c['date'][:10]}.\n")
        table(rows)
    lm = pathlib.Path(folder) / "lm_tinyshakespeare.json"
    if lm.exists():
        print("\n## Language model on tinyshakespeare\n\nSee [lm_tinyshakespeare.json](../bench/results/lm_tinyshakespeare.json).")


main(sys.argv[1])
