#!/bin/sh
# Sets up, builds and runs every test. Arguments go to ctest:  sh tests/run.sh -R attention
# JOBS: how many things at a time (default: all cores).  BUILD_DIR: where to build (default: build/tests).
set -eu

root=$(CDPATH='' cd -- "$(dirname -- "$0")/.." && pwd)
jobs=${JOBS:-$(nproc)}
build=${BUILD_DIR:-$root/build/tests}

sh "$root/tests/setup.sh"
cmake -S "$root" -B "$build" -G Ninja -DCMAKE_BUILD_TYPE=Release \
  -DCOG_BUILD_TESTS=ON -DCOG_BUILD_EXAMPLES=ON -DCOG_BUILD_BENCH=OFF
cmake --build "$build" --parallel "$jobs"
exec ctest --test-dir "$build" --output-on-failure --parallel "$jobs" "$@"
