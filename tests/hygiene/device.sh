#!/bin/sh
# The functors that kernels call compile for a device: no flag, no warning. Skipped (77) where there is no nvcc.
set -eu
root=$(cd "$(dirname "$0")/../.." && pwd)
command -v nvcc > /dev/null || { echo "device.sh: skipped, there is no nvcc"; exit 77; }
object=$(mktemp)
trap 'rm -f "$object"' EXIT
nvcc -std=c++20 -arch=sm_90a -Werror all-warnings -I "$root/include" -c "$root/tests/device/functors.cu" -o "$object"
