// A SIMD register as a value: simd<float> and simd<double> over Eigen's packets, with masks.
// Ops are written once over a scalar-like type; on the CPU that type is this one. Follows the consumer's -m flags.
// The functions of core/math.hpp have their overloads here. float: a few ulp; double: exp, log, sqrt in SIMD, the rest by lane.
#pragma once

#include <Eigen/Core>
#include <cmath>
#include <concepts>
#include <cstring>
#include <limits>
#include <numbers>

#include <cog/backend/cpu/simd_narrow.hpp>
#include <cog/core/dtype.hpp>
#include <cog/core/math.hpp>

#if defined(__GNUC__) && !defined(__clang__)
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wignored-attributes"  // packets are template arguments below
#endif

namespace cog::cpu_detail {

namespace packet = Eigen::internal;

/// How many SIMD registers a kernel may plan with.
inline constexpr int vector_registers = EIGEN_ARCH_DEFAULT_NUMBER_OF_REGISTERS;

template <std::floating_point T>
struct simd;

/// One truth value per lane.
template <std::floating_point T>
struct simd_mask {
  using raw = typename packet::packet_traits<T>::type;
  raw bits;  // all ones or all zeros

  static COG_INLINE simd_mask less(raw a, raw b) { return {packet::pcmp_lt(a, b)}; }
  static COG_INLINE simd_mask less_equal(raw a, raw b) { return {packet::pcmp_le(a, b)}; }
  static COG_INLINE simd_mask equal(raw a, raw b) { return {packet::pcmp_eq(a, b)}; }
  COG_INLINE raw select(raw a, raw b) const { return packet::pselect(bits, a, b); }
  COG_INLINE raw keep(raw a) const { return packet::pand(bits, a); }  // 0 where false
  COG_INLINE bool any() const { return packet::predux_any(bits); }

  friend COG_INLINE simd_mask operator&&(simd_mask a, simd_mask b) { return {packet::pand(a.bits, b.bits)}; }
  friend COG_INLINE simd_mask operator||(simd_mask a, simd_mask b) { return {packet::por(a.bits, b.bits)}; }
  friend COG_INLINE simd_mask operator!(simd_mask a) { return {packet::pandnot(packet::ptrue(a.bits), a.bits)}; }
};

#if defined(EIGEN_VECTORIZE_AVX512)
// AVX-512 has mask registers; Eigen 3.4 copies them to vectors and back.
template <>
struct simd_mask<float> {
  using raw = packet::Packet16f;
  __mmask16 bits;

  static COG_INLINE simd_mask less(raw a, raw b) { return {_mm512_cmp_ps_mask(a, b, _CMP_LT_OQ)}; }
  static COG_INLINE simd_mask less_equal(raw a, raw b) { return {_mm512_cmp_ps_mask(a, b, _CMP_LE_OQ)}; }
  static COG_INLINE simd_mask equal(raw a, raw b) { return {_mm512_cmp_ps_mask(a, b, _CMP_EQ_OQ)}; }
  COG_INLINE raw select(raw a, raw b) const { return _mm512_mask_blend_ps(bits, b, a); }
  COG_INLINE raw keep(raw a) const { return _mm512_maskz_mov_ps(bits, a); }
  COG_INLINE bool any() const { return bits != 0; }

  friend COG_INLINE simd_mask operator&&(simd_mask a, simd_mask b) { return {__mmask16(a.bits & b.bits)}; }
  friend COG_INLINE simd_mask operator||(simd_mask a, simd_mask b) { return {__mmask16(a.bits | b.bits)}; }
  friend COG_INLINE simd_mask operator!(simd_mask a) { return {__mmask16(~a.bits)}; }
};
template <>
struct simd_mask<double> {
  using raw = packet::Packet8d;
  __mmask8 bits;

  static COG_INLINE simd_mask less(raw a, raw b) { return {_mm512_cmp_pd_mask(a, b, _CMP_LT_OQ)}; }
  static COG_INLINE simd_mask less_equal(raw a, raw b) { return {_mm512_cmp_pd_mask(a, b, _CMP_LE_OQ)}; }
  static COG_INLINE simd_mask equal(raw a, raw b) { return {_mm512_cmp_pd_mask(a, b, _CMP_EQ_OQ)}; }
  COG_INLINE raw select(raw a, raw b) const { return _mm512_mask_blend_pd(bits, b, a); }
  COG_INLINE raw keep(raw a) const { return _mm512_maskz_mov_pd(bits, a); }
  COG_INLINE bool any() const { return bits != 0; }

  friend COG_INLINE simd_mask operator&&(simd_mask a, simd_mask b) { return {__mmask8(a.bits & b.bits)}; }
  friend COG_INLINE simd_mask operator||(simd_mask a, simd_mask b) { return {__mmask8(a.bits | b.bits)}; }
  friend COG_INLINE simd_mask operator!(simd_mask a) { return {__mmask8(~a.bits)}; }
};
#endif

/// Aligned stores past the caches, for registers that make them pay; `stores_done` before another thread may look.
#if defined(EIGEN_VECTORIZE_AVX)
inline constexpr bool stores_past_caches = true;
COG_INLINE void store_past_caches(float* p, packet::Packet8f v) { _mm256_stream_ps(p, v); }
COG_INLINE void store_past_caches(double* p, packet::Packet4d v) { _mm256_stream_pd(p, v); }
#if defined(EIGEN_VECTORIZE_AVX512)
COG_INLINE void store_past_caches(float* p, packet::Packet16f v) { _mm512_stream_ps(p, v); }
COG_INLINE void store_past_caches(double* p, packet::Packet8d v) { _mm512_stream_pd(p, v); }
#endif
inline void stores_done() { _mm_sfence(); }
#else
inline constexpr bool stores_past_caches = false;
template <class T, class P>
COG_INLINE void store_past_caches(T*, P) {}
inline void stores_done() {}
#endif

template <std::floating_point T>
struct simd {
  using value_type = T;
  using mask = simd_mask<T>;
  using raw = typename packet::packet_traits<T>::type;
  static constexpr int size = packet::unpacket_traits<raw>::size;
  static constexpr int registers = vector_registers;

  raw v;

  simd() = default;
  COG_INLINE simd(raw r)
    requires(!std::same_as<raw, T>)
      : v(r) {}
  COG_INLINE simd(T x) : v(packet::pset1<raw>(x)) {}
  template <class U>
    requires(std::is_arithmetic_v<U> && !std::same_as<U, T>)
  COG_INLINE simd(U x) : simd(static_cast<T>(x)) {}

  static COG_INLINE simd load(T const* p) { return packet::ploadu<raw>(p); }
  static COG_INLINE simd repeat(T const* p) { return packet::pset1<raw>(*p); }
  static COG_INLINE simd load_aligned(T const* p) { return packet::pload<raw>(p); }
  COG_INLINE void store(T* p) const { packet::pstoreu(p, v); }
  COG_INLINE void store_aligned(T* p) const { packet::pstore(p, v); }

  /// Loads and stores of any element type, converted lane by lane.
  template <class U>
  static COG_INLINE simd load(U const* p) {
    if constexpr (std::same_as<T, float> && reduced_float<U>) {
      return widen(p);
    } else {
      alignas(64) T lanes[size];
      for (int i = 0; i < size; ++i) lanes[i] = static_cast<T>(p[i]);
      return load_aligned(lanes);
    }
  }
  template <class U>
  COG_INLINE void store(U* p) const {
    if constexpr (std::same_as<T, float> && reduced_float<U>) {
      narrow(v, p);
    } else {
      alignas(64) T lanes[size];
      store_aligned(lanes);
      for (int i = 0; i < size; ++i) p[i] = static_cast<U>(lanes[i]);
    }
  }
  // What follows is for strides and tails; out of line it is small, and so is every loop that has it.

  /// Elements p[0], p[stride], ...
  template <class U>
  static COG_NOINLINE simd gather(U const* p, index_t stride) {
    alignas(64) T lanes[size];
    for (int i = 0; i < size; ++i) lanes[i] = static_cast<T>(p[i * stride]);
    return load_aligned(lanes);
  }
  template <class U>
  COG_NOINLINE void scatter(U* p, index_t stride) const {
    alignas(64) T lanes[size];
    store_aligned(lanes);
    for (int i = 0; i < size; ++i) p[i * stride] = static_cast<U>(lanes[i]);
  }
  /// The first n lanes; the others hold `fill` / are not written.
  template <class U>
  static COG_NOINLINE simd load_partial(U const* p, index_t n, index_t stride = 1, T fill = T(0)) {
    alignas(64) T lanes[size];
    for (int i = 0; i < size; ++i) lanes[i] = i < n ? static_cast<T>(p[i * stride]) : fill;
    return load_aligned(lanes);
  }
  template <class U>
  COG_NOINLINE void store_partial(U* p, index_t n, index_t stride = 1) const {
    alignas(64) T lanes[size];
    store_aligned(lanes);
    for (int i = 0; i < n; ++i) p[i * stride] = static_cast<U>(lanes[i]);
  }

  /// a, a+1, a+2, ...
  static COG_INLINE simd iota(T first) { return packet::plset<raw>(first); }

  friend COG_INLINE simd operator+(simd a, simd b) { return packet::padd(a.v, b.v); }
  friend COG_INLINE simd operator-(simd a, simd b) { return packet::psub(a.v, b.v); }
  friend COG_INLINE simd operator*(simd a, simd b) { return packet::pmul(a.v, b.v); }
  friend COG_INLINE simd operator/(simd a, simd b) { return packet::pdiv(a.v, b.v); }
  friend COG_INLINE simd operator-(simd a) { return packet::pnegate(a.v); }
  COG_INLINE simd& operator+=(simd b) { return *this = *this + b; }
  COG_INLINE simd& operator-=(simd b) { return *this = *this - b; }
  COG_INLINE simd& operator*=(simd b) { return *this = *this * b; }

  friend COG_INLINE mask operator<(simd a, simd b) { return mask::less(a.v, b.v); }
  friend COG_INLINE mask operator<=(simd a, simd b) { return mask::less_equal(a.v, b.v); }
  friend COG_INLINE mask operator>(simd a, simd b) { return mask::less(b.v, a.v); }
  friend COG_INLINE mask operator>=(simd a, simd b) { return mask::less_equal(b.v, a.v); }
  friend COG_INLINE mask operator==(simd a, simd b) { return mask::equal(a.v, b.v); }
  friend COG_INLINE mask operator!=(simd a, simd b) { return !(a == b); }

  /// Applies a scalar function lane by lane.
  template <class F>
  static COG_INLINE simd by_lane(F f, simd a) {
    alignas(64) T lanes[size];
    a.store_aligned(lanes);
    for (int i = 0; i < size; ++i) lanes[i] = f(lanes[i]);
    return load_aligned(lanes);
  }
  template <class F>
  static COG_INLINE simd by_lane(F f, simd a, simd b) {
    alignas(64) T x[size], y[size];
    a.store_aligned(x);
    b.store_aligned(y);
    for (int i = 0; i < size; ++i) x[i] = f(x[i], y[i]);
    return load_aligned(x);
  }
};

template <class T> COG_INLINE T reduce_add(simd<T> a) { return packet::predux(a.v); }
template <class T> COG_INLINE T reduce_max(simd<T> a) { return packet::predux_max(a.v); }
template <class T> COG_INLINE T reduce_min(simd<T> a) { return packet::predux_min(a.v); }
template <class T> COG_INLINE bool any(simd_mask<T> m) { return m.any(); }

template <class T> COG_INLINE simd<T> where(simd_mask<T> m, simd<T> a, simd<T> b) {
  return m.select(a.v, b.v);
}
/// A mask as numbers: 1 where set.
template <class T> COG_INLINE simd<T> to_number(simd_mask<T> m) {
  return m.keep(packet::pset1<typename simd<T>::raw>(T(1)));
}

template <class T> COG_INLINE simd<T> fma(simd<T> a, simd<T> b, simd<T> c) { return packet::pmadd(a.v, b.v, c.v); }
template <class T> COG_INLINE simd<T> abs(simd<T> a) { return packet::pabs(a.v); }

/// Correctly rounded. Eigen's own approximates, and makes a NaN of infinity.
template <class P> COG_INLINE P square_root(P a) { return packet::psqrt(a); }
#if defined(EIGEN_VECTORIZE_SSE)
COG_INLINE packet::Packet4f square_root(packet::Packet4f a) { return _mm_sqrt_ps(a); }
#endif
#if defined(EIGEN_VECTORIZE_AVX)
COG_INLINE packet::Packet8f square_root(packet::Packet8f a) { return _mm256_sqrt_ps(a); }
#endif
#if defined(EIGEN_VECTORIZE_AVX512)
COG_INLINE packet::Packet16f square_root(packet::Packet16f a) { return _mm512_sqrt_ps(a); }
COG_INLINE packet::Packet8d square_root(packet::Packet8d a) { return _mm512_sqrt_pd(a); }
#endif
template <class T> COG_INLINE simd<T> sqrt(simd<T> a) { return square_root(a.v); }
template <class T> COG_INLINE simd<T> rsqrt(simd<T> a) { return simd<T>(T(1)) / sqrt(a); }
template <class T> COG_INLINE simd<T> floor(simd<T> a) { return packet::pfloor(a.v); }
/// NaN in either argument is the result.
template <class T> COG_INLINE simd<T> max(simd<T> a, simd<T> b) { return where(a > b || a != a, a, b); }
template <class T> COG_INLINE simd<T> min(simd<T> a, simd<T> b) { return where(a < b || a != a, a, b); }
/// One instruction; of a NaN, only the first argument's is kept for sure. For kernels whose arguments are known.
template <class T> COG_INLINE simd<T> fast_max(simd<T> a, simd<T> b) { return packet::pmax(a.v, b.v); }
template <class T> COG_INLINE simd<T> fast_min(simd<T> a, simd<T> b) { return packet::pmin(a.v, b.v); }
template <class T> COG_INLINE simd<T> sign(simd<T> a) {
  return to_number(simd<T>(T(0)) < a) - to_number(a < simd<T>(T(0)));
}
/// |a| with the sign bit of s.
template <class T> COG_INLINE simd<T> copysign(simd<T> a, simd<T> s) {
  auto const bit = packet::pset1<typename simd<T>::raw>(T(-0.0));
  return packet::por(packet::pandnot(a.v, bit), packet::pand(s.v, bit));
}

template <class T> COG_INLINE simd<T> with_sign_of(simd<T> p, simd<T> s) {
  auto const bit = packet::pset1<typename simd<T>::raw>(T(-0.0));
  return where(s == simd<T>(T(0)), simd<T>(T(0)), simd<T>(packet::por(p.v, packet::pand(s.v, bit))));
}
#if defined(EIGEN_VECTORIZE_AVX512DQ)
COG_INLINE simd<float> with_sign_of(simd<float> p, simd<float> s) {
  auto const some = _mm512_cmp_ps_mask(s.v, _mm512_setzero_ps(), _CMP_NEQ_UQ);
  auto const bits = [](__m512 x) { return _mm512_castps_si512(x); };
  return _mm512_castsi512_ps(_mm512_maskz_ternarylogic_epi32(some, bits(p.v), bits(s.v), bits(_mm512_set1_ps(-0.0f)), 0xf8));  // p | s & bit
}
#endif

/// e^x. float: range reduction x = n ln 2 + r, |r| <= ln 2 / 2, a polynomial of degree 6; results below 2^-126 are 0.
template <class T>
COG_INLINE simd<T> exp(simd<T> x) {
  using S = simd<T>;
  if constexpr (std::same_as<T, float>) {
    S const bounded = fast_max(fast_min(x, S(89.0f)), S(-88.0f));
    S const shift = 12582912.0f;  // 1.5 * 2^23: adding it rounds to an integer
    S const n = fma(bounded, S(1.44269504088896341f), shift) - shift;
    S r = fma(n, S(-0.693359375f), bounded);
    r = fma(n, S(2.12194440e-4f), r);
    S p = 1.98756915e-4f;
    p = fma(p, r, S(1.39819995e-3f));
    p = fma(p, r, S(8.33345205e-3f));
    p = fma(p, r, S(4.16657962e-2f));
    p = fma(p, r, S(1.66666657e-1f));
    p = fma(p, r, S(5.00000000e-1f));
    p = fma(p, r * r, r + S(1.0f));
    S const whole = fast_min(n, S(127.0f));
    S y = S(packet::pldexp_fast_impl<typename S::raw>::run(p.v, whole.v)) * (S(1.0f) + (n - whole));
    y = where(x < S(-87.3365447f), S(0.0f), y);
    y = where(x > S(88.7228391f), S(std::numeric_limits<T>::infinity()), y);
    return where(x == x, y, x);
  } else {
    S y = packet::pexp(x.v);
    y = where(x < S(-708.3964185322641), S(0.0), y);
    y = where(x > S(709.782712893384), S(std::numeric_limits<T>::infinity()), y);
    return where(x == x, y, x);
  }
}

/// The low bits of a float moved to the exponent field.
template <class T>
COG_INLINE simd<T> shift_into_exponent(simd<T> a) {
  using raw = typename simd<T>::raw;
  using integers = typename packet::unpacket_traits<raw>::integer_packet;
  return packet::preinterpret<raw>(packet::plogical_shift_left<23>(packet::preinterpret<integers>(a.v)));
}
/// Two floats a lane, rounded to bf16, in its 32 bits: `low` in the low half. Halfway cases go away from 0.
template <class T>
COG_INLINE simd<T> bf16_pairs(simd<T> low, simd<T> high) {
  using raw = typename simd<T>::raw;
  using integers = typename packet::unpacket_traits<raw>::integer_packet;
  auto const half = packet::pset1<integers>(0x8000);
  auto const a = packet::plogical_shift_right<16>(packet::padd(packet::preinterpret<integers>(low.v), half));
  auto const b = packet::pand(packet::padd(packet::preinterpret<integers>(high.v), half), packet::pset1<integers>(~0xffff));
  return packet::preinterpret<raw>(packet::por(a, b));
}
/// The halves of such lanes.
template <class T>
COG_INLINE void split_pairs(simd<T> pairs, bf16* low, bf16* high) {
  alignas(64) std::uint32_t lanes[simd<T>::size];
  std::memcpy(lanes, &pairs, sizeof lanes);
  for (int i = 0; i < simd<T>::size; ++i) {
    low[i].bits = static_cast<std::uint16_t>(lanes[i]);
    high[i].bits = static_cast<std::uint16_t>(lanes[i] >> 16);
  }
}
/// y - floor(y), and p 2^floor(y) where y >= -126, 0 below; a NaN stays one.
template <class S>
COG_INLINE S fraction(S y) {
  return y - floor(y);
}
template <class S>
COG_INLINE S times_power(S p, S y) {
  // Added to 1.5 2^23 + 127, an integer leaves n + 127, the exponent field of 2^n, in the low bits.
  return where(y < S(-126.0f), S(0.0f), p * shift_into_exponent(floor(y) + S(12583039.0f)));
}
#if defined(EIGEN_VECTORIZE_AVX512DQ)
COG_INLINE simd<float> fraction(simd<float> y) { return _mm512_reduce_ps(y.v, _MM_FROUND_TO_NEG_INF | _MM_FROUND_NO_EXC); }
COG_INLINE simd<float> times_power(simd<float> p, simd<float> y) {
  return _mm512_maskz_scalef_ps(_mm512_cmp_ps_mask(y.v, _mm512_set1_ps(-126.0f), _CMP_NLT_UQ), p.v, y.v);
}
#endif

/// e^x for x <= 11, as softmax weights need it: below -87.3 the result is 0, and a NaN stays one. float: relative error below
/// 2.5e-7 + 1e-7 |x|, or 1.1e-4 by the polynomial of degree 3, which is enough for what will be a bf16.
template <int Degree = 5, class S>
COG_INLINE S exp_decay(S x) {
  static_assert(Degree == 3 || Degree == 5);
  using T = typename S::value_type;
  if constexpr (std::same_as<T, float> && S::size > 1) {
    S const y = x * S(std::numbers::log2e_v<T>);  // e^x = 2^y
    S const f = fraction(y);
    S p;  // 2^f: minimax on [0, 1] with p(0) = 1, relative error 8.6e-5 or 8.3e-8
    if constexpr (Degree == 3) {
      p = 7.706704199e-2f;
      p = fma(p, f, S(2.276449912e-1f));
      p = fma(p, f, S(6.951167864e-1f));
    } else {
      p = 1.867130070e-3f;
      p = fma(p, f, S(9.017030322e-3f));
      p = fma(p, f, S(5.579991310e-2f));
      p = fma(p, f, S(2.401644502e-1f));
      p = fma(p, f, S(6.931513118e-1f));
    }
    return times_power(fma(p, f, S(1.0f)), y);
  } else {
    return exp(x);
  }
}

/// out[i] = the sum of x[i]'s lanes.
template <class S, int N>
COG_INLINE void reduce_add(S const (&x)[N], typename S::value_type* out) {
  for (int i = 0; i < N; ++i) out[i] = reduce_add(x[i]);
}
#if defined(EIGEN_VECTORIZE_AVX512)
/// Four at once, the same to the bit.
COG_INLINE void reduce_add(simd<float> const (&x)[4], float* out) {
  auto const halves = [](__m512 a, __m512 b) { return _mm512_add_ps(_mm512_shuffle_f32x4(a, b, 0x44), _mm512_shuffle_f32x4(a, b, 0xee)); };
  __m512 const a = halves(x[0].v, x[1].v), b = halves(x[2].v, x[3].v);
  __m512 s = _mm512_add_ps(_mm512_shuffle_f32x4(a, b, 0x88), _mm512_shuffle_f32x4(a, b, 0xdd));  // four lanes of each
  s = _mm512_add_ps(s, _mm512_shuffle_ps(s, s, 0x4e));
  s = _mm512_add_ps(s, _mm512_shuffle_ps(s, s, 0xb1));
  _mm_storeu_ps(out, _mm512_castps512_ps128(_mm512_permutexvar_ps(_mm512_set_epi32(0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 12, 8, 4, 0), s)));
}
#endif

/// rows[i][j] <-> rows[j][i]
template <class T>
COG_INLINE void transpose(simd<T> (&rows)[simd<T>::size]) {
  packet::PacketBlock<typename simd<T>::raw, simd<T>::size> block;
  for (int i = 0; i < simd<T>::size; ++i) block.packet[i] = rows[i].v;
  packet::ptranspose(block);
  for (int i = 0; i < simd<T>::size; ++i) rows[i] = simd<T>(block.packet[i]);
}

template <class T> COG_INLINE simd<T> log(simd<T> a) { return packet::plog(a.v); }

template <class T>
COG_INLINE simd<T> tanh(simd<T> x) {
  if constexpr (std::same_as<T, float>) return where(x == x, simd<T>(packet::generic_fast_tanh_float(x.v)), x);
  else return simd<T>::by_lane([](T a) { return std::tanh(a); }, x);
}

/// erf. float: x P(x^2) / Q(x^2) on [-4, 4], beyond which it is 1 (the coefficients of XLA and Eigen; 6 ulp). double: std::erf by
/// lane.
template <class T>
COG_INLINE simd<T> erf(simd<T> x) {
  using S = simd<T>;
  if constexpr (std::same_as<T, float>) {
    x = fast_max(fast_min(x, S(4.0f)), S(-4.0f));
    S const u = x * x;
    constexpr float above[] = {-2.72614225801306e-10f, 2.77068142495902e-08f,  -2.10102402082508e-06f, -5.69250639462346e-05f,
                               -7.34990630326855e-04f, -2.95459980854025e-03f, -1.60960333262415e-02f};
    constexpr float below[] = {-1.45660718464996e-05f, -2.13374055278905e-04f, -1.68282697438203e-03f, -7.37332916720468e-03f,
                               -1.42647390514189e-02f};
    S p = above[0], q = below[0];
    for (int i = 1; i < 7; ++i) p = fma(p, u, S(above[i]));
    for (int i = 1; i < 5; ++i) q = fma(q, u, S(below[i]));
    return fast_max(fast_min(x * p / q, S(1.0f)), S(-1.0f));
  } else {
    return S::by_lane([](T a) { return std::erf(a); }, x);
  }
}

template <class T>
COG_INLINE simd<T> sin(simd<T> x) {
  if constexpr (std::same_as<T, float>) return packet::psin_float(x.v);
  else return simd<T>::by_lane([](T a) { return std::sin(a); }, x);
}
template <class T>
COG_INLINE simd<T> cos(simd<T> x) {
  if constexpr (std::same_as<T, float>) return packet::pcos_float(x.v);
  else return simd<T>::by_lane([](T a) { return std::cos(a); }, x);
}
template <class T>
COG_INLINE simd<T> pow(simd<T> x, simd<T> y) {
  return simd<T>::by_lane([](T a, T b) { return std::pow(a, b); }, x, y);
}

}  // namespace cog::cpu_detail

#if defined(__GNUC__) && !defined(__clang__)
#pragma GCC diagnostic pop
#endif
