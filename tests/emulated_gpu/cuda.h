// Tensor maps of the CUDA driver, on the emulated machine: what cuTensorMapEncodeTiled demands is checked.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>

using cuuint32_t = std::uint32_t;
using cuuint64_t = std::uint64_t;
enum CUresult { CUDA_SUCCESS = 0, CUDA_ERROR_INVALID_VALUE = 1 };
enum CUtensorMapDataType { CU_TENSOR_MAP_DATA_TYPE_FLOAT16 = 6, CU_TENSOR_MAP_DATA_TYPE_FLOAT32 = 7, CU_TENSOR_MAP_DATA_TYPE_BFLOAT16 = 9 };
enum CUtensorMapInterleave { CU_TENSOR_MAP_INTERLEAVE_NONE };
enum CUtensorMapSwizzle { CU_TENSOR_MAP_SWIZZLE_NONE, CU_TENSOR_MAP_SWIZZLE_32B, CU_TENSOR_MAP_SWIZZLE_64B, CU_TENSOR_MAP_SWIZZLE_128B };
enum CUtensorMapL2promotion { CU_TENSOR_MAP_L2_PROMOTION_NONE, CU_TENSOR_MAP_L2_PROMOTION_L2_128B = 2, CU_TENSOR_MAP_L2_PROMOTION_L2_256B = 3 };
enum CUtensorMapFloatOOBfill { CU_TENSOR_MAP_FLOAT_OOB_FILL_NONE };
struct alignas(64) CUtensorMap {
  std::uint64_t opaque[16];
};

namespace emulated {

struct tensor_map {
  unsigned char* data;
  std::uint64_t extents[5], strides[5];  // in elements and bytes, the innermost first
  std::uint16_t box[5];
  std::uint8_t element, span;  // bytes
};
static_assert(sizeof(tensor_map) <= sizeof(CUtensorMap));

inline CUresult encode(CUtensorMap* map, CUtensorMapDataType type, cuuint32_t rank, void* data, cuuint64_t const* extents, cuuint64_t const* strides,
                       cuuint32_t const* box, cuuint32_t const* every, CUtensorMapInterleave, CUtensorMapSwizzle swizzle, CUtensorMapL2promotion,
                       CUtensorMapFloatOOBfill) {
  tensor_map m{static_cast<unsigned char*>(data), {}, {}, {}, static_cast<std::uint8_t>(type == CU_TENSOR_MAP_DATA_TYPE_FLOAT32 ? 4 : 2),
               static_cast<std::uint8_t>(16 << swizzle)};
  bool good = rank == 5 && data && reinterpret_cast<std::uintptr_t>(data) % 16 == 0;
  for (std::size_t a = 0; a < 5; ++a) {
    m.extents[a] = extents[a];
    m.strides[a] = a == 0 ? m.element : strides[a - 1];
    m.box[a] = static_cast<std::uint16_t>(box[a]);
    good = good && extents[a] >= 1 && extents[a] <= std::uint64_t{1} << 32 && box[a] >= 1 && box[a] <= 256 && every[a] == 1;
    if (a > 0) good = good && m.strides[a] % 16 == 0 && m.strides[a] < std::uint64_t{1} << 40;
  }
  good = good && box[0] * m.element % 16 == 0 && (swizzle == CU_TENSOR_MAP_SWIZZLE_NONE || box[0] * m.element <= m.span);
  std::memcpy(map, &m, sizeof(m));
  return good ? CUDA_SUCCESS : CUDA_ERROR_INVALID_VALUE;
}

}  // namespace emulated
