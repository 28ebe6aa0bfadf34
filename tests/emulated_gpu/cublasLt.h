// The part of cuBLASLt that this project uses, in plain loops.
#pragma once

#include <cstdint>
#include <vector>

#include <cog/core/dtype.hpp>
#include <cuda_runtime.h>

enum cublasStatus_t { CUBLAS_STATUS_SUCCESS = 0, CUBLAS_STATUS_INVALID_VALUE = 7, CUBLAS_STATUS_NOT_SUPPORTED = 15 };
inline char const* cublasLtGetStatusString(cublasStatus_t s) { return s == CUBLAS_STATUS_SUCCESS ? "success" : "not supported"; }
enum cudaDataType_t { CUDA_R_32F = 0, CUDA_R_64F = 1, CUDA_R_16F = 2, CUDA_R_16BF = 14 };
enum cublasComputeType_t { CUBLAS_COMPUTE_32F = 68, CUBLAS_COMPUTE_64F = 70, CUBLAS_COMPUTE_32F_FAST_TF32 = 77 };
enum cublasOperation_t { CUBLAS_OP_N = 0, CUBLAS_OP_T = 1 };
enum cublasLtEpilogue_t { CUBLASLT_EPILOGUE_DEFAULT = 1, CUBLASLT_EPILOGUE_BIAS = 4, CUBLASLT_EPILOGUE_RELU_BIAS = 6, CUBLASLT_EPILOGUE_GELU_BIAS = 36 };
enum cublasLtMatmulDescAttributes_t { CUBLASLT_MATMUL_DESC_TRANSA, CUBLASLT_MATMUL_DESC_TRANSB, CUBLASLT_MATMUL_DESC_EPILOGUE, CUBLASLT_MATMUL_DESC_BIAS_POINTER };
enum cublasLtMatrixLayoutAttribute_t { CUBLASLT_MATRIX_LAYOUT_BATCH_COUNT, CUBLASLT_MATRIX_LAYOUT_STRIDED_BATCH_OFFSET };
enum cublasLtReductionScheme_t { CUBLASLT_REDUCTION_SCHEME_NONE = 0, CUBLASLT_REDUCTION_SCHEME_COMPUTE_TYPE = 2 };
enum cublasLtMatmulPreferenceAttributes_t {
  CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES, CUBLASLT_MATMUL_PREF_REDUCTION_SCHEME_MASK, CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_A_BYTES, CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_B_BYTES,
  CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_C_BYTES, CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_D_BYTES
};
struct emulated_matmul { cublasComputeType_t compute; int a = 0, b = 0; int epilogue = 1; void const* bias = nullptr; };
struct emulated_layout { cudaDataType_t type; std::uint64_t rows, columns; std::int64_t pitch; std::int32_t batches = 1; std::int64_t stride = 0; };
using cublasLtMatmulDesc_t = emulated_matmul*;
using cublasLtMatrixLayout_t = emulated_layout*;
using cublasLtHandle_t = int*;
using cublasLtMatmulPreference_t = int*;
struct cublasLtMatmulAlgo_t { int chosen = 0; };
struct cublasLtMatmulHeuristicResult_t { cublasLtMatmulAlgo_t algo; };

inline cublasStatus_t cublasLtCreate(cublasLtHandle_t* h) { *h = new int; return CUBLAS_STATUS_SUCCESS; }
inline cublasStatus_t cublasLtDestroy(cublasLtHandle_t h) { delete h; return CUBLAS_STATUS_SUCCESS; }
inline cublasStatus_t cublasLtMatmulDescCreate(cublasLtMatmulDesc_t* d, cublasComputeType_t c, cudaDataType_t) { *d = new emulated_matmul{c}; return CUBLAS_STATUS_SUCCESS; }
inline cublasStatus_t cublasLtMatmulDescDestroy(cublasLtMatmulDesc_t d) { delete d; return CUBLAS_STATUS_SUCCESS; }
inline cublasStatus_t cublasLtMatmulDescSetAttribute(cublasLtMatmulDesc_t d, cublasLtMatmulDescAttributes_t what, void const* value, std::size_t n) {
  switch (what) {
    case CUBLASLT_MATMUL_DESC_TRANSA: std::memcpy(&d->a, value, n); break;
    case CUBLASLT_MATMUL_DESC_TRANSB: std::memcpy(&d->b, value, n); break;
    case CUBLASLT_MATMUL_DESC_EPILOGUE: std::memcpy(&d->epilogue, value, n); break;
    case CUBLASLT_MATMUL_DESC_BIAS_POINTER: std::memcpy(&d->bias, value, n); break;
  }
  return CUBLAS_STATUS_SUCCESS;
}
inline cublasStatus_t cublasLtMatrixLayoutCreate(cublasLtMatrixLayout_t* l, cudaDataType_t t, std::uint64_t rows, std::uint64_t columns, std::int64_t pitch) {
  if (pitch < static_cast<std::int64_t>(rows)) return CUBLAS_STATUS_INVALID_VALUE;
  *l = new emulated_layout{t, rows, columns, pitch};
  return CUBLAS_STATUS_SUCCESS;
}
inline cublasStatus_t cublasLtMatrixLayoutDestroy(cublasLtMatrixLayout_t l) { delete l; return CUBLAS_STATUS_SUCCESS; }
inline cublasStatus_t cublasLtMatrixLayoutSetAttribute(cublasLtMatrixLayout_t l, cublasLtMatrixLayoutAttribute_t what, void const* value, std::size_t n) {
  if (what == CUBLASLT_MATRIX_LAYOUT_BATCH_COUNT) std::memcpy(&l->batches, value, n);
  else std::memcpy(&l->stride, value, n);
  return CUBLAS_STATUS_SUCCESS;
}
inline cublasStatus_t cublasLtMatmulPreferenceCreate(cublasLtMatmulPreference_t* p) { *p = new int; return CUBLAS_STATUS_SUCCESS; }
inline cublasStatus_t cublasLtMatmulPreferenceDestroy(cublasLtMatmulPreference_t p) { delete p; return CUBLAS_STATUS_SUCCESS; }
inline cublasStatus_t cublasLtMatmulPreferenceSetAttribute(cublasLtMatmulPreference_t, cublasLtMatmulPreferenceAttributes_t, void const*, std::size_t) { return CUBLAS_STATUS_SUCCESS; }
namespace emulated {
/// Does the library have kernels that add a bias?
inline bool& has_epilogues() {
  static bool yes = true;
  return yes;
}
}  // namespace emulated
inline cublasStatus_t cublasLtMatmulAlgoGetHeuristic(cublasLtHandle_t, cublasLtMatmulDesc_t d, cublasLtMatrixLayout_t, cublasLtMatrixLayout_t, cublasLtMatrixLayout_t,
                                                     cublasLtMatrixLayout_t, cublasLtMatmulPreference_t, int, cublasLtMatmulHeuristicResult_t*, int* found) {
  *found = emulated::has_epilogues() || d->epilogue == CUBLASLT_EPILOGUE_DEFAULT;
  return *found ? CUBLAS_STATUS_SUCCESS : CUBLAS_STATUS_NOT_SUPPORTED;
}

namespace emulated {
template <class T>
void matmul(emulated_matmul d, double alpha, T const* a, emulated_layout la, T const* b, emulated_layout lb, double beta, T* c, emulated_layout lc) {
  auto const m = static_cast<std::int64_t>(lc.rows), n = static_cast<std::int64_t>(lc.columns);
  auto const k = static_cast<std::int64_t>(d.a ? la.rows : la.columns);
  using C = cog::compute_t<T>;
  for (std::int64_t batch = 0; batch < lc.batches; ++batch, a += la.stride, b += lb.stride, c += lc.stride)
    for (std::int64_t j = 0; j < n; ++j)
      for (std::int64_t i = 0; i < m; ++i) {
        double sum = 0;
        for (std::int64_t p = 0; p < k; ++p)
          sum += static_cast<double>(static_cast<C>(d.a ? a[p + i * la.pitch] : a[i + p * la.pitch])) * static_cast<double>(static_cast<C>(d.b ? b[j + p * lb.pitch] : b[p + j * lb.pitch]));
        T& to = c[i + j * lc.pitch];
        double x = alpha * sum + (beta != 0 ? beta * static_cast<double>(static_cast<C>(to)) : 0);
        if (d.bias) x += static_cast<double>(static_cast<C>(static_cast<T const*>(d.bias)[i]));
        if (d.epilogue == CUBLASLT_EPILOGUE_RELU_BIAS) x = x > 0 ? x : 0;
        if (d.epilogue == CUBLASLT_EPILOGUE_GELU_BIAS) x = 0.5 * x * (1 + std::tanh(0.7978845608028654 * (x + 0.044715 * x * x * x)));
        to = T(static_cast<C>(x));
      }
}
}  // namespace emulated

inline cublasStatus_t cublasLtMatmul(cublasLtHandle_t, cublasLtMatmulDesc_t d, void const* alpha, void const* a, cublasLtMatrixLayout_t la, void const* b, cublasLtMatrixLayout_t lb,
                                     void const* beta, void const* c, cublasLtMatrixLayout_t lc, void* out, cublasLtMatrixLayout_t, cublasLtMatmulAlgo_t const*, void*, std::size_t,
                                     cudaStream_t stream) {
  auto const number = [&](void const* p) { return lc->type == CUDA_R_64F ? *static_cast<double const*>(p) : static_cast<double>(*static_cast<float const*>(p)); };
  auto const inner_a = d->a ? la->rows : la->columns, outer_a = d->a ? la->columns : la->rows;
  auto const inner_b = d->b ? lb->columns : lb->rows, outer_b = d->b ? lb->rows : lb->columns;
  if (inner_a != inner_b || outer_a != lc->rows || outer_b != lc->columns || la->type != lb->type || la->type != lc->type || c != out) return CUBLAS_STATUS_INVALID_VALUE;
  double const x = number(alpha), y = number(beta);
  emulated::no_stream(stream)->run([=, d = *d, la = *la, lb = *lb, lc = *lc] {
    auto const typed = [&]<class T>(T) { emulated::matmul<T>(d, x, static_cast<T const*>(a), la, static_cast<T const*>(b), lb, y, static_cast<T*>(out), lc); };
    switch (lc.type) {
      case CUDA_R_64F: typed(double{}); break;
      case CUDA_R_32F: typed(float{}); break;
      case CUDA_R_16BF: typed(cog::bf16{}); break;
      default: typed(cog::half{});
    }
  });
  return CUBLAS_STATUS_SUCCESS;
}
