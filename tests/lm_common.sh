# What the tests of cog-lm share. Called as: sh lm_NAME.sh PROGRAM
set -eu

program=$1
root=$(CDPATH='' cd -- "$(dirname -- "$0")/.." && pwd)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
ln -s "$root/include/cog/core" text

fail() { echo "FAILED: $*" >&2; exit 1; }
same() { cmp "$1" "$2" || fail "$3"; }
# refused STATUS TEXT COMMAND...: ends with this status and says the text on stderr.
refused() {
  wanted=$1 text=$2
  shift 2
  status=0
  "$@" >refused.out 2>refused.err || status=$?
  [ "$status" -eq "$wanted" ] || { cat refused.err >&2; fail "status $status, expected $wanted: $*"; }
  grep -qF -- "$text" refused.err || { cat refused.err >&2; fail "'$text' is not said: $*"; }
}
# A model that learns something in a second; what stands behind may say otherwise.
small="--data text --layers 3 --heads 2 --dim 16 --context 16 --batch 4 --warmup 4 --eval-windows 16
  --sample-tokens 16 --threads 2"
train() { "$program" train $small "$@"; }
