#!/bin/sh
# The benchmarks and cog's side of the comparison with PyTorch still compile. They are built and run by bench/run.sh.
. "$(dirname -- "$0")/common.sh"

echo '#include <benchmark/benchmark.h>' >"$work/probe.cpp"
"$cxx" -std=c++20 -fsyntax-only "$work/probe.cpp" 2>/dev/null || exit 77
for source in "$root"/bench/*.cpp "$root"/bench/rivals/*.cpp; do
  "$cxx" -std=c++20 -fsyntax-only -Wall -Wextra -I "$root/include" -isystem "$eigen" "$source" || fail "$source does not compile"
done
for source in "$root"/bench/gpu/*.cu; do
  "$cxx" -std=c++20 -fsyntax-only -D__CUDACC__ -I "$root/tests/emulated_gpu" -include cuda_runtime.h -I "$root/include" -x c++ "$source" || fail "$source does not compile"
done
python3 -c "import ast, sys; [ast.parse(open(f).read(), f) for f in sys.argv[1:]]" "$root"/bench/*.py "$root"/bench/rivals/*.py "$root"/bench/gpu/*.py
