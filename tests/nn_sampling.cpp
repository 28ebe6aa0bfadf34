// The choice of tokens: each setting against its definition, edge cases, frequencies, errors.
#include <cog/models/sampling.hpp>

#include "nn_common.hpp"

using namespace nn_test;
using cog::sampling;

namespace {

using ids = std::vector<index_t>;
float constexpr none = -std::numeric_limits<float>::infinity();

ids tokens(std::vector<float> const& logits, sampling const& s, std::vector<std::int64_t> const& previous = {}) {
  ids out;
  for (auto const& c : cog::candidates(logits, s, previous)) out.push_back(c.token);
  return out;
}
std::vector<double> probabilities(std::vector<float> const& logits, sampling const& s, std::vector<std::int64_t> const& previous = {}) {
  std::vector<double> out;
  for (auto const& c : cog::candidates(logits, s, previous)) out.push_back(c.probability);
  return out;
}
float l(double p) { return static_cast<float>(std::log(p)); }

// Probabilities 1/2, 1/4, 1/8, 1/8 of tokens 2, 0, 1, 3.
std::vector<float> const logits = {l(0.25), l(0.125), l(0.5), l(0.125)};

}  // namespace

TEST_CASE("by default the distribution is the model's", "[sampling]") {
  CHECK(tokens(logits, {}) == ids{2, 0, 1, 3});
  auto const p = probabilities(logits, {});
  CHECK(p[0] == Approx(0.5));
  CHECK(p[3] == Approx(0.125));
  std::vector<float> shifted = logits;
  for (auto& x : shifted) x += 1000;
  CHECK(probabilities(shifted, {})[1] == Approx(0.25).epsilon(1e-3));
}

TEST_CASE("temperature", "[sampling]") {
  auto const p = probabilities(logits, {.temperature = 0.5});  // squares
  CHECK(p[0] / p[1] == Approx(4));
  CHECK(tokens(logits, {.temperature = 0}) == ids{2});
  CHECK(tokens({1, 3, 3, 2}, {.temperature = 0}) == ids{1});  // the first of equals
  cog::random_stream random{1};
  CHECK(cog::sample(logits, {.temperature = 0, .top_k = 3, .top_p = 0.1}, random) == 2);
  CHECK(random.offset == 0);  // nothing is drawn
  CHECK(probabilities(logits, {.temperature = 1e-9}).front() == 1);
}

TEST_CASE("top-k", "[sampling]") {
  CHECK(tokens(logits, {.top_k = 1}) == ids{2});
  CHECK(tokens(logits, {.top_k = 3}) == ids{2, 0, 1});  // of two equal ones the lower token
  CHECK(tokens(logits, {.top_k = 9}).size() == 4);
  auto const p = probabilities(logits, {.top_k = 2});
  CHECK(p[0] == Approx(2.0 / 3));
}

TEST_CASE("top-p keeps the fewest tokens that reach it, and always one", "[sampling]") {
  CHECK(tokens(logits, {.top_p = 1e-9}) == ids{2});
  CHECK(tokens(logits, {.top_p = 0.49}) == ids{2});
  CHECK(tokens(logits, {.top_p = 0.51}) == ids{2, 0});
  CHECK(tokens(logits, {.top_p = 0.74}) == ids{2, 0});
  CHECK(tokens(logits, {.top_p = 0.76}) == ids{2, 0, 1});
  CHECK(tokens(logits, {.top_p = 1}).size() == 4);
  CHECK(tokens(logits, {.top_k = 2, .top_p = 0.7}) == ids{2, 0});  // of what top-k left: 2/3, 1/3
  CHECK(tokens(logits, {.top_k = 2, .top_p = 0.6}) == ids{2});
  CHECK(tokens({1, 1, 1, 1}, {.top_p = 0.5}) == ids{0, 1});  // exactly reached
}

TEST_CASE("min-p is relative to the most likely token", "[sampling]") {
  CHECK(tokens(logits, {.min_p = 0.6}) == ids{2});
  CHECK(tokens(logits, {.min_p = 0.4}) == ids{2, 0});
  CHECK(tokens(logits, {.min_p = 0.2}).size() == 4);
  CHECK(tokens(logits, {.min_p = 1}) == ids{2});
}

TEST_CASE("the repetition penalty lowers what is already there, once", "[sampling]") {
  std::vector<float> const x = {2, -2, 1};
  auto const p = probabilities(x, {.repetition_penalty = 2}, {0, 1, 0, 0});
  auto const t = tokens(x, {.repetition_penalty = 2}, {0, 1, 0, 0});
  CHECK(t == ids{0, 2, 1});  // 1, 1, -4
  CHECK(p[0] == Approx(p[1]));
  CHECK(p[2] / p[0] == Approx(std::exp(-5.0)));
  CHECK(probabilities(x, {}, {0, 1}) == probabilities(x, {}));
}

TEST_CASE("impossible tokens are never drawn", "[sampling]") {
  CHECK(tokens({none, 0, none}, {}) == ids{1});
  CHECK(tokens({none, 0, none}, {.top_k = 3}) == ids{1});
  check_error([] { tokens({none, none}, {}); }, {"sampling", "2"});
  check_error([] { tokens({}, {}); }, {"sampling"});
  check_error([] { tokens({0, std::nanf(""), 1}, {}); }, {"token 1", "nan"});
  check_error([] { tokens({0, -none}, {.temperature = 0}); }, {"token 1", "inf"});
}

TEST_CASE("settings out of range are errors that name them", "[sampling]") {
  check_error([] { tokens(logits, {.temperature = -1}); }, {"temperature", "-1"});
  check_error([] { tokens(logits, {.top_k = -1}); }, {"top_k", "-1"});
  check_error([] { tokens(logits, {.top_p = 0}); }, {"top_p", "0"});
  check_error([] { tokens(logits, {.top_p = 1.5}); }, {"top_p", "1.5"});
  check_error([] { tokens(logits, {.min_p = -0.1}); }, {"min_p", "-0.1"});
  check_error([] { tokens(logits, {.repetition_penalty = 0}); }, {"repetition_penalty", "0"});
  check_error([] { tokens(logits, {.repetition_penalty = INFINITY}, {1}); }, {"repetition_penalty", "inf"});
  check_error([] { tokens(logits, {.repetition_penalty = 2}, {4}); }, {"4"});
}

TEST_CASE("draws have the frequencies of the probabilities, and the seed fixes them", "[sampling]") {
  cog::random_stream random{11}, again{11}, other{12};
  std::vector<double> count(4);
  bool same = true, differs = false;
  int const draws = 20000;
  for (int i = 0; i < draws; ++i) {
    index_t const t = cog::sample(logits, {}, random);
    same = same && t == cog::sample(logits, {}, again);
    differs = differs || t != cog::sample(logits, {}, other);
    ++count[static_cast<std::size_t>(t)];
  }
  CHECK(same);
  CHECK(differs);
  CHECK(count[2] / draws == Approx(0.5).margin(0.015));
  CHECK(count[0] / draws == Approx(0.25).margin(0.015));
  CHECK(count[1] / draws == Approx(0.125).margin(0.01));
  CHECK(count[3] / draws == Approx(0.125).margin(0.01));
}
