#!/bin/sh
# The processor as results name it: virtual machines hide much of the model's name, so family and number stand beside it, and the widest
# instructions for floats. No commas: each would begin another entry of a benchmark's context.
exec awk -F '[ \t]*: *' '
  NF > 1 && !($1 in of) { of[$1] = $2 }
  END {
    gsub(/[,=]/, " ", of["model name"])
    flags = " " of["flags"] " "
    widest = flags ~ / amx_bf16 / ? "AVX-512 and AMX" : flags ~ / avx512f / ? "AVX-512" : flags ~ / avx2 / ? "AVX2" : "SSE"
    printf "%s (family %s model %s with %s)\n", of["model name"], of["cpu family"], of["model"], widest
  }' /proc/cpuinfo
