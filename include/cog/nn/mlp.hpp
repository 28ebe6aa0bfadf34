// The feed-forward halves of a block: SwiGLU under the names of the published Cogformer, and the GELU of U-ViT and CLIP.
#pragma once

#include <numeric>
#include <vector>

#include <cog/nn/linear.hpp>

namespace cog::nn {

/// y = (x gw * silu(x pw)) ow: gw is the linear branch (Shazeer 2020). No biases.
template <floating T, backend B>
struct swiglu_expert {
  tensor<T, 2, B> gw, pw;  // [dim, hidden]
  tensor<T, 2, B> ow;      // [hidden, dim]

  swiglu_expert() = default;
  swiglu_expert(typename B::context const& ctx, index_t dim, index_t hidden)
      : gw(cog::zeros<T>(ctx, {dim, hidden})), pw(cog::zeros<T>(ctx, {dim, hidden})), ow(cog::zeros<T>(ctx, {hidden, dim})) {}

  void visit(auto&& f) {
    f("gw", gw);
    f("pw", pw);
    f("ow", ow);
  }

  auto operator()(auto const& x) const { return eval(matmul(matmul(x, gw) * silu(matmul(x, pw)), ow)); }
};

/// x [..., dim] -> [..., dim] by expert 0. Expert k of the recipe has recipe[k] (hidden / sum of the recipe) hidden units; the
/// published code makes and keeps all of them, and runs the first.
template <floating T, backend B>
struct swiglu {
  std::vector<swiglu_expert<T, B>> shared_experts;

  swiglu() = default;
  /// Errors: an empty recipe, a share below 1 or above `hidden`, fewer hidden units than shares.
  swiglu(typename B::context const& ctx, index_t dim, index_t hidden, std::vector<index_t> const& recipe = {1}) {
    for (index_t share : recipe)
      if (share < 1 || share > hidden) throw error("swiglu: a share of ", share, " in the recipe of experts, with ", hidden, " hidden units");
    if (recipe.empty()) throw error("swiglu: the recipe of experts is empty");
    index_t const shares = std::accumulate(recipe.begin(), recipe.end(), index_t{0}), unit = hidden / shares;
    if (unit < 1) throw error("swiglu: ", hidden, " hidden units for a recipe of ", shares, " shares");
    for (index_t share : recipe) shared_experts.emplace_back(ctx, dim, share * unit);
  }

  void visit(auto&& f) { f("shared_experts", shared_experts); }

  auto operator()(auto const& x) const { return shared_experts.at(0)(x); }
};

/// fc2(gelu(fc1(x))), [..., dim] -> [..., dim]; the exact gelu.
template <floating T, backend B>
struct gelu_mlp {
  linear<T, B> fc1, fc2;

  gelu_mlp() = default;
  gelu_mlp(typename B::context const& ctx, index_t dim, index_t hidden) : fc1(ctx, dim, hidden), fc2(ctx, hidden, dim) {}

  void visit(auto&& f) {
    f("fc1", fc1);
    f("fc2", fc2);
  }

  auto operator()(auto const& x) const {
    return fc2(fc1(x, [](auto const& y) { return gelu(y); }));
  }
};

}  // namespace cog::nn
