// Events, which order the work of contexts and time it, and graphs: a piece of work captured once and replayed with one launch.
#pragma once

#include <memory>
#include <utility>

#include <cog/backend/cuda/context.hpp>

namespace cog {

/// A point in the work of a context.
class cuda_event {
 public:
  /// After all that was launched on ctx so far.
  explicit cuda_event(cuda_context const& ctx) : event_(make(ctx)) {
    cuda_detail::check(cudaEventRecord(event_.get(), ctx.stream()), "event");
  }
  /// What is launched on ctx from now on runs after this point.
  void before(cuda_context const& ctx) const {
    ctx.activate();
    cuda_detail::check(cudaStreamWaitEvent(ctx.stream(), event_.get(), 0), "event");
  }
  /// The host waits.
  void wait() const { cuda_detail::check(cudaEventSynchronize(event_.get()), "event"); }
  /// Milliseconds on the device since an earlier point. Waits for this one.
  double since(cuda_event const& earlier) const {
    wait();
    float ms = 0;
    cuda_detail::check(cudaEventElapsedTime(&ms, earlier.event_.get(), event_.get()), "event");
    return ms;
  }

 private:
  using handle = std::shared_ptr<std::remove_pointer_t<cudaEvent_t>>;
  static handle make(cuda_context const& ctx) {
    ctx.activate();
    cudaEvent_t e = nullptr;
    cuda_detail::check(cudaEventCreateWithFlags(&e, cudaEventDefault), "event");
    return handle(e, [](cudaEvent_t old) { (void)cudaEventDestroy(old); });
  }
  handle event_;
};

/// Work that was captured on a context. Replaying it reads and writes the tensors it was captured with, at the same addresses: inputs
/// that are to change are written in place (`assign`). The memory of its intermediate values stays with the graph.
class cuda_graph {
 public:
  /// Captures what f() launches on ctx; nothing runs yet. f must not wait for the device (item, to_vector, synchronize): that throws.
  /// Run f once before, so that libraries have chosen their algorithms and memory is warm.
  template <class F>
  cuda_graph(cuda_context const& ctx, F&& f) : state_(std::make_shared<state>(ctx)) {
    using cuda_detail::check;
    ctx.activate();
    check(cudaStreamBeginCapture(ctx.stream(), cudaStreamCaptureModeRelaxed), "graph");
    ctx.memory().begin_capture(&state_->arena);
    cudaGraph_t graph = nullptr;
    try {
      std::forward<F>(f)();
    } catch (...) {
      ctx.memory().end_capture();
      (void)cudaStreamEndCapture(ctx.stream(), &graph);
      if (graph) (void)cudaGraphDestroy(graph);
      (void)cudaGetLastError();
      throw;
    }
    ctx.memory().end_capture();
    check(cudaStreamEndCapture(ctx.stream(), &graph), "graph");
    auto const status = cudaGraphInstantiate(&state_->graph, graph, 0);
    (void)cudaGraphDestroy(graph);
    check(status, "graph");
  }

  /// Runs the work once, in the order of the context's other work.
  void launch() const {
    state_->ctx.activate();
    state_->ctx.launched().check(cudaGraphLaunch(state_->graph, state_->ctx.stream()), "graph");
    state_->ctx.launched().add("graph");
  }

 private:
  struct state {
    explicit state(cuda_context const& c) : ctx(c) {}
    state(state const&) = delete;
    ~state() {
      (void)cudaStreamSynchronize(ctx.stream());
      if (graph) (void)cudaGraphExecDestroy(graph);
      ctx.memory().dissolve(arena);
    }
    cuda_context ctx;
    cudaGraphExec_t graph = nullptr;
    cuda_detail::device_memory::arena arena;
  };
  std::shared_ptr<state> state_;
};

}  // namespace cog
