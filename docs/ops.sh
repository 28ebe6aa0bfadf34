#!/bin/sh
# Makes docs/ops.md, the table of element-wise operations, from expr/ops.hpp and expr/operators.hpp.
#   ops.sh            writes it
#   ops.sh --check    writes nothing; fails where the page is not what would be written
set -eu

root=$(CDPATH='' cd -- "$(dirname -- "$0")/.." && pwd)
page=$root/docs/ops.md
made=$(mktemp)
trap 'rm -f "$made"' EXIT

awk '
  function trim(s) { gsub(/^ +| +$/, "", s); return s }
  # The position of the bracket that closes the one at `at`.
  function closing(s, at,   depth, c) {
    for (depth = 0; at <= length(s); ++at) {
      c = substr(s, at, 1)
      if (c ~ /[({]/) ++depth
      if (c ~ /[)}]/ && --depth == 0) return at
    }
    return 0
  }
  # C++ as one reads it: no S(...) around numbers, no using, no ::apply.
  function plain(s,   at, end, inner) {
    gsub(/using [a-z:, ]+; */, "", s); gsub(/::apply/, "", s); gsub(/ +/, " ", s)
    while (match(s, /(^|[^A-Za-z_])S\(/)) {
      at = RSTART + RLENGTH - 2; end = closing(s, at + 1); inner = substr(s, at + 2, end - at - 2)
      if (inner ~ / |^-/) inner = "(" inner ")"
      s = substr(s, 1, at - 1) inner substr(s, end + 1)
    }
    return trim(s)
  }
  # { S const t = a; return b; }  ->  b, with t = a
  function body(s,   part, n, i, value, with) {
    n = split(plain(s), part, /; */)
    for (i = 1; i <= n; ++i) {
      if (part[i] ~ /^return /) value = substr(part[i], 8)
      else if (sub(/^S const /, "", part[i])) with = with (with == "" ? "" : ", ") "`" part[i] "`"
      else if (part[i] != "") { print "ops.sh: cannot read \"" part[i] "\" of op::" op > "/dev/stderr"; failed = 1 }
    }
    where_of = with
    return value
  }
  # each(a, b)  ->  x: `a`; y: `b`
  function derivative(s,   value, i, c, depth, part, n, out, name) {
    value = body(s)
    if (value !~ /^each\(/) { print "ops.sh: op::" op " does not return each(...)" > "/dev/stderr"; failed = 1 }
    value = substr(value, 6, length(value) - 6)
    n = 1
    for (i = 1; i <= length(value); ++i) {
      c = substr(value, i, 1)
      if (c == "(") ++depth
      if (c == ")") --depth
      if (c == "," && depth == 0) ++n
      else part[n] = part[n] c
    }
    if (n == 1) out = "`" trim(part[1]) "`"
    else for (i = 1; i <= n; ++i) out = out (i > 1 ? "; " : "") (n == 3 ? substr("cxy", i, 1) : substr("xy", i, 1)) ": `" trim(part[i]) "`"
    return out (where_of == "" ? "" : " with " where_of)
  }
  function finish(   s, at, end, open, name, parameters, text) {
    s = source
    while (match(s, /(COG_OP_HD|static) (S|auto) [a-z_]+\(/)) {
      name = substr(s, RSTART, RLENGTH - 1); sub(/.* /, "", name)
      at = RSTART + RLENGTH - 1; end = closing(s, at); parameters = substr(s, at + 1, end - at - 1)
      open = end + index(substr(s, end + 1), "{"); end = closing(s, open)
      text = trim(substr(s, open + 1, end - open - 1))
      if (name == "apply") { value[op] = body(text); arity[op] = split(parameters, dummy, ",") }
      else if (name == "vjp") slope[op] = derivative(text)
      else { gsub(/[A-Z] /, "", parameters); helper[op] = "`" name "(" parameters ") = " body(text) "`" }
      s = substr(s, end + 1)
    }
    if (match(source, /domain\{[^}]*\}/)) domain[op] = substr(source, RSTART + 7, RLENGTH - 8)
    kind[op] = source ~ /of_bools/ ? "bool" : base
    op = ""
  }

  FILENAME == ARGV[1] {  # ops.hpp
    if (/^\/\/\/ /) { comment = comment (comment == "" ? "" : " ") substr($0, 5); next }
    if (/^\/\/ ---- /) group = substr($0, 9)
    if (match($0, /^struct [a-z_]+/)) {
      op = substr($0, 8, RLENGTH - 7); source = ""
      base = $0; if (!sub(/.* : /, "", base)) base = ""; sub(/ *\{.*/, "", base)
      note[op] = comment; in_group[op] = group; comment = ""
    } else if (op != "" && /^};/) finish()
    else if (op != "") { line = $0; sub(/ *\/\/.*/, "", line); source = source " " line }
    if (/^using all_ops/) table = " "
    if (table != "" && !closed) { table = table $0; closed = /;/ }
    if (!/^\/\/\//) comment = ""
    next
  }
  match($0, /^COG_(BINARY|UNARY|FUNCTION)\([^)]*\)/) {  # operators.hpp
    text = substr($0, RSTART, RLENGTH); form = text; sub(/\(.*/, "", form); gsub(/.*\(|\)$/, "", text)
    split(text, word, /, */)
    if (form == "COG_BINARY") call[word[2]] = "x " word[1] " y"
    else if (form == "COG_FUNCTION") call[word[2]] = word[1] "(x, y)"
    else call[word[2]] = sub(/^operator/, "", word[1]) ? word[1] "x" : word[1] "(x)"
  }
  END {
    call["where"] = "where(c, x, y)"
    gsub(/.*<|>.*| /, "", table)
    n = split(table, ops, ",")
    print "# Element-wise operations\n"
    print "Made by `sh docs/ops.sh` from [expr/ops.hpp](../include/cog/expr/ops.hpp); do not edit it. Each operation is lazy, broadcasts,"
    print "and stands for one struct `cog::op::NAME` with its value and its derivative, which every backend and the gradient use."
    print ""
    print "- **Elements**: *any* element type; *floating* ones (`float`, `double`, `bf16`, `half`; others do not compile: write"
    print "  `cast<float>(x)`); *bool*."
    print "- **Result**: the wider of the operands'"'"' types (a floating one wins over any integer), or `bool`. A plain number takes the"
    print "  type of the operand beside it. `bf16` and `half` are computed in `float`."
    print "- **Derivative**: `g` is the gradient of the result. The result itself is called `y` where there is one argument and `z` where"
    print "  there are two. None: no gradient flows."
    print "- **Checked on**: the interval from which the gradient check draws its arguments."
    for (i = 1; i <= n; ++i) {
      op = ops[i]
      if (!(op in value)) { print "ops.sh: all_ops names op::" op ", which was not found" > "/dev/stderr"; failed = 1; continue }
      if (!(op in call)) { print "ops.sh: no function of operators.hpp makes op::" op > "/dev/stderr"; failed = 1 }
      listed[op] = 1
      if (in_group[op] != last) {
        last = in_group[op]
        print "\n## " toupper(substr(last, 1, 1)) substr(last, 2) "\n"
        print "| written | `op::` | value | derivative | elements | result | checked on |"
        print "|---|---|---|---|---|---|---|"
      }
      elements = kind[op] == "transcendental" ? "floating" : kind[op] == "bool" ? "bool" : "any"
      if (op == "where") elements = "any; `c` is bool"
      result = kind[op] == "comparison" || kind[op] == "bool" ? "`bool`" : arity[op] == 1 ? "the operand'"'"'s" : "the wider"
      text = "`" value[op] "`" (helper[op] == "" ? "" : " with " helper[op]) (note[op] == "" ? "" : ". " note[op])
      line = "| `" call[op] "` | `" op "` | " text " | " (op in slope ? slope[op] : "none") " | " elements " | " result " | " \
        (op in domain ? "[" domain[op] "]" : "") " |"
      gsub(/\|\|/, "\\|\\|", line)
      print line
    }
    for (op in value) if (!(op in listed)) { print "ops.sh: op::" op " is missing in all_ops" > "/dev/stderr"; failed = 1 }
    print "\n## Made of these\n"
    print "| written | value |"
    print "|---|---|"
    print "| `clamp(x, low, high)` | `minimum(maximum(x, low), high)` |"
    print "| `cast<T>(x)` | `x` as `T`: rounds to nearest even where a float type narrows, truncates to an integer, `x != 0` as `bool`. The gradient is cast back; none through integers. |"
    print "| `fuse(f, x...)` | `f(x...)`, each input loaded once |"
    exit failed
  }' "$root/include/cog/expr/ops.hpp" "$root/include/cog/expr/operators.hpp" >"$made"

if [ "${1:-}" = --check ]; then
  diff -u "$page" "$made" || { echo "docs/ops.md is not current: run sh docs/ops.sh" >&2; exit 1; }
  echo "docs/ops.md is current"
else
  cp "$made" "$page"
fi
