// Initialisers. A parameter's numbers depend on the seed and its name alone, not on the order of a traversal or on other parameters.
#pragma once

#include <cmath>
#include <cstdint>
#include <string>
#include <string_view>

#include <cog/nn/module.hpp>
#include <cog/random/random.hpp>

namespace cog::nn {

/// How a matrix of weights is laid out: [out, in], as PyTorch's Linear, or [in, out].
enum class weight_order { out_in, in_out };

/// A stream of random numbers for a parameter of this name (FNV-1a).
constexpr std::uint64_t stream_of(std::string_view name) {
  std::uint64_t hash = 0xcbf29ce484222325u;
  for (char c : name) hash = (hash ^ static_cast<unsigned char>(c)) * 0x100000001b3u;
  return hash;
}

namespace detail {

struct fans {
  double in, out;
};
/// Axes after the first two (of a convolution) multiply both.
template <class T, int R, class B>
fans fans_of(tensor<T, R, B> const& x, weight_order order) {
  static_assert(R >= 2, "cog: fan-in and fan-out are those of a matrix");
  double field = 1;
  for (std::size_t i = 2; i < R; ++i) field *= static_cast<double>(x.extents()[i]);
  double const a = static_cast<double>(x.extents()[0]) * field, b = static_cast<double>(x.extents()[1]) * field;
  return order == weight_order::out_in ? fans{b, a} : fans{a, b};
}
template <class X>
void fill_uniform(X& x, double bound, std::uint64_t seed, std::uint64_t stream) {
  x = cog::rand<typename X::value_type>(x.context(), x.extents(), seed, stream) * (2 * bound) - bound;
}

}  // namespace detail

// An initialiser assigns a tensor: normal{0.02}(weight, seed, stream_of("weight")).

/// Normal numbers with mean 0.
struct normal {
  double deviation = 1;
  template <class X>
  void operator()(X& x, std::uint64_t seed, std::uint64_t stream) const {
    x = randn<typename X::value_type>(x.context(), x.extents(), seed, stream) * deviation;
  }
};
/// The normal, cut at two deviations of its own.
struct truncated_normal {
  double deviation = 1;
  template <class X>
  void operator()(X& x, std::uint64_t seed, std::uint64_t stream) const {
    x = cog::truncated_normal<typename X::value_type>(x.context(), x.extents(), seed, stream) * deviation;
  }
};
/// Uniform within gain sqrt(6 / (fan-in + fan-out)) (Glorot and Bengio 2010).
struct xavier_uniform {
  double gain = 1;
  template <class X>
  void operator()(X& x, std::uint64_t seed, std::uint64_t stream) const {
    auto const [in, out] = detail::fans_of(x, weight_order::out_in);
    detail::fill_uniform(x, gain * std::sqrt(6 / (in + out)), seed, stream);
  }
};
/// Uniform within gain sqrt(3 / fan-in) (He et al. 2015); gain sqrt(2) is theirs for relu.
struct kaiming_uniform {
  double gain = std::sqrt(2.0);
  weight_order order = weight_order::out_in;
  template <class X>
  void operator()(X& x, std::uint64_t seed, std::uint64_t stream) const {
    detail::fill_uniform(x, gain * std::sqrt(3 / detail::fans_of(x, order).in), seed, stream);
  }
};
/// Zeros.
struct zeros {
  template <class X>
  void operator()(X& x, std::uint64_t = 0, std::uint64_t = 0) const {
    x = zeros_like(x);
  }
};
/// Ones.
struct ones {
  template <class X>
  void operator()(X& x, std::uint64_t = 0, std::uint64_t = 0) const {
    x = cog::ones<typename X::value_type>(x.context(), x.extents());
  }
};

/// Every parameter of two or more axes by one initialiser, tied ones together by the first of their names. Those of one axis stay as their
/// layers made them: norm weights 1, biases 0.
template <class M, class Initialiser>
void initialise(M& model, std::uint64_t seed, Initialiser const& rule) {
  replace_parameters(model, [&]<class X>(std::string const& name, X x) {
    if constexpr (X::rank >= 2) rule(x, seed, stream_of(name));
    return x;
  });
}

}  // namespace cog::nn
