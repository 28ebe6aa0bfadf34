#!/bin/sh
# Sets up, builds and runs an example:  sh examples/run.sh [lm] [options of examples/lm/demo.sh ...]
# JOBS: how many things to compile at a time (default: all cores).  BUILD_DIR: where (default: build/examples).
# OUT: where an example leaves its results (default: out/).
set -eu

root=$(CDPATH='' cd -- "$(dirname -- "$0")/.." && pwd)
jobs=${JOBS:-$(nproc)}
build=${BUILD_DIR:-$root/build/examples}
out=${OUT:-$root/out}

example=lm
case ${1:-} in
  '' | -*) ;;
  *) example=$1; shift ;;
esac
[ -f "$root/examples/$example/demo.sh" ] || {
  echo "run.sh: no example '$example'; there are:$(cd "$root/examples" && for d in */demo.sh; do printf ' %s' "${d%/*}"; done)" >&2
  exit 2
}

sh "$root/tests/setup.sh"
cmake -S "$root" -B "$build" -G Ninja -DCMAKE_BUILD_TYPE=Release -DCOG_NATIVE=ON \
  -DCOG_BUILD_TESTS=OFF -DCOG_BUILD_EXAMPLES=ON -DCOG_BUILD_BENCH=OFF >/dev/null
cmake --build "$build" --parallel "$jobs"

# What an example does with its programs is its own business: examples/NAME/demo.sh BUILD OUT [options]
exec sh "$root/examples/$example/demo.sh" "$build/examples/$example" "$out/$example" "$@"
