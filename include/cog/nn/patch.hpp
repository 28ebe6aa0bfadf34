// Pictures as sequences of square patches and back, and the embedding of patches.
#pragma once

#include <cog/nn/linear.hpp>

namespace cog {

/// The order of the numbers of a patch: (channel, row, column) as a convolution's kernel has them, or (row, column,
/// channel).
enum class patch_order { channels_first, channels_last };

/// x [b, c, h, w] -> [b, h/p w/p, c p p], patches in rows from left to right. Errors: sides that are not multiples of
/// p.
template <expression X>
auto patchify(X const& input, index_t p, patch_order order = patch_order::channels_first) {
  static_assert(X::rank == 4, "cog: patchify takes pictures [batch, channel, height, width]");
  auto const x = eval(input);
  auto const [b, c, h, w] = x.extents();
  if (p < 1 || h % p != 0 || w % p != 0)
    throw error("patchify: patches of ", p, " for pictures of shape ", x.extents());
  auto const cut = reshape(x, extents<6>{b, c, h / p, p, w / p, p});
  bool const first = order == patch_order::channels_first;
  // Types are written out: nvcc's front end garbles those that are deduced here.
  return reshape(permuted(cut, first ? std::array<int, 6>{0, 2, 4, 1, 3, 5} : std::array<int, 6>{0, 2, 4, 3, 5, 1}),
                 extents<3>{b, h / p * (w / p), c * p * p});
}

/// The inverse: [b, gh gw, c p p] -> [b, c, gh p, gw p], for a grid of gh x gw patches. Errors: another number of
/// patches, patches that are no multiple of p p.
template <expression X>
auto unpatchify(X const& input, index_t p, index_t gh, index_t gw, patch_order order = patch_order::channels_first) {
  static_assert(X::rank == 3, "cog: unpatchify takes patches [batch, patch, number]");
  auto const x = eval(input);
  auto const [b, n, size] = x.extents();
  if (p < 1 || n != gh * gw || size % (p * p) != 0)
    throw error("unpatchify: ", gh, " x ", gw, " patches of ", p, " from a sequence of shape ", x.extents());
  index_t const c = size / (p * p);
  bool const first = order == patch_order::channels_first;
  auto const cut = reshape(x, first ? extents<6>{b, gh, gw, c, p, p} : extents<6>{b, gh, gw, p, p, c});
  return reshape(permuted(cut, first ? std::array<int, 6>{0, 3, 1, 4, 2, 5} : std::array<int, 6>{0, 5, 1, 3, 2, 4}),
                 extents<4>{b, c, gh * p, gw * p});
}

namespace nn {

/// x [b, c, h, w] -> [b, patches, dim]: a convolution whose stride is its kernel, as one product. Made with zeros.
template <floating T, backend B>
struct patch_embedding {
  tensor<T, 4, B> weight;  // [dim, c, p, p]
  tensor<T, 1, B> bias;    // [dim]

  patch_embedding() = default;
  patch_embedding(typename B::context const& ctx, index_t channels, index_t dim, index_t p)
      : weight(cog::zeros<T>(ctx, {dim, channels, p, p})), bias(cog::zeros<T>(ctx, {dim})) {}

  void visit(auto&& f) {
    f("weight", weight);
    f("bias", bias);
  }

  /// Errors: another number of channels, sides that are not multiples of p.
  auto operator()(auto const& x) const {
    if (x.extents()[1] != weight.extent(1))
      throw error("patch_embedding: pictures of shape ", x.extents(), " for a weight of shape ", weight.extents());
    auto const matrix = reshape(weight, extents<2>{weight.extent(0), -1});
    return eval(matmul(patchify(x, weight.extent(2)), transposed(matrix)) + bias);
  }
};

}  // namespace nn

}  // namespace cog
