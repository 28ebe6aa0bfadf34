// What the tests against golden files share.
#pragma once

#include "nn_common.hpp"
#include "part_of_file.hpp"

namespace nn_test {

inline cog::cpu::context const on_two{{.threads = 2}};

/// |a - b| / |b| in the Euclidean norm.
template <class A, class B>
double relative_l2(A const& a, B const& b) {
  auto const x = cog::eval(cog::cast<double>(a)), y = cog::eval(cog::cast<double>(b));
  return std::sqrt(cog::sum(cog::square(x - y)).item() / cog::sum(cog::square(y)).item());
}

}  // namespace nn_test
