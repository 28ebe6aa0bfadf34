// The element-wise loop: axes that follow each other in memory are joined, the rest is split over the threads, and the
// innermost run is one loop over SIMD values that loads every leaf, applies the functor and stores every output.
// Memory-bound once the operands leave the cache.
#pragma once

#include <algorithm>

#include <cog/backend/cpu/context.hpp>
#include <cog/backend/cpu/simd.hpp>
#include <cog/backend/cpu/transpose.hpp>
#include <cog/core/unpack.hpp>
#include <cog/expr/axes.hpp>
#include <cog/expr/evaluate.hpp>

namespace cog::cpu_detail {

using detail::as_tuple, detail::is_pack, detail::joined_axes, detail::operand_strides;

// ---- cursors: a leaf at the start of an innermost run

template <class T>
struct array_cursor {
  T const* at;
  index_t stride;

  template <class C>
  COG_INLINE auto scalar(index_t i) const {
    return static_cast<compute_t<T>>(at[i * stride]);
  }
  /// Lanes i .. i + count of the run; Unit: the stride is known to be 1.
  template <class C, bool Unit>
  COG_INLINE auto lanes(index_t i) const {
    using S = simd<C>;
    if constexpr (Unit) return as_lane(S::load(at + i));
    else return as_lane(stride == 1 ? S::load(at + i) : stride == 0 ? S(static_cast<C>(*at)) : S::gather(at + i * stride, stride));
  }
  template <class C>
  COG_INLINE auto partial(index_t i, index_t n) const {
    return as_lane(simd<C>::load_partial(at + i * stride, n, stride, C(1)));
  }
  template <class S>
  COG_INLINE static auto as_lane(S s) {
    if constexpr (std::same_as<T, bool>) return s != S(0);
    else return s;
  }
};

template <class T>
struct constant_cursor {
  T value;
  template <class C>
  COG_INLINE auto scalar(index_t) const { return static_cast<compute_t<T>>(value); }
  template <class C, bool>
  COG_INLINE auto lanes(index_t) const {
    if constexpr (std::same_as<T, bool>) return simd<C>(value ? C(1) : C(0)) != simd<C>(C(0));
    else return simd<C>(static_cast<C>(value));
  }
  template <class C>
  COG_INLINE auto partial(index_t, index_t) const { return lanes<C, true>(0); }
};

struct position_cursor {
  index_t first, stride;
  template <class C>
  COG_INLINE std::int64_t scalar(index_t i) const { return first + i * stride; }
  template <class C, bool>
  COG_INLINE auto lanes(index_t i) const {
    using S = simd<C>;
    return S(static_cast<C>(first + i * stride)) + S::iota(C(0)) * S(static_cast<C>(stride));
  }
  template <class C>
  COG_INLINE auto partial(index_t i, index_t) const { return lanes<C, false>(i); }
};

template <class T>
struct output_cursor {
  T* at;
  index_t stride;
  bool accumulate;
  bool past_caches = false;  // unit stride, aligned, not to be added to

  template <class S>
  COG_INLINE void put(index_t i, S const& s) const {
    if (at == nullptr) return;
    T& out = at[i * stride];
    if constexpr (floating<T>) out = T(accumulate ? static_cast<S>(out) + s : s);
    else out = static_cast<T>(s);
  }
  template <class C, bool Unit, class S>
  COG_INLINE void put_lanes(index_t i, S const& s) const {
    if (at == nullptr) return;
    if constexpr (std::same_as<S, simd_mask<C>>) {
      put_lanes<C, Unit>(i, to_number(s));
    } else {
      T* const to = at + i * stride;
      bool const unit = Unit || stride == 1;
      if constexpr (floating<T>) {
        if (accumulate) {
          S const sum = (unit ? S::load(to) : S::gather(to, stride)) + s;
          if (unit) sum.store(to);
          else sum.scatter(to, stride);
          return;
        }
      }
      if constexpr (stores_past_caches && Unit && std::same_as<T, C>) {
        if (past_caches) return store_past_caches(to, s.v);
      }
      if (unit) s.store(to);
      else s.scatter(to, stride);
    }
  }
  template <class C, class S>
  COG_INLINE void put_partial(index_t i, index_t n, S const& s) const {
    if (at == nullptr) return;
    if constexpr (std::same_as<S, simd_mask<C>>) {
      put_partial<C>(i, n, to_number(s));
    } else {
      T* const to = at + i * stride;
      if constexpr (floating<T>) {
        if (accumulate) {
          (S::load_partial(to, n, stride) + s).store_partial(to, n, stride);
          return;
        }
      }
      s.store_partial(to, n, stride);
    }
  }
};
struct no_cursor {
  template <class S> COG_INLINE void put(index_t, S const&) const {}
  template <class C, bool, class S> COG_INLINE void put_lanes(index_t, S const&) const {}
  template <class C, class S> COG_INLINE void put_partial(index_t, index_t, S const&) const {}
};

// ---- operands: what the loop knows of a leaf or output

template <class T, int R>
auto cursor(array_leaf<T, R> const& leaf, index_t offset, index_t stride) { return array_cursor<T>{leaf.data + offset, stride}; }
template <class T>
auto cursor(constant_leaf<T> const& leaf, index_t, index_t) { return constant_cursor<compute_t<T>>{leaf.value}; }
template <int R>
auto cursor(position_leaf<R> const&, index_t offset, index_t stride) { return position_cursor{offset, stride}; }
template <class T, int R>
auto cursor(detail::output<T, R> const& o, index_t offset, index_t stride, bool past_caches) {
  T* const at = o.data ? o.data + offset : nullptr;
  bool const aligned = reinterpret_cast<std::uintptr_t>(at) % 64 == 0;
  return output_cursor<T>{at, stride, o.accumulate, past_caches && aligned && !o.accumulate};
}
inline no_cursor cursor(detail::no_output, index_t, index_t, bool) { return {}; }

/// Results of so many elements are stored past the caches: nobody could find them there anyway.
constexpr bool exceeds_caches(index_t total) { return stores_past_caches && total * 4 >= index_t{32} << 20; }

/// Are outputs stored past the caches? Not where their memory has just been read.
template <class... In, class... Out>
bool stored_past_caches(index_t total, std::tuple<In...> const& ins, std::tuple<Out...> const& outs) {
  auto const at = [](auto const& operand) -> void const* {
    if constexpr (requires { operand.data; }) return operand.data;
    else return nullptr;
  };
  bool fresh = exceeds_caches(total);
  detail::unpack([&](auto const&... out) {
    auto const among = [&](void const* p) {
      detail::unpack([&](auto const&... in) { fresh = fresh && (p == nullptr || ((at(in) != p) && ...)); }, ins);
    };
    (among(at(out)), ...);
  }, outs);
  return fresh;
}

/// Calls f(begin, end) over [0, total) in pieces of at least `grain`, on all threads when there is enough work.
template <class F>
void split(cpu_context const& ctx, index_t total, index_t grain, F const& f) {
  if (total <= 2 * grain || ctx.threads() == 1) {
    if (total > 0) f(index_t{0}, total);
    return;
  }
  index_t const chunk = std::max(grain, (total / (4 * ctx.threads()) + 63) / 64 * 64);
  ctx.run((total + chunk - 1) / chunk, [&](index_t task) { f(task * chunk, std::min(total, (task + 1) * chunk)); });
}

/// One innermost run of n elements.
template <class F, class... In, class... Out>
void run_of(F const& f, index_t n, std::tuple<In...> const& in, std::tuple<Out...> const& out, bool unit) {
  auto const deliver = [&](auto const& value, auto&& put) {
    using V = std::remove_cvref_t<decltype(value)>;
    if constexpr (is_pack<V>) {
      [&]<std::size_t... I>(std::index_sequence<I...>) {
        (put(std::get<I>(out), get<static_cast<int>(I)>(value)), ...);
      }(std::index_sequence_for<Out...>{});
    } else {
      put(std::get<0>(out), value);
    }
  };
  if constexpr (!std::is_void_v<typename F::lane>) {
    using C = typename F::lane;
    constexpr index_t w = simd<C>::size;
    auto const sweep = [&]<bool Unit>() {
      index_t i = 0;
      for (; i + w <= n; i += w)
        deliver(detail::unpack([&](auto const&... c) { return f(c.template lanes<C, Unit>(i)...); }, in),
                [&](auto const& o, auto const& v) { o.template put_lanes<C, Unit>(i, v); });
      if (i < n)
        deliver(detail::unpack([&](auto const&... c) { return f(c.template partial<C>(i, n - i)...); }, in),
                [&](auto const& o, auto const& v) { o.template put_partial<C>(i, n - i, v); });
    };
    if (unit) sweep.template operator()<true>();
    else sweep.template operator()<false>();
  } else {
    for (index_t i = 0; i < n; ++i)
      deliver(detail::unpack([&](auto const&... c) { return f(c.template scalar<void>(i)...); }, in),
              [&](auto const& o, auto const& v) { o.put(i, v); });
  }
}

/// The bare copy of an array.
template <class F, class In, class Out>
inline constexpr bool is_copy = false;
template <class T, int R>
inline constexpr bool is_copy<forward<arg<0, T>>, pack<array_leaf<T, R>>, pack<detail::output<T, R>>> = true;

/// Copies where another axis than the innermost is the one of unit stride in the input. False, and nothing is done, where none is.
template <class T, int Rank>
bool copy_turned(cpu_context const& ctx, joined_axes<Rank, 2> const& axes, T const* from, T* to) {
  constexpr index_t worth = 16;
  index_t const *extents = axes.extents, *in = axes.strides[0], *out = axes.strides[1];
  int const last = axes.last;
  int t = 0;
  while (t < last && !(in[t] == 1 && extents[t] >= worth)) ++t;
  if (t == last || out[last] != 1 || in[last] == 1 || extents[last] < worth) return false;

  constexpr index_t columns_each = 16 * turn_columns;
  index_t const rows = extents[last], strips = (rows + turn_rows - 1) / turn_rows,
                parts = (extents[t] + columns_each - 1) / columns_each;
  ctx.run(axes.size() / (rows * extents[t]) * strips * parts, [&](index_t task) {
    index_t const r = task % strips * turn_rows, c = task / strips % parts * columns_each;
    T const* source = from + r * in[last] + c;
    T* target = to + r + c * out[t];
    index_t left = task / (strips * parts);
    for (int a = last - 1; a >= 0; --a) {
      if (a == t) continue;
      source += left % extents[a] * in[a];
      target += left % extents[a] * out[a];
      left /= extents[a];
    }
    transpose_strip(source, in[last], std::min(turn_rows, rows - r), std::min(columns_each, extents[t] - c), target, out[t], exceeds_caches(axes.size()));
  });
  return true;
}

/// outputs = f(inputs) at every element of `shape`.
template <class F, class... In, class... Out, std::size_t Rank>
void for_each(cpu_context const& ctx, std::array<index_t, Rank> const& shape, F const& f, pack<In...> const& inputs,
              pack<Out...> const& outputs) {
  constexpr int operands = sizeof...(In) + sizeof...(Out);
  using axes_type = joined_axes<static_cast<int>(Rank), operands>;
  auto const ins = as_tuple(inputs);
  auto const outs = as_tuple(outputs);
  operand_strides<static_cast<int>(Rank), operands> strides;
  detail::unpack([&](auto const&... leaf) { (strides.note(leaf), ...); }, ins);
  detail::unpack([&](auto const&... leaf) { (strides.note(leaf), ...); }, outs);

  axes_type const axes(shape.data(), static_cast<int>(Rank), strides.at);
  index_t const total = axes.size();
  if (total == 0) return;
  if constexpr (is_copy<F, pack<In...>, pack<Out...>>) {
    auto const& [out] = outs;
    if (out.data && !out.accumulate && copy_turned(ctx, axes, std::get<0>(ins).data, out.data)) return;
  }
  index_t const inner = axes.inner();
  bool unit = true;
  for (int o = 0; o < operands; ++o) unit = unit && (!strides.is_array[o] || axes.inner_stride(o) == 1);

  bool const past = unit && stored_past_caches(total, ins, outs);
  auto const range = [&](index_t begin, index_t end) {
    while (begin < end) {
      index_t offset[operands] = {};
      axes.add_offsets(begin, offset);
      index_t const n = std::min(inner - begin % inner, end - begin);
      [&]<std::size_t... I, std::size_t... J>(std::index_sequence<I...>, std::index_sequence<J...>) {
        run_of(f, n, std::tuple(cursor(std::get<I>(ins), offset[I], axes.inner_stride(I))...),
               std::tuple(cursor(std::get<J>(outs), offset[sizeof...(I) + J], axes.inner_stride(sizeof...(I) + J), past)...), unit);
      }(std::index_sequence_for<In...>{}, std::index_sequence_for<Out...>{});
      begin += n;
    }
    if (past) stores_done();
  };
  split(ctx, total, 16384, range);
}

}  // namespace cog::cpu_detail
