#!/bin/sh
# Attention on a GPU beside its rivals, by attention.py: needs nvcc, an H100 or H200, and a python with PyTorch. Without PyTorch attention.cu
# measures ours beside the machine's limits. `build` makes what either needs and stops, so that build/gpu can be carried over.
#   sh bench/gpu/attention.sh [build | words, see attention.py]    PYTHON: default python3.  OUT: default bench/results.  ARCH: default sm_90a
set -eu
root=$(CDPATH='' cd -- "$(dirname -- "$0")/../.." && pwd)
build=${BUILD:-$root/build/gpu}
out=${OUT:-$root/bench/results}
mkdir -p "$build" "$out"
make() {  # PROGRAM SOURCE options: if something is newer
  [ -e "$build/$1" ] && [ -z "$(find "$root/include" "$root/bench/gpu" "$root/examples/libtorch" -newer "$build/$1" -name '*.[chp]*' -print -quit)" ] && return
  program=$1 source=$2
  shift 2
  nvcc -std=c++20 -O3 -arch="${ARCH:-sm_90a}" --split-compile 0 -I "$root/include" "$root/bench/gpu/$source" "$@" -o "$build/$program"
}
library() { make libcog_attention.so attention_library.cu -shared -Xcompiler -fPIC; }
alone() { make attention attention.cu -lcublasLt; }
if [ "${1:-}" = build ]; then
  library
  alone
elif "${PYTHON:-python3}" -c 'import torch' 2>/dev/null; then
  library
  exec "${PYTHON:-python3}" "$root/bench/gpu/attention.py" "$build/libcog_attention.so" "$out" "$@"
else
  alone
  exec "$build/attention" "$out/gpu_attention_alone.json" "$@"
fi
