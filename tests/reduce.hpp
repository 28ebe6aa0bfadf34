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
/// What the error of a sum is measured against: it grows with the number of terms that follow each other, 512 at most.
inline double magnitude(std::vector<double> const& v) {
  double s = 0;
  for (double x : v) s += std::abs(x);
  return s * (1 + std::min(static_cast<double>(v.size()), 512.0) / 50);
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
inline double argmax(std::vector<double> const& v) { return static_cast<double>(position(v, std::greater<>())); }
inline double argmin(std::vector<double> const& v) { return static_cast<double>(position(v, std::less<>())); }
inline double max(std::vector<double> const& v) { return v[position(v, std::greater<>())]; }
inline double min(std::vector<double> const& v) { return v[position(v, std::less<>())]; }
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

using group = std::vector<double>;
using of_group = double (*)(group const&);

template <class T, int R>
group list(tensor<T, R> const& x) {
  group out;
  for_each_index(x.extents(), [&](auto const& i) { out.push_back(widen(at(x, i))); });
  return out;
}

/// got holds, in row-major order, what `of` makes of each group; the error may be `relative` to the result and to `scale`.
inline void check(char const* what, group const& got, std::vector<group> const& want, of_group of, double relative, of_group scale) {
  REQUIRE(got.size() == want.size());
  for (std::size_t i = 0; i < want.size(); ++i) {
    double const expected = of(want[i]);
    if (!near(got[i], expected, relative, relative * scale(want[i]))) {
      CAPTURE(what, i, want.size(), want[i].size(), got[i], expected);
      FAIL("reduction");
    }
  }
}

/// Every reduction of x over A...
template <int... A, class T, int R>
void check_all(tensor<T, R> const& x) {
  cog::axes<A...> const over;
  auto const g = groups(x, std::array<int, sizeof...(A)>{A...});
  double const tight = 4 * epsilon<cog::compute_t<T>> + (cog::reduced_float<T> ? 0.501 * epsilon<T> : 0);
  of_group const none = [](group const&) { return 0.0; };
  of_group const one = [](group const&) { return 1.0; };
  of_group const average = [](group const& v) { return v.empty() ? 0 : magnitude(v) / static_cast<double>(v.size()); };
  of_group const square = [](group const& v) { return v.empty() ? 0 : max(v) * max(v) / 4; };

  if constexpr (cog::floating<T>) {
    check("sum", list(cog::sum(x, over)), g, sum, tight, magnitude);
    check("mean", list(cog::mean(x, over)), g, mean, tight, average);
    check("logsumexp", list(cog::logsumexp(x, over)), g, logsumexp, 2 * tight, one);
    check("variance", list(cog::variance(x, over)), g, variance, 4 * tight, square);
    if (g.empty() || g[0].size() <= 40)  // longer ones leave the range of float
      check("product", list(cog::product(x, over)), g, product, 8 * tight, [](group const&) { return 1e-20; });
  } else {
    static_assert(std::same_as<typename decltype(cog::sum(x, over))::value_type, std::int64_t>);
    check("sum", list(cog::sum(x, over)), g, sum, 0, none);
  }
  if (x.size() == 0 && !g.empty()) {
    CHECK_THROWS_AS(cog::max(x, over), cog::error);
    CHECK_THROWS_AS(cog::argmin(x, over), cog::error);
  } else if constexpr (!std::same_as<T, bool>) {
    check("max", list(cog::max(x, over)), g, max, 0, none);
    check("min", list(cog::min(x, over)), g, min, 0, none);
    check("argmax", list(cog::argmax(x, over)), g, argmax, 0, none);
    check("argmin", list(cog::argmin(x, over)), g, argmin, 0, none);
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
