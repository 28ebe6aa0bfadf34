// Indexed access on the CPU. Every index is checked before anything is written.
#pragma once

#include <algorithm>
#include <numeric>

#include <cog/backend/cpu/elementwise.hpp>

namespace cog::cpu_detail {

template <class I>
void check_ids(char const* operation, I const* ids, index_t count, index_t limit) {
  for (index_t i = 0; i < count; ++i)
    if (ids[i] < 0 || ids[i] >= limit)
      throw error(operation, ": index ", ids[i], " at position ", i, " is outside [0, ", limit, ")");
}

template <class T, class I>
void take_rows(cpu_context const& ctx, view<T const, 2> table, I const* ids, index_t count, T* out) {
  check_ids("take", ids, count, table.extents[0]);
  index_t const d = table.extents[1];
  split(ctx, count, std::max<index_t>(1, 16384 / std::max<index_t>(1, d)), [&](index_t begin, index_t end) {
    for (index_t i = begin; i < end; ++i) {
      T const* const row = table.data + ids[i] * table.strides[0];
      if (table.strides[1] == 1) std::copy_n(row, d, out + i * d);
      else for (index_t c = 0; c < d; ++c) out[i * d + c] = row[c * table.strides[1]];
    }
  });
}

/// Threads own column ranges, so that repeated ids need no atomics and the order of sums is fixed.
template <class T, class I>
void add_rows(cpu_context const& ctx, view<T, 2> table, I const* ids, index_t count, T const* rows) {
  check_ids("add_rows", ids, count, table.extents[0]);
  index_t const d = table.extents[1];
  split(ctx, d, std::max<index_t>(16, 16384 / std::max<index_t>(1, count)), [&](index_t begin, index_t end) {
    for (index_t i = 0; i < count; ++i) {
      T* const to = table.data + ids[i] * table.strides[0];
      for (index_t c = begin; c < end; ++c) {
        T& sum = to[c * table.strides[1]];
        sum = T(static_cast<compute_t<T>>(sum) + static_cast<compute_t<T>>(rows[i * d + c]));
      }
    }
  });
}

template <class T, class I>
void take_along(cpu_context const&, T const* rows, index_t n, I const* ids, index_t count, T* out) {
  check_ids("take_along", ids, count, n);
  for (index_t i = 0; i < count; ++i) out[i] = rows[i * n + ids[i]];
}

template <class T, class I>
void add_along(cpu_context const&, T* rows, index_t n, I const* ids, index_t count, T const* values) {
  check_ids("add_along", ids, count, n);
  for (index_t i = 0; i < count; ++i) {
    T& sum = rows[i * n + ids[i]];
    sum = T(static_cast<compute_t<T>>(sum) + static_cast<compute_t<T>>(values[i]));
  }
}

/// Running sums of n elements `inner` apart, in place.
template <class T>
void cumulative_sum(cpu_context const& ctx, T* data, index_t outer, index_t n, index_t inner) {
  split(ctx, outer * inner, std::max<index_t>(1, 16384 / n), [&](index_t begin, index_t end) {
    for (index_t line = begin; line < end; ++line) {
      T* const p = data + line / inner * n * inner + line % inner;
      compute_t<T> sum{};
      for (index_t i = 0; i < n; ++i) p[i * inner] = T(sum = static_cast<compute_t<T>>(sum + static_cast<compute_t<T>>(p[i * inner])));
    }
  });
}

template <class T>
void top_k(cpu_context const& ctx, T const* data, index_t rows, index_t n, index_t k, T* values, std::int64_t* indices) {
  split(ctx, rows, std::max<index_t>(1, 16384 / n), [&](index_t begin, index_t end) {
    std::vector<std::int64_t> order(static_cast<std::size_t>(n));
    for (index_t r = begin; r < end; ++r) {
      T const* const row = data + r * n;
      std::iota(order.begin(), order.end(), std::int64_t{0});
      std::partial_sort(order.begin(), order.begin() + k, order.end(), [row](std::int64_t i, std::int64_t j) {
        auto const a = static_cast<compute_t<T>>(row[i]), b = static_cast<compute_t<T>>(row[j]);
        bool const a_nan = a != a, b_nan = b != b;
        if (a_nan || b_nan) return a_nan && (!b_nan || i < j);
        return a > b || (a == b && i < j);
      });
      for (index_t i = 0; i < k; ++i) {
        indices[r * k + i] = order[static_cast<std::size_t>(i)];
        values[r * k + i] = row[order[static_cast<std::size_t>(i)]];
      }
    }
  });
}

}  // namespace cog::cpu_detail
