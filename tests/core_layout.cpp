// Views and shapes by brute force: every small shape, in every memory order, under every view, against plain index arithmetic.
#include "support.hpp"

#include <algorithm>
#include <optional>

using namespace test;

namespace {

template <std::size_t N>
using shape_of = std::array<index_t, N>;

/// Every shape of rank N with extents of [low, high].
template <std::size_t N, class F>
void for_each_shape(index_t low, index_t high, F&& f) {
  shape_of<N> count;
  count.fill(high - low + 1);
  for_each_index(count, [&](shape_of<N> shape) {
    for (auto& e : shape) e += low;
    f(shape);
  });
}

/// Element i of a tensor made by `numbered` is its row-major position.
template <std::size_t N>
tensor<std::int32_t, static_cast<int>(N)> numbered(shape_of<N> const& shape) {
  auto x = cog::empty<std::int32_t>(context(), shape);
  for (index_t i = 0; i < x.size(); ++i) x.data()[i] = static_cast<std::int32_t>(i);
  return x;
}

template <std::size_t N, class F>
void for_each_order(F&& f) {
  std::array<int, N> order{};
  for (std::size_t i = 0; i < N; ++i) order[i] = static_cast<int>(i);
  do f(order);
  while (std::next_permutation(order.begin(), order.end()));
}

/// Strides under which `to` shows the elements of (from, strides) in row-major order, found by trying; none if there are none.
template <std::size_t A, std::size_t N>
std::optional<shape_of<N>> strides_by_trial(shape_of<A> const& from, shape_of<A> const& strides, shape_of<N> const& to) {
  std::vector<index_t> address;
  for_each_index(from, [&](shape_of<A> const& i) {
    index_t at = 0;
    for (std::size_t a = 0; a < A; ++a) at += i[a] * strides[a];
    address.push_back(at);
  });
  shape_of<N> const flat = cog::row_major(to);
  shape_of<N> out{};
  for (std::size_t a = 0; a < N; ++a)
    if (to[a] > 1) out[a] = address[static_cast<std::size_t>(flat[a])];
  bool fits = true;
  std::size_t position = 0;
  for_each_index(to, [&](shape_of<N> const& i) {
    index_t at = 0;
    for (std::size_t a = 0; a < N; ++a) at += i[a] * out[a];
    fits = fits && at == address[position++];
  });
  return fits ? std::optional(out) : std::nullopt;
}

template <std::size_t A, std::size_t N>
void check_reshape_strides(shape_of<A> const& from, shape_of<A> const& strides, shape_of<N> const& to) {
  shape_of<N> got{};
  bool const possible = cog::detail::reshape_strides(from, strides, to, got);
  auto const want = strides_by_trial(from, strides, to);
  bool agrees = possible == want.has_value();
  if (possible && want)
    for (std::size_t a = 0; a < N; ++a) agrees = agrees && (to[a] == 1 || got[a] == (*want)[a]);
  if (!agrees) {
    CAPTURE(from, strides, to, got, possible);
    FAIL("reshape_strides");
  }
}

}  // namespace

TEST_CASE("reshape: a view exactly where strides allow one") {
  long checked = 0;
  auto const check_all = [&]<std::size_t A>(std::integral_constant<std::size_t, A>) {
    for_each_shape<A>(1, 4, [&](shape_of<A> const& memory) {
      if (cog::size_of(memory) > 48) return;
      for_each_order<A>([&](std::array<int, A> const& order) {
        for (int variant = 0; variant < 3; ++variant) {  // dense, with a margin in the last axis, first axis stretched
          shape_of<A> padded = memory;
          if (variant == 1) padded[A - 1] += 1;
          auto const dense = cog::row_major(padded);
          shape_of<A> from{}, strides{};
          for (std::size_t a = 0; a < A; ++a) {
            from[a] = memory[static_cast<std::size_t>(order[a])];
            strides[a] = dense[static_cast<std::size_t>(order[a])];
          }
          if (variant == 2) strides[0] = 0;
          index_t const n = cog::size_of(from);
          auto const targets = [&]<std::size_t N>(std::integral_constant<std::size_t, N>) {
            for_each_shape<N>(1, 12, [&](shape_of<N> const& to) {
              if (cog::size_of(to) != n) return;
              check_reshape_strides(from, strides, to);
              ++checked;
            });
          };
          targets(std::integral_constant<std::size_t, 1>{});
          targets(std::integral_constant<std::size_t, 2>{});
          targets(std::integral_constant<std::size_t, 3>{});
        }
      });
    });
  };
  check_all(std::integral_constant<std::size_t, 1>{});
  check_all(std::integral_constant<std::size_t, 2>{});
  check_all(std::integral_constant<std::size_t, 3>{});
  CHECK(checked > 10000);
  check_reshape_strides<4, 4>({2, 3, 2, 3}, {1, 2, 6, 12}, {2, 3, 3, 2});
  check_reshape_strides<4, 4>({2, 3, 2, 3}, {18, 6, 3, 1}, {3, 2, 1, 6});
}

TEST_CASE("reshape: the elements of a copy, on permuted tensors of every small shape") {
  for_each_shape<3>(0, 3, [&](shape_of<3> const& shape) {
    auto const x = numbered(shape);
    for_each_order<3>([&](std::array<int, 3> const& order) {
      auto const view = cog::permuted(x, order);
      auto const want = view.copy().to_vector();
      auto const flat = cog::flatten(view);
      REQUIRE(flat.to_vector() == want);
      auto const e = view.extents();
      REQUIRE(cog::reshape(view, {e[0] * e[1], e[2]}).to_vector() == want);
      REQUIRE(cog::reshape(view, {e[0], e[1] * e[2]}).to_vector() == want);
      REQUIRE(cog::reshape(view, {e[0], 1, e[1], e[2], 1}).to_vector() == want);
      REQUIRE(cog::reshape(view, {e[0], 1, e[1], e[2], 1}).storage_handle() == view.storage_handle());
      if (view.size() > 0) REQUIRE(cog::reshape(view, {e[0], -1}).extents() == shape_of<2>{e[0], e[1] * e[2]});
    });
  });
}

TEST_CASE("reshape: extents that do not fit") {
  auto const x = numbered<2>({2, 6});
  CHECK(cog::reshape(x, {-1}).extents() == shape_of<1>{12});
  CHECK(cog::reshape(x, {3, -1, 2}).extents() == shape_of<3>{3, 2, 2});
  CHECK_THROWS_AS(cog::reshape(x, {5, -1}), cog::error);
  CHECK_THROWS_AS(cog::reshape(x, {-1, -1}), cog::error);
  CHECK_THROWS_AS(cog::reshape(x, {-2, -6}), cog::error);
  CHECK_THROWS_AS(cog::reshape(x, {3, 5}), cog::error);
  CHECK_THROWS_AS(cog::reshape(x, {0, -1}), cog::error);
  CHECK_THROWS_AS((cog::reshape(x, std::array<index_t, 0>{})), cog::error);
  index_t const huge = index_t{1} << 32;
  CHECK_THROWS_AS(cog::reshape(x, {huge, huge}), cog::error);
  CHECK_THROWS_AS(cog::reshape(x, {huge, huge, 12}), cog::error);
  auto const none = numbered<2>({0, 6});
  CHECK(cog::reshape(none, {3, 0}).extents() == shape_of<2>{3, 0});
  CHECK_THROWS_AS(cog::reshape(none, {0, -1}), cog::error);
  auto const one = numbered<2>({1, 1});
  CHECK(cog::reshape(one, std::array<index_t, 0>{}).item() == 0);
  CHECK_THROWS_WITH(cog::reshape(x, {3, 5}), Catch::Contains("12") && Catch::Contains("[3, 5]"));
}

TEST_CASE("slice, select, permuted, transposed, squeeze, unsqueeze: the elements that index arithmetic names") {
  for_each_shape<3>(1, 4, [&](shape_of<3> const& shape) {
    auto const x = numbered(shape);
    auto const number = [&](index_t i, index_t j, index_t k) { return static_cast<std::int32_t>((i * shape[1] + j) * shape[2] + k); };
    for (int axis = 0; axis < 3; ++axis) {
      auto const a = static_cast<std::size_t>(axis);
      for (index_t begin = 0; begin <= shape[a]; ++begin)
        for (index_t end = begin; end <= shape[a]; ++end)
          for (index_t step = 1; step <= 3; ++step) {
            auto const s = cog::slice(x, axis, begin, end, step);
            index_t const n = begin < end ? 1 + (end - 1 - begin) / step : 0;
            REQUIRE(s.extent(axis) == n);
            REQUIRE(s.storage_handle() == x.storage_handle());
            for_each_index(s.extents(), [&](shape_of<3> i) {
              auto const got = s(i[0], i[1], i[2]);
              i[a] = begin + i[a] * step;
              REQUIRE(got == number(i[0], i[1], i[2]));
            });
          }
      for (index_t at = 0; at < shape[a]; ++at) {
        auto const s = cog::select(x, axis, at);
        REQUIRE(same(s, cog::select(x, axis - 3, at - shape[a])));
        for_each_index(s.extents(), [&](shape_of<2> const& i) {
          shape_of<3> full{};
          for (std::size_t to = 0, from = 0; to < 3; ++to) full[to] = to == a ? at : i[from++];
          REQUIRE(s(i[0], i[1]) == number(full[0], full[1], full[2]));
        });
      }
      auto const u = cog::unsqueeze(x, axis);
      REQUIRE(u.extent(axis) == 1);
      REQUIRE(same(cog::squeeze(u, axis), x));
      REQUIRE(u.is_contiguous());
    }
    REQUIRE(cog::unsqueeze(x, -1).extents() == shape_of<4>{shape[0], shape[1], shape[2], 1});
    auto const t = cog::transposed(x);
    auto const p = cog::permuted(x, {2, 0, 1});
    for_each_index(shape, [&](shape_of<3> const& i) {
      REQUIRE(t(i[0], i[2], i[1]) == number(i[0], i[1], i[2]));
      REQUIRE(p(i[2], i[0], i[1]) == number(i[0], i[1], i[2]));
    });
  });
}

TEST_CASE("views: what does not exist is refused, with the shape") {
  auto const x = numbered<2>({3, 4});
  CHECK_THROWS_WITH(cog::slice(x, 0, 0, 4), Catch::Contains("[3, 4]"));
  CHECK_THROWS_AS(cog::slice(x, 0, 2, 1), cog::error);
  CHECK_THROWS_AS(cog::slice(x, 0, -4, 3), cog::error);
  CHECK_THROWS_AS(cog::slice(x, 0, 0, 3, 0), cog::error);
  CHECK(cog::slice(x, 0, 1, 3, std::numeric_limits<index_t>::max()).to_vector() == std::vector<std::int32_t>{4, 5, 6, 7});
  CHECK_THROWS_AS(cog::slice(x, 0, 0, 3, -1), cog::error);
  CHECK_THROWS_AS(cog::slice(x, 2, 0, 1), cog::error);
  CHECK_THROWS_AS(cog::slice(x, -3, 0, 1), cog::error);
  CHECK(cog::slice(x, 1, -3, -1).to_vector() == std::vector<std::int32_t>{1, 2, 5, 6, 9, 10});
  CHECK_THROWS_AS(cog::select(x, 0, 3), cog::error);
  CHECK_THROWS_AS(cog::select(x, 0, -4), cog::error);
  CHECK_THROWS_AS(cog::permuted(x, {0, 0}), cog::error);
  CHECK_THROWS_AS(cog::permuted(x, {0, 2}), cog::error);
  CHECK_THROWS_AS(cog::squeeze(x, 0), cog::error);
  CHECK_THROWS_AS(cog::unsqueeze(x, 3), cog::error);
  CHECK_THROWS_AS(cog::expand(x, {3, 5}), cog::error);
  CHECK_THROWS_AS(x.extent(2), cog::error);
  CHECK_THROWS_AS(x(3, 0), cog::error);
  CHECK_THROWS_AS(x(0, -1), cog::error);
  CHECK_THROWS_AS(x.item(), cog::error);
}

TEST_CASE("expand: stretched axes repeat, nothing is copied") {
  auto const x = numbered<2>({3, 1});
  auto const e = cog::expand(x, {2, 3, 4});
  CHECK(e.storage_handle() == x.storage_handle());
  for_each_index(e.extents(), [&](shape_of<3> const& i) { CHECK(e(i[0], i[1], i[2]) == i[1]); });
  CHECK(e.copy().is_contiguous());
  CHECK(same(e.copy(), e));
  CHECK(cog::expand(numbered<1>({1}), {0}).size() == 0);
  CHECK_NOTHROW(cog::expand(cog::zeros<float>(context(), {1, 0}), {3, 0}).assign(1));  // writes nothing
  CHECK(cog::expand(cog::scalar<float>(context(), 3), {2, 2}).to_vector() == std::vector<float>{3, 3, 3, 3});
  CHECK_THROWS_WITH(e.assign(1), Catch::Contains("[2, 3, 4]") && Catch::Contains("repeats"));
  CHECK(x(2, 0) == 2);
  CHECK_NOTHROW(cog::expand(x, {1, 3, 1}).assign(7));
  CHECK(x(2, 0) == 7);
}

TEST_CASE("is_row_major: exactly the tensors whose elements follow each other") {
  for_each_shape<3>(0, 3, [&](shape_of<3> const& shape) {
    auto const x = numbered(shape);
    for_each_order<3>([&](std::array<int, 3> const& order) {
      auto const view = cog::permuted(x, order);
      bool follows = true;
      index_t position = 0;
      for_each_index(view.extents(), [&](shape_of<3> const& i) { follows = follows && view(i[0], i[1], i[2]) == position++; });
      REQUIRE(view.is_contiguous() == follows);
    });
  });
}

TEST_CASE("broadcast: shapes meet at the last axis") {
  using cog::broadcast;
  CHECK(broadcast("t", shape_of<2>{3, 1}, shape_of<1>{4}) == shape_of<2>{3, 4});
  CHECK(broadcast("t", shape_of<1>{4}, shape_of<3>{2, 1, 1}) == shape_of<3>{2, 1, 4});
  CHECK(broadcast("t", shape_of<0>{}, shape_of<2>{2, 3}) == shape_of<2>{2, 3});
  CHECK(broadcast("t", shape_of<1>{1}, shape_of<1>{0}) == shape_of<1>{0});
  CHECK_THROWS_AS(broadcast("t", shape_of<1>{2}, shape_of<1>{0}), cog::error);
  CHECK_THROWS_WITH(broadcast("add", shape_of<2>{3, 2}, shape_of<1>{4}),
                    Catch::Contains("add") && Catch::Contains("[3, 2]") && Catch::Contains("[4]"));
}
