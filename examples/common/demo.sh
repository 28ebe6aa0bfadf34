# What the demonstrations have in common; sourced by examples/*/demo.sh. Each trains two models on the same data and leaves its results in
# OUT/run-1, OUT/run-2 ...: a run that was interrupted is taken up again by the next call with the same data, a finished one, which has a
# table.txt, is left as it is.
set -eu

fail() {
  echo "demo.sh: $1" >&2
  exit "${2:-1}"
}

# options NAME VALUES [--NAME VALUE] [--minutes N]: sets `data`, where it is given, and `minutes`.
options() {
  option=--$1 known="--$1 $2 and --minutes N"
  shift 2
  while [ $# -gt 0 ]; do
    [ $# -gt 1 ] || fail "$1: an option without its value, or none; there are $known" 2
    case $1 in
      "$option") data=$2 ;;
      --minutes) minutes=$2 ;;
      *) fail "unknown option '$1'; there are $known" 2 ;;
    esac
    shift 2
  done
  case $minutes in
    '' | *[!0-9]* | 0) fail "--minutes $minutes: not a number of minutes" 2 ;;
  esac
}

absolute() { (cd "$(dirname -- "$1")" && printf '%s/%s' "$(pwd)" "$(basename -- "$1")"); }

# program FOLDER NAME: the path of a program that was built.
program() {
  path=$(absolute "$1")/$2
  [ -x "$path" ] || fail "$path was not built; see tests/setup.sh for what it needs"
  echo "$path"
}

# start_run OUT MOST: goes into the folder `run`, the last one if it was not finished, else the next, and sets `steps`, as many for each of
# two models as fit the `minutes`: 200 to MOST. `trial` trains 24 steps in the folder trial.
start_run() {
  number=1
  while [ -e "$1/run-$number/table.txt" ]; do number=$((number + 1)); done
  if [ -e "$1/run-$number/data" ] && [ "$(cat "$1/run-$number/data")" != "$data" ]; then
    while [ -e "$1/run-$number" ]; do number=$((number + 1)); done
  fi
  mkdir -p "$1/run-$number"
  run=$(absolute "$1/run-$number")
  cd "$run"
  if [ -e steps ]; then
    echo "Going on with $run, which was interrupted."
  else
    echo "Results go to $run."
    printf '%s\n' "$data" >data
    rm -rf trial
    trial
    milliseconds=$(sed -n 's/.*"ms":\([0-9]*\).*/\1/p' trial/log.jsonl | sort -n | sed -n 14p)
    rm -rf trial
    steps=$((minutes * 60 * 1000 / 2 / (milliseconds + 1)))
    [ "$steps" -ge 200 ] || steps=200
    [ "$steps" -le "$2" ] || steps=$2
    echo $((steps / 50 * 50)) >steps
  fi
  steps=$(cat steps)
}
