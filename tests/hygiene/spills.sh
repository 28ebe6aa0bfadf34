#!/bin/sh
# No tensor-core attention kernel spills registers, on sm_80 or sm_90a, as ptxas reports it. Skipped (77) where there is no nvcc.
# By hand, of other widths than the usual 64 and 128:  sh tests/hygiene/spills.sh 32 96 192 256
. "$(dirname -- "$0")/common.sh"
command -v nvcc >/dev/null || { echo "spills.sh: skipped, there is no nvcc"; exit 77; }

[ $# -gt 0 ] || set -- 64 128
echo "#define WIDTHS $(echo "$*" | sed 's/ /, /g')" >"$work/widths.h"  # nvcc splits -D at commas
nvcc -std=c++20 -O3 -Werror all-warnings -Xptxas -v --threads 2 -gencode arch=compute_80,code=sm_80 -gencode arch=compute_90a,code=sm_90a \
  -include "$work/widths.h" -I "$root/include" -c "$root/tests/device/attention.cu" -o "$work/attention.o" >"$work/report" 2>&1 || {
  cat "$work/report" >&2
  fail "tests/device/attention.cu does not compile"
}

# Of each kernel: where it was compiled for, what it needs, its name.
awk -v widths=$# '
  /Compiling entry function/ { split($0, quoted, "\047"); kernel = quoted[2]; arch = quoted[4] }
  /bytes spill stores/ { spilled = $5 }
  /Used [0-9]+ registers/ { print arch, $5 " registers", spilled " bytes spilled", kernel; kernels++; if (spilled > 0) bad++ }
  END { if (kernels < 12 * widths) { print "only " kernels " kernels were compiled"; bad++ } exit bad > 0 }
' "$work/report" >"$work/kernels" || failed=1
c++filt <"$work/kernels" 2>/dev/null | sed 's/cog::cuda_detail:://g; s/(mma_[a-z]*_task<.*$//' | sort
[ -z "${failed:-}" ] || fail "attention kernels spill registers, or were not compiled"
