#!/bin/sh
# Takes cog in as a stranger would:  consumer.sh package | subdirectory | fetchcontent | pkg-config
. "$(dirname -- "$0")/common.sh"

how=${1:?which way}
flags=-Wall   # the stranger's own; they must come through untouched

# Installs, then moves what was installed, as a binary package does.
install_and_move() {
  cmake -S "$root" -B "$work/cog" -G Ninja -DCMAKE_CXX_COMPILER="$cxx" \
    -DCOG_BUILD_TESTS=OFF -DCOG_BUILD_EXAMPLES=OFF -DCOG_BUILD_BENCH=OFF >"$work/log" || fail "$(cat "$work/log")"
  cmake --install "$work/cog" --prefix "$work/first" >>"$work/log" || fail "$(cat "$work/log")"
  mv "$work/first" "$work/moved"
  if grep -rlF -e "$root" -e "$work" "$work/moved"; then
    fail "the installed files above name the place where they were built"
  fi
}

build_stranger() {
  cmake -S "$root/tests/consumer" -B "$work/build" -G Ninja -DCMAKE_CXX_COMPILER="$cxx" -DHOW="$how" \
    -DFLAGS="$flags" -DCMAKE_CXX_FLAGS="$flags" "$@" >"$work/log" 2>&1 || fail "$(cat "$work/log")"
  cmake --build "$work/build" >"$work/log" 2>&1 || fail "$(cat "$work/log")"
  "$work/build/stranger"
}

case $how in
  package)
    install_and_move
    build_stranger -DCMAKE_PREFIX_PATH="$work/moved" ;;
  subdirectory)  # and nlohmann is asked of nobody who does not use cog::io
    build_stranger -DCOG_SOURCE="$root" -DCMAKE_DISABLE_FIND_PACKAGE_nlohmann_json=ON ;;
  fetchcontent)
    build_stranger -DCOG_SOURCE="$root" -DFETCHCONTENT_FULLY_DISCONNECTED=ON ;;
  pkg-config)
    install_and_move
    PKG_CONFIG_PATH="$work/moved/share/pkgconfig${PKG_CONFIG_PATH:+:$PKG_CONFIG_PATH}"
    export PKG_CONFIG_PATH
    # shellcheck disable=SC2046  # flags are words
    "$cxx" -std=c++20 "$root/tests/consumer/main.cpp" $(pkg-config --cflags --libs cog) -o "$work/stranger"
    "$work/stranger" ;;
  *) fail "consumer.sh: no way '$how'" ;;
esac
echo "consumed by $how"
