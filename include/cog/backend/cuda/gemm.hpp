// Products by cuBLASLt: C = activation(alpha A B + beta C + bias), strided batches; sums of bf16 and half stay in float, also where the
// library splits them. It chooses an algorithm once for each kind of product, and it is kept. What its epilogues lack follows as one
// element-wise kernel.
#pragma once

#include <cublasLt.h>

#include <map>
#include <optional>
#include <tuple>

#include <cog/backend/cuda/elementwise.hpp>
#include <cog/expr/contract.hpp>

namespace cog::cuda_detail {

inline void check(cublasStatus_t status, char const* what) {
  if (status != CUBLAS_STATUS_SUCCESS) throw error(what, ": cuBLAS status ", static_cast<int>(status), " (", cublasLtGetStatusString(status), ")");
}

template <class T>
inline constexpr cudaDataType_t cuda_type = std::same_as<T, double> ? CUDA_R_64F : std::same_as<T, float> ? CUDA_R_32F
                                          : std::same_as<T, bf16>   ? CUDA_R_16BF
                                                                    : CUDA_R_16F;

/// A matrix of a product as cuBLASLt sees it: column-major, rows x columns, leading dimension.
struct gemm_matrix {
  index_t rows, columns, pitch, batch_stride;
  bool transposed;
  auto operator<=>(gemm_matrix const&) const = default;
};

/// What the choice of an algorithm depends on.
struct gemm_key {
  gemm_matrix a, b, c;
  index_t batches;
  int type, compute, epilogue, alignment;
  auto operator<=>(gemm_key const&) const = default;
};

/// The handle of a context, the algorithms found so far, and their workspace.
class products {
 public:
  static constexpr std::size_t workspace_bytes = 32 << 20;

  explicit products(cuda_context const& ctx) : memory_(&ctx.memory()) {
    ctx.activate();
    check(cublasLtCreate(&handle_), "cublasLtCreate");
    workspace_ = memory_->allocate(workspace_bytes);
  }
  products(products const&) = delete;
  ~products() {
    if (workspace_) memory_->deallocate(workspace_, workspace_bytes);
    if (handle_) (void)cublasLtDestroy(handle_);
  }

  /// False, and nothing done, where the library has no kernel for it with this epilogue. Throws where it has none at all.
  bool run(cudaStream_t stream, gemm_key const& key, void const* a, void const* b, void* c, void const* alpha, void const* beta, void const* bias) {
    std::lock_guard lock(mutex_);
    auto const type = static_cast<cudaDataType_t>(key.type);
    operation op(key, bias);
    layout const la(type, key.a, key.batches), lb(type, key.b, key.batches), lc(type, key.c, key.batches);
    auto found = algorithms_.find(key);
    if (found == algorithms_.end()) found = algorithms_.emplace(key, choose(key, op, la, lb, lc)).first;
    if (!found->second) {
      if (key.epilogue != CUBLASLT_EPILOGUE_DEFAULT) return false;
      throw error("matmul: cuBLAS has no algorithm for ", key.c.columns, " x ", key.c.rows, " (", key.batches, " batches)");
    }
    check(cublasLtMatmul(handle_, op.description, alpha, a, la.description, b, lb.description, beta, c, lc.description, c, lc.description, &*found->second,
                         workspace_, workspace_bytes, stream),
          "matmul");
    return true;
  }

 private:
  struct operation {
    cublasLtMatmulDesc_t description = nullptr;
    operation(gemm_key const& key, void const* bias) {
      check(cublasLtMatmulDescCreate(&description, static_cast<cublasComputeType_t>(key.compute),
                                     key.type == CUDA_R_64F ? CUDA_R_64F : CUDA_R_32F),
            "matmul");
      auto const set = [&](cublasLtMatmulDescAttributes_t what, auto const& value) {
        check(cublasLtMatmulDescSetAttribute(description, what, &value, sizeof(value)), "matmul");
      };
      set(CUBLASLT_MATMUL_DESC_TRANSA, key.a.transposed ? CUBLAS_OP_T : CUBLAS_OP_N);
      set(CUBLASLT_MATMUL_DESC_TRANSB, key.b.transposed ? CUBLAS_OP_T : CUBLAS_OP_N);
      set(CUBLASLT_MATMUL_DESC_EPILOGUE, static_cast<cublasLtEpilogue_t>(key.epilogue));
      if (bias) set(CUBLASLT_MATMUL_DESC_BIAS_POINTER, bias);
    }
    operation(operation const&) = delete;
    ~operation() { (void)cublasLtMatmulDescDestroy(description); }
  };
  struct layout {
    cublasLtMatrixLayout_t description = nullptr;
    layout(cudaDataType_t type, gemm_matrix const& m, index_t batches) {
      check(cublasLtMatrixLayoutCreate(&description, type, static_cast<std::uint64_t>(m.rows), static_cast<std::uint64_t>(m.columns), m.pitch), "matmul");
      auto const count = static_cast<std::int32_t>(batches);
      auto const stride = static_cast<std::int64_t>(m.batch_stride);
      check(cublasLtMatrixLayoutSetAttribute(description, CUBLASLT_MATRIX_LAYOUT_BATCH_COUNT, &count, sizeof(count)), "matmul");
      check(cublasLtMatrixLayoutSetAttribute(description, CUBLASLT_MATRIX_LAYOUT_STRIDED_BATCH_OFFSET, &stride, sizeof(stride)), "matmul");
    }
    layout(layout const&) = delete;
    ~layout() { (void)cublasLtMatrixLayoutDestroy(description); }
  };

  std::optional<cublasLtMatmulAlgo_t> choose(gemm_key const& key, operation const& op, layout const& a, layout const& b, layout const& c) const {
    cublasLtMatmulPreference_t wish = nullptr;
    check(cublasLtMatmulPreferenceCreate(&wish), "matmul");
    auto const bytes = workspace_bytes;
    auto const alignment = static_cast<std::uint32_t>(key.alignment);
    std::uint32_t const reductions = CUBLASLT_REDUCTION_SCHEME_NONE | CUBLASLT_REDUCTION_SCHEME_COMPUTE_TYPE;  // not in the type of C
    (void)cublasLtMatmulPreferenceSetAttribute(wish, CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES, &bytes, sizeof(bytes));
    (void)cublasLtMatmulPreferenceSetAttribute(wish, CUBLASLT_MATMUL_PREF_REDUCTION_SCHEME_MASK, &reductions, sizeof(reductions));
    for (auto what : {CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_A_BYTES, CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_B_BYTES, CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_C_BYTES,
                      CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_D_BYTES})
      (void)cublasLtMatmulPreferenceSetAttribute(wish, what, &alignment, sizeof(alignment));
    cublasLtMatmulHeuristicResult_t best{};
    int found = 0;
    auto const status = cublasLtMatmulAlgoGetHeuristic(handle_, op.description, a.description, b.description, c.description, c.description, wish, 1, &best, &found);
    (void)cublasLtMatmulPreferenceDestroy(wish);
    if (status != CUBLAS_STATUS_NOT_SUPPORTED) check(status, "matmul");
    if (status != CUBLAS_STATUS_SUCCESS || found == 0) return std::nullopt;
    return best.algo;
  }

  device_memory* memory_;
  cublasLtHandle_t handle_ = nullptr;
  void* workspace_ = nullptr;
  std::map<gemm_key, std::optional<cublasLtMatmulAlgo_t>> algorithms_;  // nothing: there is none
  std::mutex mutex_;
};

/// One batch axis of a row-major operand [batch, rows, columns] as a column-major matrix; nothing if neither axis has stride 1.
template <class T>
std::optional<gemm_matrix> as_gemm_matrix(view<T, 4> const& x, index_t batch_stride) {
  index_t const rows = x.extents[2], columns = x.extents[3], down = x.strides[2], right = x.strides[3];
  // Row-major rows x columns is column-major columns x rows.
  if ((right == 1 || columns == 1) && (down >= columns || rows == 1)) return gemm_matrix{columns, rows, std::max<index_t>(rows == 1 ? columns : down, 1), batch_stride, false};
  if ((down == 1 || rows == 1) && (right >= rows || columns == 1)) return gemm_matrix{rows, columns, std::max<index_t>(columns == 1 ? rows : right, 1), batch_stride, true};
  return std::nullopt;
}

/// activation(c + bias) in place.
template <class Activation, class T>
void finish_product(cuda_context const& ctx, view<T, 4> const& c, T const* bias) {
  using plain = branch<Activation, arg<0, T>>;
  using shifted = branch<Activation, branch<op::add, arg<0, T>, arg<1, T>>>;
  array_leaf<T, 4> leaf{c.data, {}};
  for (std::size_t i = 0; i < 4; ++i) leaf.strides[i] = c.strides[i];
  auto const out = make_pack(detail::output_of(c.data, c.strides));
  if (bias) for_each(ctx, c.extents, forward<shifted>{}, make_pack(leaf, array_leaf<T, 4>{bias, {0, 0, 0, 1}}), out);
  else for_each(ctx, c.extents, forward<plain>{}, make_pack(leaf), out);
}
template <class T>
void add_bias(cuda_context const& ctx, view<T, 4> const& c, T const* bias) {
  array_leaf<T, 4> leaf{c.data, {}};
  for (std::size_t i = 0; i < 4; ++i) leaf.strides[i] = c.strides[i];
  for_each(ctx, c.extents, forward<branch<op::add, arg<0, T>, arg<1, T>>>{}, make_pack(leaf, array_leaf<T, 4>{bias, {0, 0, 0, 1}}),
           make_pack(detail::output_of(c.data, c.strides)));
}

template <class Activation, class T>
void gemm(cuda_context const& ctx, gemm_arguments<T> const& g) {
  using C = compute_t<T>;
  index_t const m = g.c.extents[2], n = g.c.extents[3], k = g.a.extents[3];
  if (g.c.size() == 0) return;

  constexpr bool is_relu = std::same_as<Activation, op::relu>, is_gelu = std::same_as<Activation, op::gelu_tanh>, is_identity = std::same_as<Activation, identity>;
  bool within = g.bias != nullptr && (is_identity || is_relu || is_gelu) && !std::same_as<T, double>;  // the library adds the bias
  if (k > 0) {
    // Operands whose strides cuBLAS cannot walk are copied.
    auto const walkable = [&](view<T const, 4> x, scratch<T> const& copy) {
      if (!copy.get()) return x;
      auto const strides = row_major(x.extents);
      array_leaf<T, 4> leaf{x.data, {}};
      for (std::size_t i = 0; i < 4; ++i) leaf.strides[i] = x.strides[i];
      for_each(ctx, x.extents, forward<arg<0, T>>{}, make_pack(leaf), make_pack(detail::output_of(copy.get(), strides)));
      return view<T const, 4>{copy.get(), x.extents, strides};
    };
    auto const size_of_copy = [](view<T const, 4> const& x) { return as_gemm_matrix(x, 0) ? 0 : x.size(); };
    scratch<T> const copy_a(ctx, size_of_copy(g.a)), copy_b(ctx, size_of_copy(g.b));
    auto const a = walkable(g.a, copy_a), b = walkable(g.b, copy_b);

    // Both batch axes at once where they join, else the outer one in a loop.
    auto const joins = [&](auto const& x) { return x.strides[0] == x.strides[1] * x.extents[1]; };
    bool const joined = g.c.extents[0] == 1 || g.c.extents[1] == 1 || (joins(a) && joins(b) && joins(g.c));
    auto const stride = [&](auto const& x) { return joined && g.c.extents[1] == 1 ? x.strides[0] : x.strides[1]; };
    index_t const loops = joined ? 1 : g.c.extents[0], batches = joined ? g.c.extents[0] * g.c.extents[1] : g.c.extents[1];

    gemm_key key{};  // C' = B' A', all column-major
    key.a = *as_gemm_matrix(b, stride(b));
    key.b = *as_gemm_matrix(a, stride(a));
    key.c = {n, m, std::max<index_t>(m == 1 ? n : g.c.strides[2], 1), stride(g.c), false};
    key.batches = batches;
    key.type = cuda_type<T>;
    key.compute = std::same_as<T, double> ? CUBLAS_COMPUTE_64F : std::same_as<T, float> && ctx.tf32() ? CUBLAS_COMPUTE_32F_FAST_TF32 : CUBLAS_COMPUTE_32F;
    auto const bits_of = [&](auto const& x) {
      return reinterpret_cast<std::uintptr_t>(x.data) | static_cast<std::uintptr_t>(loops > 1 ? x.strides[0] : 0) * sizeof(T);
    };
    C const alpha = static_cast<C>(g.alpha), beta = static_cast<C>(g.beta);
    ctx.activate();
    auto const multiply = [&](T const* bias) {
      key.epilogue = !bias ? CUBLASLT_EPILOGUE_DEFAULT : is_relu ? CUBLASLT_EPILOGUE_RELU_BIAS : is_gelu ? CUBLASLT_EPILOGUE_GELU_BIAS : CUBLASLT_EPILOGUE_BIAS;
      auto const bits = bits_of(a) | bits_of(b) | bits_of(g.c) | reinterpret_cast<std::uintptr_t>(bias) | 16;
      key.alignment = static_cast<int>(bits & (~bits + 1));
      for (index_t i = 0; i < loops; ++i)  // all of them or none: the key is the same
        if (!ctx.template part<products>().run(ctx.stream(), key, b.data + i * b.strides[0], a.data + i * a.strides[0], g.c.data + i * g.c.strides[0], &alpha, &beta, bias))
          return false;
      return true;
    };
    within = within && multiply(g.bias);
    if (!within) (void)multiply(nullptr);
  } else if (g.beta == 0) {
    for_each(ctx, g.c.extents, forward<arg<0, T>>{}, make_pack(constant_leaf<T>{C(0)}), make_pack(detail::output_of(g.c.data, g.c.strides)));
  } else if (g.beta != 1) {
    array_leaf<T, 4> leaf{g.c.data, {}};
    for (std::size_t i = 0; i < 4; ++i) leaf.strides[i] = g.c.strides[i];
    for_each(ctx, g.c.extents, forward<branch<op::multiply, arg<0, T>, arg<1, T>>>{}, make_pack(leaf, constant_leaf<T>{static_cast<C>(g.beta)}),
             make_pack(detail::output_of(g.c.data, g.c.strides)));
  }
  if (within && k > 0) return;
  if constexpr (!is_identity) finish_product<Activation>(ctx, g.c, g.bias);
  else if (g.bias) add_bias(ctx, g.c, g.bias);
}

}  // namespace cog::cuda_detail
