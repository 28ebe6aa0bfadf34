#!/bin/sh
# Each file of tests/compile_fail states in its first line what must happen to it:
#   // expect: TEXT   it does not compile, and TEXT stands in a line of the compiler's errors
#   // ok             it compiles: the control, without which a broken include would make every case "pass"
. "$(dirname -- "$0")/common.sh"

cat >"$work/check" <<'CHECK'
wanted=$(sed -n 1p "$1")
out=$("$cxx" -std=c++20 -fsyntax-only -I "$root/include" -isystem "$eigen" "$1" 2>&1) && compiled=yes || compiled=no
case $wanted in
  "// ok")
    [ $compiled = no ] || exit 0
    printf '== %s must compile and does not\n%s\n' "$1" "$out" ;;
  "// expect: "*)
    if [ $compiled = yes ]; then
      printf '== %s compiles and must not\n' "$1"
    else
      printf '%s\n' "$out" | grep 'error:' | grep -qF -- "${wanted#// expect: }" && exit 0
      printf '== %s: the error must say "%s"; it says\n%s\n' "$1" "${wanted#// expect: }" "$out"
    fi ;;
  *) printf '== %s: its first line is neither "// expect: TEXT" nor "// ok"\n' "$1" ;;
esac
exit 1
CHECK
export cxx root eigen

cd "$root/tests/compile_fail"
ls ./*.cpp >"$work/cases"
grep -l '^// ok$' ./*.cpp >/dev/null || fail "tests/compile_fail has no control ('// ok')"
grep -l '^// expect: ' ./*.cpp >/dev/null || fail "tests/compile_fail has no case ('// expect: TEXT')"
xargs -P "$jobs" -n 1 sh "$work/check" <"$work/cases" || fail "cases above went wrong ($cxx)"
echo "$(wc -l <"$work/cases") cases as expected ($cxx)"
