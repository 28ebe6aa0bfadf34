// Attention on plain pointers: against that of tensors, sequence by sequence.
#include "cuda_attention.hpp"
#include "cuda_hopper.hpp"

#include <cog/backend/cuda/attention_door.hpp>

using namespace cuda_attention;

namespace {

template <class X>
door::tensor plain(X const& x) {
  auto const v = x.view();
  return {const_cast<void*>(static_cast<void const*>(v.data)), v.strides[0], v.strides[1], v.strides[2], v.strides[3]};
}

template <class T>
door::attention call_of(problem<T> const& x, tensor4<T, cuda_context>& out, tensor<float, 3, cog::cuda>& logsumexp) {
  door::attention a{.type = std::same_as<T, bf16> ? door::element::bf16 : door::element::half, .rule = door::rule::cog, .batch = x.n.batch, .heads = x.n.heads,
                    .key_heads = x.n.key_heads, .queries = x.n.queries, .keys = x.n.keys, .width = x.n.width, .value_width = x.n.value_width,
                    .scale = static_cast<float>(x.scale)};
  a.q = plain(x.q.device), a.k = plain(x.k.device), a.v = plain(x.v.device), a.out = plain(out);
  a.logsumexp = logsumexp.data();
  return a;
}

/// Sequences one after the other, forward and backward: lengths of queries and keys.
template <class Rule>
void one_after_the_other(bool causal_mask, index_t heads, index_t key_heads, index_t width = 64, index_t value_width = 40, index_t window = 0) {
  std::vector<std::array<index_t, 2>> const lengths{{70, 70}, {1, 130}, {0, 5}, {200, 200}, {3, 64}};
  std::vector<std::int32_t> query_begin{0}, key_begin{0};
  for (auto const [nq, nk] : lengths) query_begin.push_back(query_begin.back() + static_cast<int>(nq)), key_begin.push_back(key_begin.back() + static_cast<int>(nk));
  index_t const nq = query_begin.back(), nk = key_begin.back();
  problem<bf16> const x({1, heads, key_heads, nq, nk, width, value_width});
  auto out = cog::zeros<bf16>(gpu(), {1, heads, nq, value_width});
  auto logsumexp = cog::zeros<float>(gpu(), {1, heads, nq});
  auto const at = [](std::vector<std::int32_t> const& v) { return from(gpu(), std::span<std::int32_t const>(v), extents<1>{static_cast<index_t>(v.size())}); };
  auto const begins = at(query_begin), key_begins = at(key_begin);
  auto a = call_of(x, out, logsumexp);
  a.rule = std::same_as<Rule, cog_rule> ? door::rule::cog : door::rule::softmax;
  a.batch = 5, a.queries = 200, a.keys = 200, a.all_queries = nq, a.all_keys = nk;
  a.query_begin = begins.data(), a.key_begin = key_begins.data(), a.causal = causal_mask, a.window = window;
  door::forward(a);
  auto dq = cog::zeros<bf16>(gpu(), x.q.device.extents()), dk = cog::zeros<bf16>(gpu(), x.k.device.extents()), dv = cog::zeros<bf16>(gpu(), x.v.device.extents());
  a.out_gradient = plain(x.dout.device), a.dq = plain(dq), a.dk = plain(dk), a.dv = plain(dv);
  door::backward(a);
  for (std::size_t b = 0; b < lengths.size(); ++b) {
    if (lengths[b][0] == 0) continue;
    auto const of_queries = [&](auto const& t) { return slice(t, 2, query_begin[b], query_begin[b + 1]).copy(); };
    auto const of_keys = [&](auto const& t) { return slice(t, 2, key_begin[b], key_begin[b + 1]).copy(); };
    auto const q = of_queries(x.q.exact), k = of_keys(x.k.exact), v = of_keys(x.v.exact);
    INFO("sequence " << b);
    auto const compare = [&](auto const& mask) {
      auto const want = composed::forward<Rule>(q, k, v, mask, x.scale);
      auto const d = composed::backward<Rule>(q, k, v, want.out, want.logsumexp, of_queries(x.dout.exact), mask, x.scale);
      auto const got = [](auto const& t) { return t.to(loops_context{}); };
      CHECK(distance(of_queries(got(out)), want.out) <= tolerance<bf16>);
      CHECK(distance(of_queries(got(logsumexp)), want.logsumexp) <= 2e-5);
      CHECK(distance(of_queries(got(dq)), d.dq) <= tolerance<bf16>);
      CHECK(distance(of_keys(got(dk)), d.dk) <= tolerance<bf16>);
      CHECK(distance(of_keys(got(dv)), d.dv) <= tolerance<bf16>);
    };
    if (window > 0) compare(sliding_window{window});
    else if (causal_mask) compare(causal);
    else compare(no_mask);
  }
  auto const unseen = dk.to(loops_context{});  // the keys of the sequence without queries
  for (index_t j = key_begin[2]; j < key_begin[3]; ++j) CHECK(compute_t<bf16>(unseen(0, 0, j, 0)) == 0);
}

/// Caches that are partly full, in pages or not; what is behind their end is NaN.
void caches(index_t page_size, index_t heads, index_t key_heads, index_t queries) {
  std::vector<std::int32_t> const counts{700, 1, 129, 512};
  index_t const room = 768, width = 128;
  auto const spoil = [&](auto& x) {
    for (index_t b = 0; b < 4; ++b)
      for (index_t h = 0; h < key_heads; ++h)
        for (index_t j = std::max<index_t>(counts[static_cast<std::size_t>(b)], queries); j < room; ++j)
          for (index_t c = 0; c < width; ++c) x(b, h, j, c) = std::numeric_limits<double>::quiet_NaN();
  };
  problem<cog::half> const x({4, heads, key_heads, queries, room, width, width}, 1, 1, as_drawn, spoil, spoil);
  auto out = cog::zeros<cog::half>(gpu(), {4, heads, queries, width});
  auto logsumexp = cog::zeros<float>(gpu(), {4, heads, queries});
  auto const count = from(gpu(), std::span<std::int32_t const>(counts), extents<1>{4});
  auto a = call_of(x, out, logsumexp);
  a.key_count = count.data(), a.causal = true;
  // Page n of sequence b is entry 5 (n * 4 + b) mod all.
  std::vector<std::int32_t> pages;
  tensor4<cog::half, cuda_context> k = x.k.device, v = x.v.device;
  tensor<std::int32_t, 2, cog::cuda> table(gpu(), extents<2>{0, 0});
  if (page_size > 0) {
    index_t const of_sequence = room / page_size, all = 4 * of_sequence;
    auto const from_k = x.k.device.to(loops_context{}), from_v = x.v.device.to(loops_context{});
    tensor<cog::half, 4, loops> to_k(loops_context{}, extents<4>{all, key_heads, page_size, width}), to_v(loops_context{}, extents<4>{all, key_heads, page_size, width});
    for (index_t b = 0; b < 4; ++b)
      for (index_t n = 0; n < of_sequence; ++n) {
        index_t const page = 5 * (n * 4 + b) % all;
        pages.push_back(static_cast<std::int32_t>(page));
        for (index_t h = 0; h < key_heads; ++h)
          for (index_t j = 0; j < page_size; ++j)
            for (index_t c = 0; c < width; ++c) to_k(page, h, j, c) = from_k(b, h, n * page_size + j, c), to_v(page, h, j, c) = from_v(b, h, n * page_size + j, c);
      }
    k = to_k.to(gpu()), v = to_v.to(gpu());
    table = from(gpu(), std::span<std::int32_t const>(pages), extents<2>{4, of_sequence});
    a.k = plain(k), a.v = plain(v);
    a.pages = table.data(), a.page_step = of_sequence, a.page_size = page_size, a.page_count = all;
  }
  door::decode(a);
  for (index_t b = 0; b < 4; ++b) {
    index_t const n = counts[static_cast<std::size_t>(b)];
    auto const entry = [&](auto const& t) { return slice(t, 0, b, b + 1); };
    auto const want = composed::forward<cog_rule>(entry(x.q.exact), slice(entry(x.k.exact), 2, 0, n), slice(entry(x.v.exact), 2, 0, n), causal, x.scale);
    INFO("page size " << page_size << ", sequence " << b);
    CHECK(distance(entry(out.to(loops_context{})).copy(), want.out) <= tolerance<cog::half>);
    CHECK(distance(entry(logsumexp.to(loops_context{})).copy(), want.logsumexp) <= 2e-5);
  }
}

}  // namespace

TEST_CASE("attention on plain pointers: sequences one after the other") {
  if (!on_hopper()) return;
  in_every_order([] { one_after_the_other<cog_rule>(true, 4, 2); });
  one_after_the_other<softmax_rule>(false, 6, 2);
  one_after_the_other<cog_rule>(true, 2, 1, 128, 128, 50);
  one_after_the_other<cog_rule>(true, 2, 1, 136, 136);
}

TEST_CASE("attention on plain pointers: sequences on other devices") {
#if defined(COG_EMULATED_GPU)
  emulated_capability() = 80;
#else
  if (cog::cuda_detail::runs_hopper_kernels(gpu())) return;
#endif
  one_after_the_other<cog_rule>(true, 4, 2);
  one_after_the_other<softmax_rule>(false, 2, 2);
  caches(0, 8, 2, 1);
  caches(0, 2, 2, 3);
}

TEST_CASE("attention on plain pointers: caches") {
  if (!on_hopper()) return;
  caches(0, 8, 2, 1);
  caches(16, 8, 1, 1);
  caches(128, 3, 3, 1);
  caches(256, 4, 2, 3);
}

/// A captured step of decoding reads how many keys are in use when it is launched.
TEST_CASE("attention on plain pointers: decoding in a graph") {
  if (!on_hopper()) return;
  problem<bf16> const x({2, 8, 2, 1, 600, 128, 128});
  auto out = cog::zeros<bf16>(gpu(), {2, 8, 1, 128});
  auto logsumexp = cog::zeros<float>(gpu(), {2, 8, 1});
  auto count = from(gpu(), std::span<std::int32_t const>(std::array<std::int32_t, 2>{5, 9}), extents<1>{2});
  auto a = call_of(x, out, logsumexp);
  a.key_count = count.data(), a.causal = true, a.stream = gpu().stream();
  door::decode(a);  // what is needed besides is there from now on
  cog::cuda::graph step(gpu(), [&] { door::decode(a); });
  for (std::int32_t const n : {6, 300, 600}) {
    count.assign(from(gpu(), std::span<std::int32_t const>(std::array{n, n - 5}), extents<1>{2}));
    step.launch();
    for (index_t b = 0; b < 2; ++b) {
      auto const entry = [&](auto const& t) { return slice(t, 0, b, b + 1); };
      index_t const keys = n - 5 * b;
      auto const want = composed::forward<cog_rule>(entry(x.q.exact), slice(entry(x.k.exact), 2, 0, keys), slice(entry(x.v.exact), 2, 0, keys), causal, x.scale);
      CHECK(distance(entry(out.to(loops_context{})).copy(), want.out) <= tolerance<bf16>);
    }
  }
}

TEST_CASE("attention on plain pointers: gradients, and the same as of tensors") {
  if (!on_hopper()) return;
  problem<bf16> const x({2, 4, 2, 70, 90, 64, 64});
  auto out = cog::zeros<bf16>(gpu(), {2, 4, 70, 64});
  auto logsumexp = cog::zeros<float>(gpu(), {2, 4, 70});
  auto dq = cog::zeros<bf16>(gpu(), x.q.device.extents()), dk = cog::zeros<bf16>(gpu(), x.k.device.extents()), dv = cog::zeros<bf16>(gpu(), x.v.device.extents());
  auto a = call_of(x, out, logsumexp);
  a.causal = true, a.window = 40;
  a.out_gradient = plain(x.dout.device), a.dq = plain(dq), a.dk = plain(dk), a.dv = plain(dv);
  door::forward(a);
  door::backward(a);
  auto const f = attention_forward<cog_rule>(x.q.device, x.k.device, x.v.device, sliding_window{40});
  auto const d = attention_backward<cog_rule>(x.q.device, x.k.device, x.v.device, f.out, f.logsumexp, x.dout.device, sliding_window{40});
  CHECK(out.to_vector() == f.out.to_vector());
  CHECK(logsumexp.to_vector() == f.logsumexp.to_vector());
  CHECK(dq.to_vector() == d.dq.to_vector());
  CHECK(dk.to_vector() == d.dk.to_vector());
  CHECK(dv.to_vector() == d.dv.to_vector());
}

TEST_CASE("attention on plain pointers: what can't be is refused") {
  door::attention a{.heads = 3, .key_heads = 2};
  CHECK_THROWS_WITH(door::forward(a), Catch::Contains("no multiple"));
  a = {.scale = 0};
  CHECK_THROWS_WITH(door::forward(a), Catch::Contains("positive"));
  a = {};
  CHECK_THROWS_WITH(door::backward(a), Catch::Contains("logsumexp"));
  std::int32_t const begin[2]{};
  a.key_count = begin;
  CHECK_THROWS_WITH(door::backward(a), Catch::Contains("query_begin and key_begin"));
}
