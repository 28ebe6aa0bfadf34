// Where and in what precision a program computes: --device and --dtype. What computes is a template over the backend B and the element
// type T; the program's on_cpu.cpp instantiates it for the CPU in float, and on_cuda.cu, which nvcc compiles, for the GPU.
#pragma once

#include <string>

#include <cog/core/dtype.hpp>
#include <cog/core/error.hpp>
#include <cog/core/tensor.hpp>

namespace cog {
struct cpu;
struct cuda;
}  // namespace cog

namespace tool {

template <class B, class T>
struct target {
  using device = B;
  using number = T;
};

/// f(target) for the device and dtype that were asked for. Errors: one that this program was not built for.
template <class F>
auto on_target(std::string const& device, [[maybe_unused]] std::string const& dtype, F const& f) {
  if (device == "cpu") {
    if (dtype != "float") throw cog::error("--dtype ", dtype, ": on the CPU these programs compute in float");
    return f(target<cog::cpu, float>{});
  }
#if defined(COG_EXAMPLES_CUDA)
  if (dtype == "bf16") return f(target<cog::cuda, cog::bf16>{});
  if (dtype == "half") return f(target<cog::cuda, cog::half>{});
  return f(target<cog::cuda, float>{});
#else
  throw cog::error("--device ", device, ": this program was built without it; configure with -DCOG_EXAMPLES_CUDA=ON, which needs nvcc");
#endif
}

/// `threads` is for the CPU; 0: all cores.
template <class B>
typename B::context make_context(cog::index_t threads) {
  if constexpr (B::host_accessible) return typename B::context({.threads = static_cast<int>(threads)});
  else return typename B::context();
}
template <class Context>
std::string describe(Context const& ctx) {
  std::string const name(Context::backend_type::name);
  if constexpr (requires { ctx.threads(); }) return name + ", " + std::to_string(ctx.threads()) + " threads";
  else return name + " " + std::to_string(ctx.device()) + ", compute capability " + std::to_string(ctx.capability() / 10) + "." + std::to_string(ctx.capability() % 10);
}

}  // namespace tool
