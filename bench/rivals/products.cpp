// Products of the shapes of bench/products.cpp and their gradients, by cog and by the libraries that one could link instead, on one thread:
// GF/s by the process's own time, the best of many interleaved runs, so that other load matters little.
//   g++ -std=c++20 -O3 -I include -I /usr/include/eigen3 bench/rivals/products.cpp -ldnnl -lopenblas -pthread -o products
//   OMP_NUM_THREADS=1 OPENBLAS_NUM_THREADS=1 ./products          (Debian: libdnnl-dev, libopenblas-dev)
#include <algorithm>
#include <array>
#include <cstdio>
#include <ctime>
#include <optional>
#include <unordered_map>

#if __has_include(<cblas.h>) && __has_include(<dnnl.hpp>)

#include <cblas.h>
#include <dnnl.h>
#include <dnnl.hpp>

#include <cog/cog.hpp>

int main() {
  using namespace cog;
  cpu::context const ctx({.threads = 1});
  dnnl::engine const engine(dnnl::engine::kind::cpu, 0);
  dnnl::stream stream(engine);
  std::puts("GF/s             forward (oneDNN, OpenBLAS)   of inputs            of weights           bf16 (oneDNN; 0: has none)");
  for (auto const& [m, k, n] : {std::array<index_t, 3>{768, 128, 128},
                                {768, 128, 512},
                                {1024, 384, 384},
                                {1024, 384, 1024},
                                {2048, 768, 768},
                                {2048, 768, 2304}}) {
    // y = x w', and with its gradient g those of x and w.
    auto const x = randn<float>(ctx, {m, k}, 1), w = randn<float>(ctx, {n, k}, 2), g = randn<float>(ctx, {m, n}, 3);
    tensor<float, 2, cpu> y(ctx, {m, n}), dx(ctx, {m, k}), dw(ctx, {n, k});
    tensor<bf16, 2, cpu> narrow_x = cast<bf16>(x), narrow_w = cast<bf16>(transposed(w)), narrow_y(ctx, {m, n});

    auto const description = [](index_t rows, index_t columns) {
      return dnnl::memory::desc({rows, columns}, dnnl::memory::data_type::bf16, dnnl::memory::format_tag::ab);
    };
    auto const of = [&](tensor<bf16, 2, cpu>& t) { return dnnl::memory(description(t.extent(0), t.extent(1)), engine, t.data()); };
    std::optional<dnnl::matmul> product;
    try {
      product.emplace(dnnl::matmul::primitive_desc(dnnl::matmul::desc(description(m, k), description(k, n), description(m, n)), engine));
    } catch (dnnl::error const&) {  // without AVX-512 it has none in bf16
    }
    std::unordered_map<int, dnnl::memory> const operands{
        {DNNL_ARG_SRC, of(narrow_x)}, {DNNL_ARG_WEIGHTS, of(narrow_w)}, {DNNL_ARG_DST, of(narrow_y)}};

    std::array<double, 11> best{};
    auto const time = [&](std::size_t which, auto const& f) {
      std::clock_t const start = std::clock();
      for (int i = 0; i < 2; ++i) f();
      double const seconds = static_cast<double>(std::clock() - start) / CLOCKS_PER_SEC;
      best[which] = std::max(best[which], 4e-9 * static_cast<double>(m * k * n) / seconds);
    };
    /// c [rows, columns] of a and b as they lie, 'T' the turned ones.
    auto const theirs = [&](std::size_t which, char ta, char tb, index_t rows, index_t columns, index_t depth, auto const& a, auto const& b, auto& c) {
      auto const lda = static_cast<int>(a.extent(1)), ldb = static_cast<int>(b.extent(1)), ldc = static_cast<int>(columns);
      time(which, [&] { dnnl_sgemm(ta, tb, rows, columns, depth, 1, a.data(), lda, b.data(), ldb, 0, c.data(), ldc); });
      time(which + 1, [&] {
        cblas_sgemm(CblasRowMajor, ta == 'T' ? CblasTrans : CblasNoTrans, tb == 'T' ? CblasTrans : CblasNoTrans, static_cast<int>(rows),
                    static_cast<int>(columns), static_cast<int>(depth), 1, a.data(), lda, b.data(), ldb, 0, c.data(), ldc);
      });
    };
    for (int run = 0; run < 20; ++run) {
      time(0, [&] { y = matmul(x, transposed(w)); });
      theirs(1, 'N', 'T', m, n, k, x, w, y);
      time(3, [&] { dx = matmul(g, w); });
      theirs(4, 'N', 'N', m, k, n, g, w, dx);
      time(6, [&] { dw = matmul(transposed(g), x); });
      theirs(7, 'T', 'N', n, k, m, g, x, dw);
      time(9, [&] { narrow_y = matmul(narrow_x, narrow_w); });
      if (product)
        time(10, [&] {
          product->execute(stream, operands);
          stream.wait();
        });
    }
    std::printf("%4ld %3ld %4ld   ", static_cast<long>(m), static_cast<long>(k), static_cast<long>(n));
    for (std::size_t i = 0; i < 9; i += 3) std::printf("   %5.1f (%5.1f, %5.1f)", best[i], best[i + 1], best[i + 2]);
    std::printf("   %5.1f (%5.1f)\n", best[9], best[10]);
  }
}

#else

int main() {
  std::puts("oneDNN or OpenBLAS was not there when this was compiled");
  return 1;
}

#endif
