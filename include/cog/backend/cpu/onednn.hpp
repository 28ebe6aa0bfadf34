// Products of bf16 by an installed oneDNN (2 or 3), in programs that link cog::onednn (which defines COG_ONEDNN): no BLAS has them. What it
// does not take, and what is too little to be worth the call, is made by gemm.hpp. The threads of such products, and their bits, are
// the library's.
#pragma once

#include <cog/backend/cpu/attention_tile.hpp>

#if defined(COG_ONEDNN)

#include <string_view>

#include <dnnl.hpp>

namespace cog::cpu_detail {

class onednn {
 public:
  /// c = a b; c [m, n] contiguous. False, and nothing done, where oneDNN cannot take the operands, has no fast product for this
  /// processor, or would be no use.
  static bool product(view<bf16 const, 2> const& a, view<bf16 const, 2> const& b, float* c) {
    index_t const m = a.extents[0], k = a.extents[1], n = b.extents[1];
    if (is_little(m * n * k) || !fits(a) || !fits(b)) return false;
    static bool const usable = is_fast();
    if (!usable) return false;
    try {
      auto const [left, right, out] = shapes{of(a), of(b), {{m, n}, memory::data_type::f32, memory::dims{n, 1}}};
      dnnl::stream stream(engine());
      dnnl::matmul(product_of({left, right, out}))
          .execute(stream, {{DNNL_ARG_SRC, memory(left, engine(), const_cast<bf16*>(a.data))},
                            {DNNL_ARG_WEIGHTS, memory(right, engine(), const_cast<bf16*>(b.data))},
                            {DNNL_ARG_DST, memory(out, engine(), c)}});
      stream.wait();
      return true;
    } catch (dnnl::error const&) {  // our own makes it instead
      return false;
    }
  }

 private:
  using memory = dnnl::memory;
  struct shapes {
    memory::desc a, b, c;
  };

  static dnnl::engine const& engine() {
    static dnnl::engine const cpu(dnnl::engine::kind::cpu, 0);
    return cpu;
  }
  /// Rows or columns of neighbours.
  static bool fits(view<bf16 const, 2> const& x) {
    return (x.strides[1] == 1 && x.strides[0] >= x.extents[1]) || (x.strides[0] == 1 && x.strides[1] >= x.extents[0]);
  }
  static memory::desc of(view<bf16 const, 2> const& x) {
    return {{x.extents[0], x.extents[1]}, memory::data_type::bf16, memory::dims{x.strides[0], x.strides[1]}};
  }
  /// It is kept by oneDNN from one call to the next.
  static dnnl::matmul::primitive_desc product_of(shapes const& x) {
#if DNNL_VERSION_MAJOR >= 3
    return {engine(), x.a, x.b, x.c};
#else
    return {dnnl::matmul::desc(x.a, x.b, x.c), engine()};
#endif
  }
  /// Not where there is none, or but a plain loop.
  static bool is_fast() {
    memory::dims const size{64, 64}, strides{64, 1};
    memory::desc const x(size, memory::data_type::bf16, strides), y(size, memory::data_type::f32, strides);
    try {
      return std::string_view(product_of({x, x, y}).impl_info_str()).substr(0, 3) != "ref";
    } catch (dnnl::error const&) {
      return false;
    }
  }
};

}  // namespace cog::cpu_detail

#endif
