// Attention by device pointers (attention_door.hpp) on a GPU, without Python: signed and softmax beside the machine's own limits, a product
// by cuBLASLt and a copy, all in turn, round after round, on normal numbers in buffers that the L2 cache does not hold.
//   bench.attention OUT.json [words]    Measures what holds one of each word's alternatives:  forward width128 n2048,n8192
// A row of each result is compared with the formula in double first. OUT.json is written anew after every shape.
#include <cog/backend/cuda/attention_door.hpp>
#include <cog/cuda.hpp>

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <fstream>
#include <functional>
#include <sstream>
#include <string>
#include <vector>

namespace {

using cog::index_t, cog::tensor, cog::bf16;
namespace door = cog::door;
using context = cog::cuda::context;

constexpr int rounds = 31, warm = 3;
constexpr double beyond_cache = 256 << 20;  // bytes

struct shape {
  std::string kind;
  bool half;
  index_t batch, heads, key_heads, queries, keys, width;
  bool causal;
  std::string name() const {
    std::ostringstream out;
    out << kind << (half ? " half" : " bf16") << " width" << width << " batch" << batch << " heads" << heads << '/' << key_heads << " n" << keys << (causal ? " causal" : " full");
    return out.str();
  }
  double pairs() const { return static_cast<double>(batch * heads * queries) * static_cast<double>(keys) * (causal && queries > 1 ? 0.5 : 1.0); }
};

/// What a call needs, normal numbers in it; out and logsumexp of the forward pass too.
template <class T>
struct operands {
  tensor<T, 4, cog::cuda> q, k, v, g, out, dq, dk, dv;
  tensor<float, 3, cog::cuda> logsumexp;
  operands(context const& ctx, shape const& s, std::uint64_t seed) {
    auto const drawn = [&](index_t heads, index_t n) {  // [batch, position, head, width], as projections give it
      return permuted(cog::eval(cog::cast<T>(cog::randn<float>(ctx, {s.batch, n, heads, s.width}, seed++))), {0, 2, 1, 3});
    };
    q = drawn(s.heads, s.queries), k = drawn(s.key_heads, s.keys), v = drawn(s.key_heads, s.keys);
    out = drawn(s.heads, s.queries);
    logsumexp = cog::zeros<float>(ctx, {s.batch, s.heads, s.queries});
    if (s.kind != "backward") return;
    g = drawn(s.heads, s.queries), dq = drawn(s.heads, s.queries), dk = drawn(s.key_heads, s.keys), dv = drawn(s.key_heads, s.keys);
  }
  static double bytes(shape const& s) {
    bool const backward = s.kind == "backward";
    return 2.0 * static_cast<double>(s.batch * s.width) * static_cast<double>(s.heads * s.queries * (backward ? 4 : 2) + s.key_heads * s.keys * (backward ? 4 : 2));
  }
  door::attention call(context const& ctx, shape const& s, door::rule rule, bool any_order) const {
    auto const plain = [](auto const& x) {
      auto const v = x.view();
      return door::tensor{const_cast<void*>(static_cast<void const*>(v.data)), v.strides[0], v.strides[1], v.strides[2], v.strides[3]};
    };
    door::attention a{.type = s.half ? door::element::half : door::element::bf16, .rule = rule, .batch = s.batch, .heads = s.heads, .key_heads = s.key_heads,
                      .queries = s.queries, .keys = s.keys, .width = s.width, .value_width = s.width, .scale = 1 / std::sqrt(static_cast<float>(s.width)), .causal = s.causal};
    a.q = plain(q), a.k = plain(k), a.v = plain(v), a.out = plain(out);
    a.logsumexp = const_cast<float*>(logsumexp.data());
    if (s.kind == "backward") a.out_gradient = plain(g), a.dq = plain(dq), a.dk = plain(dk), a.dv = plain(dv);
    a.stream = ctx.stream(), a.any_order = any_order;
    return a;
  }
};

/// The largest error of the last query of the last head, of its output or of its gradient, over the largest number of it.
template <class T>
double error_of(operands<T> const& x, shape const& s, bool signed_weights) {
  index_t const h = s.heads - 1, kh = s.key_heads - 1, b = s.batch - 1, i = s.queries - 1;
  auto const row = [&](auto const& t, index_t head, index_t n) {
    return cog::eval(cog::cast<double>(slice(slice(slice(t, 0, b, b + 1), 1, head, head + 1), 2, n < 0 ? 0 : n, n < 0 ? s.keys : n + 1))).to_vector();
  };
  auto const q = row(x.q, h, i), k = row(x.k, kh, -1), v = row(x.v, kh, -1);
  std::size_t const width = q.size(), keys = k.size() / width;
  double const scale = 1 / std::sqrt(static_cast<double>(width));
  auto const dot = [&](std::vector<double> const& a, std::size_t at, std::vector<double> const& c) {
    double sum = 0;
    for (std::size_t e = 0; e < width; ++e) sum += a[at + e] * c[e];
    return sum;
  };
  std::vector<double> w(keys), out(width, 0);
  double largest = -INFINITY, total = 0;
  for (std::size_t j = 0; j < keys; ++j) {
    w[j] = scale * dot(k, j * width, q);
    largest = std::max(largest, signed_weights ? std::abs(w[j]) : w[j]);
  }
  for (double& s_j : w) {
    double const p = std::exp((signed_weights ? std::abs(s_j) : s_j) - largest);
    total += p;
    s_j = signed_weights ? (s_j > 0 ? p : s_j < 0 ? -p : 0) : p;
  }
  for (std::size_t j = 0; j < keys; ++j)
    for (std::size_t e = 0; e < width; ++e) out[e] += w[j] / total * v[j * width + e];
  std::vector<double> want = out, got = row(x.out, h, i);
  if (s.kind == "backward") {
    auto const g = row(x.g, h, i);
    double const mean = dot(g, 0, out);
    std::fill(want.begin(), want.end(), 0.0);
    for (std::size_t j = 0; j < keys; ++j) {
      double const d = scale / total * (std::abs(w[j]) * dot(v, j * width, g) - w[j] * mean);
      for (std::size_t e = 0; e < width; ++e) want[e] += d * k[j * width + e];
    }
    got = row(x.dq, h, i);
  }
  double worst = 0, size = 0;
  for (std::size_t e = 0; e < width; ++e) worst = std::max(worst, std::abs(got[e] - want[e])), size = std::max(size, std::abs(want[e]));
  return worst / size;
}

struct contender {
  std::string who;
  std::function<void(std::size_t)> run;  // on a set of buffers
  double work;                           // operations or bytes of a run
  double error = 0;
  std::vector<double> ms{};
};

class bench {
 public:
  bench(char const* out, std::vector<std::string> const& words) : out_(out), words_(words) {
    cudaDeviceProp device{};
    cog::cuda_detail::check(cudaGetDeviceProperties(&device, 0), "device");
    gpu_ = device.name;
    std::printf("%s\n", device.name);
  }

  template <class T>
  void measure(shape const& s) {
    if (!wanted(s.name())) return;
    bool const backward = s.kind == "backward", decode = s.kind == "decode";
    std::vector<operands<T>> sets;
    do sets.emplace_back(ctx_, s, 10 * sets.size() + 1);
    while (static_cast<double>(sets.size()) * operands<T>::bytes(s) < beyond_cache && sets.size() < 64);
    double const work = decode ? 4.0 * static_cast<double>(s.batch * s.key_heads * s.keys * s.width) : (backward ? 10 : 4) * s.pairs() * static_cast<double>(s.width);
    std::vector<contender> all;
    std::vector<cog::cuda::graph> graphs;
    for (bool const signed_weights : {true, false})
      for (bool const any_order : {false, true}) {
        if (any_order && !backward) continue;
        std::vector<door::attention> calls;
        for (auto const& set : sets) calls.push_back(set.call(ctx_, s, signed_weights ? door::rule::cog : door::rule::softmax, any_order));
        for (auto const& c : calls) door::forward(c);
        if (backward) door::backward(calls[0]);
        std::string const who = std::string("cog, ") + (signed_weights ? "signed" : "softmax") + (any_order ? ", in any order" : "");
        double const error = error_of(sets[0], s, signed_weights);
        if (!(error < 0.05)) throw cog::error(s.name(), ": ", who, " is wrong by ", error);
        if (decode) {  // captured
          std::size_t const first = graphs.size();
          for (auto const& c : calls) graphs.emplace_back(ctx_, [&] { door::decode(c); });
          all.push_back({who, [&graphs, first](std::size_t i) { graphs[first + i].launch(); }, work, error});
        } else if (backward) {
          all.push_back({who, [calls, signed_weights](std::size_t i) { door::backward(calls[i]); }, work, error});
        } else {
          all.push_back({who, [calls](std::size_t i) { door::forward(calls[i]); }, work, error});
        }
      }
    ceiling(all, decode);
    in_turn(all, sets.size());
    for (auto const& c : all) add(s, c, decode ? "GB/s" : "TFLOP/s", decode ? 1e9 : 1e12);
    write();
  }

 private:
  bool wanted(std::string const& name) const {
    std::string const padded = " " + name + " ";
    return std::all_of(words_.begin(), words_.end(), [&](std::string const& alternatives) {
      std::istringstream in(alternatives);
      for (std::string word; std::getline(in, word, ',');)
        if (padded.find(" " + word + " ") != padded.npos) return true;
      return false;
    });
  }

  /// What nothing is faster than: a copy of 1 GiB, or a product of 8192 x 8192 x 8192.
  void ceiling(std::vector<contender>& all, bool of_memory) {
    index_t const n = of_memory ? index_t{1} << 29 : index_t{1} << 26;
    if (ceiling_in_.size() != n) {
      auto const drawn = [&](std::uint64_t seed) { return cog::eval(cog::cast<bf16>(cog::randn<float>(ctx_, {n}, seed))); };
      ceiling_in_ = drawn(1), ceiling_other_ = drawn(2), ceiling_out_ = drawn(3);
    }
    if (of_memory) {
      all.push_back({"copy", [this, n](std::size_t) {
                       cog::cuda_detail::check(cudaMemcpyAsync(ceiling_out_.data(), ceiling_in_.data(), static_cast<std::size_t>(2 * n), cudaMemcpyDeviceToDevice, ctx_.stream()), "copy");
                     }, 4.0 * static_cast<double>(n)});
      return;
    }
    cog::cuda_detail::gemm_key key{};
    index_t const m = 8192;
    key.a = key.b = key.c = {m, m, m, 0, false};
    key.batches = 1, key.type = CUDA_R_16BF, key.compute = CUBLAS_COMPUTE_32F, key.epilogue = CUBLASLT_EPILOGUE_DEFAULT, key.alignment = 16;
    all.push_back({"cuBLASLt product", [this, key](std::size_t) {
                     float const one = 1, zero = 0;
                     products_.run(ctx_.stream(), key, ceiling_in_.data(), ceiling_other_.data(), ceiling_out_.data(), &one, &zero, nullptr);
                   }, 2.0 * static_cast<double>(m * m) * static_cast<double>(m)});
  }

  /// A time is that of as many runs as take about a millisecond.
  void in_turn(std::vector<contender>& all, std::size_t sets) {
    std::vector<std::size_t> runs(all.size(), 1), next(all.size(), 0);
    for (int round = -warm; round < rounds; ++round)
      for (std::size_t i = 0; i < all.size(); ++i) {
        cog::cuda::event const start(ctx_);
        for (std::size_t n = 0; n < runs[i]; ++n) all[i].run(next[i]++ % sets);
        double const ms = cog::cuda::event(ctx_).since(start) / static_cast<double>(runs[i]);
        if (round >= 0) all[i].ms.push_back(ms);
        else if (round == -1) runs[i] = static_cast<std::size_t>(std::clamp(1 / std::max(ms, 1e-3), 1.0, 200.0));
      }
  }

  void add(shape const& s, contender const& c, char const* unit, double size) {
    auto ms = c.ms;
    std::sort(ms.begin(), ms.end());
    auto const at = [&](double share) { return ms[static_cast<std::size_t>(share * static_cast<double>(ms.size() - 1))]; };
    double const rate = c.work / size / (at(0.5) * 1e-3);
    std::printf("%-62s %-28s %9.4f ms (%.4f to %.4f) %8.1f %s\n", s.name().c_str(), c.who.c_str(), at(0.5), at(0.1), at(0.9), rate, unit);
    std::fflush(stdout);
    std::ostringstream row;
    row << "{\"kind\": \"" << s.kind << "\", \"rival\": \"" << c.who << "\", \"dtype\": \"" << (s.half ? "half" : "bf16") << "\", \"shape\": [" << s.batch << ", " << s.heads << ", "
        << s.key_heads << ", " << s.queries << ", " << s.keys << ", " << s.width << "], \"causal\": " << (s.causal ? "true" : "false") << ", \"ms\": " << at(0.5) << ", \"ms_10\": " << at(0.1)
        << ", \"ms_90\": " << at(0.9) << ", \"" << unit << "\": " << rate << ", \"error\": " << c.error << "}";
    rows_.push_back(row.str());
  }

  void write() const {
    std::ofstream file(out_);
    file << "{\"gpu\": \"" << gpu_ << "\", \"times\": [\n";
    for (std::size_t i = 0; i < rows_.size(); ++i) file << " " << rows_[i] << (i + 1 < rows_.size() ? ",\n" : "\n");
    file << "]}\n";
    if (!file.flush()) throw cog::error("cannot write ", out_);
  }

  context ctx_;
  std::string out_, gpu_;
  std::vector<std::string> words_, rows_;
  tensor<bf16, 1, cog::cuda> ceiling_in_, ceiling_other_, ceiling_out_;
  cog::cuda_detail::products products_{ctx_};
};

}  // namespace

int main(int argc, char** argv) {
  if (argc < 2) {
    std::fprintf(stderr, "usage: bench.attention OUT.json [words]\n");
    return 2;
  }
  int devices = 0;
  if (cudaGetDeviceCount(&devices) != cudaSuccess || devices == 0) {
    std::puts("bench.attention: there is no GPU");
    return 77;
  }
  try {
    bench b(argv[1], {argv + 2, argv + argc});
    auto const any = [&](shape const& s) { s.half ? b.measure<cog::half>(s) : b.measure<bf16>(s); };
    // What is to be known first comes first.
    for (bool const half : {false, true})
      for (std::string const kind : {"forward", "backward"})
        for (auto const [width, heads, key_heads] : {std::array<index_t, 3>{128, 16, 16}, {64, 32, 32}, {256, 8, 8}, {128, 64, 8}})
          for (bool const causal : {false, true})
            for (index_t const n : {2048, 8192, 16384, 4096, 1024, 512}) any({kind, half, heads == key_heads ? 16384 / n : 1, heads, key_heads, n, n, width, causal});
    for (auto const [batch, keys] : {std::array<index_t, 2>{8, 65536}, {64, 16384}, {1, 131072}, {8, 16384}, {64, 4096}})
      for (auto const [heads, key_heads] : {std::array<index_t, 2>{8, 8}, {32, 8}, {64, 8}}) any({"decode", false, batch, heads, key_heads, 1, keys, 128, true});
  } catch (std::exception const& e) {
    std::fprintf(stderr, "bench.attention: %s\n", e.what());
    return 1;
  }
}
