#!/bin/sh
# cog-lm refuses, with a status and a name: bad options, damaged and foreign checkpoints.
. "$(dirname -- "$0")/lm_common.sh"

# Options.
refused 2 'unknown option --bogus' "$program" train --bogus 3
refused 2 '--layers: 0 is outside the range 1 to 1000' "$program" train --layers 0
refused 2 "--lr: 'fast' is not a number" "$program" train --lr fast
refused 2 "--steps: '1.5' is not a whole number" "$program" train --steps 1.5
refused 2 "--attention: 'linear' is none of: cog, softmax" "$program" train --attention linear
refused 2 '--steps' "$program" train --steps
refused 2 '--ckpt is required' "$program" sample
refused 2 'A subcommand is required' "$program"
refused 2 'unexpected argument dance' "$program" dance
refused 2 '--top-p: 0 is outside the range' "$program" sample --ckpt x --top-p 0
refused 1 '--data is required' "$program" train
refused 1 '--attention cog needs --layers 3' "$program" train --data "$root/README.md" --layers 2
refused 1 'a head must have a whole, even width' "$program" train --data "$root/README.md" --dim 10 --heads 4
refused 1 'no-such-file' "$program" train --data no-such-file --out out
refused 1 '--tokenizer klingon' "$program" train --data "$root/README.md" --tokenizer klingon --out out
refused 1 "'lots' is no size" "$program" train --data "$root/README.md" --tokenizer bpe:lots --out out
: >empty
refused 1 'no text in empty' "$program" train --data empty --out out
printf 'short' >short
refused 1 '--context 128 needs more' "$program" train --data short --out out
as_nobody=
if [ "$(id -u)" = 0 ]; then as_nobody='setpriv --reuid=65534 --regid=65534 --clear-groups'; fi
mkdir -p texts/locked && echo text >texts/a && chmod 000 texts/locked && chmod 755 . && cp "$program" ./cog-lm
refused 1 'texts/locked' $as_nobody ./cog-lm train --data texts --out out
chmod 755 texts/locked
[ ! -e out ] || fail "a refused run left $(ls out)"
"$program" --version | grep -qE '^cog-lm [0-9]+\.[0-9]+\.[0-9]+$' || fail "--version"
"$program" --help | grep -q '^Commands:' || fail "--help lists no commands"
for command in train sample eval info plot; do
  "$program" $command --help | grep -q '^Common:' || fail "$command --help"
  [ "$("$program" $command --help | grep -c '^  cog-lm ')" -ge 2 ] || fail "$command --help has no two examples"
done

# Checkpoints.
train --steps 2 --save-every 1 --keep 0 --out run >/dev/null
refused 1 'holds checkpoints already' train --steps 2 --out run
refused 1 '--layers 5: the checkpoint run/step-00000002 has 3' \
  "$program" train --out run --resume auto --steps 4 --layers 5
refused 1 '--steps 1: the checkpoint run/step-00000002 is beyond that' "$program" train --out run --resume auto --steps 1
"$program" train --out run --resume auto --steps 2 >out.log || fail "a run that is done cannot be resumed"
! grep utilisation out.log || fail "the speed of no steps"
refused 1 'no checkpoint in empty-folder' sh -c 'mkdir empty-folder; exec "$@"' sh "$program" sample --ckpt empty-folder
refused 1 'there is no folder nowhere' "$program" eval --ckpt nowhere

newest=run/step-00000002/model.safetensors
cp $newest good
truncate -s -8 $newest
refused 1 "checkpoint $newest" "$program" info --ckpt run/step-00000002
"$program" train --out run --resume auto --steps 1 >out.log 2>err.log || fail "the older checkpoint is not taken"
grep -q "passed over: checkpoint $newest" err.log || fail "it does not say what it passed over: $(cat err.log)"
grep -q 'resumed from run/step-00000001' out.log || fail "not resumed from the older one"

size=$(wc -c <good)
cp good $newest
printf 'x' | dd of=$newest bs=1 seek=$((size - 5)) conv=notrunc 2>/dev/null
refused 1 "$newest: the content is not what was written" "$program" sample --ckpt run/step-00000002

cp run/step-00000001/state.json good.json
sed 's/"step": 1$/"step": 2/' good.json >run/step-00000001/state.json
refused 1 'run/step-00000001/state.json: the content is not what was written' "$program" info --ckpt run/step-00000001
cp good.json run/step-00000001/state.json

# A model folder of another shape than its config says: file, tensor and both shapes.
mkdir other
cp run/step-00000001/* other/
rm other/state.json
sed -i 's/"hidden_dim": 48/"hidden_dim": 64/' other/config.json
refused 1 'other/model.safetensors' "$program" info --ckpt other
grep -qF "'layers.0.ffn.shared_experts.0.gw' is F32 [16, 48], expected float32 [16, 64]" refused.err ||
  { cat refused.err >&2; fail "tensor and shapes are not named"; }
cp other/config.json good.json
sed 's/"dim": 16/"dim": 16.5/' good.json >other/config.json
refused 1 'other/config.json: dim is 16.5, not a count' "$program" info --ckpt other
tr -d '\n ' <good.json | sed 's/"shared_expert_recipe":\[1\]/"shared_expert_recipe":[0]/' >other/config.json
refused 1 'other/config.json: swiglu: a share of 0' "$program" info --ckpt other
sed 's/"attn_type": "np"/"attn_type": "linear"/' good.json >other/config.json
refused 1 "attn_type 'linear'" "$program" info --ckpt other
rm other/config.json
refused 1 'other/config.json' "$program" info --ckpt other
