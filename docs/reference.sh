#!/bin/sh
# Makes the reference below build/reference/html. Needs doxygen 1.9.4 or newer (Debian: apt-get install doxygen).
#   reference.sh [FOLDER]         FOLDER instead of build/reference
#   reference.sh --filter FILE    what doxygen is shown of a file
set -eu

if [ "${1:-}" = --filter ]; then
  case $2 in
    # Pages: a heading can be linked to, from other pages too, and what is no part of the reference is not linked.
    *.md) exec awk -v page="$(basename "$2" .md)" '
      function anchor(heading) {
        heading = tolower(heading); gsub(/[^a-z0-9 _-]/, "", heading); gsub(/ /, "-", heading)
        return page "-" heading
      }
      function relink(line,   out, text, to) {
        while (match(line, /\[[^]]*\]\([^)]*\)/)) {
          text = substr(line, RSTART, RLENGTH); to = text; sub(/^.*\(/, "", to); sub(/\)$/, "", to); sub(/\]\(.*/, "]", text)
          if (to ~ /^#/) to = "@ref " page "-" substr(to, 2)
          else if (to ~ /\.md#/) { sub(/^.*\//, "", to); sub(/\.md#/, "-", to); to = "@ref " to }
          else if (sub(/^(\.\.\/)?include\/cog\//, "", to)) to = "@ref " to
          else if (to !~ /^https?:|^(docs\/)?[a-z_]+\.md$|^(\.\.\/)?README\.md$/) to = ""
          if (to == "") { gsub(/^\[|\]$/, "", text); to = text } else to = text "(" to ")"
          out = out substr(line, 1, RSTART - 1) to; line = substr(line, RSTART + RLENGTH)
        }
        return out line
      }
      /^```/ { code = !code }
      !code && /^##+ / { heading = $0; sub(/^#+ /, "", heading); print relink($0) " {#" anchor(heading) "}"; next }
      { print code ? $0 : relink($0) }' "$2" ;;
  esac
  # Headers: the lines at the head become the description of the file; functions made by macros get one.
  exec awk '
    # A < in a comment is a bracket, not a tag; code between backticks is left as it is.
    function escape(line,   part, n, i, out) {
      n = split(line, part, "`")
      for (i = 1; i <= n; ++i) {
        if (i % 2) gsub(/</, "\\\\<", part[i])
        out = out (i > 1 ? "`" : "") part[i]
      }
      return out
    }
    NR == 1 && /^\/\/ / { print "/// \\file"; head = 1 }
    head && /^\/\/( |$)/ { print "/" escape($0); next }
    { head = 0 }
    /^ *\/\/\// { print escape($0); next }
    /^COG_(BINARY|UNARY|FUNCTION)\(/ { name = $0; sub(/.*, */, "", name); sub(/\).*/, "", name); print "/// Lazy, element by element: cog::op::" name "." }
    /^COG_(RECORDED_)?REDUCTION\(/ { name = $0; sub(/.*\(/, "", name); sub(/\).*/, "", name); print "/// The reduction cog::reduction::" name " of all elements, or over axes." }
    { print }' "$2"
fi

root=$(CDPATH='' cd -- "$(dirname -- "$0")/.." && pwd)
cd "$root"
command -v doxygen >/dev/null || { echo "reference.sh: doxygen is not installed" >&2; exit 77; }
out=${1:-build/reference}
mkdir -p "$out"
version=$(awk '/^#define COG_VERSION_(MAJOR|MINOR|PATCH) / { v = v (v == "" ? "" : ".") $3 } END { print v }' include/cog/core/version.hpp)
{ cat docs/Doxyfile; echo "PROJECT_NUMBER = $version"; echo "OUTPUT_DIRECTORY = $out"; echo "WARN_LOGFILE = $out/warnings"; } | doxygen -

# Doxygen takes a variadic template that inherits from itself for a circle.
if grep -v 'potential recursive class relation' "$out/warnings" | grep . >&2; then
  echo "reference.sh: the comments above are broken" >&2
  exit 1
fi
echo "reference: $out/html/index.html"
