// What kernels call compiles for a device, without flags and without warnings: ops and their derivatives, reductions, row-wise
// forms, attention rules, storage types, random numbers. Compiled only; nothing runs.
#include <cog/attention/rule.hpp>
#include <cog/expr/fuse.hpp>
#include <cog/expr/rowwise.hpp>
#include <cog/random/random.hpp>

template <class... Op>
__device__ void every_op(std::type_identity<std::tuple<Op...>>, float const* x, float* out) {
  auto const one = [&]<class O>(std::type_identity<O>) {
    if constexpr (std::is_same_v<O, cog::op::where>) {
      using tree = cog::branch<O, cog::branch<cog::op::less, cog::arg<0, float>, cog::arg<1, float>>, cog::arg<0, float>, cog::arg<1, float>>;
      *out += cog::forward<tree>{}(x[0], x[1]) + cog::get<0>(cog::reverse<tree>{}(1.0f, x[0], x[1]));
    } else if constexpr (requires { O::of_bools; }) {
      return;
    } else if constexpr (requires { O::apply(1.0f); }) {
      using tree = cog::branch<O, cog::arg<0, float>>;
      *out += cog::forward<tree>{}(x[0]) + cog::get<0>(cog::reverse<tree>{}(1.0f, x[0]));
    } else {
      using tree = cog::branch<O, cog::arg<0, float>, cog::arg<1, float>>;
      *out += cog::forward<tree>{}(x[0], x[1]);
      if constexpr (O::differentiable) *out += cog::get<1>(cog::reverse<tree>{}(1.0f, x[0], x[1]));
    }
  };
  (one(std::type_identity<Op>{}), ...);
}
__global__ void ops(float const* x, float* out) { every_op(std::type_identity<cog::op::all_ops>{}, x, out); }

template <class R>
__device__ float reduced(float const* x, int n) {
  typename R::template state<float> a, b;
  constexpr bool positional = requires { R::positional; };
  for (int i = 0; i < n; ++i) {
    if constexpr (positional) R::push(i % 2 ? a : b, x[i], i);
    else R::push(i % 2 ? a : b, x[i]);
  }
  R::merge(a, b);
  return static_cast<float>(R::finish(a, n));
}
__global__ void reductions(float const* x, float* out, int n) {
  namespace r = cog::reduction;
  *out = reduced<r::sum>(x, n) + reduced<r::mean>(x, n) + reduced<r::product>(x, n) + reduced<r::max>(x, n) + reduced<r::min>(x, n) +
         reduced<r::logsumexp>(x, n) + reduced<r::variance>(x, n) + reduced<r::argmax>(x, n);
}

template <class Op, class... X>
__device__ float row(Op op, float* stats, int n, X... x) {
  stats[0] = op.template finish<0>(op.template term<0>(stats, x...), n);
  auto const y = op.map(stats, x...);
  if constexpr (requires { y.head; }) return y.head;
  else return y;
}
__global__ void rows(float const* x, float* out, int n) {
  namespace r = cog::rows;
  float s[4] = {};
  *out = row(r::softmax{}, s, n, x[0]) + row(r::log_softmax{}, s, n, x[0]) + row(r::softmax_vjp{}, s, n, x[0], x[1]) +
         row(r::layer_norm{1e-5}, s, n, x[0], x[1], x[2]) + row(r::layer_norm_vjp{1e-5}, s, n, x[0], x[1], x[2]) +
         row(r::rms_norm{1e-5}, s, n, x[0], x[1]) + row(r::rms_norm_vjp{1e-5}, s, n, x[0], x[1], x[2]);
}

__global__ void attention_rules(float const* x, float* out) {
  *out = cog::cog_rule::weight(x[0], cog::cog_rule::exponent(x[0])) + cog::cog_rule::gradient(x[0], x[1], x[2], x[3]) +
         cog::softmax_rule::weight(x[0], cog::softmax_rule::exponent(x[0])) + cog::softmax_rule::gradient(x[0], x[1], x[2], x[3]);
}

__global__ void storage_types(cog::bf16 const* b, cog::half const* h, float* out, cog::view<float, 2> v) {
  *out = float(b[0]) + float(h[0]) + float(cog::bf16(out[1])) + float(cog::half(out[2])) + v(0, 1);
}

__global__ void random_numbers(std::uint32_t const* words, float* out) {
  *out = cog::random_detail::uniform<float>{}(words[0]) + cog::random_detail::normal<float>{}(words[1]);
}
