#pragma once
#include <cog/core/math.hpp>
#include <limits>
namespace cog {

/// How two partial results over disjoint sets of keys join: out = first * out_1 + second * out_2.
template <class C>
struct merge_weights {
  C first, second, logsumexp;
};

/// From the two logsumexp. -inf is the empty set, the identity.
template <class C>
COG_HD merge_weights<C> merge_shares(C a, C b) {
  C const top = a > b ? a : b;
  if (a == b && top == -std::numeric_limits<C>::infinity()) return {C(0), C(0), top};
  C const x = math::exp(a - top), y = math::exp(b - top);
  return {x / (x + y), y / (x + y), top + math::log(x + y)};
}
}
