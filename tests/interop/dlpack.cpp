// A shared library that takes and gives managed tensors of DLPack, for check_dlpack.py.
#include "../dlpack.hpp"

#include <cog/backend/cpu/cpu.hpp>
#include <cog/core/dlpack.hpp>

namespace {

cog::cpu::context const ctx{{.threads = 1}};

/// Doubles the elements in place and gives the tensor back, transposed.
template <class T, class M>
M* twice_transposed(M* managed) {
  auto const x = cog::from_dlpack<T, 2>(ctx, managed);
  x.assign(x * 2);
  return cog::to_dlpack<M>(transposed(x)).release();
}
template <class M>
M* by_type(M* managed) {
  auto const type = managed->dl_tensor.dtype;
  try {
    if (type.code == 4) return twice_transposed<cog::bf16>(managed);
    if (type.code == 2 && type.bits == 16) return twice_transposed<cog::half>(managed);
    if (type.code == 2 && type.bits == 64) return twice_transposed<double>(managed);
    if (type.code == 0 && type.bits == 64) return twice_transposed<std::int64_t>(managed);
    if (type.code == 0) return twice_transposed<std::int32_t>(managed);
    if (type.code == 1) return twice_transposed<std::uint8_t>(managed);
    return twice_transposed<float>(managed);
  } catch (cog::error const&) {
    return nullptr;
  }
}

}  // namespace

extern "C" {
DLManagedTensor* twice_transposed_unversioned(DLManagedTensor* managed) { return by_type(managed); }
DLManagedTensorVersioned* twice_transposed_versioned(DLManagedTensorVersioned* managed) { return by_type(managed); }
}
