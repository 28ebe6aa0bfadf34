// Contexts, memory, graphs and errors of the GPU backend.
#include "cuda.hpp"
#include "dlpack.hpp"

#include <cog/core/dlpack.hpp>

using namespace cog;

TEST_CASE("gpu: a warm step takes its memory from the pool") {
  cog::cuda::context const ctx;
  auto const step = [&] {
    auto const x = randn<float>(ctx, {64, 32}, 1);
    return sum(softmax(matmul(x, transposed(x)) * 2)).item();
  };
  float const first = step();
  auto const cold = ctx.memory().report();
  CHECK(cold.cached > 0);
#if defined(COG_EMULATED_GPU)
  auto const mallocs = emulated::count().mallocs;
#endif
  CHECK(step() == first);
#if defined(COG_EMULATED_GPU)
  CHECK(emulated::count().mallocs == mallocs);
#endif
  CHECK(ctx.memory().report().peak == cold.peak);
  ctx.memory().release();
  CHECK(ctx.memory().report().cached == 0);
  CHECK(step() == first);
}

TEST_CASE("gpu: DLPack names the device") {
  cog::cuda::context const ctx;
  auto const managed = to_dlpack<DLManagedTensor>(full<float>(ctx, {3}, 2));
  CHECK(managed->dl_tensor.device.device_type == kDLCUDA);
  CHECK(managed->dl_tensor.device.device_id == ctx.device());
  auto* const again = to_dlpack<DLManagedTensorVersioned>(full<float>(ctx, {3}, 2)).release();
  again->flags = 1;  // read-only
  auto const x = from_dlpack<float, 1>(ctx, again);
  CHECK(sum(x).item() == 6);
}

TEST_CASE("gpu: what does not fit is an error, and the context goes on") {
  cog::cuda::context const ctx;
  auto const kept = full<float>(ctx, {100}, 2);
  auto const held = empty<float>(ctx, {1 << 20});
  CHECK_THROWS_WITH(empty<float>(ctx, {index_t{1} << 44}), Catch::Contains("out of GPU memory"));
  CHECK(sum(kept).item() == 200);
  CHECK_THROWS_AS(cog::cuda::context({.device = 1000}), error);
}

TEST_CASE("gpu: freed memory is given back when something does not fit") {
#if defined(COG_EMULATED_GPU)
  cog::cuda::context const ctx;
  std::size_t const before = emulated::memory_limit();
  emulated::memory_limit() = emulated::allocated() + (3 << 20);
  {
    auto const x = empty<float>(ctx, {1 << 19});  // 2 MiB, then free
  }
  auto const y = full<float>(ctx, {3 << 17}, 1);  // 1.5 MiB of another class
  CHECK(sum(y).item() == 3 << 17);
  emulated::memory_limit() = before;
#endif
}

TEST_CASE("gpu: a launch that fails names its operation") {
  CHECK_THROWS_WITH(gpu().launch("an operation of mine", {dim3(1), dim3(2048)}, cuda_detail::fill_kernel<float>, nullptr, 1, 0.0f),
                    Catch::Contains("an operation of mine"));
  CHECK(sum(full<float>(gpu(), {3}, 1)).item() == 3);
}

TEST_CASE("gpu: a fault inside a kernel is reported at the next wait, with the kernels that it may have been") {
#if defined(COG_EMULATED_GPU)
  cog::cuda::context const ctx;
  auto const x = randn<float>(ctx, {8, 8}, 1);
  (void)x.to_vector();  // until here all was well
  auto const y = softmax(x);
  auto const z = sum(y);
  emulated::fault() = cudaErrorIllegalAddress;
  CHECK_THROWS_WITH(cog::cuda::synchronize(ctx), Catch::Contains("synchronize: cudaErrorIllegalAddress") && Catch::Contains("the last were: row-wise form, sum"));
  emulated::fault() = cudaErrorLaunchFailure;
  CHECK_THROWS_WITH(z.item(), Catch::Contains("copy_to_host: cudaErrorLaunchFailure"));
  cog::cuda::graph const graph(ctx, [&] { (void)eval(x * 2); });
  cog::cuda::synchronize(ctx);
  graph.launch();
  emulated::fault() = cudaErrorIllegalAddress;
  CHECK_THROWS_WITH(cog::cuda::synchronize(ctx), Catch::Contains("the last were: graph"));
#endif
}

TEST_CASE("gpu: a blocking context waits after every kernel") {
  cog::cuda::context const ctx({.blocking = true});
#if defined(COG_EMULATED_GPU)
  auto const waits = emulated::count().waits;
#endif
  auto const x = full<float>(ctx, {3}, 1);
#if defined(COG_EMULATED_GPU)
  CHECK(emulated::count().waits > waits);
#endif
  CHECK(sum(x).item() == 3);
}

TEST_CASE("gpu: long transfers go through the staging buffers in parts") {
  index_t const n = (index_t{9} << 20) / 4 + 13;  // 9 MiB and a bit
  std::vector<float> values(static_cast<std::size_t>(n));
  for (std::size_t i = 0; i < values.size(); ++i) values[i] = static_cast<float>(i % 8191);
  auto const x = from<float>(gpu(), std::span<float const>(values), std::array<index_t, 1>{n});
  std::vector<float> const copy = values;
  std::fill(values.begin(), values.end(), 0.0f);  // the caller may do so
  CHECK(x.to_vector() == copy);
}

TEST_CASE("gpu: a captured step is replayed on the tensors it was captured with") {
  cog::cuda::context const ctx;
  auto const input = randn<float>(ctx, {8, 16}, 1);
  auto const weights = randn<float>(ctx, {16, 16}, 2);
  tensor<float, 2, cog::cuda> output;
  auto const step = [&] { output = softmax(gelu(matmul(input, weights)) * 3); };
  step();
  auto const expected = output.to_vector();
  cog::cuda::graph const graph(ctx, step);
  auto const neighbours = full<float>(ctx, {8, 16}, 7);  // nobody else's memory is touched by a replay
  graph.launch();
  CHECK(output.to_vector() == expected);
  input.assign(randn<float>(ctx, {8, 16}, 5));
  graph.launch();
  auto const replayed = output.to_vector();
  CHECK(replayed != expected);
  CHECK(sum(neighbours).item() == 8 * 16 * 7);
  step();
  CHECK(output.to_vector() == replayed);
}

TEST_CASE("gpu: memory that one graph writes is not handed out by another that frees it") {
  cog::cuda::context const ctx;
  auto const input = full<float>(ctx, {1000}, 1);
  std::optional<tensor<float, 1, cog::cuda>> output;
  tensor<float, 1, cog::cuda> kept;
  std::optional<cog::cuda::graph> first(std::in_place, ctx, [&] { output = eval(input * 2); });
  std::optional<cog::cuda::graph> const second(std::in_place, ctx, [&] {
    output.reset();
    kept = eval(input * 5);
  });
  second->launch();
  first->launch();
  CHECK(sum(kept).item() == 5000);
  first.reset();
  auto const other = full<float>(ctx, {1000}, 3);
  second->launch();
  CHECK(sum(other).item() == 3000);
  CHECK(sum(kept).item() == 5000);
}

TEST_CASE("gpu: waiting inside a capture is an error, and leaves the context usable") {
  cog::cuda::context const ctx;
  auto const x = randn<float>(ctx, {8}, 1);
  CHECK_THROWS_AS(cog::cuda::graph(ctx, [&] { cog::cuda::synchronize(ctx); }), error);
  CHECK_THROWS_WITH(cog::cuda::graph(ctx, [&] { (void)from<float>(ctx, {1, 2}); }), Catch::Contains("while a graph is captured"));
  CHECK_THROWS_WITH(cog::cuda::graph(ctx, [&] { (void)sum(x).item(); }), Catch::Contains("while a graph is captured"));
  CHECK(std::isfinite(sum(x).item()));
}

TEST_CASE("gpu: contexts are ordered by events") {
  cog::cuda::context const first, second;
  auto const x = full<float>(first, {1000}, 1);
  x.assign(x * 2);
  cog::cuda::event const done(first);
  done.before(second);
  auto const y = x.to(second);
  CHECK(sum(y).item() == 2000);
  cog::cuda::event const later(first);
  CHECK(later.since(done) >= 0);
}
