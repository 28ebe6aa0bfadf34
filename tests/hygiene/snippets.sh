#!/bin/sh
# What the documents show works: every ```cpp block of README.md and docs/ is compiled and run.
#   A block with a main function is a program of its own.
#   The other blocks of a page are one program: declarations (a block that begins with #include, struct, template, namespace,
#   using namespace or a function) at file scope; statements in one function for each section (## heading), in order.
# A ```text block right after a ```cpp block is what that block prints.
#   snippets.sh [docs/PAGE.md ...]   those pages alone
. "$(dirname -- "$0")/common.sh"

cd "$root"
[ $# -gt 0 ] || set -- README.md docs/*.md

# For each program NAME.cpp and NAME.want; what is wanted of the block at line N stands after the line "\036N".
awk -v out="$work/" '
  function finish() {  # a page ends
    if (page != "" && bodies != "") {
      if (head !~ /#include *<cog\//) { print page ": blocks without a main function, and none that includes cog" > "/dev/stderr"; bad = 1 }
      file = out name ".cpp"
      printf "#include <cstdio>\n%s%s}\nint main() {\n%s}\n", head, bodies, calls > file
      close(file)
    }
    page = FILENAME; name = FILENAME; gsub(/[\/.]/, "_", name)
    head = bodies = calls = ""; sections = 0; fresh = 1; last = 0
  }
  FNR == 1 { finish() }
  !inside && /^## / { fresh = 1 }
  !inside && /^```cpp$/ { inside = 1; text = ""; kind = ""; begin = FNR + 1; last = 0; next }
  !inside && /^```text$/ && last { inside = 2; text = ""; next }
  inside && /^```$/ {
    if (inside == 2) {
      printf "\036%d\n%s", last, text > want; last = 0
    } else if (kind == "program") {
      file = out name "_" begin ".cpp"; want = out name "_" begin ".want"
      printf "#line %d \"%s\"\n%s", begin, page, text > file; close(file)
      last = 1
    } else {
      source = "#line " begin " \"" page "\"\n" text; want = out name ".want"; last = begin
      if (kind == "declarations") head = head source
      else {
        if (fresh) {
          bodies = bodies (sections ? "}\n" : "") "static void section_" ++sections "() {\n"
          calls = calls "  section_" sections "();\n"; fresh = 0
        }
        bodies = bodies "  std::printf(\"\\036" begin "\\n\");\n" source
      }
    }
    inside = 0; next
  }
  inside {
    text = text $0 "\n"
    if (inside == 1) {
      if (/^int main\(/) kind = "program"
      else if (kind == "" && /[^ ]/ && !/^ *\/\//)
        kind = /^(#|template|struct |class |enum |namespace|using namespace|inline |[a-z_:]+ [a-z_]+\(.*\) \{$)/ ? "declarations" : "statements"
    }
    next
  }
  !inside && /[^ ]/ { last = 0 }
  END { finish(); exit bad }' "$@" || fail "see above"

cat >"$work/check" <<'CHECK'
source=$1
name=${source%.cpp}
flags="-std=c++20 -Wall -Wextra -Wno-unused -Werror -pthread"
mkdir "$name.run"
if ! "$cxx" $flags -I "$root/include" -I "$root/tests" -isystem "$eigen" "$source" -o "$name.x" >"$name.log" 2>&1; then
  printf '== %s does not compile\n' "$(basename "$name")"
  head -n 40 "$name.log"
  exit 1
fi
if ! (cd "$name.run" && printf '\0361\n' && "$name.x") >"$name.got" 2>"$name.log"; then
  printf '== %s fails\n' "$(basename "$name")"
  tail -n 10 "$name.got" "$name.log"
  exit 1
fi
[ ! -f "$name.want" ] || awk -v name="$(basename "$name")" '
  BEGIN { RS = "\036" }
  {
    line = index($0, "\n"); key = substr($0, 1, line - 1); text = substr($0, line + 1); sub(/\n+$/, "", text)
    if (FILENAME == ARGV[1]) want[key] = text
    else if (key in want && text != want[key])
      { print "== " name ", the block at line " key " prints\n" text "\n-- and should print\n" want[key]; bad = 1 }
  }
  END { exit bad }' "$name.want" "$name.got"
CHECK
export cxx root eigen work

ls "$work"/*.cpp >"$work/programs" || fail "no block includes cog; the test has lost its way"
xargs -P "$jobs" -n 1 sh "$work/check" <"$work/programs" || fail "blocks above do not work"
echo "$(wc -l <"$work/programs") programs of the documents compile and run"
