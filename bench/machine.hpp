// The machine's own ceilings, measured in the process that is compared with them: multiply-add rate and copy bandwidth.
#pragma once

#include <algorithm>
#include <chrono>
#include <cstring>
#include <vector>

#include <cog/backend/cpu/context.hpp>
#include <cog/backend/cpu/simd.hpp>

namespace machine {

inline double seconds() {
  return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

/// The best rate of several short runs: what the cores can do when nothing disturbs them.
template <class F>
double best_rate(double work, F const& f) {
  double best = 0;
  for (int i = 0; i < 100; ++i) {
    double const start = seconds();
    f();
    best = std::max(best, work / (seconds() - start));
  }
  return best;
}

/// Floating-point operations a second of independent multiply-adds on all threads of the context (2 per lane).
template <class T>
double fma_peak(cog::cpu_context const& ctx) {
  using S = cog::cpu_detail::simd<T>;
  constexpr int chains = 10, steps = 2'000'000;
  return best_rate(2.0 * chains * S::size * steps * ctx.threads(), [&] {
    ctx.run(ctx.threads(), [](cog::index_t task) {
      S x[chains];
      for (int c = 0; c < chains; ++c) x[c] = S(static_cast<T>(c + task));
      S const a(T(0.999999)), b(T(1e-6));
      for (int i = 0; i < steps; ++i)
        for (int c = 0; c < chains; ++c) x[c] = fma(x[c], a, b);
      S sum = x[0];
      for (int c = 1; c < chains; ++c) sum += x[c];
      T volatile keep = reduce_add(sum);
      (void)keep;
    });
  });
}

/// Bytes read plus bytes written a second by memcpy of `bytes` on all threads.
inline double copy_bandwidth(cog::cpu_context const& ctx, std::size_t bytes = std::size_t{1} << 28) {
  std::vector<char> from(bytes, 1), to(bytes, 2);
  std::size_t const part = bytes / static_cast<std::size_t>(ctx.threads());
  return best_rate(2.0 * static_cast<double>(part) * ctx.threads(), [&] {
    ctx.run(ctx.threads(), [&](cog::index_t t) {
      std::memcpy(to.data() + static_cast<std::size_t>(t) * part, from.data() + static_cast<std::size_t>(t) * part, part);
    });
  });
}

}  // namespace machine
