#!/bin/sh
# No macro leaves a header but COG_*, and none of somebody else's is changed or removed.
# The macros of all of cog's headers together are compared with those of the foreign headers that they include.
. "$(dirname -- "$0")/common.sh"

preprocess() {
  "$cxx" -std=c++20 -E -I "$root/include" -isystem "$eigen" -x c++ "$@"
}

headers | sed 's/.*/#include <&>/' >"$work/cog.cpp"

# -H prints the tree of includes, a dot for each level; kept are the foreign headers that a header of cog opens.
preprocess -H "$work/cog.cpp" 2>&1 >/dev/null |
  awk -v own="$root/include/cog/" '
    $1 ~ /^\.+$/ {
      depth = length($1); path = substr($0, depth + 2); mine[depth] = index(path, own) == 1
      if (!mine[depth] && (depth == 1 || mine[depth - 1])) print "#include \"" path "\""
    }' >"$work/foreign.cpp"
[ -s "$work/foreign.cpp" ] || fail "cog includes nothing at all; the test has lost its way"

preprocess -dM "$work/cog.cpp" | LC_ALL=C sort >"$work/cog.macros"
preprocess -dM "$work/foreign.cpp" | LC_ALL=C sort >"$work/foreign.macros"
grep -q '^#define COG_VERSION_MAJOR' "$work/cog.macros" || fail "COG_VERSION_MAJOR is missing; the test has lost its way"

LC_ALL=C comm -3 "$work/foreign.macros" "$work/cog.macros" | grep -v '^	#define COG_[A-Z0-9_]*[( ]*' >"$work/leaks" || true
[ ! -s "$work/leaks" ] || fail "macros that a header of cog sets (right) or changes or removes (left):
$(cat "$work/leaks")"
echo "only COG_* leaves a header ($cxx)"
