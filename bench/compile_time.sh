#!/bin/sh
# What does including cog cost?  Seconds of processor time and peak memory of one compiler run, beside Eigen/Core alone.
#   compile_time.sh            writes bench/results/compile_time.json
#   compile_time.sh --check    writes nothing; fails where cog.hpp costs more than 2.5 times Eigen/Core
#   compile_time.sh --headers  writes nothing; prints the cost of every header, dearest first
set -eu

budget=2.5
root=$(CDPATH='' cd -- "$(dirname -- "$0")/.." && pwd)
cxx=${CXX:-g++}
eigen=${EIGEN:-/usr/include/eigen3}
runs=${RUNS:-3}
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
trap 'exit 1' HUP INT TERM

gnu_time=$(command -v time || true)
[ -x "$gnu_time" ] || { echo "compile_time.sh: needs GNU time (Debian: apt-get install time)" >&2; exit 2; }

# measure TEXT: sets seconds, the least of all runs, and mib, the greatest; both count the compiler's own children.
measure() {
  printf '%s\nint main() {}\n' "$1" >"$work/x.cpp"
  : >"$work/costs"
  for _ in $(seq "$runs"); do
    "$gnu_time" -a -o "$work/costs" -f '%U %S %M' \
      "$cxx" -std=c++20 -O2 -I "$root/include" -isystem "$eigen" -c "$work/x.cpp" -o "$work/x.o"
  done
  awk '{ s = $1 + $2 } NR == 1 || s < least { least = s } $3 > peak { peak = $3 }
    END { printf "%.2f %.0f\n", least, peak / 1024 }' "$work/costs" >"$work/least"
  read -r seconds mib <"$work/least"
}

if [ "${1:-}" = --headers ]; then
  cd "$root/include"
  for header in $(find cog -name '*.hpp'); do
    measure "#include <$header>"
    printf '%6s s %5s MiB  %s\n' "$seconds" "$mib" "$header" >>"$work/table"
  done
  sort -rn "$work/table"
  exit
fi

measure ''
nothing_seconds=$seconds nothing_mib=$mib
measure '#include <Eigen/Core>'
eigen_seconds=$seconds eigen_mib=$mib
measure '#include <cog/cog.hpp>'
ratio=$(awk "BEGIN { printf \"%.2f\", $seconds / $eigen_seconds }")
echo "cog.hpp $seconds s, $mib MiB; Eigen/Core $eigen_seconds s, $eigen_mib MiB; $ratio times (budget $budget)"

if [ "${1:-}" = --check ]; then
  exec awk "BEGIN { exit $ratio > $budget }"
fi

mkdir -p "$root/bench/results"
cat >"$root/bench/results/compile_time.json" <<JSON
{
  "what": "processor time and peak memory of one compiler run on a file with one include and an empty main",
  "command": "$(basename "$cxx") -std=c++20 -O2 -c",
  "compiler": "$("$cxx" --version | head -n 1)",
  "processor": "$(sed -n 's/^model name[^:]*: //p' /proc/cpuinfo | head -n 1)",
  "commit": "$(git -C "$root" rev-parse --short HEAD 2>/dev/null || echo unknown)",
  "runs": $runs,
  "nothing": { "seconds": $nothing_seconds, "mib": $nothing_mib },
  "eigen_core": { "seconds": $eigen_seconds, "mib": $eigen_mib },
  "cog": { "seconds": $seconds, "mib": $mib },
  "ratio": $ratio,
  "budget": $budget
}
JSON
