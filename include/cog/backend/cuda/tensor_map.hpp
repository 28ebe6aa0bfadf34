// Tiles of 16-bit rows as the copy engine of Hopper lays them in shared memory, and the maps by which it finds them: tensors of five axes,
// (column, head of a group, position, key head, batch). The driver's encoder is found at run time, so that nothing more is linked.
// A map refers to the memory of its tensor and is a kernel's __grid_constant__ parameter.
#pragma once

#include <cog/backend/cuda/context.hpp>
#include <cog/core/dtype.hpp>
#include <cog/core/view.hpp>
#include <cuda.h>

namespace cog::cuda_detail {

/// Rows of 16 bits in shared memory as the copy engine lays them: panels of `span` bytes of every row, chunks of 16 bytes permuted within.
template <int Rows, int W>
struct swizzled_tile {
  static_assert(Rows % 8 == 0 && W % 32 == 0);
  static constexpr int span = W % 64 == 0 ? 128 : 64, panels = 2 * W / span, columns = span / 2;  // of a panel
  static constexpr unsigned panel_bytes = Rows * span, bytes = panels * panel_bytes;
  unsigned memory;  // a multiple of 1024

  __device__ unsigned panel(int p) const { return memory + p * panel_bytes; }
  /// Chunk c of a row.
  __device__ unsigned chunk(int row, int c) const {
    unsigned const at = row * span + c % (span / 16) * 16;
    return panel(c / (span / 16)) + (at ^ (at >> 3 & (span - 16)));
  }
  /// Columns 16 k ... of rows from `row` (a multiple of 8) on, which are the rows of `a`, or the columns of b.
  __device__ std::uint64_t across(int k, int row = 0) const {
    return descriptor(panel(32 * k / span) + row * span + 32 * k % span, 16);
  }
  /// Rows 16 k ... of columns from panel p on, which, transposed, are the rows of `a`, or the columns of b.
  __device__ std::uint64_t along(int k, int p = 0) const { return descriptor(panel(p) + 16 * k * span, panel_bytes); }

 private:
  __device__ static std::uint64_t descriptor(unsigned start, unsigned panel_step) {
    constexpr std::uint64_t swizzle = span == 128 ? 1 : 2;
    return std::uint64_t{start >> 4 & 0x3fff} | std::uint64_t{panel_step >> 4 & 0x3fff} << 16 | std::uint64_t{8 * span >> 4} << 32 | swizzle << 62;
  }
};

/// The driver's cuTensorMapEncodeTiled.
class tensor_map_encoder {
 public:
  explicit tensor_map_encoder(cuda_context const&) {
    void* found = nullptr;
    cudaDriverEntryPointQueryResult result{};
#if CUDART_VERSION >= 12050
    check(cudaGetDriverEntryPointByVersion("cuTensorMapEncodeTiled", &found, 12000, cudaEnableDefault, &result), "tensor map");
#else
    check(cudaGetDriverEntryPoint("cuTensorMapEncodeTiled", &found, cudaEnableDefault, &result), "tensor map");
#endif
    if (result != cudaDriverEntryPointSuccess || !found) throw error("tensor map: the driver has no cuTensorMapEncodeTiled");
    encode_ = reinterpret_cast<decltype(encode_)>(found);
  }

  /// x [batch, heads, positions, columns] by groups of `group` heads, in boxes of `positions` of all heads of a group and
  /// `span` bytes of columns, which the copy permutes as swizzled_tile says. x must be boxable.
  template <class T>
  CUtensorMap operator()(char const* operation, view<T, 4> const& x, index_t group, int positions, int span) const {
    using U = std::remove_const_t<T>;
    static_assert(reduced_float<U>);
    auto const size = [](index_t n) { return static_cast<cuuint64_t>(n); };
    auto const step = [](index_t extent, index_t stride) { return static_cast<cuuint64_t>(extent > 1 ? stride * static_cast<index_t>(sizeof(U)) : 16); };
    cuuint64_t const extents[5] = {size(x.extents[3]), size(group), size(x.extents[2]), size(x.extents[1] / group), size(x.extents[0])};
    cuuint64_t const strides[4] = {step(group, x.strides[1]), step(x.extents[2], x.strides[2]), step(x.extents[1] / group, x.strides[1] * group),
                                   step(x.extents[0], x.strides[0])};
    cuuint32_t const box[5] = {static_cast<cuuint32_t>(span / 2), static_cast<cuuint32_t>(group), static_cast<cuuint32_t>(positions), 1, 1};
    cuuint32_t const every[5] = {1, 1, 1, 1, 1};
    CUtensorMap map{};
    auto const status = encode_(&map, std::same_as<U, bf16> ? CU_TENSOR_MAP_DATA_TYPE_BFLOAT16 : CU_TENSOR_MAP_DATA_TYPE_FLOAT16, 5,
                                const_cast<U*>(x.data), extents, strides, box, every, CU_TENSOR_MAP_INTERLEAVE_NONE,
                                span == 128 ? CU_TENSOR_MAP_SWIZZLE_128B : CU_TENSOR_MAP_SWIZZLE_64B, CU_TENSOR_MAP_L2_PROMOTION_L2_256B,
                                CU_TENSOR_MAP_FLOAT_OOB_FILL_NONE);
    if (status != CUDA_SUCCESS) throw error(operation, ": the driver refuses a tensor map (", static_cast<int>(status), ")");
    return map;
  }

 private:
  CUresult (*encode_)(CUtensorMap*, CUtensorMapDataType, cuuint32_t, void*, cuuint64_t const*, cuuint64_t const*, cuuint32_t const*, cuuint32_t const*,
                      CUtensorMapInterleave, CUtensorMapSwizzle, CUtensorMapL2promotion, CUtensorMapFloatOOBfill) = nullptr;
};

/// Can a map be made of x? Its rows move in chunks (moves_in_chunks), no axis repeats, and there is something.
template <class T>
bool boxable(view<T, 4> const& x) {
  bool all = true;
  for (std::size_t a = 0; a < 4; ++a)
    all = all && x.extents[a] > 0 && (x.extents[a] == 1 || (x.strides[a] > 0 && x.strides[a] < index_t{1} << 38)) && x.extents[a] < index_t{1} << 31;
  return all;
}

}  // namespace cog::cuda_detail
