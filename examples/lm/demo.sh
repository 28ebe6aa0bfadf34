#!/bin/sh
# The demonstration of cog-lm, called by examples/run.sh:  demo.sh PROGRAMS OUT [--text FILE|DIR] [--minutes N]
# Without PROGRAMS it only checks the options.
# Trains a Cogformer and a softmax Transformer of the same size, from the same seed, on the same batches; measures both on
# the text that was held out, lets both write, and draws both losses. Results go to OUT/run-1, OUT/run-2 ...: a run that
# was interrupted is taken up again by the next call with the same text, a finished one is left as it is.
set -eu

programs=$1 out=$2
shift 2

text='' minutes=6
while [ $# -gt 0 ]; do
  [ $# -gt 1 ] || { echo "demo.sh: $1: an option without its value, or none; there are --text FILE|DIR and --minutes N" >&2; exit 2; }
  case $1 in
    --text) text=$2; shift 2 ;;
    --minutes) minutes=$2; shift 2 ;;
    *) echo "demo.sh: unknown option '$1'; there are --text FILE|DIR and --minutes N" >&2; exit 2 ;;
  esac
done
case $minutes in
  '' | *[!0-9]* | 0) echo "demo.sh: --minutes $minutes: not a number of minutes" >&2; exit 2 ;;
esac
[ -z "$text" ] || [ -e "$text" ] || { echo "demo.sh: no such file or folder: $text" >&2; exit 1; }
[ -n "$programs" ] || exit 0

# Real text that every machine able to build this has: the C++ library's own headers.
prompt=
if [ -z "$text" ]; then
  prompt='template<typename'
  text=$("${CXX:-c++}" -E -x c++ -v /dev/null 2>&1 | sed -n 's|^ \(/.*c++/[0-9][0-9.]*\)$|\1|p' | head -n 1)
  [ -d "$text" ] || { echo "demo.sh: the compiler's headers were not found; give --text FILE|DIR" >&2; exit 1; }
fi

absolute() { (cd "$(dirname -- "$1")" && printf '%s/%s' "$(pwd)" "$(basename -- "$1")"); }
lm=$(absolute "$programs")/cog-lm text=$(absolute "$text")
[ -x "$lm" ] || { echo "demo.sh: $lm was not built; see tests/setup.sh for what it needs" >&2; exit 1; }
set -- --data "$text" --tokenizer bpe:1024 --layers 4 --heads 4 --dim 128 --context 128 --batch 16 --lr 2e-3 --min-lr 2e-4

# ---- The folder: the last one if it was not finished, else the next
number=1
while [ -e "$out/run-$number/table.txt" ]; do number=$((number + 1)); done
run=$out/run-$number
if [ -e "$run/text" ] && [ "$(cat "$run/text")" != "$text" ]; then
  while [ -e "$out/run-$number" ]; do number=$((number + 1)); done
  run=$out/run-$number
fi
if [ -e "$run/steps" ]; then
  echo "Going on with $run, which was interrupted."
else
  echo "Results go to $run."
  mkdir -p "$run"
  printf '%s\n' "$text" >"$run/text"
  # ---- As many steps as fit the time, for both the same
  rm -rf "$run/trial"
  "$lm" train "$@" --steps 24 --warmup 1 --eval-every 0 --sample-tokens 0 --out "$run/trial" >/dev/null
  milliseconds=$(sed -n 's/.*"ms":\([0-9]*\).*/\1/p' "$run/trial/log.jsonl" | sort -n | sed -n 14p)
  rm -rf "$run/trial"
  steps=$((minutes * 60 * 1000 / 2 / (milliseconds + 1)))
  [ "$steps" -ge 200 ] || steps=200
  [ "$steps" -le 4000 ] || steps=4000
  echo $((steps / 50 * 50)) >"$run/steps"
fi
steps=$(cat "$run/steps")

cd "$run"
for attention in cog softmax; do
  echo
  echo "---- $attention: $steps steps"
  "$lm" train "$@" --attention "$attention" --steps "$steps" --log-every 50 --eval-every $((steps / 5)) --save-every 250 \
    --out "$attention" --resume auto
done

echo
echo "---- What they write"
for attention in cog softmax; do
  echo "[$attention]"
  "$lm" sample --ckpt "$attention" --prompt "$prompt" --tokens 150 2>&1
  echo
done | tee samples.txt

picture=none
if "$lm" plot --run cog --run softmax --out loss.png >/dev/null; then picture=$run/loss.png; fi
echo "---- The text that was held out"
"$lm" eval --ckpt cog --ckpt softmax >table.new
mv table.new table.txt
cat table.txt
echo
echo "picture of both losses: $picture"
echo "everything else: $run"
