#!/bin/sh
# The demonstration of cog-lm, called by examples/run.sh:  demo.sh PROGRAMS OUT [--text FILE|DIR] [--minutes N]
# Without PROGRAMS it only checks the options.
# Trains a Cogformer and a softmax Transformer of the same size, from the same seed, on the same batches; measures both on
# the text that was held out, lets both write, and draws both losses. Results go to OUT/run-1, OUT/run-2 ...: a run that
# was interrupted is taken up again by the next call with the same text, a finished one is left as it is.
set -eu
. "$(dirname -- "$0")/../common/demo.sh"

programs=$1 out=$2
shift 2

data='' minutes=6 prompt=
options text 'FILE|DIR' "$@"
[ -z "$data" ] || [ -e "$data" ] || fail "no such file or folder: $data"
[ -n "$programs" ] || exit 0

# Real text that every machine able to build this has: the C++ library's own headers.
if [ -z "$data" ]; then
  prompt='template<typename'
  data=$("${CXX:-c++}" -E -x c++ -v /dev/null 2>&1 | sed -n 's|^ \(/.*c++/[0-9][0-9.]*\)$|\1|p' | head -n 1)
  [ -d "$data" ] || fail "the compiler's headers were not found; give --text FILE|DIR"
fi

data=$(absolute "$data")
lm=$(program "$programs" cog-lm)
train() {
  "$lm" train --data "$data" --tokenizer bpe:1024 --layers 4 --heads 4 --dim 128 --context 128 --batch 16 --lr 2e-3 --min-lr 2e-4 "$@"
}
trial() { train --steps 24 --warmup 1 --eval-every 0 --sample-tokens 0 --out trial >/dev/null; }
start_run "$out" 4000

for attention in cog softmax; do
  echo
  echo "---- $attention: $steps steps"
  train --attention "$attention" --steps "$steps" --log-every 50 --eval-every $((steps / 5)) --save-every 250 --out "$attention" --resume auto
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
