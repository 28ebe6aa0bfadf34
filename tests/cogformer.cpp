// The language model: the acceptance list of its specification, its configurations, loading, decoding, generation.
#include <any>
#include <map>

#include <cog/models/cogformer.hpp>
#include <cog/models/generate.hpp>
#include <cog/optim/adamw.hpp>

#include "nn_common.hpp"

using namespace nn_test;
namespace nn = cog::nn;
using cog::cogformer, cog::cogformer_config, cog::cpu;
using tokens_t = tensor<std::int64_t, 2>;

namespace {

cogformer_config const small = {.vocab_size = 11, .n_layers = 3, .max_seq_length = 24, .dim = 12, .n_heads = 2, .head_dim = 6,
                                .hidden_dim = 20};

template <class T = float>
cogformer<T, cpu> make(cogformer_config const& config = small, double deviation = 0.3) {
  cogformer<T, cpu> m(ctx, config);
  m.initialise(4, deviation);
  return m;
}

tokens_t ids(std::initializer_list<std::int64_t> values) {
  return cog::from(ctx, std::vector<std::int64_t>(values), {1, static_cast<index_t>(values.size())});
}

}  // namespace

TEST_CASE("the number of parameters, their names and shapes", "[cogformer]") {
  auto const m = make();
  index_t const v = 11, d = 12, hd = 12, f = 20, l = 3;
  CHECK(cog::parameter_count(m) == 2 * v * d + l * (4 * d * hd + 3 * d * f + 2 * d) + d);
  std::string names;
  for (auto const& p : cog::parameters_of(m)) names += p.name + " ";
  CHECK(names.starts_with("embedding.weight layers.0.attention.qw layers.0.attention.kw layers.0.attention.vw layers.0.attention.ow "
                          "layers.0.ffn.shared_experts.0.gw layers.0.ffn.shared_experts.0.pw layers.0.ffn.shared_experts.0.ow "
                          "layers.0.attention_norm.weight layers.0.ffn_norm.weight layers.1.attention.qw "));
  CHECK(names.ends_with("layers.2.ffn_norm.weight norm.weight output.weight "));
  CHECK(m.output.weight.extents() == std::array<index_t, 2>{11, 12});
}

TEST_CASE("the published size has 141 million parameters", "[cogformer]") {
  cogformer<cog::bf16, cpu> const m(ctx, {.vocab_size = 32000, .n_layers = 12, .max_seq_length = 2048, .dim = 768, .n_heads = 12,
                                          .head_dim = 64, .hidden_dim = 2304});
  CHECK(cog::parameter_count(m) == 141'183'744);
}

TEST_CASE("attn_type and the kind of each layer", "[cogformer]") {
  using enum nn::attention_kind;
  auto const kinds = [](cogformer_config c) {
    std::vector<nn::attention_kind> out;
    for (index_t l = 0; l < c.n_layers; ++l) out.push_back(c.kind(l));
    return out;
  };
  auto c = small;
  CHECK(kinds(c) == std::vector{softmax, cog, softmax});
  c.n_layers = 2;
  CHECK(kinds(c) == std::vector{softmax, softmax});
  c.n_layers = 1;
  CHECK(kinds(c) == std::vector{softmax});
  c.n_layers = 3;
  c.attn_type = cog::attn_type_of("vanilla");
  CHECK(kinds(c) == std::vector{softmax, softmax, softmax});
  c.layer_kinds = {cog, softmax, cog};
  CHECK(kinds(c) == c.layer_kinds);
  CHECK(make(c).layers[2].attention.kind == cog);
  CHECK(cog::attn_type_of("np") == cog::attn_type::np);
  check_error([] { cog::attn_type_of("linear"); }, {"linear", "np", "vanilla"});
  c.layer_kinds.pop_back();
  check_error([&] { make(c); }, {"2", "3"});
}

TEST_CASE("a configuration that makes no sense is refused by its key", "[cogformer]") {
  for (auto const& [change, key] : std::initializer_list<std::pair<void (*)(cogformer_config&), char const*>>{
           {[](auto& c) { c.vocab_size = 0; }, "vocab_size"},
           {[](auto& c) { c.hidden_dim = -1; }, "hidden_dim"},
           {[](auto& c) { c.head_dim = 5; }, "head_dim"},
           {[](auto& c) { c.shared_expert_recipe = {}; }, "recipe"},
           {[](auto& c) { c.n_key_heads = 3; }, "heads"}}) {
    auto c = small;
    change(c);
    check_error([&] { make(c); }, {key});
  }
}

TEST_CASE("prefill, chunks and one token at a time give the same logits", "[cogformer]") {
  for (index_t key_heads : {2, 1}) {
    auto c = small;
    c.n_key_heads = key_heads;
    auto const m = make(c);
    auto const x = cog::randint<std::int64_t>(ctx, {2, 20}, 0, 11, 1);
    auto const whole = m(x);
    for (auto const& chunks : {std::vector<index_t>{20}, {7, 13}, {3, 1, 16}, std::vector<index_t>(20, 1)}) {
      auto cache = m.make_cache(2, 20);
      index_t at = 0;
      for (index_t n : chunks) {
        CHECK(distance(m(slice(x, 1, at, at + n), cache), slice(whole, 1, at, at + n)) < 1e-4);
        at += n;
      }
      CHECK(cache.length() == 20);
      // Taking back and going on another way.
      cache.truncate(5);
      CHECK(distance(m(slice(x, 1, 5, 9), cache), slice(whole, 1, 5, 9)) < 1e-4);
    }
  }
}

TEST_CASE("a cache that counts in the backend's memory gives the same logits", "[cogformer]") {
  auto const m = make(small);
  auto const x = cog::randint<std::int64_t>(ctx, {2, 20}, 0, 11, 1);
  auto const whole = m(x);
  auto cache = m.make_cache(2, 18);
  (void)m(slice(x, 1, 0, 5), cache);
  cog::counted_cogformer_cache counted(cache);
  index_t at = 5;
  for (index_t n : {1, 4, 1, 7}) {
    CHECK(distance(m(slice(x, 1, at, at + n), counted), slice(whole, 1, at, at + n)) < 1e-4);
    at += n;
  }
  CHECK(counted.length.item() == 18);
  (void)m(slice(x, 1, 18, 20), counted);  // what does not fit is dropped
  CHECK(distance(counted.layers[0].keys(), slice(cache.layers[0].all_keys(), 2, 0, 18)) == 0);
  check_error([&] { m(cog::zeros<std::int64_t>(ctx, {1, 1}), counted); }, {"counted_cache", "[1, ", "[2, "});
  check_error([] { cog::counted_cogformer_cache(cog::cogformer_cache<float, cog::cpu>{}); }, {"without layers"});
}

TEST_CASE("documents in one row equal separate rows", "[cogformer]") {
  auto const m = make<double>();
  auto const a = ids({1, 5, 7, 2, 9}), b = ids({1, 3, 3, 8});
  auto const row = concatenate(1, a, b);
  auto const packed = m(row, cog::document{document_starts(row, std::int64_t(1))});
  CHECK(distance(slice(packed, 1, 0, 5), m(a)) < 1e-12);
  CHECK(distance(slice(packed, 1, 5, 9), m(b)) < 1e-11);

  // The same when it comes in chunks.
  auto cache = m.make_cache(1);
  cog::document_counter documents;
  auto const opens = cog::tensor(row == 1);
  for (auto const& [from, to] : {std::pair<index_t, index_t>{0, 3}, {3, 7}, {7, 9}}) {
    auto const y = m(slice(row, 1, from, to), cache, cog::document{documents.next(slice(opens, 1, from, to))});
    CHECK(distance(y, slice(packed, 1, from, to)) < 1e-12);
  }
}

TEST_CASE("left padding changes nothing where it is another document", "[cogformer]") {
  auto const m = make<double>();
  auto const prompt = ids({1, 5, 7, 2, 9}), padded = ids({2, 2, 2, 1, 5, 7, 2, 9});
  auto const y = m(padded, cog::document{document_starts(padded, std::int64_t(1))});
  CHECK(distance(slice(y, 1, 3, 8), m(prompt)) < 1e-11);
  auto const greedy = [&](tokens_t const& p) {
    return cog::generate(m, p, {.max_tokens = 8, .sampling = {.temperature = 0}, .bos = 1});
  };
  CHECK(greedy(padded) == greedy(prompt));
}

TEST_CASE("only the first expert of the recipe is run", "[cogformer]") {
  auto c = small;
  c.shared_expert_recipe = {1, 1};
  auto m = make(c);
  CHECK(m.layers[0].ffn.shared_experts[0].gw.extents() == std::array<index_t, 2>{12, 10});
  auto const x = ids({1, 2, 3});
  auto const y = m(x);
  for (auto& l : m.layers) l.ffn.shared_experts[1].ow = l.ffn.shared_experts[1].ow * 100;
  CHECK(same_bits(m(x), y));
  for (auto& l : m.layers) l.ffn.shared_experts[0].ow = l.ffn.shared_experts[0].ow * 100;
  CHECK_FALSE(same_bits(m(x), y));
}

TEST_CASE("loading is strict, and forgives what the published files have beside the weights", "[cogformer]") {
  struct source {
    std::map<std::string, std::any, std::less<>> at;
    std::vector<std::string> names() const {
      std::vector<std::string> out;
      for (auto const& [name, x] : at) out.push_back(name);
      return out;
    }
    bool contains(std::string_view name) const { return at.contains(name); }
    void load(std::string_view name, tensor<float, 1> const& x) const { x.assign(std::any_cast<tensor<float, 1>>(at.find(name)->second)); }
    void load(std::string_view name, tensor<float, 2> const& x) const {
      x.assign(std::any_cast<tensor<float, 2>>(at.find(name)->second));
    }
    void load_into(std::string_view name, tensor<float, 1> const& x) const { load(name, x); }
    void load_into(std::string_view name, tensor<float, 2> const& x) const { load(name, x); }
  };
  auto const m = make();
  source file;
  cog::for_each_parameter(m, [&](std::string const& name, auto const& x) { file.at[name] = x; });
  auto const x = ids({1, 2, 3});
  cogformer<float, cpu> other(ctx, small);
  file.at["freqs_cis"] = file.at["shortcut_bar"] = 0;
  for (char const* w : {"gw", "pw", "ow"}) file.at["layers.0.ffn.shared_experts.1." + std::string(w)] = 0;
  other.load(file);
  CHECK(same_bits(other(x), m(x)));

  file.at["layers.0.ffn.shared_experts.x.gw"] = 0;
  check_error([&] { other.load(file); }, {"unexpected: layers.0.ffn.shared_experts.x.gw"});
  file.at.erase("layers.0.ffn.shared_experts.x.gw");
  file.at.erase("layers.1.attention.ow");
  check_error([&] { other.load(file); }, {"missing: layers.1.attention.ow"});
}

TEST_CASE("initialisation is fixed by the seed", "[cogformer]") {
  auto const x = ids({1, 2, 3});
  CHECK(same_bits(make()(x), make()(x)));
  cogformer<float, cpu> fresh(ctx, small);
  CHECK(distance(fresh(x), cog::zeros<float>(ctx, {1, 3, 11})) == 0);
  fresh.initialise(1);
  CHECK(static_cast<double>(cog::max(cog::abs(fresh.output.weight)).item()) < 0.1);
  CHECK(distance(fresh.norm.weight, cog::ones<float>(ctx, {12})) == 0);
}

TEST_CASE("bf16 follows float", "[cogformer]") {
  auto const wide = make();
  cogformer<cog::bf16, cpu> narrow(ctx, small);
  struct source {
    std::map<std::string, tensor<float, 2>> at;
    std::vector<std::string> names() const { return {}; }
    bool contains(std::string const&) const { return true; }
    void load_into(std::string const& name, tensor<cog::bf16, 2>& x) const { x = cast<cog::bf16>(at.at(name)); }
    void load_into(std::string const&, tensor<cog::bf16, 1>& x) const { x = x * 0 + 1; }
  } file;
  cog::for_each_parameter(wide, [&]<class X>(std::string const& name, X const& x) {
    if constexpr (X::rank == 2) file.at[name] = x;
  });
  narrow.load(file);
  auto const x = cog::randint<std::int64_t>(ctx, {2, 9}, 0, 11, 1);
  CHECK(relative(narrow(x), wide(x)) < 0.06);
}

TEST_CASE("gradients of the whole model against differences", "[cogformer]") {
  auto m = make<double>({.vocab_size = 5, .n_layers = 3, .max_seq_length = 8, .dim = 6, .n_heads = 2, .head_dim = 4, .hidden_dim = 5,
                         .n_key_heads = 1});
  auto const x = cog::randint<std::int64_t>(ctx, {2, 6}, 0, 5, 1), y = cog::randint<std::int64_t>(ctx, {2, 6}, 0, 5, 2);
  auto const result = cog::gradcheck(m, [&](auto& model) { return cog::cross_entropy(model(x), y); });
  INFO(result.message);
  CHECK(result.ok);
}

TEST_CASE("a warm training step takes no memory from the system", "[cogformer]") {
  cpu::context const one({.threads = 1});  // on more, what is in use at once varies
  cogformer<float, cpu> m(one, small);
  m.initialise(1);
  cog::adamw<cpu> optimizer(m);
  auto const x = cog::randint<std::int64_t>(one, {2, 20}, 0, 11, 1), y = cog::randint<std::int64_t>(one, {2, 20}, 0, 11, 2);
  auto const step = [&] {
    auto const [loss, gradients] = cog::value_and_grad(m, [&](auto& model) { return cog::cross_entropy(model(x), y); });
    optimizer.step(m, gradients, 1e-3);
  };
  auto const taken = [&] {
    auto const usage = one.memory().report();
    return usage.in_use + usage.cached;
  };
  step();
  step();
  auto const before = taken();
  for (int i = 0; i < 5; ++i) step();
  CHECK(taken() == before);
}

TEST_CASE("errors of the model name what is wrong", "[cogformer]") {
  auto const m = make();
  check_error([&] { m(ids({1, 11})); }, {"11"});
  check_error([&] { m(cog::zeros<std::int64_t>(ctx, {1, 49})); }, {"rotary", "49", "48"});
  auto cache = m.make_cache(1, 4);
  check_error([&] { m(ids({1, 2, 3, 4, 5}), cache); }, {"kv_cache", "5", "4"});
  check_error([&] { m(cog::zeros<std::int64_t>(ctx, {2, 3}), cache); }, {"kv_cache"});
  check_error([&] { m(ids({1, 2}), cog::document{cog::zeros<std::int32_t>(ctx, {1, 3})}); }, {"document", "[1, 3]", "[1, 2]"});
}

TEST_CASE("an observer sees every point of the model under its name, and what it writes there goes on", "[cogformer]") {
  auto const m = make();
  auto const x = ids({3, 1, 4, 1, 5});
  std::vector<std::string> points{"hook_embed", "ln_final.hook_scale", "ln_final.hook_normalized"};
  for (std::string const block : {"blocks.0.", "blocks.1.", "blocks.2."})
    for (auto const* part : {"hook_resid_pre", "ln1.hook_scale", "ln1.hook_normalized", "attn.hook_q", "attn.hook_k", "attn.hook_v",
                             "attn.hook_attn_scores", "attn.hook_attn", "attn.hook_z", "attn.hook_result", "hook_attn_out",
                             "hook_resid_mid", "ln2.hook_scale", "ln2.hook_normalized", "hook_mlp_out", "hook_resid_post"})
      points.push_back(block + part);
  cog::hooks<float, cpu> hooks;
  for (auto const& point : points) hooks.cache(point);
  auto const y = m(x, hooks);
  for (auto const& point : points) CHECK(hooks.has_cached(point));
  CHECK(hooks.unreached().empty());
  hooks.cache("blocks.3.hook_resid_pre");
  static_cast<void>(m(x, hooks));
  CHECK(hooks.unreached() == std::vector<std::string>{"blocks.3.hook_resid_pre"});
  CHECK(relative(y, m(x)) < 1e-5);
  auto const at = [&](char const* point) { return hooks.cached<3>(point); };
  CHECK(same_bits(at("hook_embed"), m.embedding(x)));
  CHECK(same_bits(at("blocks.0.hook_resid_pre"), at("hook_embed")));
  CHECK(same_bits(at("blocks.2.hook_resid_pre"), at("blocks.1.hook_resid_post")));
  CHECK(relative(at("ln_final.hook_normalized") * at("ln_final.hook_scale"), at("blocks.2.hook_resid_post")) < 1e-5);
  CHECK(same_bits(m.logits(at("ln_final.hook_normalized") * m.norm.weight), y));
  CHECK(cog::min(hooks.cached<4>("blocks.1.attn.hook_attn")).item() < 0);
  CHECK(cog::min(hooks.cached<4>("blocks.0.attn.hook_attn")).item() >= 0);

  // Layer 1 without what its second head adds is the model whose ow has zeros there.
  hooks.reset();
  hooks.write<4>("blocks.1.attn.hook_result", [](auto& heads) { cog::select(heads, 2, 1).assign(0); });
  auto without = cog::copy_of(m);
  cog::slice(without.layers[1].attention.ow, 0, 6, 12).assign(0);
  CHECK(relative(m(x, hooks), without(x)) < 1e-5);
  CHECK(relative(m(x, hooks), y) > 1e-3);
  hooks.reset();
  hooks.write<3>("hook_embed", [&](auto& embedded) { embedded = m.embedding(ids({7, 7, 7, 7, 7})); });
  CHECK(same_bits(m(x, hooks), m(ids({7, 7, 7, 7, 7}))));
}

TEST_CASE("generation: seeds, rows, stops, streaming, and a window that slides", "[cogformer][generate]") {
  auto const m = make();
  auto const prompt = cog::from(ctx, std::vector<std::int64_t>{1, 5, 7, 1, 3, 3}, {2, 3});
  cog::generation const settings{.max_tokens = 15, .sampling = {.temperature = 2}, .seed = 9};
  auto const text = cog::generate(m, prompt, settings);
  REQUIRE(text.size() == 2);
  CHECK(text[0].size() == 15);
  CHECK(cog::generate(m, prompt, settings) == text);
  auto other = settings;
  other.seed = 10;
  CHECK(cog::generate(m, prompt, other) != text);
  // A row does not depend on the others; row 0 alone is row 0.
  CHECK(cog::generate(m, slice(prompt, 0, 0, 1), settings)[0] == text[0]);

  std::vector<std::vector<std::int64_t>> seen(2);
  auto streaming = settings;
  streaming.on_token = [&](index_t row, std::int64_t token) {
    seen[static_cast<std::size_t>(row)].push_back(token);
    return true;
  };
  CHECK(cog::generate(m, prompt, streaming) == text);
  CHECK(seen == text);
  int left = 4;
  streaming.on_token = [&](index_t, std::int64_t) { return --left > 0; };
  CHECK(cog::generate(m, prompt, streaming)[0].size() == 2);

  auto stopping = settings;
  stopping.stop = {text[0][5]};
  auto const stopped = cog::generate(m, prompt, stopping);
  auto const until = [&](std::size_t row) {
    auto const end = std::find(text[row].begin(), text[row].end(), text[0][5]);
    return std::vector<std::int64_t>(text[row].begin(), end);
  };
  CHECK(stopped[0] == until(0));
  CHECK(stopped[1] == until(1));

  // Greedy, beyond the window of 24 positions: what the model says of the tokens that it still sees.
  auto const greedy = cog::generate(m, slice(prompt, 0, 0, 1), {.max_tokens = 40, .sampling = {.temperature = 0}})[0];
  REQUIRE(greedy.size() == 40);
  std::vector<std::int64_t> all = {1, 5, 7};
  index_t begin = 0;
  for (std::int64_t token : greedy) {
    auto const length = static_cast<index_t>(all.size());
    if (length - begin > 24) begin = length - 12;
    std::vector<std::int64_t> const window(all.begin() + begin, all.end());
    auto const y = m(cog::from(ctx, window, {1, static_cast<index_t>(window.size())}));
    CHECK(cog::argmax(select(y, 1, -1), -1)(0) == token);
    all.push_back(token);
  }
  // A prompt that is longer than the window counts with its end.
  auto const long_prompt = cog::randint<std::int64_t>(ctx, {1, 60}, 0, 11, 1);
  cog::generation const brief{.max_tokens = 1, .sampling = {.temperature = 0}};
  CHECK(cog::generate(m, long_prompt, brief) == cog::generate(m, slice(long_prompt, 1, 36, 60), brief));

  check_error([&] { cog::generate(m, cog::zeros<std::int64_t>(ctx, {1, 0})); }, {"generate", "[1, 0]"});
  check_error([&] { cog::generate(m, prompt, {.sampling = {.top_p = 2}}); }, {"top_p"});
  CHECK(cog::generate(m, prompt, {.max_tokens = 0})[1].empty());
}
