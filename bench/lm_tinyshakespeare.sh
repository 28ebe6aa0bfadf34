#!/bin/sh
# nanoGPT's small setting on Shakespeare's plays, character by character: 4 layers, 4 heads, width 128, context 64, batch 12,
# 2,000 steps; its documentation gives a validation loss of 1.88. Writes bench/results/lm_tinyshakespeare.json.
#   sh bench/lm_tinyshakespeare.sh TEXT        TEXT: tinyshakespeare's input.txt
# SEEDS: the runs of each kind (default "1 2 3"). THREADS: default all cores. WORK: where the runs go (default build/).
# The feed-forward width makes the three matrices of SwiGLU as large as the two of nanoGPT (8 width^2); bytes are characters
# here, 65 of them occur.
set -eu

text=${1:?lm_tinyshakespeare.sh needs the text}
root=$(CDPATH='' cd -- "$(dirname -- "$0")/.." && pwd)
build=$root/build/examples
work=${WORK:-$root/build/lm_tinyshakespeare}

sh "$root/tests/setup.sh"
cmake -S "$root" -B "$build" -G Ninja -DCMAKE_BUILD_TYPE=Release -DCOG_NATIVE=ON \
  -DCOG_BUILD_TESTS=OFF -DCOG_BUILD_EXAMPLES=ON -DCOG_BUILD_BENCH=OFF >/dev/null
cmake --build "$build" --target cog-lm

commit=$(git -C "$root" rev-parse --short HEAD 2>/dev/null || echo unknown)
[ -z "$(git -C "$root" status --porcelain -- include examples 2>/dev/null)" ] || commit=$commit+changes

rm -rf "$work"
mkdir -p "$work"
for seed in ${SEEDS:-1 2 3}; do
  for attention in softmax cog; do
    "$build/examples/lm/cog-lm" train --data "$text" --out "$work/$attention-$seed" --attention "$attention" --seed "$seed" \
      --tokenizer bytes --layers 4 --heads 4 --dim 128 --hidden 344 --context 64 --held-out 0.1 --batch 12 --steps 2000 \
      --lr 1e-3 --min-lr 1e-4 --warmup 100 --beta1 0.9 --beta2 0.99 --weight-decay 0.1 --clip 1 --dropout 0 \
      --eval-windows 0 --eval-every 250 --log-every 250 --sample-tokens 0 --threads "${THREADS:-0}"
  done
done

python3 - "$work" "$commit" "$("${CXX:-c++}" --version | head -n 1)" >"$root/bench/results/lm_tinyshakespeare.json" <<'PYTHON'
import json, os, pathlib, statistics, sys

work, commit, compiler = pathlib.Path(sys.argv[1]), sys.argv[2], sys.argv[3]
processor = next(line.split(":")[1].strip() for line in open("/proc/cpuinfo") if line.startswith("model name"))
runs, settings = [], {}
for folder in sorted(work.iterdir()):
    log = [json.loads(line) for line in open(folder / "log.jsonl")]
    state = json.load(open(folder / "step-00002000" / "state.json"))
    settings = {k: v for k, v in state["settings"].items() if k not in ("attention", "seed", "data", "out", "resume")}
    curve = [(line["step"], round(line["validation_loss"], 4)) for line in log if "validation_loss" in line]
    last = [line for line in log if "validation_loss" in line][-1]
    speeds = [line["tokens_per_second"] for line in log if "tokens_per_second" in line]
    runs.append({"attention": state["settings"]["attention"], "seed": state["settings"]["seed"],
                 "validation_loss": round(last["validation_loss"], 4), "bits_per_byte": round(last["bits_per_byte"], 4),
                 "validation_tokens": last["validation_tokens"],
                 "tokens_per_second": round(statistics.median(speeds)), "curve": curve})
mean = {kind: round(statistics.mean(r["validation_loss"] for r in runs if r["attention"] == kind), 4)
        for kind in ("softmax", "cog")}
json.dump({"what": "loss on the last tenth of tinyshakespeare, nats per character, all of it in windows of 64",
           "command": "sh bench/lm_tinyshakespeare.sh TEXT", "commit": commit, "compiler": compiler, "processor": processor,
           "cores": os.cpu_count(), "nanogpt_published": 1.88, "mean_validation_loss": mean, "settings": settings,
           "runs": runs}, sys.stdout, indent=1)
print()
PYTHON
cat "$root/bench/results/lm_tinyshakespeare.json" | head -n 14
