#!/bin/sh
# Installs what is missing to build and test cog on Debian 12; does nothing, and needs no rights, where all is there.
# Another system is left alone: its user has installed the equivalents, or CMake will name what it does not find.
set -eu

packages="g++ cmake ninja-build pkg-config libeigen3-dev nlohmann-json3-dev catch2 libcli11-dev libbenchmark-dev
  libsentencepiece-dev gnuplot-nox time libpng-dev libstb-dev libzip-dev libopenblas-dev libdnnl-dev ocl-icd-opencl-dev"

command -v dpkg >/dev/null 2>&1 && command -v apt-get >/dev/null 2>&1 || exit 0

missing=
for package in $packages; do
  dpkg -s "$package" 2>/dev/null | grep -q '^Status: install ok installed' || missing="$missing $package"
done
[ -n "$missing" ] || exit 0

if [ "$(id -u)" -eq 0 ]; then
  as_root=
elif command -v sudo >/dev/null 2>&1; then
  as_root=sudo
else
  echo "setup: missing packages:$missing" >&2
  echo "setup: neither root nor sudo here; as root, run: apt-get install$missing" >&2
  exit 1
fi

echo "setup: installing$missing"
$as_root apt-get update -q
# shellcheck disable=SC2086  # a list of words
$as_root env DEBIAN_FRONTEND=noninteractive apt-get install -q -y --no-install-recommends $missing
