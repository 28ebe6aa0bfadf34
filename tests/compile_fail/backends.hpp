// Two backends that are never run, so that these cases need no real one. `vector` and `matrix` live on the first.
#pragma once

#include <cog/core/shape.hpp>
#include <cog/core/tensor.hpp>
#include <cog/expr/contract.hpp>
#include <cog/expr/operators.hpp>
#include <cog/expr/reduce.hpp>

template <int N>
struct place {
  struct context {};
  static constexpr char const* name = "place";
  static constexpr bool host_accessible = true;
  static void* allocate(context const&, std::size_t);
  static void deallocate(context const&, void*, std::size_t) noexcept;
  static void copy_from_host(context const&, void*, void const*, std::size_t);
  static void copy_to_host(context const&, void*, void const*, std::size_t);
  static void synchronize(context const&);
  template <class... Any>
  static void for_each(Any const&...);
};
using here = place<0>;
using there = place<1>;
static_assert(cog::backend<here> && cog::backend<there>);

template <class T>
using vector = cog::tensor<T, 1, here>;
template <class T>
using matrix = cog::tensor<T, 2, here>;
