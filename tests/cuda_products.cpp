// The GPU backend against plain loops: products and gradients.
#include "conformance.hpp"
#include "cuda.hpp"

using namespace cog;

TEST_CASE("gpu: products") { conformance::products(gpu()); }
TEST_CASE("gpu: gradients") {
  in_every_order([] { conformance::gradients(gpu()); });
}

TEST_CASE("gpu: products of operands that cuBLAS cannot walk") {
  conformance::agree(gpu(), "strides", 1e-5, [](auto const& c) {
    auto const wide = randn<float>(c, {6, 10, 8}, 1);
    auto const skipping = slice(slice(wide, 2, 0, 8, 2), 1, 1, 10, 3);           // [6, 3, 4]
    auto const row = expand(slice(wide, 1, 0, 1), std::array<index_t, 3>{6, 5, 8});  // equal rows
    auto const outer = permuted(randn<float>(c, {3, 4, 2, 5}, 2), {1, 0, 2, 3});      // batch axes that do not join
    return std::tuple(eval(matmul(skipping, transposed(skipping))), eval(matmul(row, transposed(wide))), eval(matmul(outer, transposed(outer))),
                      eval(matmul(randn<float>(c, {1, 7}, 3), randn<float>(c, {7, 1}, 4))));
  });
}

TEST_CASE("gpu: epilogues that cuBLAS has no kernel for follow by themselves") {
#if defined(COG_EMULATED_GPU)
  auto const results = [](bool has_epilogues) {
    cog::cuda::context const ctx;
    emulated::has_epilogues() = has_epilogues;
    auto const a = randn<float>(ctx, {2, 3, 9, 16}, 1), b = permuted(randn<float>(ctx, {3, 2, 16, 24}, 2), {1, 0, 2, 3});  // batch axes that do not join
    auto const bias = randn<float>(ctx, {24}, 3);
    auto const all = std::tuple(eval(matmul(a, b) + bias).to_vector(), eval(relu(matmul(a, b) + bias)).to_vector(), eval(gelu_tanh(matmul(a, b) + bias)).to_vector());
    emulated::has_epilogues() = true;
    return all;
  };
  auto const with = results(true), without = results(false);
  auto const compare = [](auto const& x, auto const& y) {
    REQUIRE(x.size() == y.size());
    for (std::size_t i = 0; i < x.size(); ++i) CHECK(x[i] == Approx(y[i]).margin(1e-5));
  };
  compare(std::get<0>(with), std::get<0>(without));
  compare(std::get<1>(with), std::get<1>(without));
  compare(std::get<2>(with), std::get<2>(without));
#endif
}

TEST_CASE("gpu: epilogues") {
  auto const one_type = []<class T>(T) {
    conformance::agree(gpu(), "bias and activation", std::same_as<T, bf16> ? 0.02 : 1e-5, [](auto const& c) {
      auto const a = eval(cast<T>(randn<float>(c, {9, 16}, 1))), b = eval(cast<T>(randn<float>(c, {16, 24}, 2)));
      auto const bias = eval(cast<T>(randn<float>(c, {24}, 3)));
      auto const zero_wide = slice(a, 1, 0, 0);
      return std::tuple(eval(matmul(a, b) + bias), eval(relu(matmul(a, b) + bias)), eval(gelu_tanh(matmul(a, b) + bias)), eval(silu(matmul(a, b) * 0.5 + bias)),
                        eval(tanh(matmul(a, b))), eval(gelu(matmul(zero_wide, slice(b, 0, 0, 0)) + bias)));
    });
  };
  one_type(float{});
  one_type(bf16{});
}
