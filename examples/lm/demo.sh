#!/bin/sh
# The demonstration of cog-lm, called by examples/run.sh:  demo.sh PROGRAMS OUT [--text FILE|DIR]
# Trains a Cogformer and a softmax Transformer of the same size, seed and data, and lets both write.
set -eu

programs=$1 out=$2
shift 2

text=
while [ $# -gt 0 ]; do
  case $1 in
    --text) text=${2:?--text needs a file or a folder}; shift 2 ;;
    *) echo "demo.sh: unknown option '$1'; there is --text FILE|DIR" >&2; exit 2 ;;
  esac
done

# Real text that every machine able to build this has: the C++ library's own headers.
if [ -z "$text" ]; then
  text=$("${CXX:-c++}" -E -x c++ -v /dev/null 2>&1 | sed -n 's|^ \(/.*c++/[0-9][0-9.]*\)$|\1|p' | head -n 1)
  [ -d "$text" ] || { echo "demo.sh: the compiler's headers were not found; give --text FILE|DIR" >&2; exit 1; }
fi
[ -e "$text" ] || { echo "demo.sh: no such file or folder: $text" >&2; exit 1; }

mkdir -p "$out"
for attention in cog softmax; do
  "$programs/cog-lm" train --data "$text" --attention "$attention" --out "$out/$attention"
done
for attention in cog softmax; do
  "$programs/cog-lm" sample --ckpt "$out/$attention" -n 200
done
