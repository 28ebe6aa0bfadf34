#!/bin/sh
# The functors that kernels call compile for a device: no flag, no warning. Skipped (77) where there is no nvcc. And no struct has members
# that overlap, for which nvcc's device code and the host disagree on the layout of kernel arguments.
# Kernels bound by memory have accesses of 16 bytes, and none holds a text, whose address would mean nothing to the host.
. "$(dirname -- "$0")/common.sh"
! grep -rn '\[\[no_unique_address' "$root/include" || exit 1
command -v nvcc >/dev/null || { echo "device.sh: skipped, there is no nvcc"; exit 77; }
nvcc -std=c++20 -arch=sm_90a -Werror all-warnings -I "$root/include" -c "$root/tests/device/functors.cu" -o "$work/functors.o"

nvcc -std=c++20 -O3 -arch=sm_90a -Werror all-warnings -I "$root/include" -ptx "$root/tests/device/kernels.cu" -o "$work/kernels.ptx"
! grep -n '^\.global .*\$str' "$work/kernels.ptx" || fail "a kernel holds a text"
awk '
  /\.entry/ { kernel = $0; if (kernel ~ /for_each_kernel|map_rows_kernel/) wide[kernel] }
  /ld\.global\.v4/ && kernel in wide { loads[kernel]++ }
  /st\.global\.v4/ && kernel in wide { stores[kernel]++ }
  END {
    for (k in wide) { kernels++; if (!loads[k] || !stores[k]) { print "no accesses of 16 bytes: " k; bad++ } }
    if (kernels < 9) { print "only " kernels " kernels were compiled"; bad++ }
    exit bad > 0
  }
' "$work/kernels.ptx" || fail "kernels move their elements one by one"
