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
# stopped LOG CONDITION COMMAND...: starts it, output into the log, and sends SIGINT once the condition holds; it must end as asked.
stopped() {
  log=$1 condition=$2
  shift 2
  "$@" >"$log" 2>&1 &
  pid=$!
  tries=0
  until eval "$condition"; do
    tries=$((tries + 1))
    [ $tries -lt 600 ] || { cat "$log"; fail "not within a minute: $condition"; }
    sleep 0.1
  done
  kill -INT $pid
  status=0
  wait $pid || status=$?
  [ $status -eq 130 ] || { cat "$log"; fail "status $status after SIGINT, expected 130"; }
}
# A model that learns something in a second; what stands behind may say otherwise.
small="--data text --layers 3 --heads 2 --dim 16 --context 16 --batch 4 --warmup 4 --eval-windows 16
  --sample-tokens 16 --threads 2"
train() { "$program" train $small "$@"; }
