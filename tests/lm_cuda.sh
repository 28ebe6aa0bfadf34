#!/bin/sh
# cog-lm --device cuda, as built for the GPU in software: trains in every precision, and agrees with the CPU on what a checkpoint says.
. "$(dirname -- "$0")/lm_common.sh"

tiny="--data text --layers 3 --heads 2 --dim 16 --context 16 --batch 2 --warmup 2 --eval-windows 4 --sample-tokens 4 --steps 6 --clip 1"
"$program" train $tiny --threads 2 --out cpu >cpu.log
for dtype in float bf16 half; do
  "$program" train $tiny --device cuda --dtype $dtype --ema 0.9 --out $dtype >$dtype.log || fail "it does not train in $dtype: $(cat $dtype.log)"
  grep -q 'model FLOP utilisation' $dtype.log || fail "$dtype: no utilisation"
done

# The same seed and data: the losses of float are those of the CPU.
losses() { sed 's/.*"loss": *\([0-9.]*\).*/\1/' "$1/log.jsonl" | head -n 6; }
losses cpu >cpu.losses
losses float >float.losses
paste cpu.losses float.losses | awk '{ d = $1 - $2; if (d < 0) d = -d; if (d > 1e-3) bad = 1 } END { exit bad || NR != 6 }' ||
  fail "losses differ: $(paste cpu.losses float.losses)"

for device in cpu cuda; do
  "$program" sample --ckpt float --device $device --greedy --prompt 'template <' -n 8 >$device.text 2>/dev/null
  "$program" eval --ckpt float --data text/error.hpp --device $device >$device.eval || fail "eval on $device"
  awk '$1 == "float" { print $4 }' $device.eval >$device.loss  # after 18.3 k parameters
  [ -s $device.loss ] || fail "eval says no loss: $(cat $device.eval)"
done
same cpu.text cuda.text "the devices write different texts"
paste cpu.loss cuda.loss | awk '{ exit $1 - $2 > 0.01 || $2 - $1 > 0.01 }' || fail "the devices disagree about a loss: $(paste cpu.loss cuda.loss)"
"$program" train --out bf16 --device cuda --dtype bf16 --resume auto --steps 8 >resumed.log || fail "it does not resume: $(cat resumed.log)"
grep -q 'resumed from bf16/step-00000006' resumed.log || fail "it does not say that it resumed"
