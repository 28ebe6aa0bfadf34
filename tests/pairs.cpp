// Products of bf16 in pairs: every form that can run here, the loops of the AMX form over emulated tiles among them,
// against sums in double; and attention and products of tensors under each form and none.
#include "attention_common.hpp"

#include <array>
#include <cstdint>

#include <cog/backend/cpu/pairs.hpp>

using namespace attention_test;
using cog::bf16;
using cog::cpu_detail::chosen_pair_unit, cog::cpu_detail::pair_product, cog::cpu_detail::pair_unit,
    cog::cpu_detail::rows_of, cog::cpu_detail::side_work;

namespace {

cog::cpu_context const ctx{{.threads = 3}};

/// The eight tile registers and what the instructions do with them (Intel's Software Developer's Manual, volume 2).
struct emulated_tiles {
  static inline thread_local cog::cpu_detail::tile_shapes shapes{};
  static inline thread_local bool configured = false;
  static inline thread_local unsigned char tile[8][16][64];

  static void configure(cog::cpu_detail::tile_shapes const& s) {
    for (int t = 0; t < 8; ++t)
      if (s.palette != 1 || s.start_row != 0 || s.rows[t] > 16 || s.bytes[t] > 64 ||
          (s.rows[t] == 0) != (s.bytes[t] == 0))
        throw cog::error("tile ", t, ": ", int(s.rows[t]), " rows of ", s.bytes[t], " bytes");
    shapes = s;
    configured = true;
    std::memset(tile, 0, sizeof tile);
  }
  static void release() { configured = false; }
  template <int Tile>
  static void zero() {
    check(Tile);
    std::memset(tile[Tile], 0, sizeof tile[Tile]);
  }
  template <int Tile>
  static void load(void const* p, index_t pitch) {
    check(Tile);
    std::memset(tile[Tile], 0, sizeof tile[Tile]);
    for (int r = 0; r < shapes.rows[Tile]; ++r)
      std::memcpy(tile[Tile][r], static_cast<char const*>(p) + r * pitch, shapes.bytes[Tile]);
  }
  template <int Tile>
  static void store(void* p, index_t pitch) {
    check(Tile);
    for (int r = 0; r < shapes.rows[Tile]; ++r)
      std::memcpy(static_cast<char*>(p) + r * pitch, tile[Tile][r], shapes.bytes[Tile]);
  }
  /// TDPBF16PS: sum(m, n) += a(m, 2k) b(k, 2n) + a(m, 2k + 1) b(k, 2n + 1).
  template <int Sum, int A, int B>
  static void dot() {
    check(Sum), check(A), check(B);
    int const pairs = shapes.bytes[A] / 4;
    if (shapes.rows[Sum] != shapes.rows[A] || shapes.bytes[Sum] != shapes.bytes[B] || pairs != shapes.rows[B])
      throw cog::error("tiles that do not fit together");
    for (int m = 0; m < shapes.rows[Sum]; ++m)
      for (int k = 0; k < pairs; ++k)
        for (int n = 0; n < shapes.bytes[Sum] / 4; ++n) {
          float sum;
          bf16 a[2], b[2];
          std::memcpy(&sum, tile[Sum][m] + 4 * n, 4);
          std::memcpy(static_cast<void*>(a), tile[A][m] + 4 * k, 4);
          std::memcpy(static_cast<void*>(b), tile[B][k] + 4 * n, 4);
          sum += float(a[0]) * float(b[0]);
          sum += float(a[1]) * float(b[1]);
          std::memcpy(tile[Sum][m] + 4 * n, &sum, 4);
        }
  }

 private:
  static void check(int t) {
    if (!configured || shapes.rows[t] == 0) throw cog::error("tile ", t, " is not configured");
  }
};

struct counted_tiles : emulated_tiles {
  static inline index_t products = 0;
  template <int Sum, int A, int B>
  static void dot() {
    emulated_tiles::dot<Sum, A, B>();
    ++products;
  }
};
constexpr pair_unit emulated_amx{cog::cpu_detail::multiply_in_tiles<emulated_tiles>, true};

struct form {
  char const* name;
  pair_unit const* unit;
};
std::vector<form> forms() {
  std::vector<form> all{{"emulated tiles", &emulated_amx}};
  if (auto* const best = cog::cpu_detail::best_pair_unit()) all.push_back({"the best of this machine", best});
#if defined(__x86_64__) && defined(__GNUC__)
  if (__builtin_cpu_supports("avx512bf16")) all.push_back({"AVX512-BF16", &cog::cpu_detail::avx512_pair_unit});
#endif
  return all;
}

/// Calls f under every form and under none, and puts things back.
template <class F>
void under_each(F const& f) {
  auto all = forms();
  all.push_back({"none: in float", nullptr});
  for (auto const& form : all) {
    chosen_pair_unit() = form.unit;
    INFO(form.name);
    f();
  }
  chosen_pair_unit() = cog::cpu_detail::best_pair_unit();
}

}  // namespace

TEST_CASE("pairs of every shape, into zeros and added") {
  std::mt19937 bits(1);
  std::normal_distribution<float> draw;
  for (index_t const rows : {1, 3, 5, 15, 16, 17, 31, 40})
    for (index_t const pairs : {0, 1, 15, 16, 17, 33})
      for (index_t const columns : {16, 48, 64, 144}) {
        index_t const a_stride = 2 * pairs + 3, b_stride = columns + 16, stride = columns + 32;
        std::vector<bf16> a(static_cast<std::size_t>(rows * a_stride));
        for (auto& x : a) x = bf16(draw(bits));
        std::vector<bf16> b(static_cast<std::size_t>(2 * std::max<index_t>(pairs, 1) * b_stride));
        for (auto& x : b) x = bf16(draw(bits));
        std::vector<float> packed(b.size() / 2);
        std::memcpy(packed.data(), b.data(), 4 * packed.size());
        for (bool const add : {false, true})
          for (auto const& form : forms()) {
            std::vector<float> out(static_cast<std::size_t>(rows * stride), 7.0f);
            (*form.unit)({{a.data(), a_stride}, rows, {packed.data(), b_stride}, pairs, out.data(), stride, columns, add});
            double worst = 0;
            bool untouched = true;
            for (index_t i = 0; i < rows; ++i)
              for (index_t c = 0; c < stride; ++c) {
                double expected = add ? 7 : 0;
                for (index_t k = 0; c < columns && k < 2 * pairs; ++k)
                  expected += double(float(a[std::size_t(i * a_stride + k)])) *
                              double(float(b[std::size_t((k / 2 * b_stride + c) * 2 + k % 2)]));
                float const y = out[std::size_t(i * stride + c)];
                if (c < columns) worst = std::max(worst, std::fabs(double(y) - expected));
                else untouched = untouched && y == 7.0f;
              }
            INFO(form.name << ", " << rows << " rows, " << pairs << " pairs, " << columns << " columns");
            CHECK(worst < 2e-5);
            CHECK(untouched);
          }
      }
}

TEST_CASE("what is done beside products comes in even pieces, all of them") {
  std::vector<bf16> const a(64 * 64, bf16(1.0f));
  std::vector<float> const b(32 * 64, 0.0f);
  std::vector<float> out(64 * 64, 0.0f);
  constexpr index_t steps = 8 + 6, each = 4;  // products of tiles
  pair_product const two[] = {{{a.data(), 64}, 64, {b.data(), 64}, 32, out.data(), 64, 64, false},
                              {{a.data(), 64}, 33, {b.data(), 64}, 17, out.data(), 64, 64, true}};
  struct pieces {
    index_t all, made = 0;
    bool even = true;
    static void piece(void* of) {
      auto& x = *static_cast<pieces*>(of);
      index_t const step = counted_tiles::products / each;
      x.even = x.even && x.made * steps < step * x.all && x.made * steps >= (step - 1) * x.all;
      ++x.made;
    }
  };
  for (index_t const n : {0, 1, 5, 14, 16, 97}) {
    counted_tiles::products = 0;
    pieces counted{n};
    side_work work(pieces::piece, &counted, n);
    cog::cpu_detail::multiply_in_tiles<counted_tiles>(two, 2, &work);
    CHECK(counted_tiles::products == steps * each);
    CHECK(counted.made == n);
    CHECK(counted.even);
    work.finish();
    CHECK(counted.made == n);
  }
  pieces left{3};
  side_work alone(pieces::piece, &left, 3);
  alone.finish();
  CHECK(left.made == 3);
}

TEST_CASE("packing into pairs and turning, with NaN, infinity and signed zeros kept", "[alone]") {
  for (index_t const rows : {1, 2, 31, 32, 33, 70})
    for (index_t const columns : {1, 15, 16, 64, 67}) {
      index_t const pitch = cog::cpu_detail::round_up(rows, 2) + 2;
      std::vector<bf16> x(static_cast<std::size_t>(rows * (columns + 3))),
          turned(static_cast<std::size_t>(columns * pitch));
      std::uint16_t next = 0x7f70;  // around infinity, and beyond: NaN
      for (auto& e : x) e.bits = next = static_cast<std::uint16_t>(next * 25173u + 13849u);
      x[0].bits = 0x7fff, x.back().bits = 0xffff;
      cog::cpu_detail::transpose_pairs(x.data(), columns + 3, rows, columns, turned.data(), pitch);
      bool same = true;
      for (index_t r = 0; r < cog::cpu_detail::round_up(rows, 2); ++r)
        for (index_t c = 0; c < columns; ++c) {
          auto const bits_then = r < rows ? x[std::size_t(r * (columns + 3) + c)].bits : std::uint16_t(0);
          same = same && turned[std::size_t(c * pitch + r)].bits == bits_then;
        }
      INFO(rows << " rows, " << columns << " columns");
      CHECK(same);
    }
}

TEST_CASE("attention of bf16 under every form") {
  under_each([] {
    for (index_t const n : {4, 17, 64, 65, 130})
      for (index_t const m : {1, 31, 64, 65, 129, 300}) {
        problem<bf16> const x(ctx, 1, 2, 1, n, m, 6, 5, static_cast<unsigned>(n * 1000 + m));
        check_both(x, cog::causal, sees_causal(n, m));
        if (n == 65) check_both(x, cog::no_mask, sees_all());
        if (n == 65) check_both(x, cog::sliding_window{19}, sees_window(n, m, 19));
      }
    for (index_t const d : {1, 2, 15, 16, 33, 64, 130}) {
      problem<bf16> const x(ctx, 2, 4, 2, 70, 75, d, d + 1, static_cast<unsigned>(d));
      check_both(x, cog::causal, sees_causal(70, 75), d == 1 ? 2e-2 : d == 2 ? 1e-2 : tolerance<bf16>);
    }
    for (index_t const d : {0, 3}) {
      problem<bf16> const x(ctx, 1, 1, 1, 9, 11, d, 3 - d);
      check_both(x, cog::no_mask, sees_all());
    }
  });
}

TEST_CASE("attention of bf16 where the largest scores come late, early, and are of any size", "[alone]") {
  under_each([] {
    for (double const growth : {0.0, 0.02, -0.02, 0.2}) {
      problem<bf16> x(ctx, 1, 2, 1, 70, 700, 16, 16, 11);
      for (index_t j = 0; j < 700; ++j)
        for (index_t d = 0; d < 16; ++d) x.k(0, 0, j, d) = bf16(static_cast<float>(x.k(0, 0, j, d)) * static_cast<float>(std::fabs(growth * double(growth < 0 ? 700 - j : j)) + 0.5));
      INFO("growth " << growth);
      check_both(x, cog::no_mask, sees_all(), 3e-2);
      check_both(x, cog::causal, sees_causal(70, 700), 3e-2);

      auto const apart = cog::transposed(cog::transposed(x.k).copy());  // to be copied, for two tiles of queries
      auto const some = cog::slice(x.q, 1, 0, 1).copy();
      CHECK(same_bits(cog::attention_forward<cog::cog_rule>(some, apart, x.v, cog::no_mask).out,
                      cog::attention_forward<cog::cog_rule>(some, x.k, x.v, cog::no_mask).out));
    }
  });
}

TEST_CASE("attention of bf16 where one exponent of one query outgrows its reference", "[alone]") {
  under_each([] {
    for (index_t const lane : {3, 40, 63})
      for (index_t const late : {256, 301, 639}) {
        problem<bf16> x(ctx, 1, 1, 1, 64, 640, 16, 16, 5);
        auto const scale_row = [](auto& t, index_t i, float factor) {
          for (index_t d = 0; d < 16; ++d) t(0, 0, i, d) = bf16(factor * float(t(0, 0, i, d)));
        };
        for (index_t i = 0; i < 64; ++i) scale_row(x.q, i, i == lane ? 30.0f : 0.01f);
        for (index_t j = 0; j < 640; ++j) scale_row(x.k, j, 0.05f);
        for (index_t d = 0; d < 16; ++d) x.k(0, 0, late, d) = bf16(float(x.q(0, 0, lane, d)) * 8 / 30);
        INFO("query " << lane << ", key " << late);
        auto const r = attend(kind::cog, x.q, x.k, x.v, x.dout, sees_all(), x.scale());
        auto const f = cog::attention_forward<cog::cog_rule>(x.q, x.k, x.v, cog::no_mask);
        CHECK(distance(f.out, r.out) <= tolerance<bf16>);
        CHECK(distance(f.logsumexp, r.logsumexp) <= 2e-5);
      }
  });
}

TEST_CASE("bf16: what a query does not see changes nothing; what lies in strides is the same", "[alone]") {
  under_each([] {
    problem<bf16> const x(ctx, 1, 2, 2, 77, 77, 8, 8);
    auto const clean = cog::attention_forward<cog::cog_rule>(x.q, x.k, x.v, cog::causal);
    problem<bf16> y(ctx, 1, 2, 2, 77, 77, 8, 8);
    for (index_t const j : {40, 51, 76})
      for (index_t d = 0; d < 8; ++d)
        y.v(0, 1, j, d) = bf16(d % 2 ? std::nan("") : std::numeric_limits<double>::infinity());
    auto const spoilt = cog::attention_forward<cog::cog_rule>(y.q, y.k, y.v, cog::causal);
    auto const head = [](auto const& t, index_t first, index_t last) { return cog::slice(t, 2, first, last).copy(); };
    CHECK(distance(head(spoilt.out, 0, 40), head(clean.out, 0, 40).to_vector()) < 1e-6);
    CHECK(std::isnan(float(spoilt.out(0, 1, 41, 1))));

    auto const strided = [](auto const& t) { return cog::transposed(cog::transposed(t).copy()); };
    auto const same = cog::attention_forward<cog::cog_rule>(strided(x.q), strided(x.k), strided(x.v), cog::causal);
    CHECK(same_bits(same.out, clean.out));
    CHECK(same_bits(same.logsumexp, clean.logsumexp));
  });
}

TEST_CASE("bf16: NaN and infinity reach the gradients of what sees them alone", "[alone]") {
  under_each([] {
    auto const spoil = [](tensor4<bf16>& x, index_t position, double with) {
      for (index_t b = 0; b < x.extents()[0]; ++b) x(b, x.extents()[1] - 1, position, x.extents()[3] - 1) = bf16(with);
    };
    constexpr index_t n = 131;  // odd
    double const nan = std::nan(""), infinity = std::numeric_limits<double>::infinity();
    for (double const with : {nan, infinity})
      for (index_t const at : {0, 63, 64, 101, 130}) {
        INFO(with << " at " << at);
        problem<bf16> x(ctx, 1, 2, 1, n, n, 7, 9, 11);
        spoil(x.k, at, with);
        if (std::isnan(with)) check_both(x, cog::causal, sees_causal(n, n));
        problem<bf16> y(ctx, 1, 2, 1, n, n, 7, 9, 12);
        spoil(y.v, at, with);
        check_both(y, cog::causal, sees_causal(n, n));
        check_both(y, cog::sliding_window{9}, sees_window(n, n, 9));
        problem<bf16> z(ctx, 1, 2, 2, n, n, 7, 9, 13);
        if (std::isnan(with)) spoil(z.q, at, with);
        spoil(z.dout, at, with);
        check_both(z, cog::causal, sees_causal(n, n));
      }
    problem<bf16> x(ctx, 2, 4, 2, 71, n, 8, 8, 14);  // keys that nobody sees
    auto m = cog::full<bool>(ctx, {n}, true);
    for (index_t const at : {0, 64, 77, 130}) {
      m(at) = false;
      spoil(x.k, at, nan);
      spoil(x.v, at, infinity);
    }
    check_both(x, cog::boolean{m}, [&](index_t, index_t, index_t, index_t j) { return m(j); });
  });
}

TEST_CASE("bf16: gradients of operands in strides, of zero scores, of another scale", "[alone]") {
  under_each([] {
    problem<bf16> x(ctx, 1, 4, 2, 77, 90, 9, 7);
    for (index_t const j : {3, 64, 65, 89})
      for (index_t d = 0; d < 9; ++d) x.k(0, 0, j, d) = bf16(j == 65 ? -0.0 : 0.0);
    for (index_t d = 0; d < 9; ++d) x.q(0, 1, 5, d) = bf16(0.0);
    auto const backward = [](auto const& y, float scale) {
      cog::attention_options const options{.scale = scale};
      auto const f = cog::attention_forward<cog::cog_rule>(y.q, y.k, y.v, cog::causal, options);
      return cog::attention_backward<cog::cog_rule>(y.q, y.k, y.v, f.out, f.logsumexp, y.dout, cog::causal, options);
    };
    for (float const scale : {0.3f, 0.7f}) {
      auto const r = attend(kind::cog, x.q, x.k, x.v, x.dout, sees_causal(77, 90), scale);
      auto const d = backward(x, scale);
      INFO("scale " << scale);
      CHECK(distance(d.dq, r.dq) <= tolerance<bf16>);
      CHECK(distance(d.dk, r.dk) <= tolerance<bf16>);
      CHECK(distance(d.dv, r.dv) <= tolerance<bf16>);
      for (index_t c = 0; c < 9; ++c) CHECK(float(d.dq(0, 1, 5, c)) == 0);
    }
    auto y = x;
    for (auto* const t : {&y.q, &y.k, &y.v, &y.dout}) *t = cog::transposed(cog::transposed(*t).copy());
    auto const one = backward(x, 0.3f), other = backward(y, 0.3f);
    CHECK(same_bits(one.dq, other.dq));
    CHECK(same_bits(one.dk, other.dk));
    CHECK(same_bits(one.dv, other.dv));
  });
}

TEST_CASE("products of bf16 under every form, however the operands lie") {
  under_each([] {
    std::vector<std::array<index_t, 3>> const shapes{{4, 7, 5},  {5, 600, 65}, {97, 16, 64}, {200, 257, 130},
                                                     {6, 1, 17}, {64, 64, 4},  {9, 0, 8}};
    for (auto const& shape : shapes) {
      auto const [m, k, n] = shape;
      auto const draw = [](cog::extents<2> e, unsigned seed) {
        return cog::eval(cog::cast<bf16>(cog::randn<float>(ctx, e, seed)));
      };
      auto const a = draw({m, k}, 1), b = draw({k, n}, 2);
      auto const bias = cog::eval(cog::cast<bf16>(cog::randn<float>(ctx, {n}, 3)));
      auto const wide = [](auto const& x) { return cog::eval(cog::cast<double>(x)); };
      auto const turned = [](auto const& x) { return cog::transposed(cog::transposed(x).copy()); };
      auto const check = [&](auto const& x, auto const& y) {
        INFO(shape[0] << " x " << shape[1] << " x " << shape[2]);
        cog::tensor<double, 2, cpu> const expected = matmul(wide(x), wide(y)) + wide(bias);
        CHECK(distance(cog::eval(matmul(x, y) + bias), expected.to_vector()) < 4e-3);
      };
      check(a, b);
      check(turned(a), turned(b));
      check(cog::slice(draw({m, 2 * k}, 1), 1, 0, 2 * k, 2), b);
    }
    // Batches, one of them shared.
    auto const a = cog::eval(cog::cast<bf16>(cog::randn<float>(ctx, {3, 130, 20}, 1)));
    auto const b = cog::eval(cog::cast<bf16>(cog::randn<float>(ctx, {20, 70}, 2)));
    auto const y = cog::eval(matmul(a, b));
    auto const expected = cog::eval(matmul(cog::eval(cog::cast<float>(a)), cog::eval(cog::cast<float>(b))));
    CHECK(distance(y, expected.to_vector()) < 4e-3);
  });
}

#if defined(COG_ONEDNN)
TEST_CASE("products of bf16 by oneDNN: what it takes, and what is left to our own") {
  auto const draw = [](cog::extents<2> e, unsigned seed) { return cog::eval(cog::cast<bf16>(cog::randn<float>(ctx, e, seed))); };
  auto const product = [](auto const& a, auto const& b, std::vector<float>& c) {
    auto const view_of = [](auto const& x) { return cog::view<bf16 const, 2>{x.data(), x.extents(), x.strides()}; };
    return cog::cpu_detail::onednn::product(view_of(a), view_of(b), c.data());
  };
  auto const a = draw({70, 91}, 1), b = draw({91, 80}, 2), at = draw({91, 70}, 3), bt = draw({80, 91}, 4);
  std::vector<float> some(70 * 80);
  bool const usable = product(a, b, some);  // not by every processor
  if (!usable) WARN("oneDNN has no fast products of bf16 here");
  auto const check = [&](auto const& x, auto const& y, bool taken) {
    std::vector<float> c(static_cast<std::size_t>(x.extent(0) * y.extent(1)), 2.0f);
    CHECK(product(x, y, c) == (taken && usable));
    if (!taken || !usable) {
      CHECK(std::all_of(c.begin(), c.end(), [](float e) { return e == 2; }));
      return;
    }
    cog::tensor<double, 2, cpu> const expected = matmul(cog::eval(cog::cast<double>(x)), cog::eval(cog::cast<double>(y)));
    CHECK(distance(c, expected.to_vector()) < 1e-5);
  };
  check(a, b, true);
  check(cog::transposed(at), b, true);
  check(a, cog::transposed(bt), true);
  check(cog::transposed(at), cog::transposed(bt), true);
  check(cog::slice(at, 1, 0, 60), cog::slice(cog::transposed(bt), 0, 0, 60), true);  // rows further apart than long
  check(cog::slice(a, 0, 0, 20), b, false);                                          // little
  check(cog::expand(draw({1, 91}, 5), {70, 91}), b, false);                          // one row again and again
  check(cog::slice(draw({70, 182}, 6), 1, 0, 182, 2), b, false);                     // every other element
}
#endif
