// cog's side of bench/rivals/compare.py. Lines on standard input:
//   forward|backward RULE DTYPE MASK B H N D      sets up a call     (RULE softmax|cog, DTYPE float|bf16, MASK none|causal)
//   decode RULE DTYPE B H KEY_HEADS N D
//   train gpt|cogformer small|medium RULE
//   time SECONDS                                  calls it for so long, at least three times; answers the median in seconds
#include <algorithm>
#include <functional>
#include <iostream>
#include <sstream>

#include "../machine.hpp"
#include "../models.hpp"

namespace {

using namespace cog;
using call = std::function<void()>;

cpu::context const ctx;

template <class T>
tensor<T, 4, cpu> normal(extents<4> const& shape, std::uint64_t seed) {
  return cast<T>(randn<float>(ctx, shape, seed));
}

template <class Rule, class T>
call attention_call(std::string const& kind, std::istream& in) {
  std::string mask = "causal";
  index_t b = 1, h = 1, key_heads = 0, n = 1, d = 1;
  bool const decode = kind == "decode";
  if (decode) in >> b >> h >> key_heads >> n >> d;
  else in >> mask >> b >> h >> n >> d;
  extents<4> const keys{b, key_heads ? key_heads : h, n, d}, queries{b, h, decode ? 1 : n, d};
  auto const q = normal<T>(queries, 1), k = normal<T>(keys, 2), v = normal<T>(keys, 3);
  auto const under = [&](auto const& m) -> call {
    if (kind != "backward") return [=] { (void)attention_forward<Rule>(q, k, v, m); };
    auto const f = attention_forward<Rule>(q, k, v, m);
    auto const g = normal<T>(queries, 4);
    return [=] { (void)attention_backward<Rule>(q, k, v, f.out, f.logsumexp, g, m); };
  };
  if (mask == "none") return under(no_mask);
  return under(causal);
}

call training_call(std::istream& in) {
  std::string model, size, rule;
  in >> model >> size >> rule;
  auto const s = size == "small" ? training::small : training::medium;
  auto const kind = rule == "cog" ? nn::attention_kind::cog : nn::attention_kind::softmax;
  auto const steps = [](auto l) -> call { return [l] { (void)l->step(); }; };
  if (model == "gpt") return steps(std::make_shared<training::loop<training::gpt>>(training::gpt(ctx, s, kind), s));
  return steps(std::make_shared<training::loop<cogformer<float, cpu>>>(training::make_cogformer(ctx, s, kind), s));
}

call make(std::string const& kind, std::istream& in) {
  if (kind == "train") return training_call(in);
  std::string rule, dtype;
  in >> rule >> dtype;
  if (rule == "cog") return dtype == "bf16" ? attention_call<cog_rule, bf16>(kind, in) : attention_call<cog_rule, float>(kind, in);
  return dtype == "bf16" ? attention_call<softmax_rule, bf16>(kind, in) : attention_call<softmax_rule, float>(kind, in);
}

}  // namespace

int main() {
  call f;
  for (std::string line; std::getline(std::cin, line);) {
    std::istringstream in(line);
    std::string word;
    in >> word;
    if (word == "time") {
      double wanted = 0, spent = 0;
      in >> wanted;
      std::vector<double> times;
      while (spent < wanted || times.size() < 3) {
        double const start = machine::seconds();
        f();
        times.push_back(machine::seconds() - start);
        spent += times.back();
      }
      std::nth_element(times.begin(), times.begin() + static_cast<std::ptrdiff_t>(times.size() / 2), times.end());
      std::cout << times[times.size() / 2] << std::endl;
    } else if (word == "ceilings") {
      std::cout << machine::fma_peak<float>(ctx) << ' ' << machine::copy_bandwidth(ctx) << std::endl;
    } else {
      f = nullptr;
      f = make(word, in);
      std::cout << "ready" << std::endl;
    }
  }
}
