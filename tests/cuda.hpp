// For tests of the GPU backend. The same sources are compiled twice: for the emulated GPU (tests/emulated_gpu), where they run
// anywhere, and by nvcc, where they need a device and say so if there is none.
#pragma once

#include <catch2/catch.hpp>

#include <cog/cuda.hpp>

/// One context for the tests of a program; made when first asked for.
inline cog::cuda::context const& gpu() {
  static auto const& ctx = *new cog::cuda::context();  // the runtime may be gone before static objects are
  return ctx;
}

/// f() once, and on the emulated GPU again with its threads taking turns in other orders.
template <class F>
void in_every_order(F const& f) {
  f();
#if defined(COG_EMULATED_GPU)
  for (unsigned order : {1u, 2u, 7u}) {
    emulated::schedule() = order;
    f();
  }
  emulated::schedule() = 0;
#endif
}

/// |got - want| / |want|.
template <class X>
double relative(X const& got, X const& want) {
  REQUIRE(got.extents() == want.extents());
  auto const g = got.to_vector(), w = want.to_vector();
  double difference = 0, size = 0;
  for (std::size_t i = 0; i < w.size(); ++i) {
    difference += std::pow(static_cast<double>(g[i]) - static_cast<double>(w[i]), 2);
    size += std::pow(static_cast<double>(w[i]), 2);
  }
  return std::sqrt(difference / size);
}
