#!/bin/sh
# Sets up, builds and runs an example:  sh examples/run.sh [lm | image | all] [options of the example ...]
# What an example does with its programs is its own business: examples/NAME/demo.sh.
# JOBS: how many things to compile at a time (default: all cores).  BUILD_DIR: where (default: build/examples).
# OUT: where an example leaves its results (default: out/).
set -eu

root=$(CDPATH='' cd -- "$(dirname -- "$0")/.." && pwd)
jobs=${JOBS:-$(nproc)}
build=${BUILD_DIR:-$root/build/examples}
out=${OUT:-$root/out}

have=$(cd "$root/examples" && for demo in */demo.sh; do echo "${demo%/*}"; done)
wanted=lm
case ${1:-} in
  '' | -*) ;;
  all) wanted=$have; shift ;;
  *) wanted=$1; shift ;;
esac
for example in $wanted; do
  [ -f "$root/examples/$example/demo.sh" ] || { echo "run.sh: no example '$example'; there are:" $have >&2; exit 2; }
  case " $* " in
    *' --help '* | *' -h '*)
      sed -n "2,6s/^# //p" "$root/examples/run.sh"
      printf '\n%s: ' "$example"
      sed -n '2,/^set/s/^# //p' "$root/examples/$example/demo.sh"
      ;;
    *) sh "$root/examples/$example/demo.sh" '' '' "$@" ;;  # a wrong option before the work, not after it
  esac
done
case " $* " in *' --help '* | *' -h '*) exit ;; esac

sh "$root/tests/setup.sh"
cmake -S "$root" -B "$build" -G Ninja -DCMAKE_BUILD_TYPE=Release -DCOG_NATIVE=ON \
  -DCOG_BUILD_TESTS=OFF -DCOG_BUILD_EXAMPLES=ON -DCOG_BUILD_BENCH=OFF >/dev/null
for example in $wanted; do cmake --build "$build" --parallel "$jobs" --target "examples/$example/all"; done

for example in $wanted; do
  sh "$root/examples/$example/demo.sh" "$build/examples/$example" "$out/$example" "$@"
done
