#!/bin/sh
# An include points downwards only; the floors are those that docs/architecture.md draws, topmost first.
# Eigen is named in backend/cpu and nowhere else, CUDA in backend/cuda, nlohmann in io.
. "$(dirname -- "$0")/common.sh"

# The drawing: lines such as "  optim/   adamw ..." after "include/cog/", up to the closing fence.
floors=$(awk '/^include\/cog\/$/ { inside = 1; next } /^```/ { inside = 0 } inside && /^  [a-z_]+\// { sub("/.*", "", $1); print $1 }' \
  "$root/docs/architecture.md" | grep -v '^backend$')
echo "$floors" | grep -q '^core$' || fail "docs/architecture.md no longer draws the floors; this test reads them there"

cd "$root/include"
find cog \( -name '*.hpp' -o -name '*.cuh' \) -exec grep -HE '^[[:space:]]*#[[:space:]]*include' {} + |
  awk -v floors="$(echo $floors)" '
    function room(path) {  # cog/nn/linear.hpp -> nn; cog/backend/cpu/simd.hpp -> backend/cpu; cog/cog.hpp -> top
      if (path ~ /^cog\/backend\//) { split(path, part, "/"); return "backend/" part[3] }
      if (path ~ /^cog\/[^\/]+$/) return "top"
      sub(/^cog\//, "", path); sub(/\/.*/, "", path); return path
    }
    function wrong(why) { print from ": " line ": " why; bad = 1 }
    BEGIN { n = split(floors, name, " "); for (i = 1; i <= n; i++) height[name[i]] = n - i }
    {
      from = $0; sub(/:.*/, "", from); line = $0; sub(/^[^:]*:[[:space:]]*/, "", line)
      to = line; sub(/^[^<"]*[<"]/, "", to); sub(/[>"].*/, "", to)
      here = room(from); checked++
      if (here != "top" && here !~ /^backend\// && !(here in height)) wrong("the room " here " is not drawn in docs/architecture.md")
      if (to !~ /^cog\//) {
        if (line ~ /"/) wrong("cog names its headers <cog/...>")
        if (to ~ /^(unsupported\/)?Eigen\// && here != "backend/cpu") wrong("Eigen outside backend/cpu")
        if (to ~ /^(cuda|cub\/|thrust\/|cublas|nvrtc|mma)/ && here != "backend/cuda") wrong("CUDA outside backend/cuda")
        if (to ~ /^nlohmann\// && here != "io") wrong("nlohmann outside io")
        next
      }
      there = room(to)
      if (here == "top" || here == there) next
      if (there == "top") wrong("an umbrella is for users; name the header itself")
      else if (there ~ /^backend\//) wrong("only cog.hpp and cuda.hpp bring in a backend")
      else if (here ~ /^backend\//) {
        if (height[there] > height["attention"]) wrong("a backend stands beside attention and what is below it")
      } else if (height[there] > height[here]) wrong(here " stands below " there)
    }
    END { if (!checked) { print "no include found"; exit 1 } print checked " includes read"; exit bad }' ||
  fail "includes above point the wrong way"
