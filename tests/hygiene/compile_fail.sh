#!/bin/sh
# Each file of tests/compile_fail states in its first line what must happen to it:
#   // expect: TEXT   it does not compile, and TEXT stands in a line of the compiler's errors
#   // ok             it compiles: the control, without which a broken include would make every case "pass"
. "$(dirname -- "$0")/common.sh"

cat >"$work/check" <<'CHECK'
complain() {
  printf '== %s %s\n%s\n' "$case" "$1" "$out" | head -n 20
  exit 1
}
case=$1
wanted=$(sed -n 1p "$case")
out=$("$cxx" -std=c++20 -fsyntax-only -I "$root/include" -isystem "$eigen" "$case" 2>&1) && compiled=yes || compiled=no
case $wanted in
  "// ok")
    [ $compiled = yes ] || complain "must compile and does not" ;;
  "// expect: "*)
    [ $compiled = no ] || complain "compiles and must not"
    message=${wanted#// expect: }
    printf '%s\n' "$out" | grep 'error:' | grep -qF -- "$message" || complain "must say \"$message\"; the compiler says" ;;
  *) complain 'begins with neither "// expect: TEXT" nor "// ok"' ;;
esac
CHECK
export cxx root eigen

cd "$root/tests/compile_fail"
ls ./*.cpp >"$work/cases"
grep -l '^// ok$' ./*.cpp >/dev/null || fail "tests/compile_fail has no control ('// ok')"
grep -l '^// expect: ' ./*.cpp >/dev/null || fail "tests/compile_fail has no case ('// expect: TEXT')"
xargs -P "$jobs" -n 1 sh "$work/check" <"$work/cases" || fail "cases above went wrong ($cxx)"
echo "$(wc -l <"$work/cases") cases as expected ($cxx)"
