#!/bin/sh
# PyTorch's training step beside that of bench/gpu/main.cu, on the same GPU, into bench/results/gpu_rival.json. It needs a python with torch:
# that of the environment that bench/rivals/run.sh makes, or any; says what is missing, and ends with 77, where that or a GPU is not there.
# Options go to rival.py.  PYTHON: another python.  OUT: where the JSON goes.
set -eu

root=$(CDPATH='' cd -- "$(dirname -- "$0")/../.." && pwd)
venv=$root/build/rivals
python=${PYTHON:-$venv/bin/python}
[ -n "${PYTHON:-}" ] || [ -x "$python" ] || python=python3
out=${OUT:-$root/bench/results}
mkdir -p "$out"
if ! "$python" -c 'import torch' 2>/dev/null; then
  echo "rival.sh: skipped, $python has no PyTorch; where there is a network:  python3 -m venv $venv && $venv/bin/pip install torch numpy"
  exit 77
fi
exec "$python" "$root/bench/gpu/rival.py" "$out/gpu_rival.json" "$@"
