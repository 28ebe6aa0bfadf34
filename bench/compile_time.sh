#!/bin/sh
# What does compiling cog cost?  Seconds of processor time and peak memory of one compiler run for every header that is included by
# users, and for one instantiation of attention, of a model and of a training step (bench/compile/), beside Eigen/Core alone.
#   compile_time.sh                  writes bench/results/compile_time.json
#   compile_time.sh --check          writes nothing; fails where something costs 20 % more than that file says, or cog.hpp more than
#                                    2.5 times Eigen/Core
#   compile_time.sh --check memory   compares memory alone, which is the same in every run on every machine, and of the headers those
#                                    that no other one includes: each costs more than what it includes
# Seconds are compared as multiples of Eigen/Core's; another processor may still shift them by a quarter. The compiler decides over
# all: --check passes over (77) another one than the file was made with.
set -eu

case "$*" in
  '' | --check | '--check memory') ;;
  *) echo "usage: compile_time.sh [--check [memory]]" >&2; exit 2 ;;
esac

include_budget=2.5 growth=1.2 growth_of_seconds=1.2 memory_alone=
root=$(CDPATH='' cd -- "$(dirname -- "$0")/.." && pwd)
results=$root/bench/results/compile_time.json
cxx=${CXX:-g++}
eigen=${EIGEN:-/usr/include/eigen3}
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
trap 'exit 1' HUP INT TERM

gnu_time=$(command -v time || true)
compiler=$("$cxx" --version | head -n 1 | cut -d ' ' -f 2-)  # c++ is g++ by another name
[ "${1:-}" != --check ] || grep -qF "$compiler\"" "$results" || { echo "recorded for another compiler than $compiler"; exit 77; }
[ -x "$gnu_time" ] || { echo "compile_time.sh: needs GNU time (Debian: apt-get install time)" >&2; exit 2; }

# What is measured, one a line.
items() {
  cd "$root/include"
  for header in $(find cog -name '*.hpp' ! -path '*/backend/*' ! -name cuda.hpp | LC_ALL=C sort); do
    [ -z "$memory_alone" ] || ! grep -rqF "#include <$header>" cog || continue
    echo "$header"
  done
  cd "$root/bench"
  ls compile/*.cpp
}

# measure ITEM [RUNS]: adds a line "seconds MiB" a run to costs; both count the compiler's own children.
measure() {
  case $1 in
    *.cpp) cp "$root/bench/$1" "$work/x.cpp" ;;
    *) printf '#include <%s>\nint main() {}\n' "$1" >"$work/x.cpp" ;;
  esac
  costs=$work/costs.$(echo "$1" | tr '/' '.')
  for _ in $(seq "${2:-1}"); do
    "$gnu_time" -a -o "$costs" -f '%U %S %M' "$cxx" -std=c++20 -O2 -I "$root/include" -isystem "$eigen" -c "$work/x.cpp" -o "$work/x.o"
  done
}
# least ITEM: sets seconds, the least of its runs, and mib, the greatest.
least() {
  awk '{ s = $1 + $2 } NR == 1 || s < least { least = s } $3 > peak { peak = $3 } END { printf "%.2f %.0f\n", least, peak / 1024 }' \
    "$work/costs.$(echo "$1" | tr '/' '.')" >"$work/least"
  read -r seconds mib <"$work/least"
}
times_eigen() { awk "BEGIN { printf \"%.2f\", $seconds / $eigen_seconds }"; }

measure Eigen/Core 3
least Eigen/Core
eigen_seconds=$seconds eigen_mib=$mib

if [ "${1:-}" != --check ]; then
  {
    cat <<JSON
{
  "what": "processor time and peak memory of one compiler run: a file with one include and an empty main, or one of bench/compile",
  "command": "$(basename "$cxx") -std=c++20 -O2 -c",
  "compiler": "$(basename "$cxx") $compiler",
  "processor": "$(sh "$root/bench/processor.sh")",
  "commit": "$(git -C "$root" rev-parse --short HEAD 2>/dev/null || echo unknown)",
  "eigen_core": { "seconds": $eigen_seconds, "mib": $eigen_mib },
  "items": [
JSON
    comma=
    for item in $(items); do
      measure "$item" 3
      least "$item"
      printf '%s    { "item": "%s", "seconds": %s, "mib": %s, "times_eigen": %s }' "$comma" "$item" "$seconds" "$mib" "$(times_eigen)"
      comma=',
'
    done
    printf '\n  ]\n}\n'
  } >"$work/results"
  mv "$work/results" "$results"
  exit
fi

# A run beside other work takes longer: what seems too dear is measured again, and so is Eigen/Core.
attempts="1 2 3 4"
[ "${2:-}" != memory ] || growth_of_seconds=1e9 include_budget=1e9 attempts=1 memory_alone=yes
failed=0
for item in $(items); do
  allowed=$(sed -n "s|.*\"item\": \"$item\".*\"mib\": \([0-9]*\), \"times_eigen\": \([0-9.]*\).*|\1 \2|p" "$results")
  [ -n "$allowed" ] || { echo "$item is not in bench/results/compile_time.json: run bench/compile_time.sh" >&2; failed=1; continue; }
  verdict=1
  for attempt in $attempts; do
    [ "$attempt" = 1 ] || { measure Eigen/Core; least Eigen/Core; eigen_seconds=$seconds; }
    measure "$item"
    least "$item"
    ratio=$(times_eigen)
    # A tenth of Eigen/Core more is below what can be measured.
    if echo "$allowed" | awk "{ most = $growth_of_seconds * \$2; if (most < \$2 + 0.1) most = \$2 + 0.1
        exit !($mib <= $growth * \$1 && $ratio <= most && (\"$item\" != \"cog/cog.hpp\" || $ratio <= $include_budget)) }"; then
      verdict=0
      break
    fi
  done
  if [ $verdict = 1 ]; then
    echo "$item costs $mib MiB and $ratio times Eigen/Core; recorded are ${allowed% *} MiB and ${allowed#* } times" >&2
    failed=1
  fi
done
exit $failed
