// Kernels that use the widest instructions of the machine they run on, in a program built for any x86-64: wide<N, T> is a
// register of N floats or doubles by the compiler's vector extensions, generated for whatever function it is inlined
// into; `dispatch` runs a kernel as SSE, AVX2 with FMA, or AVX-512. A kernel is a struct with a static, always inlined
// `run<S>(arguments...)`; S is a wide of 32 or 64 bytes, or simd<T> where the program's own flags already give the best.
// Costs one predicted branch a call.
#pragma once

#include <atomic>
#include <utility>

#include <cog/backend/cpu/simd.hpp>

#if defined(__GNUC__) && defined(__x86_64__) && !defined(__AVX512F__)
#define COG_CPU_DISPATCH 1
#else
#define COG_CPU_DISPATCH 0
#endif

namespace cog::cpu_detail {

/// Instruction sets a kernel is compiled for. `compiled`: what the program's flags allow.
enum class instructions { compiled, avx2, avx512 };

inline instructions best_instructions() {
#if COG_CPU_DISPATCH
  if (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512dq") &&
      __builtin_cpu_supports("avx512vl"))
    return instructions::avx512;
  if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma")) return instructions::avx2;
#endif
  return instructions::compiled;
}

/// What kernels use from now on, at most what the machine has: tests go through all of them.
inline std::atomic<instructions>& chosen_instructions() {
  static std::atomic<instructions> chosen{best_instructions()};
  return chosen;
}

#if COG_CPU_DISPATCH

/// N integers as wide as T: the truth values of N lanes (-1 or 0), or the bits of N numbers.
template <int N, class T>
struct wide_mask {
  using lane = std::conditional_t<sizeof(T) == 4, std::int32_t, std::int64_t>;
  typedef lane raw __attribute__((vector_size(sizeof(T) * N)));
  raw bits;

  COG_INLINE wide_mask(raw const& b) : bits(b) {}
  COG_INLINE wide_mask(wide_mask const& m) : bits(m.bits) {}

  friend COG_INLINE wide_mask operator&&(wide_mask const& a, wide_mask const& b) { return a.bits & b.bits; }
  friend COG_INLINE wide_mask operator||(wide_mask const& a, wide_mask const& b) { return a.bits | b.bits; }
  friend COG_INLINE wide_mask operator!(wide_mask const& a) { return ~a.bits; }
};

/// N numbers. The same names as simd<T>. Copies are not trivial, so that a function which is not inlined takes it by
/// reference: how a register is passed would depend on that function's instruction set.
template <int N, class T = float>
struct wide {
  typedef T raw __attribute__((vector_size(sizeof(T) * N)));
  using value_type = T;
  using mask = wide_mask<N, T>;
  static constexpr int size = N, registers = sizeof(raw) == 64 ? 32 : 16;

  raw v;

  COG_INLINE wide() {}
  COG_INLINE wide(wide const& x) : v(x.v) {}
  COG_INLINE wide& operator=(wide const& x) {
    v = x.v;
    return *this;
  }
  template <class U>
    requires std::is_arithmetic_v<U>
  COG_INLINE wide(U x) : v(static_cast<T>(x) - raw{}) {}

  static COG_INLINE wide load(T const* p) {
    wide x;
    __builtin_memcpy(&x.v, p, sizeof x.v);
    return x;
  }
  // Converted loads, and `repeat`: *p in every lane. Every machine with AVX2 converts half.
#if defined(__clang__)
  static COG_INLINE wide load(bf16 const* p) {
    typedef std::uint16_t narrow __attribute__((vector_size(2 * N)));
    narrow bits;
    __builtin_memcpy(&bits, p, sizeof bits);
    return from_bits(__builtin_convertvector(bits, typename mask::raw) << 16);
  }
  static COG_INLINE wide load(half const* p) {
    typedef __fp16 narrow __attribute__((vector_size(2 * N)));
    narrow elements;
    __builtin_memcpy(&elements, p, sizeof elements);
    wide x;
    x.v = __builtin_convertvector(elements, raw);
    return x;
  }
  static COG_INLINE wide repeat(T const* p) { return *p; }
#else  // g++ 12 takes a detour by lanes or half registers
  static COG_INLINE wide load(bf16 const* p) {
    typename mask::raw bits;
    __asm__("vpmovzxwd %1, %0" : "=v"(bits) : "m"(*reinterpret_cast<char const(*)[2 * N]>(p)));
    return from_bits(bits << 16);
  }
  static COG_INLINE wide load(half const* p) {
    wide x;
    __asm__("vcvtph2ps %1, %0" : "=v"(x.v) : "m"(*reinterpret_cast<char const(*)[2 * N]>(p)));
    return x;
  }
  static COG_INLINE wide repeat(T const* p) {
    wide x;
    if constexpr (sizeof(T) == 4) __asm__("vbroadcastss %1, %0" : "=v"(x.v) : "m"(*p));
    else __asm__("vbroadcastsd %1, %0" : "=v"(x.v) : "m"(*p));
    return x;
  }
#endif
  COG_INLINE void store(T* p) const { __builtin_memcpy(p, &v, sizeof v); }
  /// Rounded to nearest even, a NaN kept, as bf16 does.
  COG_INLINE void store(bf16* p) const {
    mask const b = bits(), nan = v != v;
    typename mask::raw const rounded = b.bits + 0x7fff + (b.bits >> 16 & 1);
    typename mask::raw const upper = ((nan && mask(b.bits | 0x400000)) || (!nan && mask(rounded))).bits >> 16;
    narrow(upper, p);
  }
  COG_INLINE void store(half* p) const {
    alignas(64) float lanes[N];
    store(lanes);
    for (int i = 0; i < N; i += simd<float>::size) simd<float>::load(lanes + i).store(p + i);
  }
  static COG_INLINE wide load_aligned(T const* p) {
    return load(static_cast<T const*>(__builtin_assume_aligned(p, sizeof(raw))));
  }
  COG_INLINE void store_aligned(T* p) const { store(static_cast<T*>(__builtin_assume_aligned(p, sizeof(raw)))); }

#define COG_WIDE_OPERATOR(op)                                        \
  friend COG_INLINE wide operator op(wide const& a, wide const& b) { \
    wide x;                                                          \
    x.v = a.v op b.v;                                                \
    return x;                                                        \
  }                                                                  \
  COG_INLINE wide& operator op##=(wide const& b) { return *this = *this op b; }
  COG_WIDE_OPERATOR(+)
  COG_WIDE_OPERATOR(-)
  COG_WIDE_OPERATOR(*)
  COG_WIDE_OPERATOR(/)
#undef COG_WIDE_OPERATOR
#define COG_WIDE_COMPARISON(op) \
  friend COG_INLINE mask operator op(wide const& a, wide const& b) { return a.v op b.v; }
  COG_WIDE_COMPARISON(<)
  COG_WIDE_COMPARISON(<=)
  COG_WIDE_COMPARISON(>)
  COG_WIDE_COMPARISON(>=)
  COG_WIDE_COMPARISON(==)
  COG_WIDE_COMPARISON(!=)
#undef COG_WIDE_COMPARISON
  friend COG_INLINE wide operator-(wide const& a) {
    wide x;
    x.v = -a.v;
    return x;
  }

  COG_INLINE mask bits() const {
    typename mask::raw b;
    __builtin_memcpy(&b, &v, sizeof v);
    return b;
  }
  static COG_INLINE wide from_bits(mask const& m) {
    wide x;
    __builtin_memcpy(&x.v, &m.bits, sizeof x.v);
    return x;
  }
  /// The lower halves of N integers.
  static COG_INLINE void narrow(typename mask::raw const& bits, bf16* p) {
#if !defined(__clang__)
    if constexpr (N == 16) {
      __asm__("vpmovdw %1, %0" : "=m"(*reinterpret_cast<char(*)[2 * N]>(p)) : "v"(bits));
      return;
    }
#endif
    typedef std::uint16_t halves __attribute__((vector_size(2 * N)));
    halves const lower = __builtin_convertvector(bits, halves);
    __builtin_memcpy(static_cast<void*>(p), &lower, sizeof lower);
  }
  /// Lane i of the result is lane i + lane i ^ Step.
  template <int Step, int... I>
  COG_INLINE wide fold(std::integer_sequence<int, I...>) const {
    wide x;
    x.v = v + __builtin_shufflevector(v, v, (I ^ Step)...);
    return x;
  }
  /// Lane i is that of fold of a, or of b where i & Step.
  template <int Step, int... I>
  static COG_INLINE wide fold(wide const& a, wide const& b, std::integer_sequence<int, I...>) {
    wide x;
    x.v = __builtin_shufflevector(a.v, b.v, (I & Step ? N + I : I)...) + __builtin_shufflevector(a.v, b.v, (I & Step ? N + (I ^ Step) : I ^ Step)...);
    return x;
  }
  /// Functions that have no kernel of their own here, by registers of the compiled width.
  template <class F, class... More>
  static COG_INLINE wide by_parts(F const& f, wide const& a, More const&... more) {
    using S = simd<T>;
    alignas(64) T lanes[1 + sizeof...(More)][N];
    int row = 0;
    a.store(lanes[row]);
    (more.store(lanes[++row]), ...);
    for (int i = 0; i < N; i += S::size) {
      row = 0;
      if constexpr (sizeof...(More) == 0) f(S::load(lanes[0] + i)).store(lanes[0] + i);
      else f(S::load(lanes[0] + i), S::load(lanes[1] + i)).store(lanes[0] + i);
    }
    return load(lanes[0]);
  }
};

template <int N, class T>
COG_INLINE wide<N, T> where(wide_mask<N, T> const& m, wide<N, T> const& a, wide<N, T> const& b) {
  return wide<N, T>::from_bits((m && a.bits()) || (!m && b.bits()));
}
template <int N, class T>
COG_INLINE bool any(wide_mask<N, T> const& m) {
  typename wide_mask<N, T>::lane some = 0;
  for (int i = 0; i < N; ++i) some |= m.bits[i];
  return some != 0;
}
template <int N, class T>
COG_INLINE wide<N, T> to_number(wide_mask<N, T> const& m) {
  return where(m, wide<N, T>(1), wide<N, T>(0));
}
template <int N, class T>
COG_INLINE T reduce_add(wide<N, T> const& a) {
  constexpr std::make_integer_sequence<int, N> lanes;
  wide<N, T> x = a;
  if constexpr (N > 8) x = x.template fold<8>(lanes);
  if constexpr (N > 4) x = x.template fold<4>(lanes);
  return x.template fold<2>(lanes).template fold<1>(lanes).v[0];
}
/// Four sums at once, the same to the bit.
template <int N, class T>
COG_INLINE void reduce_add(wide<N, T> const (&x)[4], T* out) {
  constexpr std::make_integer_sequence<int, N> lanes;
  using W = wide<N, T>;
  W sums = W::template fold<N / 4>(W::template fold<N / 2>(x[0], x[1], lanes), W::template fold<N / 2>(x[2], x[3], lanes), lanes);
  if constexpr (N > 8) sums = sums.template fold<2>(lanes);
  if constexpr (N > 4) sums = sums.template fold<1>(lanes);
  out[0] = sums.v[0], out[1] = sums.v[N / 2], out[2] = sums.v[N / 4], out[3] = sums.v[N / 2 + N / 4];
}
template <int N, class T>
COG_INLINE wide<N, T> fma(wide<N, T> const& a, wide<N, T> const& b, wide<N, T> const& c) {
  wide<N, T> x;
  x.v = a.v * b.v + c.v;  // contracted where the function has the instruction
  return x;
}
template <class T>
inline constexpr auto all_but_sign = std::numeric_limits<typename wide_mask<1, T>::lane>::max();
template <int N, class T>
COG_INLINE wide<N, T> abs(wide<N, T> const& a) {
  return wide<N, T>::from_bits(a.bits().bits & all_but_sign<T>);
}
template <int N, class T>
COG_INLINE wide<N, T> copysign(wide<N, T> const& a, wide<N, T> const& s) {
  return wide<N, T>::from_bits((a.bits().bits & all_but_sign<T>) | (s.bits().bits & ~all_but_sign<T>));
}
template <int N, class T>
COG_INLINE wide<N, T> with_sign_of(wide<N, T> const& p, wide<N, T> const& s) {
  wide_mask<N, T> const some = s != wide<N, T>(0);
  return wide<N, T>::from_bits((p.bits().bits | (s.bits().bits & ~all_but_sign<T>)) & some.bits);
}
template <int N, class T>
COG_INLINE wide<N, T> sign(wide<N, T> const& a) {
  return to_number(wide<N, T>(0) < a) - to_number(a < wide<N, T>(0));
}
template <int N, class T>
COG_INLINE wide<N, T> max(wide<N, T> const& a, wide<N, T> const& b) {
  return where(a > b || a != a, a, b);
}
template <int N, class T>
COG_INLINE wide<N, T> min(wide<N, T> const& a, wide<N, T> const& b) {
  return where(a < b || a != a, a, b);
}
template <int N, class T>
COG_INLINE wide<N, T> fast_max(wide<N, T> const& a, wide<N, T> const& b) {
  wide<N, T> x;
  x.v = b.v > a.v ? b.v : a.v;
  return x;
}
template <int N, class T>
COG_INLINE wide<N, T> fast_min(wide<N, T> const& a, wide<N, T> const& b) {
  wide<N, T> x;
  x.v = b.v < a.v ? b.v : a.v;
  return x;
}
template <int N>
COG_INLINE wide<N> shift_into_exponent(wide<N> const& a) {
  return wide<N>::from_bits(a.bits().bits << 23);
}
template <int N>
COG_INLINE wide<N> bf16_pairs(wide<N> const& low, wide<N> const& high) {
  typedef std::uint32_t raw __attribute__((vector_size(4 * N)));
  raw const lower = (reinterpret_cast<raw>(low.v) + 0x8000) >> 16, upper = (reinterpret_cast<raw>(high.v) + 0x8000) & 0xffff0000u;
  return wide<N>::from_bits(reinterpret_cast<typename wide_mask<N, float>::raw>(lower | upper));
}
template <int N>
COG_INLINE void split_pairs(wide<N> const& pairs, bf16* low, bf16* high) {
  wide<N>::narrow(pairs.bits().bits, low);
  wide<N>::narrow(pairs.bits().bits >> 16, high);
}
template <int N>
COG_INLINE wide<N> floor(wide<N> const& a) {
  wide<N> x;
#if defined(__clang__)
  x.v = __builtin_elementwise_floor(a.v);
#else
  if constexpr (N == 16) __asm__("vrndscaleps $9, %1, %0" : "=v"(x.v) : "v"(a.v));
  else __asm__("vroundps $9, %1, %0" : "=x"(x.v) : "x"(a.v));
#endif
  return x;
}
#if !defined(__clang__)  // as of simd<float>
COG_INLINE wide<16> fraction(wide<16> const& y) {
  wide<16> x;
  __asm__("vreduceps $9, %1, %0" : "=v"(x.v) : "v"(y.v));
  return x;
}
COG_INLINE wide<16> with_sign_of(wide<16> const& p, wide<16> const& s) {
  wide<16> x = p;
  wide<16> const zero = 0.0f, bit = -0.0f;
  unsigned short some;
  __asm__("vcmpneqps %2, %1, %0" : "=Yk"(some) : "v"(s.v), "v"(zero.v));
  __asm__("vpternlogd $0xf8, %2, %1, %0%{%3%}%{z%}" : "+v"(x.v) : "v"(s.v), "v"(bit.v), "Yk"(some));  // p | s & bit
  return x;
}
COG_INLINE wide<16> times_power(wide<16> const& p, wide<16> const& y) {
  wide<16> x;
  wide<16> const least = -126.0f;
  unsigned short enough;
  __asm__("vcmpnltps %2, %1, %0" : "=Yk"(enough) : "v"(y.v), "v"(least.v));
  __asm__("vscalefps %2, %1, %0%{%3%}%{z%}" : "=v"(x.v) : "v"(p.v), "v"(y.v), "Yk"(enough));
  return x;
}
#endif
#define COG_WIDE_FUNCTION(name)                                         \
  template <int N, class T>                                                      \
  COG_INLINE wide<N, T> name(wide<N, T> const& a) {                           \
    return wide<N, T>::by_parts([](simd<T> x) { return name(x); }, a); \
  }
COG_WIDE_FUNCTION(exp)
COG_WIDE_FUNCTION(log)
COG_WIDE_FUNCTION(sqrt)
COG_WIDE_FUNCTION(rsqrt)
COG_WIDE_FUNCTION(tanh)
COG_WIDE_FUNCTION(erf)
COG_WIDE_FUNCTION(sin)
COG_WIDE_FUNCTION(cos)
#undef COG_WIDE_FUNCTION
template <int N, class T>
COG_INLINE wide<N, T> pow(wide<N, T> const& a, wide<N, T> const& b) {
  return wide<N, T>::by_parts([](simd<T> x, simd<T> y) { return pow(x, y); }, a, b);
}

template <class Kernel, class C, class... A>
__attribute__((target("avx512f,avx512bw,avx512dq,avx512vl,avx2,fma,f16c"))) void run_avx512(A const&... arguments) {
  Kernel::template run<wide<64 / sizeof(C), C>>(arguments...);
}
template <class Kernel, class C, class... A>
__attribute__((target("avx2,fma,f16c"))) void run_avx2(A const&... arguments) {
  Kernel::template run<wide<32 / sizeof(C), C>>(arguments...);
}

#endif  // COG_CPU_DISPATCH

/// Kernel::run<S> for the instructions in use. C, the compute type: float or double.
template <class Kernel, class C, class... A>
void dispatch(A const&... arguments) {
#if COG_CPU_DISPATCH
  auto const use = chosen_instructions().load(std::memory_order_relaxed);
  if (use == instructions::avx512) return run_avx512<Kernel, C>(arguments...);
#if !defined(__AVX2__) || !defined(__FMA__)
  if (use == instructions::avx2) return run_avx2<Kernel, C>(arguments...);
#endif
#endif
  Kernel::template run<simd<C>>(arguments...);
}

/// Columns of a tile come in multiples of this: the width of every register that a kernel may be given.
template <class C>
inline constexpr index_t lane_multiple = 64 / sizeof(C);

}  // namespace cog::cpu_detail
