#!/bin/sh
# The demonstration of cog-diffusion, called by examples/run.sh:  demo.sh PROGRAMS OUT [--data shapes|DIR] [--minutes N]
# Without PROGRAMS it only checks the options.
# Trains U-ViC and U-ViT of the same size, from the same seed, on the same batches; lets both draw the same number of pictures from the same
# noise, and measures them. Results go to OUT/run-1, OUT/run-2 ...: a run that was interrupted is taken up again by the next call with the
# same data, a finished one is left as it is.
set -eu

programs=$1 out=$2
shift 2

data=shapes minutes=6
while [ $# -gt 0 ]; do
  [ $# -gt 1 ] || { echo "demo.sh: $1: an option without its value, or none; there are --data shapes|DIR and --minutes N" >&2; exit 2; }
  case $1 in
    --data) data=$2; shift 2 ;;
    --minutes) minutes=$2; shift 2 ;;
    *) echo "demo.sh: unknown option '$1'; there are --data shapes|DIR and --minutes N" >&2; exit 2 ;;
  esac
done
case $minutes in
  '' | *[!0-9]* | 0) echo "demo.sh: --minutes $minutes: not a number of minutes" >&2; exit 2 ;;
esac
[ "$data" = shapes ] || [ -d "$data" ] || { echo "demo.sh: no such folder: $data" >&2; exit 1; }
[ -n "$programs" ] || exit 0

absolute() { (cd "$(dirname -- "$1")" && printf '%s/%s' "$(pwd)" "$(basename -- "$1")"); }
diffusion=$(absolute "$programs")/cog-diffusion
[ -x "$diffusion" ] || { echo "demo.sh: $diffusion was not built; see tests/setup.sh for what it needs" >&2; exit 1; }
[ "$data" = shapes ] || data=$(absolute "$data")
set -- --data "$data" --size 16 --patch 4 --layers 4 --heads 4 --dim 128 --batch 32 --lr 2e-3 --min-lr 2e-5 --ema 0.995 --beta2 0.99 --positions sinusoids

# ---- The folder: the last one if it was not finished, else the next
number=1
while [ -e "$out/run-$number/table.txt" ]; do number=$((number + 1)); done
run=$out/run-$number
if [ -e "$run/data" ] && [ "$(cat "$run/data")" != "$data" ]; then
  while [ -e "$out/run-$number" ]; do number=$((number + 1)); done
  run=$out/run-$number
fi
if [ -e "$run/steps" ]; then
  echo "Going on with $run, which was interrupted."
else
  echo "Results go to $run."
  mkdir -p "$run"
  printf '%s\n' "$data" >"$run/data"
  # ---- As many steps as fit the time, for both the same
  rm -rf "$run/trial"
  "$diffusion" train "$@" --steps 24 --warmup 1 --eval-every 0 --previews 0 --out "$run/trial" >"$run/trial.txt"
  if grep -Eq '^condition +none' "$run/trial.txt"; then
    echo "demo.sh: --data $data: no classes to draw by; it needs a sub-folder for each" >&2
    exit 2
  fi
  milliseconds=$(sed -n 's/.*"ms":\([0-9]*\).*/\1/p' "$run/trial/log.jsonl" | sort -n | sed -n 14p)
  rm -rf "$run/trial" "$run/trial.txt"
  steps=$((minutes * 60 * 1000 / 2 / (milliseconds + 1)))
  [ "$steps" -ge 200 ] || steps=200
  [ "$steps" -le 6000 ] || steps=6000
  echo $((steps / 50 * 50)) >"$run/steps"
fi
steps=$(cat "$run/steps")

cd "$run"
for attention in cog softmax; do
  echo
  echo "---- $attention: $steps steps"
  "$diffusion" train "$@" --attention "$attention" --steps "$steps" --log-every 50 --eval-every $((steps / 4)) --save-every 250 \
    --out "$attention" --resume auto
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
loss() { sed -n 's/.*"validation_loss":\([0-9.]*\).*/\1/p' "$1/log.jsonl" | tail -n 1; }
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
