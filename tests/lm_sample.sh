#!/bin/sh
# cog-lm sample, eval, info and plot on small models.
. "$(dirname -- "$0")/lm_common.sh"

train --steps 300 --lr 5e-3 --ema 0.9 --out cog >/dev/null
train --steps 300 --lr 5e-3 --attention softmax --out softmax >/dev/null
sample() { "$program" sample --ckpt cog --prompt 'template <' --threads 2 "$@" 2>stats; }

# The same seed writes the same text; another seed another; greedy needs none.
sample --seed 7 -n 40 >a
sample --seed 7 -n 40 >b
sample --seed 8 -n 40 >c
same a b "the same seed writes another text"
! cmp -s a c || fail "another seed writes the same text"
sample --greedy --seed 1 -n 20 >a
sample --temperature 0 --seed 2 -n 20 >b
same a b "--greedy and --temperature 0 differ"
sample --top-k 1 --seed 3 -n 20 >b
same a b "--top-k 1 is not greedy"
sample --seed 7 -n 40 --count 2 >b
[ "$(grep -c -- '^---------------$' b)" -eq 1 ] || fail "--count 2 does not write two texts"
sample --seed 7 -n 40 --no-ema >b
grep -q '^template <' b || fail "the prompt is not shown"
speed='[0-9.]+( [kM])? tok/s'
grep -qE "^prompt [0-9]+ tokens, $speed \| generation 39 tokens, $speed\$" stats || fail "$(cat stats)"

# --stop ends before the text, also where it spans several tokens.
text=$(sample --greedy -n 40 --prompt x)
part=$(printf %s "$text" | tail -n 1 | cut -c3-5)
[ ${#part} -eq 3 ] || fail "a text too short for this test: '$text'"
short=$(sample --greedy -n 40 --prompt x --stop "$part" --stop 'never there')
case $short in *"$part"*) fail "--stop '$part' is in '$short'" ;; esac
case $text in "$short"*) ;; *) fail "'$short' is not how '$text' begins" ;; esac

# eval: each model a line, as validation in training found it.
"$program" eval --ckpt cog --ckpt softmax >table
[ "$(wc -l <table)" -eq 3 ] || fail "$(cat table)"
awk 'NR > 1 && ($4 < 1 || $4 > 5.6 || $5 < 1 || $5 > 8.1) { exit 1 }' table || fail "$(cat table)"
"$program" eval --ckpt softmax --data "$root/README.md" | grep -q '^softmax' || fail "eval of another text"

"$program" info --ckpt cog >about
grep -qE '^layers +softmax cog softmax$' about || fail "$(cat about)"
grep -qE '^layers.1.attention.qw +float32 +16 x 16' about || fail "$(cat about)"
grep -q 'ema.safetensors' about || fail "info does not name the averaged weights"

if command -v gnuplot >/dev/null; then
  "$program" plot --run cog --run softmax --out both.png >/dev/null
  [ "$(od -An -tx1 -N4 both.png | tr -d ' ')" = 89504e47 ] || fail "both.png is no PNG"
fi

# A folder as convert.py makes it is a model: no state.json, buffers that are skipped.
mkdir released
cp cog/step-00000300/model.safetensors cog/step-00000300/config.json cog/step-00000300/tokenizer.json released/
"$program" sample --ckpt released --greedy -n 20 --prompt 'template <' >a 2>/dev/null
"$program" sample --ckpt cog --no-ema --greedy -n 20 --prompt 'template <' >b 2>/dev/null
same a b "a model folder without state.json"

# SentencePiece, where it was built in. The model: 400 pieces of byte-pair encoding with byte fallback and identity
# normalisation, trained by Debian's library on this repository's README.md and docs/*.md.
if train --tokenizer "$root/tests/golden/sentencepiece/tokenizer.model" --steps 20 --out pieces >/dev/null 2>pieces.err; then
  cmp "$root/tests/golden/sentencepiece/tokenizer.model" pieces/step-00000020/tokenizer.model
  "$program" sample --ckpt pieces --prompt 'The tensor' -n 10 2>/dev/null | grep -q '^The tensor' || fail "SentencePiece: sample"
  "$program" eval --ckpt pieces | awk 'NR == 2 && ($5 < 1 || $5 > 12) { exit 1 }' || fail "SentencePiece: bits per byte"
else
  grep -q 'built without SentencePiece' pieces.err || fail "$(cat pieces.err)"
fi
