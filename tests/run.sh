#!/bin/sh
# Sets up, builds and runs every test. Arguments go to ctest:  sh tests/run.sh -R attention
# JOBS: how many things at a time (default: all cores).  BUILD_DIR: where to build (default: build/tests).
set -eu

root=$(CDPATH='' cd -- "$(dirname -- "$0")/.." && pwd)
jobs=${JOBS:-$(nproc)}
build=${BUILD_DIR:-$root/build/tests}

sh "$root/tests/setup.sh"
cuda=OFF
! command -v nvcc >/dev/null 2>&1 || cuda=ON  # compiled wherever that can be; run where there is a GPU, and elsewhere left at PTX
# Optimising takes up to three quarters of nvcc's time, and where there is no GPU nothing of it runs; hygiene/hopper.sh and spills.sh read optimised code.
nvidia-smi -L >/dev/null 2>&1 && code=real flags='-O3 -DNDEBUG' || code=virtual flags='-O0 -G'
cmake -S "$root" -B "$build" -G Ninja -DCMAKE_BUILD_TYPE=Release \
  -DCOG_BUILD_TESTS=ON -DCOG_BUILD_EXAMPLES=ON -DCOG_BUILD_BENCH=OFF -DCOG_BUILD_CUDA=$cuda -DCMAKE_CUDA_ARCHITECTURES=90a-$code \
  -DCMAKE_CUDA_FLAGS_RELEASE="$flags" -DCMAKE_CXX_FLAGS_RELEASE="-Og -DNDEBUG"  # half the time of -O2; what needs -O2 says so
cmake --build "$build" --parallel "$jobs"
exec ctest --test-dir "$build" --output-on-failure --parallel "$jobs" "$@"
