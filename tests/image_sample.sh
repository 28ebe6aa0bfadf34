#!/bin/sh
# cog-diffusion sample and fid: the same seed makes the same pictures, whatever the batch; settings are in the PNG; made pictures can be judged.
. "$(dirname -- "$0")/image_common.sh"

train --steps 30 --out model >/dev/null
draw() { "$program" sample --ckpt model --count 14 --steps 6 --threads 2 "$@" >/dev/null; }
for solver in dpm++ dpm dpm++2m ddim euler; do
  draw --solver $solver --out a
  draw --solver $solver --out b --batch 5
  same a/grid.png b/grid.png "$solver: another batch makes other pictures"
done
draw --solver ddpm --out a
draw --solver ddpm --out b
same a/grid.png b/grid.png "ddpm: the same seed makes other pictures"
draw --solver ddpm --seed 2 --out b
! cmp -s a/grid.png b/grid.png || fail "another seed makes the same pictures"

draw --out all
[ "$(ls all/pictures | wc -l)" -eq 12 ] || fail "not a folder for each class: $(ls all/pictures)"
[ -s "all/pictures/red disc/00012.png" ] || fail "picture 12 is not the second red disc"
draw --out one --class 'blue ring' --guidance 0.5
[ "$(ls one/pictures | wc -l)" -eq 14 ] || fail "not 14 numbered pictures of one class"
for text in 'solver' 'dpm++' 'guidance' '0.5' 'class' 'blue ring' 'seed' 'model/step-00000030/ema.safetensors'; do
  LC_ALL=C grep -aqF "$text" one/pictures/00000.png || fail "the PNG does not say '$text'"
done
cp -r one fewer && echo 'a photograph' >fewer/pictures/20240101.png && "$program" sample --ckpt model --class 'blue ring' --count 3 --steps 6 --threads 2 --out fewer >/dev/null
[ "$(ls fewer/pictures | wc -l)" -eq 4 ] || fail "not three pictures and what was there of another program: $(ls fewer/pictures)"
[ -s fewer/pictures/20240101.png ] || fail "a file of another program was removed"
draw --out one --class 'blue ring' --no-ema
LC_ALL=C grep -aqF 'model/step-00000030/model.safetensors' one/grid.png || fail "--no-ema does not take the weights of the last step"

# Ctrl-C while it draws.
stopped stopped.log '[ -d stopped ]' "$program" sample --ckpt model --count 100000 --steps 100 --threads 2 --out stopped
grep -q '^cog-diffusion: interrupted' stopped.log || fail "it does not say that it was interrupted: $(cat stopped.log)"

"$program" fid --samples all/pictures --samples all/pictures --pictures 240 --classifier judge.safetensors --threads 2 >fid.log 2>/dev/null
grep -q 'Frechet distance in classifier features' fid.log || fail "what is measured is not named: $(cat fid.log)"
! grep -qw FID fid.log || fail "features of a classifier are called FID"
grep -qE 'trained on shapes.* [0-9.]+ % right' fid.log || fail "the classifier is not described: $(cat fid.log)"
first=$(awk '$1 == "all/pictures" { print $3; exit }' fid.log)
"$program" fid --samples all --pictures 240 --classifier judge.safetensors --threads 2 >again.log 2>/dev/null
grep -q '^classifier  judge.safetensors: .* % right on' again.log || fail "a kept classifier is not tried: $(cat again.log)"
[ "$first" = "$(awk '$1 == "all" { print $3 }' again.log)" ] || fail "the kept classifier measures otherwise"
"$program" info --ckpt model | grep -q 'Cog in all blocks' || fail "info does not say which attention"
