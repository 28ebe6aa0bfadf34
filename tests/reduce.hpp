// Reductions against a loop in double over the elements that each result is made of. Included by one source file a group of
// dtypes, so that each compiles quickly.
#pragma once

#include "support.hpp"

#include <algorithm>
#include <map>

namespace reductions {

using namespace test;

/// The elements behind each result of a reduction over `reduced`, in row-major order.
template <class T, int R, std::size_t K>
std::vector<std::vector<double>> groups(tensor<T, R> const& x, std::array<int, K> const& reduced) {
  std::array<bool, static_cast<std::size_t>(R)> drop{};
  for (int a : reduced) drop[static_cast<std::size_t>(a < 0 ? a + R : a)] = true;
  index_t count = 1;
  for (std::size_t a = 0; a < R; ++a)
    if (!drop[a]) count *= x.extents()[a];
  std::vector<std::vector<double>> out(static_cast<std::size_t>(count));
  for_each_index(x.extents(), [&](auto const& i) {
    index_t at = 0;
    for (std::size_t a = 0; a < R; ++a)
      if (!drop[a]) at = at * x.extents()[a] + i[a];
    out[static_cast<std::size_t>(at)].push_back(widen(test::at(x, i)));
  });
  return out;
}

inline double sum(std::vector<double> const& v) {
  long double s = 0;  // so that it can judge sums of doubles
  for (double x : v) s += x;
  return static_cast<double>(s);
}
/// What the error of a sum is measured against: it grows with the number of terms that follow each other.
inline double magnitude(std::vector<double> const& v) {
  double s = 0;
  for (double x : v) s += std::abs(x);
  return s * (1 + static_cast<double>(v.size()) / 50);
}
inline double mean(std::vector<double> const& v) { return sum(v) / static_cast<double>(v.size()); }
inline double product(std::vector<double> const& v) {
  double p = 1;
  for (double x : v) p *= x;
  return p;
}
/// The position of the first NaN, else of the first element that none is `better` than.
template <class Better>
std::size_t position(std::vector<double> const& v, Better better) {
  std::size_t best = 0;
  for (std::size_t i = 1; i < v.size(); ++i)
    if (!std::isnan(v[best]) && (std::isnan(v[i]) || better(v[i], v[best]))) best = i;
  return best;
}
inline std::size_t argmax(std::vector<double> const& v) { return position(v, std::greater<>()); }
inline std::size_t argmin(std::vector<double> const& v) { return position(v, std::less<>()); }
inline double max(std::vector<double> const& v) { return v[argmax(v)]; }
inline double min(std::vector<double> const& v) { return v[argmin(v)]; }
inline double logsumexp(std::vector<double> const& v) {
  double const m = v.empty() ? -INFINITY : max(v);
  if (std::isinf(m) || std::isnan(m)) return m;
  long double s = 0;
  for (double x : v) s += std::exp(x - m);
  return m + std::log(static_cast<double>(s));
}
inline double variance(std::vector<double> const& v) {
  double const m = mean(v);
  long double s = 0;
  for (double x : v) s += (x - m) * (x - m);
  return static_cast<double>(s) / static_cast<double>(v.size());
}

/// got holds, in row-major order, what `of` makes of each group; the error may be `relative` to the result and to `scale`.
template <class G, class Of, class Scale>
void check(char const* what, G const& got, std::vector<std::vector<double>> const& want, Of of, double relative, Scale scale) {
  auto const flat = cog::flatten(got);
  REQUIRE(flat.size() == static_cast<index_t>(want.size()));
  for (std::size_t i = 0; i < want.size(); ++i) {
    double const expected = static_cast<double>(of(want[i]));
    double const found = widen(flat(static_cast<index_t>(i)));
    if (!near(found, expected, relative, relative * scale(want[i]))) {
      CAPTURE(what, got.extents(), i, want[i].size(), found, expected);
      FAIL("reduction");
    }
  }
}

/// Every reduction of x over A...
template <int... A, class T, int R>
void check_all(tensor<T, R> const& x) {
  std::array<int, sizeof...(A)> const reduced{A...};
  cog::axes<A...> const over;
  auto const g = groups(x, reduced);
  bool const empty = x.size() == 0 && !g.empty();
  double const tight = 4 * epsilon<cog::compute_t<T>> + (cog::reduced_float<T> ? 0.501 * epsilon<T> : 0);
  auto const none = [](auto const&) { return 0.0; };
  auto const one = [](auto const&) { return 1.0; };

  if constexpr (cog::floating<T>) {
    check("sum", cog::sum(x, over), g, sum, tight, magnitude);
    check("mean", cog::mean(x, over), g, mean, tight, [](auto const& v) { return v.empty() ? 0 : magnitude(v) / static_cast<double>(v.size()); });
    check("logsumexp", cog::logsumexp(x, over), g, logsumexp, 2 * tight, one);
    check("variance", cog::variance(x, over), g, variance, 4 * tight, [](auto const& v) { return v.empty() ? 0 : max(v) * max(v) / 4; });
    if (g.empty() || g[0].size() <= 40)  // longer ones leave the range of float
      check("product", cog::product(x, over), g, product, 8 * tight, [](auto const&) { return 1e-20; });
  } else {
    static_assert(std::same_as<typename decltype(cog::sum(x, over))::value_type, std::int64_t>);
    check("sum", cog::sum(x, over), g, sum, 0, none);
  }
  if (empty) {
    CHECK_THROWS_AS(cog::max(x, over), cog::error);
    CHECK_THROWS_AS(cog::argmin(x, over), cog::error);
  } else if constexpr (!std::same_as<T, bool>) {
    check("max", cog::max(x, over), g, max, 0, none);
    check("min", cog::min(x, over), g, min, 0, none);
    check("argmax", cog::argmax(x, over), g, argmax, 0, none);
    check("argmin", cog::argmin(x, over), g, argmin, 0, none);
  }
}

/// Every set of axes of rank 3, shapes short and long, in any memory order; sometimes with NaNs and infinities in it.
template <class T>
void check_rank3(int trials) {
  generator random(1);
  for (int trial = 0; trial < trials; ++trial) {
    std::array<index_t, 3> shape{};
    for (auto& e : shape) e = random() % 15 == 0 ? 0 : random() % 3 ? uniform(random, 1, 6) : uniform(random, 7, 70);
    auto x = strided<T>(random, shape, -2, 2);
    if (trial % 5 == 0) x = cog::expand(strided<T>(random, {1, shape[1], shape[2]}), shape);
    if constexpr (cog::floating<T>) {
      if (trial % 7 == 0 && x.size() > 0) {
        double const odd[] = {NAN, INFINITY, -INFINITY};
        for (int k = 0; k < 2; ++k) {
          std::array<index_t, 3> i{};
          for (std::size_t a = 0; a < 3; ++a) i[a] = uniform(random, 0, shape[a] - 1);
          x(i[0], i[1], i[2]) = narrow<T>(odd[random() % 3]);
        }
      }
    }
    check_all<0>(x);
    check_all<1>(x);
    check_all<-1>(x);
    check_all<0, 1>(x);
    check_all<2, 0>(x);
    check_all<1, 2>(x);
    check_all<0, 1, 2>(x);
    check_all<>(x);
  }
}

}  // namespace reductions
