#!/bin/sh
# Builds the benchmarks and runs them; results go to bench/results/NAME.json and from there to docs/benchmarks.md.
#   sh bench/run.sh [NAME ...]        the named ones, or all
# SECONDS_EACH: the least time a measurement takes (default 0.5). Run it on a quiet machine, or with one thread, whose own time is
# what counts then: taskset -c 0 sh bench/run.sh
set -eu

root=$(CDPATH='' cd -- "$(dirname -- "$0")/.." && pwd)
build=$root/build/bench
results=$root/bench/results
mkdir -p "$results"

sh "$root/tests/setup.sh"
cmake -S "$root" -B "$build" -G Ninja -DCMAKE_BUILD_TYPE=Release -DCOG_BUILD_TESTS=OFF -DCOG_BUILD_EXAMPLES=OFF -DCOG_BUILD_BENCH=ON
[ $# -gt 0 ] || set -- elementwise products attention training sampling diffusion
for name in "$@"; do cmake --build "$build" --target "bench.$name"; done

commit=$(git -C "$root" rev-parse --short HEAD 2> /dev/null || echo unknown)
[ -z "$(git -C "$root" status --porcelain 2> /dev/null)" ] || commit=$commit+changes
processor=$(sh "$root/bench/processor.sh")
compiler=$("${CXX:-c++}" --version | head -n 1 | tr ',=' '  ')  # both separate entries of the context
for name in "$@"; do
  # Repetitions, interleaved: the medians are what docs/benchmarks.md shows.
  "$build/bench/bench.$name" --benchmark_min_time="${SECONDS_EACH:-0.5}" --benchmark_repetitions=3 \
    --benchmark_enable_random_interleaving=true --benchmark_report_aggregates_only=true \
    --benchmark_context="commit=$commit" --benchmark_context="threads=$(nproc)" --benchmark_context="processor=$processor" --benchmark_context="compiler=$compiler" \
    --benchmark_out="$results/$name.json" --benchmark_out_format=json
  # The name of the machine is nobody's business, nor is the path of the program.
  sed -i -E '/^ *"(host_name|executable)":/d' "$results/$name.json"
done
python3 "$root/bench/tables.py" "$results" > "$root/docs/benchmarks.md"
