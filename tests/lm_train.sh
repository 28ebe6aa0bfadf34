#!/bin/sh
# cog-lm train: the same settings give the same bits, interrupted or not; the loss goes down; output is fit for a pipe.
. "$(dirname -- "$0")/lm_common.sh"

weights() { echo "$1"/step-000000"$2"/model.safetensors; }

# Everything that has a state: dropout, batches, two moments, an average, a schedule.
everything="--dropout 0.1 --accumulate 2 --ema 0.9 --decay-steps 20 --tokenizer bpe:300"
train $everything --steps 20 --out once >once.log 2>once.err
train $everything --steps 20 --out twice >/dev/null
for file in model optimizer ema; do
  same once/step-00000020/$file.safetensors twice/step-00000020/$file.safetensors "two runs differ in $file"
done

train $everything --steps 10 --out halves >/dev/null
"$program" train --out halves --resume auto --steps 20 >halves.log
grep -q 'resumed from halves/step-00000010' halves.log || fail "it does not say that it resumed"
for file in model optimizer ema; do
  same once/step-00000020/$file.safetensors halves/step-00000020/$file.safetensors "10 + 10 steps are not 20 in $file"
done
[ "$(grep -c '"loss"' halves/log.jsonl)" -eq 20 ] || fail "log.jsonl of a resumed run does not have every step once"

train $everything --steps 20 --recompute --out recomputed >/dev/null
same "$(weights once 20)" "$(weights recomputed 20)" "recomputed activations change the result"

# Ctrl-C: a checkpoint and a clean end; what was resumed ends as if nothing had happened.
stopped stopped.log '[ -s stopped/log.jsonl ] && [ "$(wc -l <stopped/log.jsonl)" -ge 5 ]' "$program" train $small --steps 1000000 --decay-steps 100 --out stopped
grep -q '^interrupted after step' stopped.log || fail "it does not say that it was interrupted"
at=$(sed -n 's/^interrupted after step \([0-9]*\);.*/\1/p' stopped.log)
[ "$(ls stopped | grep -c '^step-')" -eq 1 ] || fail "not one checkpoint after SIGINT"
train --steps $((at + 3)) --decay-steps 100 --eval-every 0 --out whole >/dev/null
"$program" train --out stopped --resume auto --steps $((at + 3)) --eval-every 0 >/dev/null
end=$(ls whole | grep '^step-')
same "whole/$end/model.safetensors" "stopped/$end/model.safetensors" "interrupted and resumed is not the same"

# It learns: 5.5 nats are those of 257 equally likely bytes.
train --steps 100 --lr 3e-3 --out learnt --keep 1 --save-every 20 >learnt.log
[ "$(ls learnt | grep '^step-')" = step-00000100 ] || fail "--keep 1 keeps $(ls learnt)"
sed -n 's/.*"validation_loss":\([0-9.]*\).*/\1/p' learnt/log.jsonl | tail -n 1 |
  awk '{ exit !($1 < 4) }' || fail "the loss does not go down: $(tail -n 1 learnt/log.jsonl)"

# Lines for people and for programs; nothing for terminals.
line='^step 20/20 \| loss [0-9.]+ \| norm [0-9.]+ \| lr [0-9.e-]+ \| [0-9.]+ ms \| [0-9.]+( k| M)? tok/s$'
grep -qE "$line" once.log ||
  fail "no step line in: $(cat once.log)"
controls=$(printf '[\001-\010\013-\037\177]')
if LC_ALL=C grep -n "$controls" once.log once.err; then fail "control characters in piped output"; fi
[ ! -s once.err ] || fail "something on stderr: $(cat once.err)"
! command -v gnuplot >/dev/null || [ -s once/loss.png ] || fail "no loss.png"
PATH="$work" "$program" train $small --steps 2 --warmup 0 --out unplotted >unplotted.log ||
  fail "without gnuplot it does not go on"
grep -q 'gnuplot is not installed' unplotted.log || fail "it does not say that there is no gnuplot"
