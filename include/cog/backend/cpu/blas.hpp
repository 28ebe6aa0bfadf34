// Products of float and double by an installed BLAS, in programs that link cog::blas (which defines COG_BLAS): gemm, by the names that
// every BLAS has (OpenBLAS, MKL, BLIS, AOCL). What it does not take, and what is too little to be worth the call, is made by gemm.hpp.
// The threads of such products, and their bits, are the library's.
#pragma once

#include <cog/backend/cpu/attention_tile.hpp>
#include <cog/expr/contract.hpp>

#if defined(COG_BLAS)

#include <limits>
#include <optional>

extern "C" {
void sgemm_(char const* transa, char const* transb, int const* m, int const* n, int const* k, float const* alpha, float const* a, int const* lda,
            float const* b, int const* ldb, float const* beta, float* c, int const* ldc);
void dgemm_(char const* transa, char const* transb, int const* m, int const* n, int const* k, double const* alpha, double const* a,
            int const* lda, double const* b, int const* ldb, double const* beta, double* c, int const* ldc);
}

namespace cog::cpu_detail {

/// A matrix as BLAS takes it, by columns: this one's transpose ('N'), or itself ('T').
struct blas_operand {
  char transposed;
  int stride;
};
template <class T>
std::optional<blas_operand> blas_operand_of(view<T const, 2> const& x) {
  auto const fits = [](index_t stride, index_t length) { return stride >= length && stride <= std::numeric_limits<int>::max(); };
  if (x.strides[1] == 1 && fits(x.strides[0], x.extents[1])) return blas_operand{'N', static_cast<int>(x.strides[0])};
  if (x.strides[0] == 1 && fits(x.strides[1], x.extents[0])) return blas_operand{'T', static_cast<int>(x.strides[1])};
  return std::nullopt;
}

/// c = alpha a b + beta c, c [m, n] contiguous. False, and nothing done, where BLAS cannot take the operands or would be no use.
template <class T>
bool blas_product(view<T const, 2> const& a, view<T const, 2> const& b, T alpha, T beta, T* c) {
  if (alpha == 0) return false;  // BLAS would read no NaN
  index_t const rows = a.extents[0], columns = b.extents[1], depth = a.extents[1];
  auto const left = blas_operand_of(a), right = blas_operand_of(b);
  if (!left || !right || is_little(rows * columns * depth) || std::max({rows, columns, depth}) > std::numeric_limits<int>::max()) return false;
  int const m = static_cast<int>(rows), n = static_cast<int>(columns), k = static_cast<int>(depth);
  auto const gemm = [] {
    if constexpr (std::same_as<T, float>) return sgemm_;
    else return dgemm_;
  }();
  // By columns, c is its transpose: that of b times that of a.
  gemm(&right->transposed, &left->transposed, &n, &m, &k, &alpha, b.data, &right->stride, a.data, &left->stride, &beta, c, &n);
  return true;
}

}  // namespace cog::cpu_detail

#endif
