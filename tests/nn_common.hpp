// What the tests of layers share: distances, an error's text, and the gradient of a layer in its input and all its parameters.
#pragma once

#include <catch2/catch.hpp>

#include <initializer_list>
#include <string>
#include <string_view>

#include <cog/cog.hpp>
#include <cog/nn/module.hpp>

namespace nn_test {

using cog::index_t;
template <class T, int R>
using tensor = cog::tensor<T, R, cog::cpu>;

/// One thread: a difference quotient is thousands of tiny calls. The golden models run on two.
inline cog::cpu::context const ctx{{.threads = 1}};

/// The largest |a - b|; infinite for other shapes.
template <class A, class B>
double distance(A const& a, B const& b) {
  auto const x = cog::eval(a);
  auto const y = cog::eval(b);
  if (x.extents() != y.extents()) return std::numeric_limits<double>::infinity();
  return x.size() ? static_cast<double>(cog::max(cog::abs(cog::cast<double>(x) - cog::cast<double>(y))).item()) : 0;
}
/// The largest |a - b| by the largest |b|.
template <class A, class B>
double relative(A const& a, B const& b) {
  return distance(a, b) / static_cast<double>(cog::max(cog::abs(cog::cast<double>(b))).item());
}
template <class A, class B>
bool same_bits(A const& a, B const& b) {
  return a.extents() == b.extents() && distance(a, b) == 0;
}

template <class F>
void check_error(F const& f, std::initializer_list<std::string_view> parts) {
  try {
    f();
  } catch (cog::error const& e) {
    std::string_view const text = e.what();
    INFO(text);
    for (auto const part : parts) {
      INFO("expected: " << part);
      CHECK(text.find(part) != text.npos);
    }
    return;
  }
  FAIL_CHECK("nothing was thrown");
}

/// A layer with its input as one more parameter.
template <class Layer, int R>
struct with_input {
  Layer layer;
  tensor<double, R> x;
  void visit(auto&& f) {
    f("layer", layer);
    f("x", x);
  }
};

/// Every parameter of a layer and its input x against central differences of a random projection of call(layer, x).
template <class Layer, int R, class Call>
void check_gradients(Layer const& layer, tensor<double, R> const& x, Call const& call) {
  with_input<Layer, R> both{layer, x};
  auto const result = cog::gradcheck(both, [&](auto& m) {
    auto const y = cog::eval(call(m->layer, m.record(m->x)));
    return sum(y * cog::randn<double>(ctx, y.extents(), 99));
  });
  INFO(result.message << " (worst " << result.worst << ")");
  CHECK(result.ok);
}
template <class Layer, int R>
void check_gradients(Layer const& layer, tensor<double, R> const& x) {
  check_gradients(layer, x, [](auto const& l, auto const& v) { return l(v); });
}

}  // namespace nn_test
