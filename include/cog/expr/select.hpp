// Indexed access: take (gather of rows), add_rows (its gradient), take_along, concatenate, cumulative_sum, top_k. They run at once.
#pragma once

#include <vector>

#include <cog/expr/reduce.hpp>

namespace cog {

template <class T>
concept index_element = std::same_as<T, std::int32_t> || std::same_as<T, std::int64_t>;

namespace detail {
/// A table of anything as one row for each index: [V, D...] as [V, D]. The same storage where the table is row-major.
template <class T, int R, class B>
tensor<T, 2, B> as_rows(tensor<T, R, B> const& table) {
  if constexpr (R == 2) {
    return table;
  } else {
    index_t width = 1;
    for (std::size_t a = 1; a < R; ++a) width *= table.extents()[a];
    return reshape(table, std::array<index_t, 2>{table.extent(0), width});
  }
}
}  // namespace detail

/// Rows of a table: table [V, D...] and ids [S...] give [S..., D...]. An id outside [0, V) throws, naming it.
template <class T, int RT, class B, class I, int R>
tensor<T, R + RT - 1, B> take(tensor<T, RT, B> const& table, tensor<I, R, B> const& ids) {
  static_assert(index_element<I>, "cog: take: ids are int32 or int64");
  static_assert(RT >= 1, "cog: take: a table has at least one axis");
  detail::check_recording(table);
  extents<R + RT - 1> shape{};
  std::copy(table.extents().begin() + 1, table.extents().end(), std::copy(ids.extents().begin(), ids.extents().end(), shape.begin()));
  tensor<T, R + RT - 1, B> out(table.context(), shape);
  auto const rows = ids.contiguous();
  auto const flat = detail::as_rows(table);
  B::take_rows(table.context(), flat.view(), rows.data(), rows.size(), out.data());
  return out;
}

namespace detail {
/// The elements of x row-major and apart from `target`, which is written meanwhile.
template <class T, int R, class B, class Target>
tensor<T, R, B> contiguous_beside(Target const& target, tensor<T, R, B> const& x) {
  return x.storage_handle() == target.storage_handle() ? x.copy() : x.contiguous();
}
}  // namespace detail

/// table[ids[i]] += rows[i] for every i, in order (repeated ids add up). rows [S..., D], ids [S...].
template <class T, class B, class I, int R>
  requires index_element<I>
void add_rows(tensor<T, 2, B>& table, tensor<I, R, B> const& ids, tensor<T, R + 1, B> const& rows) {
  detail::check_distinct("add_rows", table);
  if (rows.extent(-1) != table.extent(1) || !std::equal(ids.extents().begin(), ids.extents().end(), rows.extents().begin()))
    throw error("add_rows: rows ", rows.extents(), " and ids ", ids.extents(), " for a table ", table.extents());
  auto const where = ids.contiguous();
  auto const what = detail::contiguous_beside(table, rows);
  B::add_rows(table.context(), table.view(), where.data(), where.size(), what.data());
}

/// One element of each row: x [S..., n] and ids [S...] give [S...]. Errors: other shapes, an id outside [0, n).
template <class T, int R, class B, class I>
  requires index_element<I>
tensor<T, R - 1, B> take_along(tensor<T, R, B> const& x, tensor<I, R - 1, B> const& ids) {
  extents<R - 1> lead{};
  std::copy_n(x.extents().begin(), R - 1, lead.begin());
  detail::check_recording(x);
  if (lead != ids.extents()) throw error("take_along: ids ", ids.extents(), " for rows of ", x.extents());
  tensor<T, R - 1, B> out(x.context(), lead);
  auto const rows = x.contiguous();
  auto const which = ids.contiguous();
  B::take_along(x.context(), rows.data(), rows.extent(-1), which.data(), which.size(), out.data());
  return out;
}

/// x[i, ids[i]] += values[i] for every row i, in place: the gradient of take_along. x is row-major. Errors as take_along's.
template <class T, int R, class B, class I>
  requires index_element<I>
void add_along(tensor<T, R, B>& x, tensor<I, R - 1, B> const& ids, tensor<T, R - 1, B> const& values) {
  if (!x.is_contiguous()) throw error("add_along: the target of shape ", x.extents(), " is not row-major");
  extents<R - 1> lead{};
  std::copy_n(x.extents().begin(), R - 1, lead.begin());
  if (ids.extents() != lead || values.extents() != lead)
    throw error("add_along: ids ", ids.extents(), " and values ", values.extents(), " for rows of ", x.extents());
  auto const which = ids.contiguous();
  auto const what = detail::contiguous_beside(x, values);
  B::add_along(x.context(), x.data(), x.extent(-1), which.data(), which.size(), what.data());
}

/// Tensors joined along an axis. Errors: none at all; other extents that differ.
template <class T, int R, class B>
tensor<T, R, B> concatenate(int axis, std::vector<tensor<T, R, B>> const& parts) {
  auto const a = static_cast<std::size_t>(normal_axis("concatenate", axis, R));
  if (parts.empty()) throw error("concatenate: no tensors");
  auto const& first = parts.front().extents();
  auto shape = first;
  shape[a] = 0;
  for (auto const& x : parts) {
    auto expected = x.extents();
    expected[a] = first[a];
    if (expected != first) throw error("concatenate: shapes ", first, " and ", x.extents(), " along axis ", axis);
    shape[a] += x.extents()[a];
  }
  tensor<T, R, B> out(parts.front().context(), shape);
  index_t at = 0;
  for (auto const& x : parts) {
    slice(out, axis, at, at + x.extents()[a]).assign(x);
    at += x.extents()[a];
  }
  return out;
}
template <class T, int R, class B, class... More>
tensor<T, R, B> concatenate(int axis, tensor<T, R, B> const& first, More const&... more) {
  static_assert(((More::rank == R) && ...), "cog: concatenate: tensors of different ranks");
  static_assert((std::same_as<typename More::value_type, T> && ...), "cog: concatenate: tensors of different dtypes; write cast<>");
  return concatenate(axis, std::vector<tensor<T, R, B>>{first, more...});
}

/// Running sums along an axis; row-major result. Sums are taken in compute_t.
template <class T, int R, class B>
tensor<T, R, B> cumulative_sum(tensor<T, R, B> const& x, int axis) {
  auto const a = static_cast<std::size_t>(normal_axis("cumulative_sum", axis, R));
  auto out = x.copy();
  index_t const n = out.extents()[a], inner = out.strides()[a];
  if (out.size() > 0) B::cumulative_sum(out.context(), out.data(), out.size() / (n * inner), n, inner);
  return out;
}

/// What top_k returns: [..., k] both.
template <class T, int R, class B>
struct top_k_result {
  tensor<T, R, B> values;
  tensor<std::int64_t, R, B> indices;
};
/// The k largest elements of each row, largest first; the lower index first among equals; NaN counts as largest.
/// Errors: k below 0 or above the length of a row.
template <class T, int R, class B>
top_k_result<T, R, B> top_k(tensor<T, R, B> const& x, index_t k) {
  static_assert(R >= 1);
  detail::check_recording(x);
  if (k < 0 || k > x.extent(-1)) throw error("top_k: k = ", k, " is outside [0, ", x.extent(-1), "], the rows of ", x.extents());
  auto shape = x.extents();
  shape[R - 1] = k;
  top_k_result<T, R, B> out{{x.context(), shape}, {x.context(), shape}};
  auto const rows = x.contiguous();
  if (out.values.size() > 0)
    B::top_k(x.context(), rows.data(), rows.size() / rows.extent(-1), rows.extent(-1), k, out.values.data(), out.indices.data());
  return out;
}

}  // namespace cog
