// The instructions of Hopper, each by itself, against plain loops.
#include <random>
#include <vector>

#include <cog/backend/cuda/hopper.hpp>
#include <cog/backend/cuda/hopper_support.hpp>
#include <cog/backend/cuda/tensor_map.hpp>

#include "cuda_hopper.hpp"

using namespace cog;
using namespace cog::cuda_detail;

namespace {

/// One barrier at the start of shared memory, tiles from 1024 on.
[[maybe_unused]] __device__ unsigned tiles_with_barrier(unsigned arrivals) {
  unsigned const at = shared_address(dynamic_shared_tiles());
  if (threadIdx.x == 0) {
    init_barrier(at, arrivals);
    publish_barriers();
  }
  __syncthreads();
  return at;
}

template <class T, int Rows, int W>
__device__ void load_tile(swizzled_tile<Rows, W> const& tile, CUtensorMap const& map, box_place p, unsigned barrier) {
  for (int i = 0; i < tile.panels; ++i) {
    p.at[0] = i * tile.columns;
    load_box(tile.panel(i), map, p, barrier);
  }
}

/// out [64, N] = a b^T for a [64, K], b [N, K]; or, along, of a [K, 64], b [K, N].
template <class T, int N, int K, bool AlongA, bool AlongB>
__global__ void __launch_bounds__(128) product_kernel([[maybe_unused]] CUtensorMap const __grid_constant__ a, [[maybe_unused]] CUtensorMap const __grid_constant__ b,
                                                      [[maybe_unused]] float* out, [[maybe_unused]] bool fragments) {
#if COG_HOPPER
  unsigned const barrier = tiles_with_barrier(1);
  swizzled_tile<AlongA ? K : 64, AlongA ? 64 : K> const x{barrier + 1024};
  swizzled_tile<AlongB ? K : N, AlongB ? N : K> const y{x.memory + x.bytes};
  if (threadIdx.x == 0) {
    arrive_expecting(barrier, x.bytes + y.bytes);
    load_tile<T>(x, a, {{0, 0, 0, 0, 0}}, barrier);
    load_tile<T>(y, b, {{0, 0, 0, 0, 0}}, barrier);
  }
  wait_barrier(barrier, 0);
  float d[N / 2];
  int const warp = threadIdx.x / 32, lane = threadIdx.x % 32;
  auto const columns = [&](int k) { if constexpr (AlongB) return y.along(k); else return y.across(k); };
  if (!AlongA && fragments) {
    if constexpr (!AlongA) {
      unsigned f[K / 16][4];
#pragma unroll
      for (int k = 0; k < K / 16; ++k) load_matrices(f[k], x.chunk(16 * warp + lane % 16, 2 * k + lane / 16));
      begin_products();
#pragma unroll
      for (int k = 0; k < K / 16; ++k) multiply_fragment<T, AlongB>(d, f[k], columns(k), k > 0);
      end_products();
      wait_products<0>(d, f);
    }
  } else {
    begin_products();
#pragma unroll
    for (int k = 0; k < K / 16; ++k)
      if constexpr (AlongA) multiply_tiles<T, true, AlongB>(d, x.along(k), columns(k), k > 0);
      else multiply_tiles<T, false, AlongB>(d, x.across(k), columns(k), k > 0);
    end_products();
    wait_products<0>(d);
  }
  for (int i = 0; i < N / 2; ++i) out[(16 * warp + lane / 4 + 8 * (i / 2 % 2)) * N + i / 4 * 8 + lane % 4 * 2 + i % 2] = d[i];
#endif
}

template <class T>
tensor<T, 4, cog::cuda> drawn(index_t rows, index_t columns, unsigned seed) {
  return cast<T>(cog::randn<float>(gpu(), {1, 1, rows, columns}, seed));
}

template <class T, int N, int K, bool AlongA, bool AlongB>
void check_products() {
  INFO(name(dtype_of<T>) << ' ' << N << ' ' << K << ' ' << AlongA << ' ' << AlongB);
  auto const a = AlongA ? drawn<T>(K, 64, 1) : drawn<T>(64, K, 1), b = AlongB ? drawn<T>(K, N, 2) : drawn<T>(N, K, 2);
  auto const& maps = gpu().part<tensor_map_encoder>();
  using x = swizzled_tile<AlongA ? K : 64, AlongA ? 64 : K>;
  using y = swizzled_tile<AlongB ? K : N, AlongB ? N : K>;
  for (bool const fragments : {false, true}) {
    tensor<float, 2, cog::cuda> out(gpu(), extents<2>{64, N});
    gpu().launch("product", {dim3(1), dim3(128), 1024 + x::bytes + y::bytes}, product_kernel<T, N, K, AlongA, AlongB>,
                 maps("a", a.view(), 1, static_cast<int>(a.extents()[2]), x::span), maps("b", b.view(), 1, static_cast<int>(b.extents()[2]), y::span), out.data(), fragments);
    auto const p = eval(cast<float>(a)).to_vector(), q = eval(cast<float>(b)).to_vector(), got = out.to_vector();
    double worst = 0;
    for (std::size_t m = 0; m < 64; ++m)
      for (std::size_t n = 0; n < N; ++n) {
        double sum = 0;
        for (std::size_t k = 0; k < K; ++k) sum += double(p[AlongA ? k * 64 + m : m * K + k]) * double(q[AlongB ? k * N + n : n * K + k]);
        worst = std::max(worst, std::abs(sum - double(got[m * N + n])));
      }
    CHECK(worst < 1e-4);
  }
}

/// out = x by way of shared memory: a box of rows [from, from + 64) of two heads, which must lie as swizzled_tile says.
template <int W>
__global__ void __launch_bounds__(128) boxes_kernel([[maybe_unused]] CUtensorMap const __grid_constant__ in, [[maybe_unused]] CUtensorMap const __grid_constant__ out,
                                                    [[maybe_unused]] int from, [[maybe_unused]] uint4* seen) {
#if COG_HOPPER
  unsigned const barrier = tiles_with_barrier(1);
  swizzled_tile<64, W> const tile{barrier + 1024};
  for (int turn = 0; turn < 3; ++turn) {
    if (threadIdx.x == 0) {
      arrive_expecting(barrier, tile.bytes);
      load_tile<bf16>(tile, in, {{0, 0, from + 32 * turn, 1, 0}}, barrier);
    }
    wait_barrier(barrier, turn % 2);
    for (int i = threadIdx.x; i < 8 * W; i += 128) seen[i] = load_shared(tile.chunk(i / (W / 8), i % (W / 8)));
    if (threadIdx.x == 0) {
      for (int p = 0; p < tile.panels; ++p) store_box(out, {{p * tile.columns, 0, from + 32 * turn, 1, 0}}, tile.panel(p));
      end_stores();
      wait_stores_read<0>();
    }
    __syncthreads();
  }
  if (threadIdx.x == 0) wait_stores<0>();
#endif
}

template <int W>
void boxes(index_t width) {
  auto const x = eval(cast<bf16>(cog::randn<float>(gpu(), {1, 4, 70, width}, 3)));
  auto y = cog::zeros<bf16>(gpu(), x.extents());
  auto const& maps = gpu().part<tensor_map_encoder>();
  using tile = swizzled_tile<64, W>;
  tensor<std::int32_t, 2, cog::cuda> seen(gpu(), extents<2>{64, W / 2});
  gpu().launch("boxes", {dim3(1), dim3(128), 1024 + tile::bytes}, boxes_kernel<W>, maps("x", x.view(), 2, 32, tile::span), maps("y", y.view(), 2, 32, tile::span), -5,
               reinterpret_cast<uint4*>(seen.data()));
  auto const a = x.to(loops_context{}), b = y.to(loops_context{});
  auto const last = seen.to_vector();
  for (index_t h = 0; h < 4; ++h)
    for (index_t i = 0; i < 70; ++i)
      for (index_t c = 0; c < width; ++c) {
        REQUIRE(b(0, h, i, c).bits == (h >= 2 ? a(0, h, i, c).bits : 0));
        if (h < 2 || i < 59) continue;  // the last box begins at 59: row r is head r % 2 of position 59 + r / 2
        auto const pair = static_cast<std::uint32_t>(last[static_cast<std::size_t>(((i - 59) * 2 + h - 2) * (W / 2) + c / 2)]);
        REQUIRE((pair >> (16 * (c % 2)) & 0xffff) == a(0, h, i, c).bits);
      }
  for (index_t r = 2 * 11; r < 64; ++r)
    for (index_t c = 0; c < W / 2; ++c) REQUIRE(last[static_cast<std::size_t>(r * (W / 2) + c)] == 0);
}

/// Numbers go round: half of the warps make, half of them use, by barriers of both kinds; then fragments are written by matrices.
__global__ void __launch_bounds__(256) roles_kernel([[maybe_unused]] int* turns, [[maybe_unused]] std::uint16_t* matrices, [[maybe_unused]] float* sums) {
#if COG_HOPPER
  unsigned const full = tiles_with_barrier(128), empty = full + 8;
  if (threadIdx.x == 0) init_barrier(empty, 128);
  __syncthreads();
  volatile int* const slot = reinterpret_cast<volatile int*>(static_cast<unsigned char*>(dynamic_shared_tiles()) + 64);
  if (threadIdx.x < 128) {
    for (int i = 0; i < 5; ++i) {
      wait_barrier(empty, (i + 1) % 2);
      if (threadIdx.x == 77) *slot = 10 * i;
      arrive(full);
    }
    meet_at(1, 256);
  } else {
    for (int i = 0; i < 5; ++i) {
      wait_barrier(full, i % 2);
      if (threadIdx.x == 200) turns[i] = *slot;
      arrive(empty);
    }
    arrive_at(1, 256);
  }
  __syncthreads();
  if (threadIdx.x < 32) {
    int const g = threadIdx.x / 4, t = threadIdx.x % 4;
    unsigned f[4], h[4];
    for (int i = 0; i < 4; ++i) {
      f[i] = (100 * i + 8 * g + 2 * t) | (100 * i + 8 * g + 2 * t + 1) << 16;
      h[i] = (100 * i + 8 * (2 * t) + g) | (100 * i + 8 * (2 * t + 1) + g) << 16;
    }
    store_matrices(full + 1024 + 16 * threadIdx.x, f);
    store_matrices_transposed(full + 2048 + 16 * threadIdx.x, h);
    __syncwarp();
    for (int i = threadIdx.x; i < 512; i += 32)
      matrices[i] = reinterpret_cast<std::uint16_t const*>(static_cast<unsigned char*>(dynamic_shared_tiles()) + (i < 256 ? 1024 : 2048 - 512))[i];
  }
  __syncthreads();
  for (int i = threadIdx.x; i < 1024; i += 256) store_shared(full + 4096 + 4 * i, __float_as_uint(static_cast<float>(i)));
  publish_shared();
  __syncthreads();
  if (threadIdx.x == 0) {
    add_bulk(sums, full + 4096, 4096);
    add_bulk(sums, full + 4096, 2048);
    end_stores();
    wait_stores<0>();
  }
#endif
}

}  // namespace

TEST_CASE("hopper: products of a warpgroup") {
  if (!on_hopper()) return;
  check_products<bf16, 64, 64, false, false>();
  check_products<bf16, 80, 128, false, false>();
  check_products<cog::half, 128, 96, false, false>();
  check_products<bf16, 256, 64, false, false>();
  check_products<bf16, 96, 64, false, true>();
  check_products<bf16, 64, 96, false, true>();
  check_products<cog::half, 128, 128, false, true>();
  check_products<bf16, 256, 96, false, true>();
  check_products<bf16, 64, 64, true, true>();
  check_products<bf16, 128, 64, true, true>();
  check_products<cog::half, 96, 64, true, false>();
}

TEST_CASE("hopper: boxes of tensors") {
  if (!on_hopper()) return;
  boxes<64>(64);
  boxes<64>(40);
  boxes<96>(96);
  boxes<128>(104);
}

TEST_CASE("hopper: roles, matrices, sums") {
  if (!on_hopper()) return;
  tensor<std::int32_t, 1, cog::cuda> turns(gpu(), extents<1>{5});
  tensor<bf16, 1, cog::cuda> matrices(gpu(), extents<1>{512});
  auto sums = eval(cast<float>(cog::randn<float>(gpu(), {1024}, 1) * 0.0f + 1.0f));
  in_every_order([&] {
    sums = eval(sums * 0.0f + 1.0f);
    gpu().launch("roles", {dim3(1), dim3(256), 8192}, roles_kernel, turns.data(), &matrices.data()->bits, sums.data());
    auto const t = turns.to_vector();
    auto const m = matrices.to_vector();
    auto const s = sums.to_vector();
    for (int i = 0; i < 5; ++i) CHECK(t[static_cast<std::size_t>(i)] == 10 * i);
    for (int i = 0; i < 512; ++i) REQUIRE(m[static_cast<std::size_t>(i)].bits == 100 * (i / 64 % 4) + i % 64);
    for (int i = 0; i < 1024; ++i) REQUIRE(s[static_cast<std::size_t>(i)] == 1 + (i < 512 ? 2.0f : 1.0f) * static_cast<float>(i));
  });
}

#if defined(COG_EMULATED_GPU)
namespace {

enum class mistake { none, no_fence, no_wait, touched, unpublished, released, unmade };

/// A product, done wrong.
void wrong_kernel(mistake what, CUtensorMap map, float* out) {
  unsigned const barrier = shared_address(dynamic_shared_tiles());
  if (threadIdx.x == 0 && what != mistake::unmade) init_barrier(barrier, 1);
  __syncthreads();
  swizzled_tile<64, 64> const x{barrier + 1024};
  if (threadIdx.x == 0) {
    arrive_expecting(barrier, x.bytes);
    load_tile<bf16>(x, map, {{0, 0, 0, 0, 0}}, barrier);
  }
  wait_barrier(barrier, 0);
  if (what == mistake::unpublished) store_shared(x.chunk(3, 1), 0u);
  float d[32];
  if (what != mistake::no_fence) begin_products();
  multiply_tiles<bf16, false, false>(d, x.across(0), x.across(0), false);
  end_products();
  if (what == mistake::touched) d[3] = 1;
  if (what == mistake::released) {
    __syncthreads();
    if (threadIdx.x == 0) store_shared(x.chunk(5, 1), 0x3f803f80u);
  }
  float const early = d[1];
  wait_products<0>(d);
  if (threadIdx.x == 0) *out = what == mistake::no_wait ? early : d[1];
}

}  // namespace

TEST_CASE("the emulated GPU shows mistakes") {
  emulated_capability() = 90;
  auto const x = drawn<bf16>(64, 64, 1);
  auto const map = gpu().part<tensor_map_encoder>()("x", x.view(), 1, 64, 128);
  float out = 0;
  auto const run = [&](mistake what) { gpu().launch("wrong", {dim3(1), dim3(128), 16384}, wrong_kernel, what, map, &out); };
  run(mistake::none);
  CHECK(std::isfinite(out));
  run(mistake::no_wait);
  CHECK(std::isnan(out));
  CHECK_THROWS_WITH(run(mistake::no_fence), Catch::Contains("without a fence"));
  CHECK_THROWS_WITH(run(mistake::touched), Catch::Contains("an accumulator is written"));
  CHECK_THROWS_WITH(run(mistake::unpublished), Catch::Contains("before it is published"));
  CHECK_THROWS_WITH(run(mistake::released), Catch::Contains("changes while a product reads it"));
  CHECK_THROWS_WITH(run(mistake::unmade), Catch::Contains("has not been made"));
}
#endif
