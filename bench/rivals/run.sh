#!/bin/sh
# cog against PyTorch: makes a virtual environment with it, builds cog's side and compares. Results go to bench/results/rivals.json.
#   sh bench/rivals/run.sh [OPTIONS of compare.py]
#   taskset -c 0 sh bench/rivals/run.sh             one thread each, by its own time: for a machine that has other work
# VENV: an environment that already has torch. It is installed by pip from where pip is configured to look.
set -eu

root=$(CDPATH='' cd -- "$(dirname -- "$0")/../.." && pwd)
build=$root/build/bench
venv=${VENV:-$root/build/rivals}
mkdir -p "$root/bench/results"

if [ ! -x "$venv/bin/python" ]; then
  python3 -m venv "$venv"
  "$venv/bin/pip" install --quiet torch numpy
fi
cmake -S "$root" -B "$build" -G Ninja -DCMAKE_BUILD_TYPE=Release -DCOG_BUILD_TESTS=OFF -DCOG_BUILD_EXAMPLES=OFF -DCOG_BUILD_BENCH=ON
cmake --build "$build" --target bench.peer

commit=$(git -C "$root" rev-parse --short HEAD 2> /dev/null || echo unknown)
processor=$(sh "$root/bench/processor.sh")
cd "$root/bench/rivals"
"$venv/bin/python" compare.py "$build/bench/bench.peer" "$root/bench/results/rivals.json" \
  --context "commit=$commit" --context "processor=$processor" --context "compiler=$("${CXX:-c++}" --version | head -n 1)" "$@"
python3 "$root/bench/tables.py" "$root/bench/results" > "$root/docs/benchmarks.md"
