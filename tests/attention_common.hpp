// An oracle for attention that shares nothing with the library but its tensors: double loops over what is visible.
#pragma once

#include <catch2/catch.hpp>

#include <cmath>
#include <cstring>
#include <functional>
#include <limits>
#include <random>
#include <string>
#include <vector>

#include <cog/attention/attention.hpp>
#include <cog/cog.hpp>

namespace attention_test {

using cog::cpu;
using cog::extents;
using cog::index_t;
template <class T>
using tensor4 = cog::tensor<T, 4, cpu>;

/// Which key a query sees: (b, h, i, j).
using sees_t = std::function<bool(index_t, index_t, index_t, index_t)>;
inline sees_t sees_all() {
  return [](index_t, index_t, index_t, index_t) { return true; };
}
inline sees_t sees_causal(index_t queries, index_t keys) {
  return [=](index_t, index_t, index_t i, index_t j) { return j <= i + keys - queries; };
}
inline sees_t sees_window(index_t queries, index_t keys, index_t n) {
  return [=](index_t, index_t, index_t i, index_t j) { return j <= i + keys - queries && j > i + keys - queries - n; };
}

enum class kind { cog, softmax };
template <class Rule>
constexpr kind kind_of = std::is_same_v<Rule, cog::cog_rule> ? kind::cog : kind::softmax;

struct reference {
  std::vector<double> out, logsumexp, weights, dq, dk, dv;
};

/// Sections 2, 3 and 5 of the definition, entry by entry.
template <class T>
reference attend(kind rule, tensor4<T> const& q, tensor4<T> const& k, tensor4<T> const& v, tensor4<T> const& dout,
                 sees_t const& sees, double scale) {
  auto const [B, H, N, D] = q.extents();
  index_t const G = k.extents()[1], M = k.extents()[2], E = v.extents()[3];
  auto const value = [](tensor4<T> const& x, index_t a, index_t b, index_t c, index_t d) {
    return static_cast<double>(static_cast<cog::compute_t<T>>(x(a, b, c, d)));
  };
  auto const zeros = [](index_t n) { return std::vector<double>(static_cast<std::size_t>(n), 0.0); };
  auto const at = [](std::vector<double>& x, index_t i) -> double& { return x[static_cast<std::size_t>(i)]; };
  reference r{zeros(B * H * N * E), zeros(B * H * N),     zeros(B * H * N * M),
              zeros(B * H * N * D), zeros(B * G * M * D), zeros(B * G * M * E)};
  for (index_t b = 0; b < B; ++b)
    for (index_t h = 0; h < H; ++h)
      for (index_t i = 0; i < N; ++i) {
        index_t const g = h / (H / G), row = (b * H + h) * N + i;
        std::vector<index_t> keys;
        std::vector<double> s, p;
        double top = -std::numeric_limits<double>::infinity();
        for (index_t j = 0; j < M; ++j) {
          if (!sees(b, h, i, j)) continue;
          double dot = 0;
          for (index_t d = 0; d < D; ++d) dot += value(q, b, h, i, d) * value(k, b, g, j, d);
          keys.push_back(j);
          s.push_back(scale * dot);
          top = std::max(top, rule == kind::cog ? std::fabs(s.back()) : s.back());
        }
        double total = 0;
        for (double x : s) total += std::exp((rule == kind::cog ? std::fabs(x) : x) - top);
        at(r.logsumexp, row) = keys.empty() ? top : top + std::log(total);
        double mean = 0;
        std::vector<double> sign, score_gradient;
        for (std::size_t n = 0; n < keys.size(); ++n) {
          p.push_back(std::exp((rule == kind::cog ? std::fabs(s[n]) : s[n]) - top) / total);
          sign.push_back(rule == kind::softmax || s[n] > 0 ? 1.0 : s[n] < 0 ? -1.0 : s[n] == 0 ? 0.0 : s[n]);
          at(r.weights, row * M + keys[n]) = sign[n] * p[n];
          double gradient = 0;
          for (index_t e = 0; e < E; ++e) {
            at(r.out, row * E + e) += sign[n] * p[n] * value(v, b, g, keys[n], e);
            gradient += value(dout, b, h, i, e) * value(v, b, g, keys[n], e);
            at(r.dv, ((b * G + g) * M + keys[n]) * E + e) += sign[n] * p[n] * value(dout, b, h, i, e);
          }
          score_gradient.push_back(gradient);
        }
        for (index_t e = 0; e < E; ++e) mean += value(dout, b, h, i, e) * at(r.out, row * E + e);
        for (std::size_t n = 0; n < keys.size(); ++n) {
          double const ds = sign[n] * p[n] * (sign[n] * score_gradient[n] - mean);
          for (index_t d = 0; d < D; ++d) {
            at(r.dq, row * D + d) += scale * ds * value(k, b, g, keys[n], d);
            at(r.dk, ((b * G + g) * M + keys[n]) * D + d) += scale * ds * value(q, b, h, i, d);
          }
        }
      }
  return r;
}

/// max |x - y| relative to max |y|. NaN and infinity must stand in the same places; if not, infinity.
template <class X, class Y>
double distance(X const& x, Y const& y) {
  double worst = 0, scale = 0;
  if (x.size() != y.size()) return std::numeric_limits<double>::infinity();
  for (std::size_t i = 0; i < x.size(); ++i) {
    double const a = static_cast<double>(static_cast<cog::compute_t<typename X::value_type>>(x[i]));
    double const b = static_cast<double>(static_cast<cog::compute_t<typename Y::value_type>>(y[i]));
    if (std::isfinite(a) && std::isfinite(b)) {
      worst = std::max(worst, std::fabs(a - b));
      scale = std::max(scale, std::fabs(b));
    } else if (!(std::isnan(a) && std::isnan(b)) && !(a == b)) {
      return std::numeric_limits<double>::infinity();
    }
  }
  return scale > 0 ? worst / scale : worst;
}
template <class T, int R, class Y>
double distance(cog::tensor<T, R, cpu> const& x, Y const& y) {
  return distance(x.to_vector(), y);
}

template <class T>
tensor4<T> normal(cog::cpu_context const& ctx, extents<4> const& shape, unsigned seed, double deviation = 1) {
  std::mt19937 bits(seed);
  std::normal_distribution<double> draw(0, deviation);
  tensor4<T> out(ctx, shape);
  for (index_t i = 0; i < out.size(); ++i) out.data()[i] = static_cast<T>(draw(bits));
  return out;
}

/// q, k, v and the gradient of out.
template <class T>
struct problem {
  tensor4<T> q, k, v, dout;
  problem(cog::cpu_context const& ctx, index_t B, index_t H, index_t G, index_t N, index_t M, index_t D, index_t E,
          unsigned seed = 1)
      : q(normal<T>(ctx, {B, H, N, D}, seed)),
        k(normal<T>(ctx, {B, G, M, D}, seed + 1)),
        v(normal<T>(ctx, {B, G, M, E}, seed + 2)),
        dout(normal<T>(ctx, {B, H, N, E}, seed + 3)) {}
  double scale() const { return q.extents()[3] > 0 ? 1 / std::sqrt(static_cast<double>(q.extents()[3])) : 1; }
};

template <class T>
constexpr double tolerance = std::is_same_v<T, double>      ? 1e-11
                             : std::is_same_v<T, float>     ? 2e-5
                             : std::is_same_v<T, cog::half> ? 1e-3
                                                            : 8e-3;

/// The fused forward and backward against the oracle.
template <class Rule, class T, class Mask>
void check(problem<T> const& x, Mask const& mask, sees_t const& sees, double bound = tolerance<T>) {
  auto const r = attend(kind_of<Rule>, x.q, x.k, x.v, x.dout, sees, x.scale());
  auto const f = cog::attention_forward<Rule>(x.q, x.k, x.v, mask);
  INFO(Rule::name << ", " << cog::name(cog::dtype_of<T>) << ", q " << x.q.extents()[0] << ' ' << x.q.extents()[1] << ' '
                  << x.q.extents()[2] << ' ' << x.q.extents()[3] << ", k " << x.k.extents()[1] << ' '
                  << x.k.extents()[2] << ", value width " << x.v.extents()[3]);
  CHECK(distance(f.out, r.out) <= bound);
  CHECK(distance(f.logsumexp, r.logsumexp) <= std::min(bound, 2e-5));
  auto const d = cog::attention_backward<Rule>(x.q, x.k, x.v, f.out, f.logsumexp, x.dout, mask);
  CHECK(distance(d.dq, r.dq) <= bound);
  CHECK(distance(d.dk, r.dk) <= bound);
  CHECK(distance(d.dv, r.dv) <= bound);
}
template <class T, class Mask>
void check_both(problem<T> const& x, Mask const& mask, sees_t const& sees, double bound = tolerance<T>) {
  check<cog::cog_rule>(x, mask, sees, bound);
  check<cog::softmax_rule>(x, mask, sees, bound);
}

template <class T, int R>
bool same_bits(cog::tensor<T, R, cpu> const& a, cog::tensor<T, R, cpu> const& b) {
  auto const x = a.contiguous(), y = b.contiguous();
  return a.extents() == b.extents() &&
         (a.size() == 0 || std::memcmp(x.data(), y.data(), static_cast<std::size_t>(a.size()) * sizeof(T)) == 0);
}

template <class F>
std::string message_of(F const& f) {
  try {
    f();
  } catch (cog::error const& e) {
    return e.what();
  }
  return "no error";
}

}  // namespace attention_test
