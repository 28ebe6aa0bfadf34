#!/bin/sh
# Every header compiles alone, and a second time in the same file, without a warning.
#   headers.sh --together   all in one file: what a second compiler is asked, whose library is the same
. "$(dirname -- "$0")/common.sh"

cat >"$work/check" <<'CHECK'
flags="-std=c++20 -Wall -Wextra -Wpedantic -Wshadow -Werror -fsyntax-only $more"
if ! out=$(printf '#include <%s>\n' "$@" "$@" | "$cxx" $flags -I "$root/include" -isystem "$eigen" -x c++ - 2>&1); then
  [ $# -eq 1 ] || set -- "$# headers in one file"
  printf '== %s\n%s\n' "$1" "$out" | head -n 20
  exit 1
fi
CHECK
more=
export cxx root eigen more

headers >"$work/headers"
[ -s "$work/headers" ] || fail "no headers found under include/cog"
how="-n 1"
[ "${1:-}" != --together ] || how=
# shellcheck disable=SC2086  # no words or two
xargs -P "$jobs" $how sh "$work/check" <"$work/headers" || fail "the headers above do not compile ($cxx)"
# Those of the GPU backend, as the emulated GPU sees them.
gpu_headers >"$work/gpu_headers"
more="-D__CUDACC__ -I $root/tests/emulated_gpu -include cuda_runtime.h -Wno-unknown-pragmas"
# shellcheck disable=SC2086
xargs -P "$jobs" $how sh "$work/check" <"$work/gpu_headers" || fail "the headers above do not compile ($cxx)"
echo "$(cat "$work/headers" "$work/gpu_headers" | wc -l) headers compile ($cxx)"
