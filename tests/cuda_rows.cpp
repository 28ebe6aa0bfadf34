// The GPU backend against plain loops: reductions and row-wise forms, at the lengths where kernels change.
#include "conformance.hpp"
#include "cuda.hpp"

using namespace cog;

TEST_CASE("gpu: reductions") {
  in_every_order([] { conformance::reductions(gpu()); });
}
TEST_CASE("gpu: row-wise forms") {
  in_every_order([] { conformance::rows(gpu()); });
}

TEST_CASE("gpu: random shapes") {
  in_every_order([] { conformance::random_shapes(gpu()); });
}

TEST_CASE("gpu: reductions of every length") {
  in_every_order([] {
    for (index_t n : {1, 2, 31, 33, 127, 128, 129, 512, 513, 2049, 5000})
      conformance::agree(gpu(), "length " + std::to_string(n), 2e-5, [&](auto const& c) {
        auto const x = randn<float>(c, {3, n}, 1);
        auto const tall = transposed(randn<float>(c, {40, n}, 2));  // [n, 40], and the other way round
        return std::tuple(sum(x, 1), argmax(x, 1), logsumexp(x), variance(x, 1), argmin(x), sum(tall, 0), sum(transposed(tall), 0), argmax(transposed(tall), 0));
      });
  });
}

TEST_CASE("gpu: rows of every length") {
  in_every_order([] {
    for (index_t n : {1, 3, 31, 32, 33, 255, 256, 257, 1023, 1024, 1025, 4096, 4097, 16384, 16385, 32768, 32769})
      conformance::agree(gpu(), "rows of " + std::to_string(n), 2e-5, [&](auto const& c) {
        auto const x = randn<float>(c, {2, n}, 1), w = randn<float>(c, {1, n}, 2);
        return std::tuple(softmax(x), row_logsumexp(x * 3), rms_norm(x, select(w, 0, 0)));
      });
  });
}

TEST_CASE("gpu: more rows than a block has warps, from strided and broadcast inputs") {
  conformance::agree(gpu(), "layer_norm", 1e-5, [](auto const& c) {
    auto const x = permuted(randn<float>(c, {5, 24, 7}, 1), {2, 0, 1});
    auto const w = randn<float>(c, {48}, 2);
    return std::tuple(layer_norm(x, slice(w, 0, 0, 48, 2), slice(w, 0, 1, 48, 2)), softmax(slice(x, 2, 1, 24, 3)), log_softmax(eval(cast<cog::half>(x))));
  });
}

TEST_CASE("gpu: infinities and NaN in rows") {
  conformance::agree(gpu(), "special rows", 1e-6, [](auto const& c) {
    float const inf = std::numeric_limits<float>::infinity(), nan = std::numeric_limits<float>::quiet_NaN();
    auto const x = from<float>(c, {{-inf, 1, -inf, 2}, {-inf, -inf, -inf, -inf}, {nan, 1, 2, 3}, {1, inf, 2, 3}});
    return std::tuple(softmax(x), row_logsumexp(x), max(x, 1), argmax(x, 1), min(x, 1), logsumexp(x, 1));
  });
}
