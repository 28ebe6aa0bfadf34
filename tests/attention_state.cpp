// Partial results and caches: merging in any grouping, decoding position by position, chunks, documents.
#include "attention_common.hpp"

#include <cog/attention/kv_cache.hpp>

using namespace attention_test;

namespace {
cog::cpu_context const all_cores;
}

TEST_CASE("partial states merge to the whole, in any grouping, with empty parts", "[alone]") {
  std::mt19937 bits(7);
  auto const run = [&](auto rule) {
    using Rule = decltype(rule);
    problem<double> const x(all_cores, 2, 4, 2, 9, 60, 8, 8);
    auto const whole = cog::attention_forward<Rule>(x.q, x.k, x.v);
    auto const part = [&](index_t begin, index_t end) {
      return cog::attention_forward<Rule>(x.q, cog::slice(x.k, 2, begin, end), cog::slice(x.v, 2, begin, end));
    };
    for (int trial = 0; trial < 20; ++trial) {
      std::vector<index_t> cuts{0, 60};
      for (int i = 0; i < 5; ++i) cuts.push_back(std::uniform_int_distribution<index_t>(0, 60)(bits));
      std::sort(cuts.begin(), cuts.end());
      std::vector<cog::attention_state<double, cpu>> parts{
          cog::empty_attention_state<double>(all_cores, whole.out.extents())};
      for (std::size_t i = 0; i + 1 < cuts.size(); ++i) parts.push_back(part(cuts[i], cuts[i + 1]));
      std::shuffle(parts.begin(), parts.end(), bits);
      while (parts.size() > 1) {  // any two neighbours
        auto const at = std::uniform_int_distribution<std::size_t>(0, parts.size() - 2)(bits);
        parts[at] = cog::merge(parts[at], parts[at + 1]);
        parts.erase(parts.begin() + static_cast<std::ptrdiff_t>(at) + 1);
      }
      CHECK(distance(parts[0].out, whole.out.to_vector()) < 1e-13);
      CHECK(distance(parts[0].logsumexp, whole.logsumexp.to_vector()) < 1e-13);
    }
    auto const none = cog::empty_attention_state<double>(all_cores, whole.out.extents());
    CHECK(same_bits(cog::merge(whole, none).out, whole.out));
    CHECK(same_bits(cog::merge(none, whole).logsumexp, whole.logsumexp));
    auto const still_none = cog::merge(none, none);
    CHECK(same_bits(still_none.out, none.out));
    CHECK(same_bits(still_none.logsumexp, none.logsumexp));
  };
  run(cog::cog_rule{});
  run(cog::softmax_rule{});
  problem<float> const x(all_cores, 1, 1, 1, 3, 4, 2, 2), y(all_cores, 1, 1, 1, 5, 4, 2, 2);
  auto const text = message_of([&] {
    cog::merge(cog::attention_forward<cog::cog_rule>(x.q, x.k, x.v),
               cog::attention_forward<cog::cog_rule>(y.q, y.k, y.v));
  });
  CHECK(text.find("[1, 1, 3, 2] and [1, 1, 5, 2]") != std::string::npos);
}

TEST_CASE("the merge of two numbers", "[alone]") {
  using shares = cog::merge_shares<double>;
  double const none = -std::numeric_limits<double>::infinity();
  CHECK(shares(none, 3.0).first == 0);
  CHECK(shares(none, 3.0).second == 1);
  CHECK(shares(none, 3.0).logsumexp == 3);
  CHECK(shares(none, none).logsumexp == none);
  CHECK(shares(1000.0, 1000.0).first == 0.5);
  CHECK(shares(1000.0, 1000.0).logsumexp == Approx(1000 + std::log(2.0)));
  CHECK(std::isnan(shares(std::nan(""), none).logsumexp));
}

TEST_CASE("prefill, chunks and one by one give the same") {
  auto const run = [&](auto rule, auto type, double bound) {
    using Rule = decltype(rule);
    using T = decltype(type);
    problem<T> const x(all_cores, 2, 4, 2, 90, 90, 16, 12);
    auto const whole = cog::attention<Rule>(x.q, x.k, x.v, cog::causal);
    for (auto const& chunks :
         std::vector<std::vector<index_t>>{{90}, {30, 60}, {1, 64, 25}, std::vector<index_t>(90, 1)}) {
      cog::kv_cache<T, cpu> cache(all_cores, {2, 2, 100, 16}, 12);
      index_t at = 0;
      for (index_t const n : chunks) {
        auto const chunk = [&](tensor4<T> const& t) { return cog::slice(t, 2, at, at + n); };
        cache.append(chunk(x.k), chunk(x.v));
        auto const out = cog::attention<Rule>(chunk(x.q), cache.keys(), cache.values(), cog::causal);
        CHECK(distance(out, chunk(whole).to_vector()) < bound);
        at += n;
      }
      CHECK(cache.length() == 90);
    }
  };
  run(cog::cog_rule{}, double{}, 1e-12);
  run(cog::softmax_rule{}, double{}, 1e-12);
  run(cog::cog_rule{}, float{}, 2e-5);
}

TEST_CASE("decoding over many keys: the keys are split, the result is the whole") {
  for (index_t const keys : {100, 511, 513, 3000, 20000}) {
    problem<float> const x(all_cores, 1, 4, 2, 1, keys, 64, 64, static_cast<unsigned>(keys));
    check_both(x, cog::no_mask, sees_all());
    check_both(x, cog::sliding_window{700}, sees_window(1, keys, 700));
  }
  problem<float> const few(all_cores, 2, 8, 1, 3, 5000, 32, 32);
  check_both(few, cog::causal, sees_causal(3, 5000));
}

TEST_CASE("documents in one row equal separate rows, trained and decoded", "[alone]") {
  problem<double> const x(all_cores, 2, 2, 2, 100, 100, 8, 8);
  auto opens = cog::zeros<bool>(all_cores, {2, 100});
  std::vector<std::vector<index_t>> const starts{{0, 17, 64, 65, 90}, {5, 70}};
  for (std::size_t b = 0; b < 2; ++b)
    for (index_t const s : starts[b]) opens(static_cast<index_t>(b), s) = true;
  auto const begin = cog::document_starts(opens);
  CHECK(begin(0, 16) == 0);
  CHECK(begin(0, 17) == 17);
  CHECK(begin(0, 99) == 90);
  CHECK(begin(1, 4) == 0);
  CHECK(begin(1, 69) == 5);
  check_both(x, cog::document{begin},
             [&](index_t b, index_t, index_t i, index_t j) { return j <= i && j >= begin(b, i); });

  auto const together = cog::attention_forward<cog::cog_rule>(x.q, x.k, x.v, cog::document{begin});
  auto const d = cog::attention_backward<cog::cog_rule>(x.q, x.k, x.v, together.out, together.logsumexp, x.dout,
                                                        cog::document{begin});
  // Compared as wholes: the gradient of a document of one key is 0 but for rounding.
  auto out = cog::zeros<double>(all_cores, x.dout.extents()), dq = cog::zeros<double>(all_cores, x.q.extents()),
       dk = cog::zeros<double>(all_cores, x.k.extents()), dv = cog::zeros<double>(all_cores, x.v.extents());
  for (index_t b = 0; b < 2; ++b) {
    auto cuts = starts[static_cast<std::size_t>(b)];
    if (cuts.front() != 0) cuts.insert(cuts.begin(), 0);
    cuts.push_back(100);
    for (std::size_t n = 0; n + 1 < cuts.size(); ++n) {
      auto const own = [&](auto&& t) { return cog::slice(cog::slice(t, 0, b, b + 1), 2, cuts[n], cuts[n + 1]); };
      auto const alone = cog::attention_forward<cog::cog_rule>(own(x.q), own(x.k), own(x.v), cog::causal);
      auto const e = cog::attention_backward<cog::cog_rule>(own(x.q), own(x.k), own(x.v), alone.out, alone.logsumexp,
                                                            own(x.dout), cog::causal);
      own(out).assign(alone.out);
      own(dq).assign(e.dq);
      own(dk).assign(e.dk);
      own(dv).assign(e.dv);
    }
  }
  CHECK(distance(out, together.out.to_vector()) < 1e-12);
  CHECK(distance(dq, d.dq.to_vector()) < 1e-12);
  CHECK(distance(dk, d.dk.to_vector()) < 1e-12);
  CHECK(distance(dv, d.dv.to_vector()) < 1e-12);

  for (index_t const step : {1, 7, 50}) {
    cog::kv_cache<double, cpu> cache(all_cores, {2, 2, 100, 8});
    cog::document_counter counter;
    for (index_t at = 0; at < 100; at += step) {
      index_t const end = std::min<index_t>(100, at + step);
      auto const chunk = [&](tensor4<double> const& t) { return cog::slice(t, 2, at, end); };
      cache.append(chunk(x.k), chunk(x.v));
      auto const mask = cog::document{counter.next(cog::slice(opens, 1, at, end))};
      CHECK(distance(cog::cog_attention(chunk(x.q), cache.keys(), cache.values(), mask),
                     chunk(together.out).to_vector()) < 1e-12);
    }
    CHECK(counter.length() == 100);
  }

  auto const tokens = cog::from<std::int64_t>(all_cores, {{1, 5, 1, 3}, {2, 2, 2, 1}});
  CHECK(cog::document_starts(tokens, 1).to_vector() == std::vector<std::int32_t>{0, 0, 2, 2, 0, 0, 0, 3});
}

TEST_CASE("a cache: room, overflow, truncation, copies", "[alone]") {
  cog::kv_cache<float, cpu> cache(all_cores, {1, 2, 4, 8}, 6);
  auto const k = normal<float>(all_cores, {1, 2, 3, 8}, 1), v = normal<float>(all_cores, {1, 2, 3, 6}, 2);
  CHECK(cache.keys().extents() == extents<4>{1, 2, 0, 8});
  cache.append(k, v);
  CHECK(same_bits(cache.keys(), k));
  CHECK(same_bits(cache.values(), v));
  auto const text = message_of([&] { cache.append(k, v); });
  CHECK(text.find("3 positions to 3 with room for 4") != std::string::npos);
  CHECK(message_of([&] { cache.append(v, v); }).find("[1, 2, 3, 6]") != std::string::npos);
  CHECK(cache.length() == 3);

  auto fork = cache.copy();
  cache.reserve(10);
  CHECK(cache.capacity() == 10);
  cache.append(k, v);
  CHECK(cache.length() == 6);
  CHECK(same_bits(cog::slice(cache.keys(), 2, 0, 3), k));
  CHECK(same_bits(cog::slice(cache.values(), 2, 3, 6), v));
  CHECK(fork.length() == 3);
  cache.truncate(2);
  CHECK(same_bits(cache.keys(), cog::slice(k, 2, 0, 2)));
  CHECK(message_of([&] { cache.truncate(3); }).find("2 positions to 3") != std::string::npos);
}
