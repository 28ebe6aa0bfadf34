#!/bin/sh
# The README's promise, word for word: one include, one compiler command, no flag but the standard's.
# The second file includes every header there is, so that the two also show that nothing is defined twice.
. "$(dirname -- "$0")/common.sh"

headers | sed 's/.*/#include <&>/' >"$work/everything.cpp"
cp "$root/tests/consumer/main.cpp" "$work/x.cpp"
cd "$work"
cp -r "$root/include" include
"$cxx" -std=c++20 -I include -I "$eigen" x.cpp everything.cpp -o x
./x
