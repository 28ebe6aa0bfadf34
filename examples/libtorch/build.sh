#!/bin/sh
# Builds the example against the PyTorch of the given python (any that `import torch` works in), for Hopper. Run: sh build.sh [python] && ./attention
set -eu
here=$(cd "$(dirname "$0")" && pwd)
python=${1:-python3}
torch=$("$python" -c 'import os, torch; print(os.path.dirname(torch.__file__))')
abi=$("$python" -c 'import torch; print(int(torch.compiled_with_cxx11_abi()))')
cuda=${CUDA_HOME:-$(dirname "$(dirname "$(command -v nvcc)")")}
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
nvcc -std=c++20 -O3 --split-compile 0 -gencode arch=compute_90a,code=sm_90a -D_GLIBCXX_USE_CXX11_ABI="$abi" -I "$here/../../include" -c "$here/kernels.cu" -o "$work/kernels.o"
# PyTorch's headers are used as a system's.
"${CXX:-g++}" -std=c++20 -O2 -D_GLIBCXX_USE_CXX11_ABI="$abi" -isystem "$torch/include" -isystem "$torch/include/torch/csrc/api/include" -isystem "$cuda/include" \
  -c "$here/main.cpp" -o "$work/main.o"
"${CXX:-g++}" "$work/main.o" "$work/kernels.o" -o "$here/attention" -L "$torch/lib" -Wl,-rpath,"$torch/lib" -Wl,--no-as-needed -ltorch -ltorch_cpu -ltorch_cuda -lc10 -lc10_cuda \
  -Wl,--as-needed -L "$cuda/lib64" -lcudart_static -ldl -lrt -lpthread
echo "built: $here/attention"
