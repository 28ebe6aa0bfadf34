#!/bin/sh
# The demonstration of cog-diffusion, called by examples/run.sh:  demo.sh PROGRAMS OUT [--data shapes|DIR] [--minutes N]
# Without PROGRAMS it only checks the options.
# Trains U-ViC and U-ViT of the same size, from the same seed, on the same batches; lets both draw the same number of pictures from the same
# noise, and measures them. Results go to OUT/run-1, OUT/run-2 ...: a run that was interrupted is taken up again by the next call with the
# same data, a finished one is left as it is.
set -eu
. "$(dirname -- "$0")/../common/demo.sh"

programs=$1 out=$2
shift 2

data=shapes minutes=6
options data 'shapes|DIR' "$@"
[ "$data" = shapes ] || [ -d "$data" ] || fail "no such folder: $data"
[ -n "$programs" ] || exit 0

[ "$data" = shapes ] || data=$(absolute "$data")
diffusion=$(program "$programs" cog-diffusion)
train() {
  "$diffusion" train --data "$data" --size 16 --patch 4 --layers 4 --heads 4 --dim 128 --batch 32 --lr 2e-3 --min-lr 2e-5 --ema 0.995 \
    --beta2 0.99 --positions sinusoids "$@"
}
trial() {
  train --steps 24 --warmup 1 --eval-every 0 --previews 0 --out trial >trial.txt
  ! grep -Eq '^condition +none' trial.txt || fail "--data $data: no classes to draw by; it needs a sub-folder for each" 2
  rm trial.txt
}
start_run "$out" 6000

for attention in cog softmax; do
  echo
  echo "---- $attention: $steps steps"
  train --attention "$attention" --steps "$steps" --log-every 50 --eval-every $((steps / 4)) --save-every 250 --out "$attention" --resume auto
done

echo
echo "---- What they draw"
for attention in cog softmax; do
  "$diffusion" sample --ckpt "$attention" --count 240 --steps 50 --solver ddpm --guidance 1 --seed 7 --out "samples-$attention" >"samples-$attention.txt"
  cat "samples-$attention.txt"
done
"$diffusion" plot --run cog --run softmax --out loss.png || echo "no picture of the losses"

echo
echo "---- How good they are"
"$diffusion" fid --samples samples-cog/pictures --samples samples-softmax/pictures --reference "$data" >fid.txt
cat fid.txt
loss() { sed -n 's/.*"validation_loss":\([0-9.]*\).*/\1/p' "$1/log.jsonl" | awk 'END { printf "%.4f", $1 }'; }
distance() { awk -v folder="samples-$1/pictures" '$1 == folder { print $3 }' fid.txt; }
speed() { sed -n 's/.*: \([0-9.]*\) pictures\/s.*/\1/p' "samples-$1.txt"; }
{
  printf '%-16s %-16s %-28s %s\n' model 'validation loss' 'distance in features [1]' 'pictures/s'
  printf '%-16s %-16s %-28s %s\n' 'U-ViC (cog)' "$(loss cog)" "$(distance cog)" "$(speed cog)"
  printf '%-16s %-16s %-28s %s\n' 'U-ViT (softmax)' "$(loss softmax)" "$(distance softmax)" "$(speed softmax)"
  echo "[1] Frechet distance in the features of a classifier that the program trained; not FID. 240 pictures by DDPM of 50 steps, guidance 1."
} >table.new
mv table.new table.txt
echo
cat table.txt
echo
echo "pictures: $run/samples-cog/grid.png, $run/samples-softmax/grid.png, $run/loss.png"
