# Sourced by the scripts beside it. CTest sets CXX and EIGEN; by hand the defaults are Debian's.
set -eu

root=$(CDPATH='' cd -- "$(dirname -- "$0")/../.." && pwd)
cxx=${CXX:-g++}
eigen=${EIGEN:-/usr/include/eigen3}
jobs=${JOBS:-$(nproc)}
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
trap 'exit 1' HUP INT TERM

fail() {
  echo "$*" >&2
  exit 1
}

# The headers as a consumer names them: cog/cog.hpp, cog/core/version.hpp ... those of the GPU backend apart.
headers() {
  (cd "$root/include" && find cog -name '*.hpp' ! -path '*/cuda/*' ! -name cuda.hpp | LC_ALL=C sort)
}
gpu_headers() {
  (cd "$root/include" && find cog -name '*.hpp' \( -path '*/cuda/*' -o -name cuda.hpp \) | LC_ALL=C sort)
}
