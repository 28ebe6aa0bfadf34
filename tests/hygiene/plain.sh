#!/bin/sh
# The README's promise, word for word: one include, one compiler command, no flag but the standard's, and not a word of the compiler's.
# The second file includes every header there is, so that the two also show that nothing is defined twice.
. "$(dirname -- "$0")/common.sh"

headers | sed 's/.*/#include <&>/' >"$work/everything.cpp"
cp "$root/tests/consumer/main.cpp" "$work/x.cpp"
cd "$work"
cp -r "$root/include" include
cat >>x.cpp <<'KERNELS'
auto products_of_bf16(cog::tensor<cog::bf16, 2, cog::cpu> const& x) { return cog::eval(matmul(x, x)); }
KERNELS
"$cxx" -std=c++20 -I include -I "$eigen" x.cpp everything.cpp -o x 2>said || { cat said >&2; fail "this does not compile"; }
[ ! -s said ] || { cat said >&2; fail "the compiler has something to say"; }
./x
