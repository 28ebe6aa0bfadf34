// Products of the shapes of bench/products.cpp, by cog and by the libraries that one could link instead, on one thread:
// GF/s by the process's own time, the best of many interleaved runs, so that other load matters little.
//   g++ -std=c++20 -O2 -I include -I /usr/include/eigen3 bench/rivals/products.cpp -ldnnl -lopenblas -pthread -o
//   products OMP_NUM_THREADS=1 OPENBLAS_NUM_THREADS=1 ./products          (Debian: libdnnl-dev, libopenblas-dev)
#include <algorithm>
#include <array>
#include <cstdio>
#include <ctime>

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
  for (auto const& [m, k, n] : {std::array<index_t, 3>{768, 128, 128},
                                {768, 128, 512},
                                {1024, 384, 384},
                                {1024, 384, 1024},
                                {2048, 768, 768},
                                {2048, 768, 2304}}) {
    auto const a = randn<float>(ctx, {m, k}, 1), b = randn<float>(ctx, {k, n}, 2);
    tensor<bf16, 2, cpu> narrow_a = cast<bf16>(a), narrow_b = cast<bf16>(b), narrow_c(ctx, {m, n});
    tensor<float, 2, cpu> c(ctx, {m, n});

    auto const description = [](index_t rows, index_t columns) {
      return dnnl::memory::desc({rows, columns}, dnnl::memory::data_type::bf16, dnnl::memory::format_tag::ab);
    };
    auto const of = [&](tensor<bf16, 2, cpu>& x) {
      return dnnl::memory(description(x.extent(0), x.extent(1)), engine, x.data());
    };
    dnnl::matmul const product(dnnl::matmul::primitive_desc(
        dnnl::matmul::desc(description(m, k), description(k, n), description(m, n)), engine));
    std::unordered_map<int, dnnl::memory> const operands{
        {DNNL_ARG_SRC, of(narrow_a)}, {DNNL_ARG_WEIGHTS, of(narrow_b)}, {DNNL_ARG_DST, of(narrow_c)}};

    double best[5] = {};
    auto const time = [&](int which, auto const& f) {
      std::clock_t const start = std::clock();
      for (int i = 0; i < 4; ++i) f();
      double const seconds = static_cast<double>(std::clock() - start) / CLOCKS_PER_SEC;
      best[which] = std::max(best[which], 8e-9 * static_cast<double>(m * k * n) / seconds);
    };
    for (int run = 0; run < 20; ++run) {
      time(0, [&] { c = matmul(a, b); });
      time(1, [&] { dnnl_sgemm('N', 'N', m, n, k, 1, a.data(), k, b.data(), n, 0, c.data(), n); });
      time(2, [&] {
        cblas_sgemm(CblasRowMajor, CblasNoTrans, CblasNoTrans, int(m), int(n), int(k), 1, a.data(), int(k), b.data(),
                    int(n), 0, c.data(), int(n));
      });
      time(3, [&] { narrow_c = matmul(narrow_a, narrow_b); });
      time(4, [&] {
        product.execute(stream, operands);
        stream.wait();
      });
    }
    std::printf(
        "%5ld x %4ld x %4ld   float: cog %3.0f, oneDNN %3.0f, OpenBLAS %3.0f   bf16: cog %3.0f, oneDNN %3.0f GF/s\n",
        long(m), long(k), long(n), best[0], best[1], best[2], best[3], best[4]);
  }
}

#else

int main() {
  std::puts("oneDNN or OpenBLAS was not there when this was compiled");
  return 1;
}

#endif
