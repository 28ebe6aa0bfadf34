// A module is a struct with `visit(f)`, which names its members: f("weight", weight); f("layers", layers);
// A member is a tensor (a parameter), a module, or a std::vector or std::optional of these; a vector adds .0, .1 ... to the name.
// A tensor without storage (a bias that is not there) is no parameter. Copying a module shares its tensors.
// Whatever concerns whole models (count, save, load, initialise, optimise) is one traversal, in the order of `visit`.
#pragma once

#include <algorithm>
#include <any>
#include <cstddef>
#include <optional>
#include <string>
#include <string_view>
#include <type_traits>
#include <unordered_map>
#include <unordered_set>
#include <utility>
#include <vector>

#include <cog/core/tensor.hpp>
#include <cog/core/visitable.hpp>

namespace cog {

namespace detail {

template <class X>
inline constexpr bool is_vector = false;
template <class X>
inline constexpr bool is_vector<std::vector<X>> = true;
template <class X>
inline constexpr bool is_optional = false;
template <class X>
inline constexpr bool is_optional<std::optional<X>> = true;

inline std::string member_path(std::string const& path, std::string_view name) {
  return path.empty() ? std::string(name) : path + '.' + std::string(name);
}

/// Member is const where the model is.
template <class Member, class F>
void traverse(std::string const& path, Member& member, F&& f) {
  using plain = std::remove_const_t<Member>;
  if constexpr (is_tensor<plain>) {
    if (member.has_storage()) f(path, member);
  } else if constexpr (visitable<plain>) {
    // One `visit` serves both: it only names its members, and they are handed on as const as the module was.
    const_cast<plain&>(member).visit([&]<class Part>(std::string_view name, Part& part) {
      using seen = std::conditional_t<std::is_const_v<Member>, Part const, Part>;
      traverse(member_path(path, name), static_cast<seen&>(part), f);
    });
  } else if constexpr (is_vector<plain>) {
    for (std::size_t i = 0; i < member.size(); ++i) traverse(member_path(path, std::to_string(i)), member[i], f);
  } else if constexpr (is_optional<plain>) {
    if (member) traverse(path, *member, f);
  } else {
    static_assert(is_tensor<plain>, "cog: a module's members are tensors, modules, and vectors or optionals of these");
  }
}

}  // namespace detail

/// Calls f(name, tensor) for every parameter, with names such as "layers.0.attention.qw". The tensors of a const model are const.
template <class M, class F>
void for_each_parameter(M& model, F&& f) {
  static_assert(visitable<M>, "cog: a model is a struct with a member template visit(f) that names its members; see nn/module.hpp");
  detail::traverse(std::string(), model, f);
}

/// Calls f(name, tensor) once for parameters that share their elements (tied weights), with the first of their names.
template <class M, class F>
void for_each_distinct_parameter(M& model, F&& f) {
  std::unordered_set<void const*> seen;
  for_each_parameter(model, [&](std::string const& name, auto& parameter) {
    if (parameter.size() == 0 || seen.insert(parameter.data()).second) f(name, parameter);
  });
}

/// Every parameter becomes f(name, parameter). Those that share their elements (tied weights) go on sharing them: f is asked once, with the
/// first of their names. Errors: two of different shapes, layouts or dtypes share elements.
template <class M, class F>
void replace_parameters(M& model, F&& f) {
  std::unordered_map<void const*, std::any> made;
  for_each_parameter(model, [&]<class X>(std::string const& name, X& parameter) {
    if (parameter.size() == 0) return static_cast<void>(parameter = f(name, parameter));
    using made_of = std::pair<X, std::remove_cvref_t<decltype(parameter.strides())>>;  // what it became, from elements that lay so
    auto& mine = made[parameter.data()];
    if (!mine.has_value()) mine = made_of(f(name, parameter), parameter.strides());
    auto const* same = std::any_cast<made_of>(&mine);
    if (!same || same->first.extents() != parameter.extents() || same->second != parameter.strides())
      throw error("parameter '", name, "' of shape ", parameter.extents(), " shares its elements with one of another shape, layout or dtype");
    parameter = same->first;
  });
}

/// The number of elements of all parameters; of tied ones, once.
template <class M>
index_t parameter_count(M const& model) {
  index_t count = 0;
  for_each_distinct_parameter(model, [&](std::string const&, auto const& x) { count += x.size(); });
  return count;
}

/// What is known of a parameter without its values.
struct parameter_info {
  std::string name;
  dtype type;
  std::vector<index_t> shape;
  index_t size;
};

/// A line for each parameter.
template <visitable M>
std::vector<parameter_info> parameters_of(M const& model) {
  std::vector<parameter_info> out;
  for_each_parameter(model, [&](std::string const& name, auto const& x) {
    using T = typename std::remove_cvref_t<decltype(x)>::value_type;
    out.push_back({name, dtype_of<T>, {x.extents().begin(), x.extents().end()}, x.size()});
  });
  return out;
}

/// A model with storage of its own. Tied weights stay tied.
template <visitable M>
M copy_of(M const& model) {
  M out = model;
  replace_parameters(out, [](std::string const&, auto const& x) { return x.copy(); });
  return out;
}

/// Every parameter from a source of tensors by name, such as a safetensors_file. The model's tensors give the shapes; handles that
/// shared them keep the old values. Tied weights stay tied and take what is there for the first of their names. `ignore(name)` says which
/// further tensors of the source are no error.
/// Errors: parameters that the source lacks, tensors that no parameter is for, and what source.load_into says of other shapes.
template <visitable M, class Source, class Ignore>
void load_parameters(M& model, Source const& source, Ignore const& ignore) {
  std::vector<std::string> known, missing, unexpected;
  for_each_parameter(model, [&](std::string const& name, auto const&) { known.push_back(name); });
  for_each_distinct_parameter(model, [&](std::string const& name, auto const&) {
    if (!source.contains(name)) missing.push_back(name);
  });
  std::sort(known.begin(), known.end());
  for (auto const& name : source.names())
    if (!std::binary_search(known.begin(), known.end(), std::string(name)) && !ignore(name)) unexpected.emplace_back(name);
  auto const some = [](std::string out, std::vector<std::string> const& names) {
    constexpr std::size_t shown = 4;
    for (std::size_t i = 0; i < std::min(shown, names.size()); ++i) out += (i == 0 ? "" : ", ") + names[i];
    if (names.size() > shown) out += " and " + std::to_string(names.size() - shown) + " more";
    return names.empty() ? std::string() : out;
  };
  if (!missing.empty() || !unexpected.empty())
    throw error("load_parameters: ", some("missing: ", missing), missing.empty() || unexpected.empty() ? "" : "; ", some("unexpected: ", unexpected));
  replace_parameters(model, [&]<class X>(std::string const& name, X const& x) {
    X fresh(x.context(), x.extents());
    source.load_into(name, fresh);
    return fresh;
  });
}
template <visitable M, class Source>
void load_parameters(M& model, Source const& source) {
  load_parameters(model, source, [](auto const&) { return false; });
}

}  // namespace cog
