// What the benchmarks of the GPU share: timing by events, the device's own limits measured in the same run (a large copy, and cuBLASLt
// called directly), and a table that is printed and written as JSON as it grows.
#pragma once

#include <cog/cuda.hpp>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <functional>
#include <string>
#include <vector>

namespace gpu_bench {

using cog::index_t, cog::tensor, cog::bf16;
using context = cog::cuda::context;

struct result {
  std::string name, unit;
  double value, seconds, share;  // share of the ceiling named beside it
  std::string ceiling;
};

inline std::string json_text(std::string const& text) {
  std::string out = "\"";
  for (char c : text) {
    if (c == '"' || c == '\\') out += '\\';
    out += c;
  }
  return out + '"';
}

class bench {
 public:
  bench(context c, std::string device, std::string path, std::vector<std::string> words)
      : ctx(std::move(c)), device_(std::move(device)), path_(std::move(path)), words_(std::move(words)) {}

  bool wants(std::string const& name) const {
    return words_.empty() || std::any_of(words_.begin(), words_.end(), [&](auto const& w) { return name.find(w) != name.npos; });
  }
  /// Of one run, by events of the stream: the median of 11 times, each of as many runs in a row as take 5 ms, so that the host is ahead.
  double seconds(std::function<void()> const& f) const {
    auto const time = [&](int runs) {
      cog::cuda::event const start(ctx);
      for (int i = 0; i < runs; ++i) f();
      return cog::cuda::event(ctx).since(start) * 1e-3 / runs;
    };
    (void)time(3);
    int const runs = static_cast<int>(std::clamp(5e-3 / std::max(1e-6, time(2)), 1.0, 100.0));
    std::array<double, 11> times{};
    for (double& t : times) t = time(runs);
    std::nth_element(times.begin(), times.begin() + 5, times.end());
    return times[5];
  }
  /// value = amount * scale / seconds, beside a ceiling in amounts a second. The file is whole after every result.
  void note(std::string const& name, double amount, std::string const& unit, double scale, double seconds, double ceiling, char const* of) {
    double const r = amount / seconds;
    results_.push_back({name, unit, r * scale, seconds, ceiling > 0 ? r / ceiling : 0, of});
    auto const& x = results_.back();
    std::printf("%-58s %10.2f %-9s", x.name.c_str(), x.value, unit.c_str());
    if (ceiling > 0) std::printf(" %5.1f %% of %s", 100 * x.share, of);
    std::printf("\n");
    std::fflush(stdout);
    write();
  }
  void bytes(std::string const& name, double n, std::function<void()> const& f) {
    if (wants(name)) note(name, n, "GB/s", 1e-9, seconds(f), copy, "copy");
  }
  void flops(std::string const& name, double n, std::function<void()> const& f) {
    if (wants(name)) note(name, n, "TFLOP/s", 1e-12, seconds(f), product, "product");
  }

  context ctx;
  double copy = 0, product = 0;  // bytes and operations a second

 private:
  void write() const {
    char const* const commit = std::getenv("COMMIT");
    std::ofstream file(path_);
    file << "{\"device\": " << json_text(device_) << ", \"commit\": " << json_text(commit ? commit : "") << ",\n \"results\": [\n";
    for (std::size_t i = 0; i < results_.size(); ++i) {
      auto const& r = results_[i];
      file << "  {\"name\": " << json_text(r.name) << ", \"value\": " << r.value << ", \"unit\": " << json_text(r.unit) << ", \"seconds\": " << r.seconds;
      if (r.share > 0) file << ", \"share\": " << r.share << ", \"of\": " << json_text(r.ceiling);
      file << (i + 1 < results_.size() ? "},\n" : "}\n");
    }
    file << "]}\n";
    if (!file.flush()) throw cog::error("cannot write ", path_);
  }
  std::string device_, path_;
  std::vector<std::string> words_;
  std::vector<result> results_;
};

template <class T>
tensor<T, 2, cog::cuda> numbers(context const& ctx, std::array<index_t, 2> const& shape, std::uint64_t seed) {
  return cog::eval(cog::cast<T>(cog::randn<float>(ctx, shape, seed)));
}

/// cuBLASLt called directly: a row-major product [m, k] [k, n] of bf16, the fastest of the algorithms that the library proposes.
class direct_product {
 public:
  direct_product(bench const& b, index_t m, index_t n, index_t k, bool transposed_weights, void const* bias)
      : ctx_(b.ctx), workspace_(cog::empty<std::uint8_t>(ctx_, {static_cast<index_t>(workspace_bytes)})) {
    check(cublasLtCreate(&handle_));
    check(cublasLtMatmulDescCreate(&operation_, CUBLAS_COMPUTE_32F, CUDA_R_32F));
    auto const set = [&](cublasLtMatmulDescAttributes_t what, auto const& value) { check(cublasLtMatmulDescSetAttribute(operation_, what, &value, sizeof(value))); };
    set(CUBLASLT_MATMUL_DESC_TRANSA, transposed_weights ? CUBLAS_OP_T : CUBLAS_OP_N);
    if (bias) {
      set(CUBLASLT_MATMUL_DESC_EPILOGUE, CUBLASLT_EPILOGUE_GELU_BIAS);
      set(CUBLASLT_MATMUL_DESC_BIAS_POINTER, bias);
    }
    auto const layout = [&](cublasLtMatrixLayout_t& to, index_t rows, index_t columns) {  // column-major
      check(cublasLtMatrixLayoutCreate(&to, CUDA_R_16BF, static_cast<std::uint64_t>(rows), static_cast<std::uint64_t>(columns), rows));
    };
    if (transposed_weights) layout(w_, k, n);
    else layout(w_, n, k);
    layout(x_, k, m);
    layout(out_, n, m);
  }
  direct_product(direct_product const&) = delete;
  ~direct_product() {
    for (auto l : {w_, x_, out_}) (void)cublasLtMatrixLayoutDestroy(l);
    (void)cublasLtMatmulDescDestroy(operation_);
    (void)cublasLtDestroy(handle_);
  }

  /// The seconds of the fastest algorithm.
  double seconds(bench const& b, bf16 const* x, bf16 const* w, bf16* out) const {
    cublasLtMatmulPreference_t wish = nullptr;
    check(cublasLtMatmulPreferenceCreate(&wish));
    std::size_t const bytes = workspace_bytes;
    check(cublasLtMatmulPreferenceSetAttribute(wish, CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES, &bytes, sizeof(bytes)));
    std::array<cublasLtMatmulHeuristicResult_t, 8> proposed{};
    int count = 0;
    check(cublasLtMatmulAlgoGetHeuristic(handle_, operation_, w_, x_, out_, out_, wish, static_cast<int>(proposed.size()), proposed.data(), &count));
    (void)cublasLtMatmulPreferenceDestroy(wish);
    double best = 0;
    float const one = 1, zero = 0;
    for (int i = 0; i < count; ++i) {
      double const s = b.seconds([&] {
        check(cublasLtMatmul(handle_, operation_, &one, w, w_, x, x_, &zero, out, out_, out, out_, &proposed[static_cast<std::size_t>(i)].algo,
                             const_cast<std::uint8_t*>(workspace_.data()), workspace_bytes, ctx_.stream()));
      });
      if (best == 0 || s < best) best = s;
    }
    if (best == 0) throw cog::error("cuBLASLt proposes no algorithm");
    return best;
  }

 private:
  static constexpr std::size_t workspace_bytes = 64 << 20;
  static void check(cublasStatus_t status) { cog::cuda_detail::check(status, "cuBLASLt"); }
  context ctx_;
  tensor<std::uint8_t, 1, cog::cuda> workspace_;
  cublasLtHandle_t handle_ = nullptr;
  cublasLtMatmulDesc_t operation_ = nullptr;
  cublasLtMatrixLayout_t w_ = nullptr, x_ = nullptr, out_ = nullptr;
};

inline void ceilings(bench& b) {
  {
    index_t const n = index_t{1} << 30;
    auto const x = cog::full<std::uint8_t>(b.ctx, {n}, 77);
    auto y = cog::zeros<std::uint8_t>(b.ctx, {n});
    double const s = b.seconds([&] {
      cog::cuda_detail::check(cudaMemcpyAsync(y.data(), x.data(), static_cast<std::size_t>(n), cudaMemcpyDeviceToDevice, b.ctx.stream()), "copy");
    });
    b.copy = 2.0 * static_cast<double>(n) / s;
    b.note("ceiling: copy of 1 GiB", 2.0 * static_cast<double>(n), "GB/s", 1e-9, s, 0, "");
  }
  index_t const m = 8192;
  auto const p = numbers<bf16>(b.ctx, {m, m}, 1), q = numbers<bf16>(b.ctx, {m, m}, 2);
  auto out = cog::empty<bf16>(b.ctx, {m, m});
  double const work = 2.0 * static_cast<double>(m) * static_cast<double>(m) * static_cast<double>(m);
  double const s = direct_product(b, m, m, m, false, nullptr).seconds(b, p.data(), q.data(), out.data());
  b.product = work / s;
  b.note("ceiling: cuBLASLt, bf16, 8192 x 8192 x 8192", work, "TFLOP/s", 1e-12, s, 0, "");
}

/// main() of a benchmark: PROGRAM OUT.json [words]. Only what holds one of the words in its name is run. 77 where there is no GPU.
inline int run(int argc, char** argv, std::function<void(bench&)> const& all) {
  if (argc < 2) {
    std::fprintf(stderr, "usage: %s OUT.json [words]\n", argv[0]);
    return 2;
  }
  int devices = 0;
  if (cudaGetDeviceCount(&devices) != cudaSuccess || devices == 0) {
    std::puts("skipped: there is no GPU");
    return 77;
  }
  try {
    cudaDeviceProp device{};
    cog::cuda_detail::check(cudaGetDeviceProperties(&device, 0), "device");
    std::printf("%s\n", device.name);
    bench b(context(), device.name, argv[1], std::vector<std::string>(argv + 2, argv + argc));
    ceilings(b);
    all(b);
  } catch (std::exception const& e) {
    std::fprintf(stderr, "%s: %s\n", argv[0], e.what());
    return 1;
  }
  return 0;
}

}  // namespace gpu_bench
