#!/bin/sh
# cog-diffusion train: the same settings give the same bits, interrupted or not; the loss goes down; pictures are made on the way.
. "$(dirname -- "$0")/image_common.sh"

everything="--attention cog --layers 4 --ema 0.9 --mirror --schedule discrete --min-lr 1"
train $everything --steps 20 --out once >once.log 2>once.err
train $everything --steps 10 --out halves >/dev/null
"$program" train --out halves --resume auto --steps 20 >halves.log
grep -q 'resumed from halves/step-00000010' halves.log || fail "it does not say that it resumed"
for file in model optimizer ema; do
  same once/step-00000020/$file.safetensors halves/step-00000020/$file.safetensors "10 + 10 steps are not 20 in $file"
done
[ "$(grep -c '"loss"' halves/log.jsonl)" -eq 20 ] || fail "log.jsonl of a resumed run does not have every step once"
same once/preview-00000020.png halves/preview-00000020.png "the previews differ"
printf '{"step":null}\n{"step":2' >>halves/log.jsonl  # as a crash may leave it
"$program" train --out halves --resume auto --steps 21 >/dev/null || fail "a log that was cut stops it"
[ "$(grep -c '"loss"' halves/log.jsonl)" -eq 21 ] || fail "log.jsonl with a cut line does not have every step once"
train $everything --steps 20 --recompute --out recomputed >/dev/null
same once/step-00000020/model.safetensors recomputed/step-00000020/model.safetensors "recomputed activations change the result"

# Ctrl-C: a checkpoint and a clean end.
stopped stopped.log '[ -s stopped/log.jsonl ] && [ "$(wc -l <stopped/log.jsonl)" -ge 3 ]' "$program" train $small --steps 1000000 --lr 1e-3 --min-lr 1 --out stopped
[ "$(ls stopped | grep -c '^step-')" -eq 1 ] || fail "not one checkpoint after SIGINT"

# Killed at any moment, also while it writes: the next call goes on from a whole checkpoint.
for attempt in 1 2 3; do
  : >killed.log  # what the attempt before wrote is not taken for its own
  "$program" train $small --steps 1000000 --lr 1e-3 --min-lr 1 --save-every 1 --eval-every 0 --out killed --resume auto >killed.log 2>&1 &
  pid=$!
  tries=0
  until [ "$(grep -c '^saved' killed.log)" -ge 2 ]; do
    tries=$((tries + 1))
    [ $tries -lt 600 ] || { cat killed.log; fail "nothing saved within a minute"; }
    sleep 0.1
  done
  kill -KILL $pid
  wait $pid || true
done
grep -q 'resumed from killed/step-' killed.log || fail "not resumed after a kill: $(cat killed.log)"

# It learns: a network that says nothing has a loss of 1.
train --steps 300 --lr 3e-3 --ema 0.9 --out learnt --keep 1 >learnt.log
sed -n 's/.*"validation_loss":\([0-9.]*\).*/\1/p' learnt/log.jsonl | tail -n 1 |
  awk '{ exit !($1 < 0.6) }' || fail "the loss does not go down: $(tail -n 1 learnt/log.jsonl)"
grep -qE '^step 300/300 \| loss [0-9.]+ \| norm [0-9.]+ \| lr [0-9.e-]+ \| [0-9.]+ ms \| [0-9.]+( k| M)? img/s$' learnt.log ||
  fail "no step line in: $(cat learnt.log)"
[ ! -s once.err ] || fail "something on stderr: $(cat once.err)"
