#!/bin/sh
# What the documents show works: every ```cpp block of README.md and docs/ that includes cog is compiled,
# and run where it has a main. Blocks without an include are fragments for the reader's eye.
. "$(dirname -- "$0")/common.sh"

cd "$root"
awk -v out="$work/" '
  /^```cpp$/ { name = FILENAME; gsub(/[\/.]/, "_", name); file = out name "_" FNR ".cpp"; text = ""; inside = 1; next }
  /^```$/ && inside { inside = 0; if (text ~ /#include *<cog\//) { printf "%s", text > file; close(file) } next }
  inside { text = text $0 "\n" }' README.md docs/*.md

cat >"$work/check" <<'CHECK'
source=$1
if grep -q 'int main(' "$source"; then
  out=$("$cxx" -std=c++20 -Wall -Wextra -Werror -I "$root/include" -isystem "$eigen" "$source" -pthread -o "$source.x" 2>&1 &&
    cd "$work" && "$source.x" 2>&1) && exit 0
else
  out=$("$cxx" -std=c++20 -fsyntax-only -Wall -Wextra -Werror -I "$root/include" -isystem "$eigen" "$source" 2>&1) && exit 0
fi
printf '== the block at %s (page, line) fails\n%s\n' "$(basename "$source" .cpp)" "$out"
exit 1
CHECK
export cxx root eigen work

ls "$work"/*.cpp >"$work/blocks" || fail "no block includes cog; the test has lost its way"
xargs -P "$jobs" -n 1 sh "$work/check" <"$work/blocks" || fail "blocks above do not work"
echo "$(wc -l <"$work/blocks") blocks of the documents compile and run"
