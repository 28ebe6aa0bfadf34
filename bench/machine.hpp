// The machine's own ceilings, measured in the process that is compared with them: multiply-add rate, of float and of pairs of
// bf16, and bandwidth of copying and of reading.
#pragma once

#include <algorithm>
#include <chrono>
#include <cstring>
#include <ctime>

#include <cog/backend/cpu/context.hpp>
#include <cog/backend/cpu/pairs.hpp>
#include <cog/backend/cpu/simd.hpp>

namespace machine {

/// The time; of a process that has one core only, its thread's own, so that what else runs there does not count.
inline double seconds() {
#if defined(CLOCK_THREAD_CPUTIME_ID)
  static bool const one_core = cog::cpu_detail::usable_cores() == 1;
  timespec own;
  if (one_core && clock_gettime(CLOCK_THREAD_CPUTIME_ID, &own) == 0) return static_cast<double>(own.tv_sec) + 1e-9 * static_cast<double>(own.tv_nsec);
#endif
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

#if defined(__x86_64__)
/// Ten chains of VDPBF16PS.
__attribute__((target("avx512f,avx512bf16"))) inline void pair_chains(int steps) {
  constexpr int chains = 10;
  cog::cpu_detail::float_x16 const a = {}, b = {};
  cog::cpu_detail::float_x16 sum[chains] = {};
  for (int i = 0; i < steps; ++i)
#pragma GCC unroll 10
    for (int c = 0; c < chains; ++c) __asm__ volatile("vdpbf16ps %2, %1, %0" : "+v"(sum[c]) : "v"(a), "v"(b));
}
/// Four sums in tiles, one after the other, as multiply_in_tiles keeps them.
inline void pair_tiles(int steps) {
  using tiles = cog::cpu_detail::amx_tiles;
  cog::cpu_detail::tile_shapes shapes;
  for (int t = 0; t < 6; ++t) shapes.rows[t] = 16, shapes.bytes[t] = 64;
  tiles::configure(shapes);
  for (int i = 0; i < steps; ++i) tiles::dot<0, 4, 5>(), tiles::dot<1, 4, 5>(), tiles::dot<2, 4, 5>(), tiles::dot<3, 4, 5>();
  tiles::release();
}
#endif

/// Floating-point operations a second of products of bf16 in pairs on all threads, by AMX where there is AMX; 0 where the processor
/// has no instruction for them.
inline double pair_peak([[maybe_unused]] cog::cpu_context const& ctx) {
#if defined(__x86_64__)
  constexpr int steps = 200'000;
  auto const rate = [&](double operations, void (*work)(int)) {
    return best_rate(operations * steps * ctx.threads(), [&] { ctx.run(ctx.threads(), [&](cog::index_t) { work(steps); }); });
  };
  if (cog::cpu_detail::amx_tiles::usable()) return rate(4 * 2.0 * 16 * 16 * 32, pair_tiles);
  if (__builtin_cpu_supports("avx512bf16")) return rate(10 * 4.0 * 16, pair_chains);
#endif
  return 0;
}

/// A memcpy of `bytes` on all threads, in memory of the same kind as tensors'.
class plain_copy {
 public:
  plain_copy(cog::cpu_context const& ctx, std::size_t bytes)
      : ctx_(ctx), part_(bytes / static_cast<std::size_t>(ctx.threads())), from_(ctx, static_cast<cog::index_t>(bytes)), to_(ctx, static_cast<cog::index_t>(bytes)) {
    std::memset(from_.get(), 1, bytes);
    std::memset(to_.get(), 2, bytes);
  }

  void operator()() {
    ctx_.run(ctx_.threads(), [&](cog::index_t t) {
      std::memcpy(to_.get() + static_cast<std::size_t>(t) * part_, from_.get() + static_cast<std::size_t>(t) * part_, part_);
    });
  }
  /// Read and written.
  double bytes() const { return 2.0 * static_cast<double>(part_) * ctx_.threads(); }

 private:
  cog::cpu_context const& ctx_;
  std::size_t part_;
  cog::cpu_detail::scratch<char> from_, to_;
};

/// Bytes read plus bytes written a second by a plain copy.
inline double copy_bandwidth(cog::cpu_context const& ctx, std::size_t bytes = std::size_t{1} << 28) {
  plain_copy copy(ctx, bytes);
  return best_rate(copy.bytes(), [&] { copy(); });
}

/// Runs something and plain copies of `bytes` in turn: what others do with the memory that all share slows both.
class in_turn {
 public:
  in_turn(cog::cpu_context const& ctx, std::size_t bytes) : copy_(ctx, bytes) {}

  /// The seconds that f took.
  template <class F>
  double operator()(F const& f) {
    double const start = seconds();
    f();
    double const between = seconds();
    copy_();
    copying_ += seconds() - between;
    ++copies_;
    return between - start;
  }
  /// Bytes read plus bytes written a second.
  double copy_rate() const { return copies_ * copy_.bytes() / copying_; }

 private:
  plain_copy copy_;
  double copying_ = 0;
  int copies_ = 0;
};

/// Bytes read a second by adding up `bytes` of floats on all threads.
inline double read_bandwidth(cog::cpu_context const& ctx, std::size_t bytes) {
  using S = cog::cpu_detail::simd<float>;
  constexpr std::size_t sums = 8, step = sums * S::size;
  std::size_t const n = bytes / sizeof(float), part = n / static_cast<std::size_t>(ctx.threads()) / step * step;
  cog::cpu_detail::scratch<float> const x(ctx, static_cast<cog::index_t>(n));
  std::fill_n(x.get(), n, 1.0f);
  return best_rate(static_cast<double>(part * sizeof(float)) * ctx.threads(), [&] {
    ctx.run(ctx.threads(), [&](cog::index_t t) {
      float const* const p = x.get() + static_cast<std::size_t>(t) * part;
      S sum[sums];
      for (S& s : sum) s = S(0.0f);
      for (std::size_t i = 0; i < part; i += step)
        for (std::size_t u = 0; u < sums; ++u) sum[u] += S::load(p + i + u * S::size);
      for (std::size_t u = 1; u < sums; ++u) sum[0] += sum[u];
      float volatile keep = reduce_add(sum[0]);
      (void)keep;
    });
  });
}

}  // namespace machine
