// A SIMD register as a value: simd<float> and simd<double> over Eigen's packets, with masks.
// Ops are written once over a scalar-like type; on the CPU that type is this one. Follows the consumer's -m flags.
// The functions of core/math.hpp have their overloads here. float: a few ulp; double: exp, log, sqrt in SIMD, the rest by lane.
#pragma once

#include <Eigen/Core>
#include <cmath>
#include <concepts>
#include <cstring>
#include <limits>

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

template <std::floating_point T>
struct simd {
  using value_type = T;
  using mask = simd_mask<T>;
  using raw = typename packet::packet_traits<T>::type;
  static constexpr int size = packet::unpacket_traits<raw>::size;

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
/// One instruction; a NaN may be lost. For kernels whose arguments are known.
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

/// 2^x for x <= 16, as softmax weights need it: below -126 the result is 0, and a NaN stays one. float: 2 ulp.
template <class T>
COG_INLINE simd<T> exp2_decay(simd<T> x) {
  using S = simd<T>;
  if constexpr (std::same_as<T, float> && S::size > 1) {
    using integers = typename packet::unpacket_traits<typename S::raw>::integer_packet;
    x = fast_max(x, S(-127.0f));
    // The sum rounds x to an integer n and leaves n + 127, the exponent field of 2^n, in its low bits.
    // The barriers keep -ffast-math from undoing that.
    S sum = x + S(12583039.0f);  // 1.5 * 2^23 + 127
    EIGEN_OPTIMIZATION_BARRIER(sum.v)
    S n = sum - S(12583039.0f);
    EIGEN_OPTIMIZATION_BARRIER(n.v)
    S const f = x - n;
    S const power = S(packet::preinterpret<typename S::raw>(
        packet::plogical_shift_left<23>(packet::preinterpret<integers>(sum.v))));
    S p = 1.326472205e-3f;  // minimax on [-1/2, 1/2] with p(0) = 1, relative error 9e-8
    p = fma(p, f, S(9.671512997e-3f));
    p = fma(p, f, S(5.550733760e-2f));
    p = fma(p, f, S(2.402224208e-1f));
    p = fma(p, f, S(6.931469776e-1f));
    p = fma(p, f, S(1.0f));
    return p * power;
  } else {
    return exp(x * S(T(0.693147180559945309)));
  }
}

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

/// erf. float: the Maclaurin series below 1, above it 1 - t e^(Q(t) - x^2), t = 1 / (1 + |x| / 2)
/// (Numerical Recipes, "erfcc"). double: std::erf by lane.
template <class T>
COG_INLINE simd<T> erf(simd<T> x) {
  using S = simd<T>;
  if constexpr (std::same_as<T, float>) {
    S const u = x * x;
    S p = S(0.0f);
    // erf(x) / x = 2 / sqrt(pi) sum (-1)^n u^n / (n! (2n + 1)); ten terms reach 1e-8 at |x| = 1.
    constexpr float c[] = {1.1283791671f,  -3.7612638903e-1f, 1.1283791671e-1f,  -2.6866170645e-2f, 5.2239776254e-3f,
                           -8.5483270234e-4f, 1.2055332982e-4f, -1.4925650358e-5f, 1.6462114365e-6f,  -1.6365844691e-7f};
    for (int i = 9; i >= 0; --i) p = fma(p, u, S(c[i]));
    S const a = abs(x);
    S const t = S(1.0f) / fma(a, S(0.5f), S(1.0f));
    constexpr float q[] = {-1.26551223f, 1.00002368f, 0.37409196f, 0.09678418f, -0.18628806f,
                           0.27886807f, -1.13520398f, 1.48851587f, -0.82215223f, 0.17087277f};
    S e = S(q[9]);
    for (int i = 8; i >= 0; --i) e = fma(e, t, S(q[i]));
    S const tail = S(1.0f) - t * exp(e - u);
    S const far = copysign(tail, x);
    return where(a < S(1.0f), x * p, where(x == x, far, x));
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
