// Element-wise kernels. A thread takes a group of neighbours along the innermost of the joined axes: an operand that is
// contiguous there moves in 16 bytes, one that is stretched is read once, any other element by element. Bound by memory.
#pragma once

#include <algorithm>
#include <cstdint>

#include <cog/backend/cuda/context.hpp>
#include <cog/backend/cuda/index.hpp>
#include <cog/core/unpack.hpp>
#include <cog/expr/evaluate.hpp>

namespace cog::cuda_detail {

using detail::is_pack, detail::joined_axes, detail::operand_strides, detail::size_of_pack;

/// N neighbours of an array, read or written at once.
template <class T, int N>
struct alignas(sizeof(T) * N < 16 ? sizeof(T) * N : 16) vector_of {
  T at[N];
};
/// The address of a vector of N is a multiple of this, in elements.
template <class T, int N>
inline constexpr index_t vector_alignment = static_cast<index_t>(alignof(vector_of<T, N>) / sizeof(T));

/// N values of a leaf, as the functor takes them.
template <class C, int N>
struct values {
  C at[N];
};

template <int N, class T, int R>
__device__ COG_INLINE auto load(array_leaf<T, R> const& leaf, index_t offset, index_t stride, bool vector, int count) {
  using C = compute_t<T>;
  values<C, N> out;
  T const* const from = leaf.data + offset;
  if (vector && count == N) {
    auto const whole = *reinterpret_cast<vector_of<T, N> const*>(from);
#pragma unroll
    for (int v = 0; v < N; ++v) out.at[v] = static_cast<C>(whole.at[v]);
  } else if (stride == 0) {
    C const one = static_cast<C>(*from);
#pragma unroll
    for (int v = 0; v < N; ++v) out.at[v] = one;
  } else {
#pragma unroll
    for (int v = 0; v < N; ++v) out.at[v] = static_cast<C>(from[v < count ? v * stride : 0]);
  }
  return out;
}
template <int N, class T>
__device__ COG_INLINE auto load(constant_leaf<T> const& leaf, index_t, index_t, bool, int) {
  values<compute_t<T>, N> out;
#pragma unroll
  for (int v = 0; v < N; ++v) out.at[v] = leaf.value;
  return out;
}
template <int N, int R>
__device__ COG_INLINE auto load(position_leaf<R> const&, index_t offset, index_t stride, bool, int) {
  values<std::int64_t, N> out;
#pragma unroll
  for (int v = 0; v < N; ++v) out.at[v] = offset + v * stride;
  return out;
}

/// An element of an output from a value.
template <class T, class C>
__device__ COG_INLINE T stored(C const& value) {
  if constexpr (floating<T>) return T(static_cast<compute_t<T>>(value));
  else return static_cast<T>(value);
}

template <int N, class T, int R, class C>
__device__ COG_INLINE void store(detail::output<T, R> const& out, index_t offset, index_t stride, bool vector, int count, values<C, N> const& x) {
  if (out.data == nullptr) return;
  T* const to = out.data + offset;
  if (vector && count == N) {
    vector_of<T, N> whole;
    if constexpr (floating<T>) {
      if (out.accumulate) {
        whole = *reinterpret_cast<vector_of<T, N> const*>(to);
#pragma unroll
        for (int v = 0; v < N; ++v) whole.at[v] = stored<T>(static_cast<compute_t<T>>(whole.at[v]) + x.at[v]);
        *reinterpret_cast<vector_of<T, N>*>(to) = whole;
        return;
      }
    }
#pragma unroll
    for (int v = 0; v < N; ++v) whole.at[v] = stored<T>(x.at[v]);
    *reinterpret_cast<vector_of<T, N>*>(to) = whole;
  } else {
#pragma unroll
    for (int v = 0; v < N; ++v) {
      if (v >= count) break;
      T& place = to[v * stride];
      if constexpr (floating<T>) {
        place = out.accumulate ? stored<T>(static_cast<compute_t<T>>(place) + x.at[v]) : stored<T>(x.at[v]);
      } else {
        place = stored<T>(x.at[v]);
      }
    }
  }
}
template <int N, class C>
__device__ COG_INLINE void store(detail::no_output, index_t, index_t, bool, int, values<C, N> const&) {}

/// What the host found out about the operands of a kernel, inputs first.
template <int Rank, int Operands>
struct layout_of {
  device_axes<Rank, Operands> axes;
  index_t inner = 1;                           // elements along the innermost axis
  index_t stride[Operands == 0 ? 1 : Operands] = {};  // along it
  bool vector[Operands == 0 ? 1 : Operands] = {};     // may a whole group be moved at once?
};

/// out = f(in) for a group of `count` <= N neighbours; offset, stride and vector of operand k, inputs first.
template <int N, class F, class In, class Out>
__device__ COG_INLINE void apply_to_group(F const& f, In const& in, Out const& out, index_t const* offset, index_t const* stride, bool const* vector, int count) {
  constexpr int inputs = size_of_pack<In>;
  [&]<int... I, int... O>(std::integer_sequence<int, I...>, std::integer_sequence<int, O...>) {
    auto const x = make_pack(load<N>(get<I>(in), offset[I], stride[I], vector[I], count)...);
    using R = decltype(f(get<I>(x).at[0]...));
    R result[N];
#pragma unroll
    for (int v = 0; v < N; ++v)
      if (v < count) result[v] = f(get<I>(x).at[v]...);
    auto const put = [&]<int K>(std::integral_constant<int, K>) {
      auto const part = [&](int v) {
        if constexpr (is_pack<R>) return get<K>(result[v]);
        else return result[v];
      };
      values<decltype(part(0)), N> y;
#pragma unroll
      for (int v = 0; v < N; ++v) y.at[v] = part(v);
      store<N>(get<K>(out), offset[inputs + K], stride[inputs + K], vector[inputs + K], count, y);
    };
    (put(std::integral_constant<int, O>{}), ...);
  }(std::make_integer_sequence<int, inputs>{}, std::make_integer_sequence<int, size_of_pack<Out>>{});
}

template <int N, class F, int Rank, int Operands, class In, class Out>
__global__ void __launch_bounds__(256) for_each_kernel(index_t groups, F f, layout_of<Rank, Operands> layout, In in, Out out) {
  index_t const group = static_cast<index_t>(blockIdx.x) * blockDim.x + threadIdx.x;
  if (group >= groups) return;
  index_t offset[device_axes<Rank, Operands>::operands] = {};
  index_t const first = layout.axes.add_offsets(group, offset) * N;
  int const count = layout.inner - first < N ? static_cast<int>(layout.inner - first) : N;
  apply_to_group<N>(f, in, out, offset, layout.stride, layout.vector, count);
}

/// Bytes of an element of an operand; 16 where it has no memory.
template <class L>
constexpr int element_bytes() {
  if constexpr (requires(L const& leaf) { *leaf.data; }) return static_cast<int>(sizeof(*std::declval<L const&>().data));
  else return 16;
}
/// How many neighbours a thread takes: 16 bytes of the narrowest operand, at most 8.
template <class... L>
inline constexpr int group_of = std::clamp(16 / std::min({16, element_bytes<L>()...}), 1, 8);

/// May groups of N of this operand be moved at once? Joined strides are those of operand k.
template <int N, class L, class Axes>
bool moves_in_vectors(L const& leaf, Axes const& axes, int k) {
  if constexpr (requires { *leaf.data; }) {
    using T = std::remove_cvref_t<decltype(*leaf.data)>;
    constexpr index_t unit = vector_alignment<T, N>;
    if (leaf.data == nullptr || axes.inner_stride(k) != 1 || reinterpret_cast<std::uintptr_t>(leaf.data) % alignof(vector_of<T, N>) != 0) return false;
    for (int a = 0; a < axes.last; ++a)
      if (axes.strides[k][a] % unit != 0) return false;
    return true;
  } else {
    return false;
  }
}

/// outputs = f(inputs) at every element of shape.
template <class F, class... In, class... Out, std::size_t Rank>
void for_each(cuda_context const& ctx, std::array<index_t, Rank> const& shape, F const& f, pack<In...> const& in, pack<Out...> const& out) {
  constexpr int rank = static_cast<int>(Rank), operands = sizeof...(In) + sizeof...(Out), n = group_of<In..., Out...>;
  if (size_of(shape) == 0) return;
  operand_strides<rank, operands> strides;
  auto const all = std::tuple_cat(detail::as_tuple(in), detail::as_tuple(out));
  detail::unpack([&](auto const&... leaf) { (strides.note(leaf), ...); }, all);
  joined_axes<rank, operands> const axes(shape.data(), rank, strides.at);
  layout_of<rank, operands> layout;
  layout.axes = device_axes<rank, operands>(axes, n);
  layout.inner = axes.inner();
  int k = 0;
  detail::unpack(
      [&](auto const&... leaf) {
        ((layout.stride[k] = axes.inner_stride(k), layout.vector[k] = moves_in_vectors<n>(leaf, axes, k), ++k), ...);
      },
      all);
  index_t const groups = axes.size() / axes.inner() * blocks_of(axes.inner(), n);
  ctx.launch("element-wise", {along_x("element-wise", blocks_of(groups, 256)), dim3(256)}, for_each_kernel<n, F, rank, operands, pack<In...>, pack<Out...>>, groups,
             f, layout, in, out);
}

template <class T>
__global__ void __launch_bounds__(256) fill_kernel(T* data, index_t n, T value) {
  index_t const i = static_cast<index_t>(blockIdx.x) * blockDim.x + threadIdx.x;
  if (i < n) data[i] = value;
}
template <class T>
void fill(cuda_context const& ctx, T* data, index_t n, T value) {
  ctx.launch("fill", {along_x("fill", blocks_of(n, 256)), dim3(256)}, fill_kernel<T>, data, n, value);
}

}  // namespace cog::cuda_detail
