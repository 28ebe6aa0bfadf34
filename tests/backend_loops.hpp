// A whole backend in plain loops, on one thread: a place to start from (docs/extending.md), and the oracle of conformance.hpp.
// It has no attention kernels, so the composed form runs.
#pragma once

#include <algorithm>
#include <cstdlib>
#include <vector>

#include <cog/expr/contract.hpp>
#include <cog/expr/rowwise.hpp>

namespace cog {

struct loops;
struct loops_context {
  using backend_type = loops;
};

struct loops {
  using context = loops_context;
  static constexpr std::string_view name = "loops";
  static constexpr bool host_accessible = true;  // the host may dereference pointers: t(i, j) works

  // ---- memory: aligned to 64 bytes
  static void* allocate(context const&, std::size_t bytes) {
    void* p = std::aligned_alloc(64, (bytes + 64) / 64 * 64);
    if (!p) throw error("out of memory: ", bytes, " bytes wanted");
    return p;
  }
  static void deallocate(context const&, void* p, std::size_t) noexcept { std::free(p); }
  static void copy_from_host(context const&, void* to, void const* host, std::size_t bytes) {
    std::copy_n(static_cast<char const*>(host), bytes, static_cast<char*>(to));
  }
  static void copy_to_host(context const&, void* host, void const* from, std::size_t bytes) {
    std::copy_n(static_cast<char const*>(from), bytes, static_cast<char*>(host));
  }
  static void synchronize(context const&) {}
  template <class T>
  static void fill(context const&, T* data, index_t n, T value) {
    std::fill_n(data, n, value);
  }

  // ---- a leaf's value, and where a result goes, at one index of the kernel's shape
  template <std::size_t R>
  static index_t offset(std::array<index_t, R> const& at, index_t const* strides) {
    index_t sum = 0;
    for (std::size_t a = 0; a != R; ++a) sum += at[a] * strides[a];
    return sum;
  }
  template <class T, int R, std::size_t N>
  static auto value(array_leaf<T, R> const& leaf, std::array<index_t, N> const& at) {
    return static_cast<compute_t<T>>(leaf.data[offset(at, leaf.strides)]);
  }
  template <class T, std::size_t N>
  static auto value(constant_leaf<T> const& leaf, std::array<index_t, N> const&) {
    return leaf.value;
  }
  template <int R, std::size_t N>
  static std::int64_t value(position_leaf<R> const& leaf, std::array<index_t, N> const& at) {
    return offset(at, leaf.strides);
  }

  template <class T, int R, std::size_t N, class V>
  static void put(detail::output<T, R> const& out, std::array<index_t, N> const& at, V v) {
    if (!out.data) return;
    T& to = out.data[offset(at, out.strides)];
    if constexpr (floating<T>) to = T(out.accumulate ? static_cast<compute_t<T>>(to) + v : v);
    else to = static_cast<T>(v);
  }
  template <std::size_t N, class V>
  static void put(detail::no_output, std::array<index_t, N> const&, V const&) {}

  // ---- every index of a shape; f of a pack of leaves; the results of f one by one, f(number, value)
  template <std::size_t R, class F>
  static void each(std::array<index_t, R> const& shape, F const& f) {
    std::array<index_t, R> at{};
    for (index_t n = size_of(shape); n > 0; --n) {
      f(at);
      for (std::size_t a = R; a-- > 0 && ++at[a] == shape[a];) at[a] = 0;
    }
  }
  template <class F, class... Leaf, std::size_t R>
  static auto call(F const& f, pack<Leaf...> const& leaves, std::array<index_t, R> const& at) {
    return [&]<int... I>(std::integer_sequence<int, I...>) {
      return f(value(get<I>(leaves), at)...);
    }(std::make_integer_sequence<int, sizeof...(Leaf)>{});
  }
  template <class V, class F>
  static void unpack(V const& v, F const& f) {
    f(std::integral_constant<int, 0>{}, v);
  }
  template <class... V, class F>
  static void unpack(pack<V...> const& v, F const& f) {
    [&]<int... I>(std::integer_sequence<int, I...>) {
      (f(std::integral_constant<int, I>{}, get<I>(v)), ...);
    }(std::make_integer_sequence<int, sizeof...(V)>{});
  }

  // ---- kernels
  template <class F, class In, class Out, std::size_t R>
  static void for_each(context const&, std::array<index_t, R> const& shape, F const& f, In const& in, Out const& out) {
    each(shape, [&](auto const& at) {
      unpack(call(f, in, at), [&](auto i, auto const& v) { put(get<i>(out), at, v); });
    });
  }

  template <class R, class F, class In, class T, std::size_t N>
  static void reduce(context const&, F const& f, std::array<index_t, N> const& shape, int kept, In const& in, T* out) {
    constexpr bool positional = requires { R::positional; };
    using C = std::conditional_t<positional, compute_t<typename F::value_type>, compute_t<T>>;
    index_t outputs = 1;
    for (int a = 0; a < kept; ++a) outputs *= shape[static_cast<std::size_t>(a)];
    if (outputs == 0) return;
    std::vector<typename R::template state<C>> states(static_cast<std::size_t>(outputs));
    index_t const length = size_of(shape) / outputs;
    index_t i = 0;
    each(shape, [&](auto const& at) {
      auto& state = states[static_cast<std::size_t>(i / length)];
      C const x = static_cast<C>(call(f, in, at));
      if constexpr (positional) R::push(state, x, i % length);
      else R::push(state, x);
      ++i;
    });
    for (auto const& s : states) *out++ = T(R::finish(s, length));
  }

  /// Calls row(r, statistics) for every row r, then element(i, statistics, x...) for its elements.
  template <class C, class Op, class... Input, std::size_t N, class Row, class Element>
  static void rows(Op const& op, std::array<index_t, N> const& shape, pack<Input...> const& in, Row const& row,
                   Element const& element) {
    auto lead = shape;
    lead[N - 1] = 1;
    index_t r = 0;
    each(lead, [&](auto at) {
      index_t const n = shape[N - 1];
      auto const along = [&](auto const& f) {
        [&]<int... I>(std::integer_sequence<int, I...>) {
          for (at[N - 1] = 0; at[N - 1] < n; ++at[N - 1]) f(static_cast<C>(call(get<I>(in).f, get<I>(in).leaves, at))...);
        }(std::make_integer_sequence<int, sizeof...(Input)>{});
      };
      C stats[Op::statistics];
      auto const statistic = [&]<int K>(std::integral_constant<int, K>) {
        constexpr bool adds = row_kind_of<Op, K> == row_kind::sum;
        C total = adds ? C(0) : -math::infinity<C>;
        along([&](auto... x) {
          C const term = op.template term<K>(stats, x...);
          total = adds ? total + term : math::max(total, term);
        });
        stats[K] = op.template finish<K>(total, n);
      };
      [&]<int... K>(std::integer_sequence<int, K...>) {
        (statistic(std::integral_constant<int, K>{}), ...);
      }(std::make_integer_sequence<int, Op::statistics>{});
      row(r, stats);
      index_t i = r++ * n;
      along([&](auto... x) { element(i++, stats, x...); });
    });
  }
  template <class Op, class In, std::size_t N, class T, class... More>
  static void rowwise(context const&, Op const& op, std::array<index_t, N> const& shape, In const& in, pack<T*, More...> const& out) {
    using C = compute_t<T>;
    rows<C>(op, shape, in, [](auto&&...) {}, [&](index_t i, C const* stats, auto... x) {
      unpack(op.map(stats, x...), [&](auto k, C v) { get<k>(out)[i] = T(v); });
    });
  }
  template <class Op, class In, class T, std::size_t N>
  static void row_reduce(context const&, Op const& op, std::array<index_t, N> const& shape, In const& in, T* out) {
    using C = compute_t<T>;
    rows<C>(op, shape, in, [&](index_t r, C const* stats) { out[r] = T(op.result(stats)); }, [](auto&&...) {});
  }

  template <class Activation, class T>
  static void gemm(context const&, gemm_arguments<T> const& g) {
    using C = compute_t<T>;
    each(g.c.extents, [&](auto const& at) {
      auto const [b0, b1, m, n] = at;
      C sum = 0;
      for (index_t k = 0; k < g.a.extents[3]; ++k)
        sum += static_cast<C>(g.a(b0, b1, m, k)) * static_cast<C>(g.b(b0, b1, k, n));
      T& to = g.c(b0, b1, m, n);
      sum *= C(g.alpha);
      if (g.beta != 0) sum += C(g.beta) * static_cast<C>(to);
      if (g.bias) sum += static_cast<C>(g.bias[n]);
      to = T(Activation::apply(sum));
    });
  }

  // ---- indexed access
  template <class I>
  static index_t checked(I id, index_t limit) {
    if (id < 0 || id >= limit) throw error("index ", id, " is outside [0, ", limit, ")");
    return id;
  }
  template <class T>
  static void add(T& to, T x) { to = T(static_cast<compute_t<T>>(to) + static_cast<compute_t<T>>(x)); }
  template <class T, class I>
  static void take_rows(context const&, view<T const, 2> table, I const* ids, index_t count, T* out) {
    for (index_t i = 0; i < count; ++i)
      for (index_t c = 0; c < table.extents[1]; ++c) *out++ = table(checked(ids[i], table.extents[0]), c);
  }
  template <class T, class I>
  static void add_rows(context const&, view<T, 2> table, I const* ids, index_t count, T const* rows) {
    for (index_t i = 0; i < count; ++i)
      for (index_t c = 0; c < table.extents[1]; ++c) add(table(checked(ids[i], table.extents[0]), c), *rows++);
  }
  template <class T, class I>
  static void take_along(context const&, T const* rows, index_t n, I const* ids, index_t count, T* out) {
    for (index_t i = 0; i < count; ++i) out[i] = rows[i * n + checked(ids[i], n)];
  }
  template <class T, class I>
  static void add_along(context const&, T* rows, index_t n, I const* ids, index_t count, T const* values) {
    for (index_t i = 0; i < count; ++i) add(rows[i * n + checked(ids[i], n)], values[i]);
  }
  template <class T>
  static void cumulative_sum(context const&, T* data, index_t outer, index_t n, index_t inner) {  // in place, [outer, n, inner]
    for (index_t line = 0; line < outer * inner; ++line) {
      T* p = data + line / inner * n * inner + line % inner;
      compute_t<T> sum{};
      for (index_t i = 0; i < n; ++i, p += inner) *p = T(sum += static_cast<compute_t<T>>(*p));
    }
  }
  template <class T>
  static void top_k(context const&, T const* data, index_t rows, index_t n, index_t k, T* values, std::int64_t* indices) {
    std::vector<std::int64_t> order(static_cast<std::size_t>(n));
    for (index_t r = 0; r < rows; ++r, data += n) {
      for (index_t i = 0; i < n; ++i) order[static_cast<std::size_t>(i)] = i;
      std::stable_sort(order.begin(), order.end(), [&](auto i, auto j) {  // NaN first, then larger ones
        auto const a = static_cast<compute_t<T>>(data[i]), b = static_cast<compute_t<T>>(data[j]);
        return (a != a && b == b) || a > b;
      });
      for (index_t i = 0; i < k; ++i) {
        *indices++ = order[static_cast<std::size_t>(i)];
        *values++ = data[order[static_cast<std::size_t>(i)]];
      }
    }
  }
};
static_assert(backend<loops>);

}  // namespace cog
