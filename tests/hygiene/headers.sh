#!/bin/sh
# Every header compiles alone, and a second time in the same file, without a warning.
. "$(dirname -- "$0")/common.sh"

cat >"$work/check" <<'CHECK'
flags="-std=c++20 -Wall -Wextra -Wpedantic -Wshadow -Werror -fsyntax-only"
if ! out=$(printf '#include <%s>\n#include <%s>\n' "$1" "$1" | "$cxx" $flags -I "$root/include" -isystem "$eigen" -x c++ - 2>&1); then
  printf '== %s does not compile alone\n%s\n' "$1" "$out" | head -n 20
  exit 1
fi
CHECK
export cxx root eigen

headers >"$work/headers"
[ -s "$work/headers" ] || fail "no headers found under include/cog"
xargs -P "$jobs" -n 1 sh "$work/check" <"$work/headers" || fail "headers above do not stand alone ($cxx)"
echo "$(wc -l <"$work/headers") headers stand alone ($cxx)"
