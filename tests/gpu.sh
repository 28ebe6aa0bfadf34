#!/bin/sh
# Everything that needs a GPU, in one command: builds the tests, the benchmarks and cog-lm with nvcc, runs them, runs the tests again under
# compute-sanitizer, and PyTorch's side. No step and no test that fails, hangs or kills its process loses another, and each writes as it goes.
# Needs the CUDA toolkit and a C++ compiler; the headers of Catch2 2 and nlohmann-json must be found by the compiler, or in the folder VENDOR
# (catch2/catch.hpp and nlohmann/ in it). cog-lm and cog-diffusion are built where CMake finds what they need, and PyTorch's side runs where
# python has it.
#   sh tests/gpu.sh [build | test | lm | image | bench | portable | rival | sanitize]...     default: all of them, in this order
# `build` needs no GPU. The folder with the programs may be carried to a machine that has one, beside the sources, wherever they lie.
# BUILD: where programs go (default build/gpu).  OUT: where logs and JSON go (default bench/results).  ARCH: default that of the GPU here,
# sm_90a where there is none.  JOBS: compilers at a time.  PARALLEL: tests at a time (4).  LIMIT: seconds that a step may take (3600).
# WORDS: only benchmarks whose name holds one of these.  PYTHON: with PyTorch.
set -u

root=$(CDPATH='' cd -- "$(dirname -- "$0")/.." && pwd)
cd "$root" || exit 1  # golden files are found from here
: "${BUILD:=$root/build/gpu}" "${OUT:=$root/bench/results}" "${JOBS:=$(nproc)}" "${PARALLEL:=4}" "${LIMIT:=3600}"
if [ -z "${ARCH:-}" ]; then
  capability=$(nvidia-smi --query-gpu=compute_cap --format=csv,noheader 2>/dev/null | head -n 1 | tr -d .)
  case $capability in
    '' | 90) ARCH=sm_90a ;;
    *) ARCH=sm_$capability ;;
  esac
fi
export BUILD OUT ARCH PARALLEL
mkdir -p "$BUILD" "$OUT"

# ---- Parts of steps, as xargs calls them

# make SOURCE PROGRAM FLAGS...: unless the program is newer than every header and source.
if [ "${1:-}" = make ]; then
  source=$2 program=$3
  shift 3
  newer=$(find include tests bench/gpu examples -newer "$program" \( -name '*.?pp' -o -name '*.cu' -o -name '*.h' \) -print -quit 2>&1)
  [ -n "$newer" ] || exit 0
  objects=
  # Given to the linker: -x cu would compile it.
  case $source in tests/*) objects="-Xlinker $BUILD/cuda_main.o" ;; esac
  [ "${program%.o}" = "$program" ] || objects=-c
  # shellcheck disable=SC2086  # words
  nvcc -std=c++20 -O3 -lineinfo "$@" -DCOG_GOLDEN_DIR='"tests/golden"' -I include -I tests ${VENDOR:+-I "$VENDOR"} $objects -x cu "$source" -o "$program.new" \
    -lcublasLt -Xlinker -s >"$program.log" 2>&1 && mv "$program.new" "$program" && exit 0
  echo "FAILED to build $source:"
  tail -n 20 "$program.log"
  exit 1
fi

# case LOG PROGRAM NAME: one test in a process of its own, under $tool if that is set.
if [ "${1:-}" = case ]; then
  log=$2 program=$3 name=$4
  start=$(date +%s)
  if [ "$start" -ge "$end" ]; then
    echo "NOT RUN   $program: $name" >>"$log"
    exit 0
  fi
  text=$(mktemp)
  # shellcheck disable=SC2086  # words
  timeout -k 5 "${case_limit:-120}" ${tool:-} "$BUILD/$program" "\"$name\"" >"$text" 2>&1
  status=$?
  seconds=$(($(date +%s) - start))
  case $status in
    0) echo "ok        $program: $name ($seconds s)" >"$text" ;;
    124 | 137) { echo "TOO SLOW  $program: $name ($seconds s)"; tail -n 20 "$text"; } >"$text.2" && mv "$text.2" "$text" ;;
    *) { echo "FAILED    $program: $name ($seconds s, status $status)"; head -c 6000 "$text"; } >"$text.2" && mv "$text.2" "$text" ;;
  esac
  cat "$text" >>"$log"
  rm -f "$text"
  exit 0
fi

# ---- Steps

units=$(cd tests && ls cuda_*.cpp | sed 's/\.cpp$//' | grep -v '^cuda_main$')

build() {
  git rev-parse HEAD 2>/dev/null >"$BUILD/commit"
  target="-gencode arch=compute_${ARCH#sm_},code=$ARCH"
  # shellcheck disable=SC2086  # words
  sh tests/gpu.sh make tests/cuda_main.cpp "$BUILD/cuda_main.o" $target || return 1
  {
    for unit in $units; do echo "tests/$unit.cpp $BUILD/$unit $target"; done
    echo "bench/gpu/main.cu $BUILD/bench $target"
    echo "bench/gpu/attention.cu $BUILD/bench_attention $target"
    # The kernels of Ampere, on whatever is here.
    echo "bench/gpu/attention.cu $BUILD/bench_portable -gencode arch=compute_80,code=$(echo "$ARCH" | tr -d a)"
  } | xargs -P "$JOBS" -L 1 sh tests/gpu.sh make || built=no
  if command -v cmake >/dev/null; then
    { cmake -S . -B "$BUILD/lm" -DCMAKE_BUILD_TYPE=Release -DCOG_BUILD_TESTS=OFF -DCOG_BUILD_BENCH=OFF -DCOG_EXAMPLES_CUDA=ON \
        -DCMAKE_CUDA_ARCHITECTURES="${ARCH#sm_}-real" -DCMAKE_DISABLE_FIND_PACKAGE_PkgConfig=ON &&
      cmake --build "$BUILD/lm" --target cog-lm --parallel "$JOBS" && cp "$BUILD/lm/examples/lm/cog-lm" "$BUILD/cog-lm"; } >"$BUILD/lm.log" 2>&1 ||
      echo "cog-lm is not built; see $BUILD/lm.log"
    # Its libraries go along: a GPU machine may lack them.
    { cmake -S . -B "$BUILD/image" -DCMAKE_BUILD_TYPE=Release -DCOG_BUILD_TESTS=OFF -DCOG_BUILD_BENCH=OFF -DCOG_EXAMPLES_CUDA=ON \
        -DCMAKE_CUDA_ARCHITECTURES="${ARCH#sm_}-real" &&
      cmake --build "$BUILD/image" --target cog-diffusion --parallel "$JOBS" && cp "$BUILD/image/examples/image/cog-diffusion" "$BUILD/cog-diffusion" &&
      mkdir -p "$BUILD/lib" && ldd "$BUILD/cog-diffusion" | sed -n 's/^[[:space:]]*lib\(png\|zip\|z\|bz2\|lzma\|zstd\|crypto\)[0-9]*\.so.* => \(.*\) (.*/\2/p' |
        xargs cp -Lt "$BUILD/lib"; } >"$BUILD/image.log" 2>&1 ||
      echo "cog-diffusion is not built; see $BUILD/image.log"
  fi
  [ -z "${built:-}" ]
}

# cases LOG: every test of every program, into LOG. Fails where one does.
cases() {
  case $("$BUILD/cuda_index" --list-tests) in *'there is no GPU'*) echo "skipped: there is no GPU"; return 0 ;; esac
  : >"$1"
  end=$(($(date +%s) + LIMIT))
  export end
  [ -z "${tool:-}" ] || export tool case_limit
  for unit in $units; do
    "$BUILD/$unit" --list-test-names-only 2>"$1.err" | sed "s/^\"\(.*\)\"\$/\1/" | while IFS= read -r name; do printf '%s\n%s\n' "$unit" "$name"; done
    [ ! -s "$1.err" ] || { echo "FAILED    $unit: $(cat "$1.err")" >>"$1"; }
  done | xargs -d '\n' -r -P "$PARALLEL" -n 2 sh tests/gpu.sh case "$1"
  rm -f "$1.err"
  grep -v '^ok ' "$1" | head -n 200
  echo "$(grep -c '^ok ' "$1") tests passed, $(grep -c '^FAILED' "$1") failed, $(grep -c '^TOO SLOW' "$1") were too slow, $(grep -c '^NOT RUN' "$1") did not run: $1"
  grep -q '^ok ' "$1" && ! grep -q '^FAILED\|^TOO SLOW\|^NOT RUN' "$1"
}

sanitize() {
  command -v compute-sanitizer >/dev/null || { echo "skipped: there is no compute-sanitizer"; return 0; }
  good=yes
  share=$((LIMIT / 3))
  for tool in memcheck racecheck initcheck; do
    echo "-- $tool"
    (
      LIMIT=$share case_limit=60
      tool="compute-sanitizer --tool $tool --error-exitcode 1 --print-limit 5"
      cases "$OUT/gpu_$tool.log"
    ) || good=
  done
  [ -n "$good" ]
}

[ $# -gt 0 ] || set -- build test lm image bench portable rival sanitize
failed=
for step; do
  echo "== $step ($ARCH)"
  if [ "$step" != build ]; then
    # Where cuBLASLt may lie: the toolkit, or python's packages.
    for folder in "$(dirname "$(dirname "$(command -v nvcc || echo /usr/local/cuda/bin/nvcc)")")/lib64" \
      "$("${PYTHON:-python3}" -c 'import nvidia, os; print(os.path.join(list(nvidia.__path__)[0], "cu13", "lib"))' 2>/dev/null)"; do
      [ ! -e "$folder/libcublasLt.so.13" ] || LD_LIBRARY_PATH=${LD_LIBRARY_PATH:+$LD_LIBRARY_PATH:}$folder
    done
    COMMIT=$(cat "$BUILD/commit" 2>/dev/null)
    export LD_LIBRARY_PATH="${LD_LIBRARY_PATH:-}" COMMIT
    { echo "commit $COMMIT, $(date -u)"; nvidia-smi --query-gpu=name,driver_version,memory.total --format=csv,noheader; nvcc --version | tail -n 2; } >"$OUT/gpu_machine.txt" 2>&1
  fi
  # shellcheck disable=SC2086  # words
  case $step in
    build) build ;;
    test) cases "$OUT/gpu_tests.log" ;;
    lm) if [ -x "$BUILD/cog-lm" ]; then timeout "$LIMIT" sh tests/lm_cuda.sh "$BUILD/cog-lm"; else echo "skipped: cog-lm was not built"; fi ;;
    image)
      if [ ! -x "$BUILD/cog-diffusion" ]; then echo "skipped: cog-diffusion was not built"
      else LD_LIBRARY_PATH=$LD_LIBRARY_PATH:$BUILD/lib timeout "$LIMIT" sh tests/image_cuda.sh "$BUILD/cog-diffusion"; fi
      ;;
    bench)
      timeout "$LIMIT" "$BUILD/bench" "$OUT/gpu.json" ${WORDS:-}
      first=$?
      timeout "$LIMIT" "$BUILD/bench_attention" "$OUT/gpu_attention_kernels.json" ${WORDS:-} && [ $first -eq 0 ]
      ;;
    portable) timeout "$LIMIT" "$BUILD/bench_portable" "$OUT/gpu_attention_portable.json" ${WORDS:-} ;;
    rival) OUT="$OUT" timeout "$LIMIT" sh bench/gpu/rival.sh || [ $? -eq 77 ] ;;
    sanitize) sanitize ;;
    *) echo "gpu.sh: no step '$step'" >&2; exit 2 ;;
  esac || failed="$failed $step"
done
[ -z "$failed" ] || { echo "gpu.sh: failed:$failed" >&2; exit 1; }
