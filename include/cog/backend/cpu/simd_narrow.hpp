// bf16 and half in and out of a register of floats: the same bits as the conversions of core/dtype.hpp, at the rate of a load.
// For the compilers that do not find these by themselves; other targets convert lane by lane.
#pragma once

#include <Eigen/Core>
#include <cstring>

#include <cog/core/dtype.hpp>

#if defined(__GNUC__) && !defined(__clang__)
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wignored-attributes"
#endif

namespace cog::cpu_detail {

using float_packet = typename Eigen::internal::packet_traits<float>::type;

/// As many elements as a float register has lanes, to float.
template <reduced_float T>
COG_INLINE float_packet widen(T const* p) {
  constexpr int size = Eigen::internal::unpacket_traits<float_packet>::size;
  alignas(64) float lanes[size];
  for (int i = 0; i < size; ++i) lanes[i] = static_cast<float>(p[i]);
  return Eigen::internal::pload<float_packet>(lanes);
}
/// The lanes of x, rounded to nearest even.
template <reduced_float T>
COG_INLINE void narrow(float_packet x, T* p) {
  constexpr int size = Eigen::internal::unpacket_traits<float_packet>::size;
  alignas(64) float lanes[size];
  Eigen::internal::pstore(lanes, x);
  for (int i = 0; i < size; ++i) p[i] = static_cast<T>(lanes[i]);
}

// bf16 rounds by adding half of its last place, less one where that place is even; a NaN is cut, with its quiet bit set.
#if defined(EIGEN_VECTORIZE_AVX512)

COG_INLINE float_packet widen(bf16 const* p) {
  return _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(_mm256_loadu_si256(reinterpret_cast<__m256i const*>(p))), 16));
}
COG_INLINE void narrow(float_packet x, bf16* p) {
  __m512i const bits = _mm512_castps_si512(x), high = _mm512_srli_epi32(bits, 16);
  __m512i const odd = _mm512_and_si512(high, _mm512_set1_epi32(1));
  __m512i const sum = _mm512_add_epi32(bits, _mm512_add_epi32(odd, _mm512_set1_epi32(0x7fff)));
  __m512i const out = _mm512_mask_or_epi32(_mm512_srli_epi32(sum, 16), _mm512_cmp_ps_mask(x, x, _CMP_UNORD_Q), high, _mm512_set1_epi32(0x40));
  _mm256_storeu_si256(reinterpret_cast<__m256i*>(p), _mm512_cvtepi32_epi16(out));
}
COG_INLINE float_packet widen(half const* p) {
  return _mm512_cvtph_ps(_mm256_loadu_si256(reinterpret_cast<__m256i const*>(p)));
}
COG_INLINE void narrow(float_packet x, half* p) {
  _mm256_storeu_si256(reinterpret_cast<__m256i*>(p), _mm512_cvtps_ph(x, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC));
}

#elif defined(EIGEN_VECTORIZE_AVX2)

COG_INLINE float_packet widen(bf16 const* p) {
  return _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_cvtepu16_epi32(_mm_loadu_si128(reinterpret_cast<__m128i const*>(p))), 16));
}
COG_INLINE void narrow(float_packet x, bf16* p) {
  __m256i const bits = _mm256_castps_si256(x), high = _mm256_srli_epi32(bits, 16);
  __m256i const odd = _mm256_and_si256(high, _mm256_set1_epi32(1));
  __m256i const sum = _mm256_add_epi32(bits, _mm256_add_epi32(odd, _mm256_set1_epi32(0x7fff)));
  __m256i const cut = _mm256_or_si256(high, _mm256_set1_epi32(0x40));
  __m256i const out = _mm256_blendv_epi8(_mm256_srli_epi32(sum, 16), cut, _mm256_castps_si256(_mm256_cmp_ps(x, x, _CMP_UNORD_Q)));
  __m256i const packed = _mm256_permute4x64_epi64(_mm256_packus_epi32(out, out), 0x08);
  _mm_storeu_si128(reinterpret_cast<__m128i*>(p), _mm256_castsi256_si128(packed));
}
#if defined(__F16C__)
COG_INLINE float_packet widen(half const* p) { return _mm256_cvtph_ps(_mm_loadu_si128(reinterpret_cast<__m128i const*>(p))); }
COG_INLINE void narrow(float_packet x, half* p) {
  _mm_storeu_si128(reinterpret_cast<__m128i*>(p), _mm256_cvtps_ph(x, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC));
}
#endif

#elif defined(EIGEN_VECTORIZE_SSE) && !defined(EIGEN_VECTORIZE_AVX)

COG_INLINE float_packet widen(bf16 const* p) {
  return _mm_castsi128_ps(_mm_unpacklo_epi16(_mm_setzero_si128(), _mm_loadl_epi64(reinterpret_cast<__m128i const*>(p))));
}
COG_INLINE void narrow(float_packet x, bf16* p) {
  __m128i const bits = _mm_castps_si128(x), high = _mm_srli_epi32(bits, 16);
  __m128i const odd = _mm_and_si128(high, _mm_set1_epi32(1));
  __m128i const sum = _mm_add_epi32(bits, _mm_add_epi32(odd, _mm_set1_epi32(0x7fff)));
  __m128i const cut = _mm_slli_epi32(_mm_or_si128(high, _mm_set1_epi32(0x40)), 16);
  __m128i const unordered = _mm_castps_si128(_mm_cmpunord_ps(x, x));
  __m128i const out = _mm_or_si128(_mm_and_si128(unordered, cut), _mm_andnot_si128(unordered, sum));
  __m128i const words = _mm_srai_epi32(out, 16);  // sign-extended, so that the signed pack keeps them
  _mm_storel_epi64(reinterpret_cast<__m128i*>(p), _mm_packs_epi32(words, words));
}

#endif

}  // namespace cog::cpu_detail

#if defined(__GNUC__) && !defined(__clang__)
#pragma GCC diagnostic pop
#endif
