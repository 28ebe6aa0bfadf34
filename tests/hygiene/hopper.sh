#!/bin/sh
# What ptxas says of the attention kernels for Hopper: no spills, no products one after the other, no setmaxnreg ignored. Skipped (77)
# where there is no nvcc. Prints registers of each kernel; with cuobjdump on the path, also what its machine code holds.
. "$(dirname -- "$0")/common.sh"
command -v nvcc >/dev/null || { echo "hopper.sh: skipped, there is no nvcc"; exit 77; }

nvcc -std=c++20 -arch=sm_90a -Werror all-warnings -Xptxas -v -I "$root/include" -cubin "$root/tests/device/attention_hopper.cu" -o "$work/hopper.cubin" >"$work/report" 2>&1 || {
  cat "$work/report" >&2
  fail "tests/device/attention_hopper.cu does not compile"
}
if grep -E '\(C75[0-9]+\)' "$work/report" >"$work/notes"; then
  cut -c1-300 "$work/notes" >&2
  fail "ptxas would not compile the kernels as they are written"
fi
awk '
  /Compiling entry function/ { split($0, quoted, "\047"); kernel = quoted[2] }
  /bytes spill stores/ { spilled = $5 }
  /Used [0-9]+ registers/ { print $5 " registers at entry", spilled " bytes spilled", kernel; kernels++; if (spilled > 0) bad++ }
  END { if (kernels < 20) { print "only " kernels " kernels were compiled"; bad++ } exit bad > 0 }
' "$work/report" >"$work/kernels" || failed=1
c++filt <"$work/kernels" 2>/dev/null | sed 's/void cog::cuda_detail:://; s/cog:://g; s/(hopper_[a-z]*_task<.*$//' | sort -k6
[ -z "${failed:-}" ] || fail "attention kernels for Hopper spill registers, or were not compiled"

command -v cuobjdump >/dev/null || exit 0
cuobjdump -sass "$work/hopper.cubin" | awk '
  /Function :/ { kernel = $3 }
  /HGMMA/ { products[kernel]++ }
  /UTMALDG/ { loads[kernel]++ }
  /(STL|LDL)/ { local[kernel]++ }
  /MUFU.EX2/ { exponentials[kernel]++ }
  END { for (k in products) print products[k] " HGMMA", loads[k] + 0 " UTMALDG", exponentials[k] + 0 " MUFU.EX2", local[k] + 0 " local", k }
' | c++filt | sed 's/void cog::cuda_detail:://; s/cog:://g; s/(hopper_[a-z]*_task<.*$//' | sort -k9
