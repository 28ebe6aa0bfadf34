#!/bin/sh
# cog-diffusion --device cuda, on a GPU or as built for the one in software (target cog-diffusion.emulated): trains in every precision, draws,
# and agrees with the CPU about losses and pictures.
. "$(dirname -- "$0")/image_common.sh"

"$program" train $small --steps 6 --out cpu >cpu.log
for dtype in float bf16 half; do
  "$program" train $small --steps 6 --device cuda --dtype $dtype --ema 0.9 --out $dtype >$dtype.log ||
    fail "it does not train in $dtype: $(cat $dtype.log)"
done

# The same seed and data: the losses of float are those of the CPU.
losses() { sed 's/.*"loss": *\([0-9.]*\).*/\1/' "$1/log.jsonl" | head -n 6; }
losses cpu >cpu.losses
losses float >float.losses
paste cpu.losses float.losses | awk '{ d = $1 - $2; if (d < 0) d = -d; if (d > 1e-3) bad = 1 } END { exit bad || NR != 6 }' ||
  fail "losses differ: $(paste cpu.losses float.losses)"

for dtype in bf16 half; do
  "$program" train --out $dtype --device cuda --dtype $dtype --resume auto --steps 8 >resumed.log || fail "$dtype: it does not resume: $(cat resumed.log)"
  grep -q "resumed from $dtype/step-00000006" resumed.log || fail "$dtype: it does not say that it resumed"
done

for solver in dpm++ dpm dpm++2m ddim euler ddpm; do
  "$program" sample --ckpt float --device cuda --count 4 --steps 4 --solver $solver --out drawn >drawn.log ||
    fail "it does not draw by $solver: $(cat drawn.log)"
  [ "$(ls drawn/pictures/* | grep -c 'png$')" -eq 4 ] || fail "$solver: not 4 pictures"
done
