// What makes a struct a module (nn/module.hpp): it names its members.
#pragma once

#include <string_view>
#include <type_traits>

namespace cog {

namespace detail {
struct any_visitor {  // not a lambda, which nvcc refuses in a concept
  void operator()(std::string_view, auto&) const {}
};
}  // namespace detail

/// A struct with a member template `visit(f)`; f(name, member) must compile for every member.
template <class M>
concept visitable = requires(std::remove_cvref_t<M>& m) { m.visit(detail::any_visitor{}); };

}  // namespace cog
