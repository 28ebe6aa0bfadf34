// One kernel for many tensors: a step of an optimiser, or a norm, over all parameters of a model in a few launches. A backend that
// has for_each_of and sum_of runs a whole list at once; elsewhere each entry is a kernel of its own.
#pragma once

#include <memory>
#include <optional>
#include <span>
#include <typeindex>
#include <unordered_map>
#include <utility>
#include <vector>

#include <cog/core/unpack.hpp>
#include <cog/expr/reduce.hpp>

namespace cog {

/// out = f(in) at n elements; operands are contiguous or one number.
template <class F, class In, class Out>
struct list_entry {
  index_t n;
  F f;
  In in;
  Out out;
};

namespace detail {

/// A leaf or output of a row-major kernel as one of rank 1; nothing where its strides forbid that.
template <class T, int R, std::size_t N>
std::optional<array_leaf<T, 1>> flat(array_leaf<T, R> const& leaf, std::array<index_t, N> const& shape) {
  std::array<index_t, N> strides{};
  bool one = true;
  for (std::size_t i = 0; i != N; ++i) {
    strides[i] = leaf.strides[i];
    one = one && (strides[i] == 0 || shape[i] == 1);
  }
  if (is_row_major(shape, strides)) return array_leaf<T, 1>{leaf.data, {1}};
  if (one) return array_leaf<T, 1>{leaf.data, {0}};
  return std::nullopt;
}
template <class T, std::size_t N>
std::optional<constant_leaf<T>> flat(constant_leaf<T> const& leaf, std::array<index_t, N> const&) { return leaf; }
template <class T, int R, std::size_t N>
std::optional<output<T, 1>> flat(output<T, R> const& out, std::array<index_t, N> const& shape) {
  std::array<index_t, N> strides{};
  for (std::size_t i = 0; i != N; ++i) strides[i] = out.strides[i];
  if (!is_row_major(shape, strides)) return std::nullopt;
  return output<T, 1>{out.data, {1}, out.accumulate};
}

/// A pack of all of them flat, or nothing.
template <class... L, std::size_t N>
auto flat_pack(pack<L...> const& p, std::array<index_t, N> const& shape) {
  return [&]<int... I>(std::integer_sequence<int, I...>) {
    auto const each = std::tuple(flat(get<I>(p), shape)...);
    using result = decltype(make_pack(*std::get<I>(each)...));
    std::optional<result> out;
    if ((std::get<I>(each).has_value() && ...)) out = make_pack(*std::get<I>(each)...);
    return out;
  }(std::make_integer_sequence<int, sizeof...(L)>{});
}

/// Vectors of entries, one for each type of entry.
class entries_by_type {
 public:
  template <class Entry, class Visit>
  void add(Entry entry, Visit visit) {
    auto& slot = lists_[std::type_index(typeid(Entry))];
    if (!slot) {
      slot = std::make_unique<list<Entry, Visit>>(std::move(visit));
      order_.push_back(slot.get());
    }
    static_cast<list<Entry, Visit>*>(slot.get())->entries.push_back(std::move(entry));
  }
  void run() {
    for (base* l : order_) l->run();
    lists_.clear();
    order_.clear();
  }

 private:
  struct base {
    virtual ~base() = default;
    virtual void run() = 0;
  };
  template <class Entry, class Visit>
  struct list : base {
    explicit list(Visit v) : visit(std::move(v)) {}
    void run() override { visit(std::span<Entry const>(entries)); }
    Visit visit;
    std::vector<Entry> entries;
  };
  std::unordered_map<std::type_index, std::unique_ptr<base>> lists_;
  std::vector<base*> order_;
};

}  // namespace detail

/// Element-wise kernels that run together. Operands must stay alive until `run`.
template <backend B>
class kernel_list {
 public:
  template <class F, class In, class Out, std::size_t N>
  void add(typename B::context const& ctx, std::array<index_t, N> const& shape, F const& f, In const& in, Out const& out) {
    auto const flat_in = detail::flat_pack(in, shape);
    auto const flat_out = detail::flat_pack(out, shape);
    using entry = list_entry<F, typename std::remove_cvref_t<decltype(flat_in)>::value_type,
                             typename std::remove_cvref_t<decltype(flat_out)>::value_type>;
    if constexpr (requires(std::span<entry const> e) { B::for_each_of(ctx, e); }) {
      if (flat_in && flat_out) {
        lists_.add(entry{size_of(shape), f, *flat_in, *flat_out}, [ctx](std::span<entry const> entries) { B::for_each_of(ctx, entries); });
        return;
      }
    }
    B::for_each(ctx, shape, f, in, out);
  }
  /// target[...] = e, of target's shape, when the list runs; e's tensors may be target itself, not other views of its storage.
  template <class T, int R, plain_expression E>
  void add_assignment(tensor<T, R, B> target, E const& e) {
    if (e.extents() != target.extents()) throw error("kernel_list: ", e.extents(), " for a target of shape ", target.extents());
    auto const ls = std::make_shared<decltype(leaves_of(e))>(leaves_of(e));
    held_.push_back(ls);
    add(target.context(), target.extents(), forward<typename detail::tree_of<E, 0>::type>{}, detail::lower_all(*ls, target.extents()),
        make_pack(detail::output_of(target.data(), target.strides())));
  }
  void run() {
    lists_.run();
    held_.clear();
  }

 private:
  detail::entries_by_type lists_;
  std::vector<std::shared_ptr<void>> held_;
};

/// The sum of f(in) over the elements of many tensors.
template <backend B, floating C>
class sum_list {
 public:
  /// e: a plain expression of any shape, computed in C.
  template <plain_expression E>
  void add(E const& e) {
    using tree = typename detail::tree_of<E, 0>::type;
    auto const shape = e.extents();
    auto const ls = leaves_of(e);
    auto const& ctx = detail::unpack([](auto const&... leaf) -> auto const& { return detail::context_of(leaf...); }, ls);
    if (!context_) context_ = ctx;
    auto const in = detail::lower_all(ls, shape);
    auto const flat_in = detail::flat_pack(in, shape);
    using entry = list_entry<forward<tree>, typename std::remove_cvref_t<decltype(flat_in)>::value_type, pack<>>;
    if constexpr (requires(std::span<entry const> entries, std::vector<tensor<C, 0, B>>& parts) { B::sum_of(ctx, entries, static_cast<C*>(nullptr)); }) {
      if (flat_in) {
        lists_.add(entry{size_of(shape), {}, *flat_in, {}}, [ctx, this](std::span<entry const> entries) {
          tensor<C, 0, B> part(ctx, extents<0>{});
          B::sum_of(ctx, entries, part.data());
          parts_.push_back(part);
        });
        held_.emplace_back(std::make_shared<std::remove_const_t<decltype(ls)>>(ls));
        return;
      }
    }
    parts_.push_back(sum(e));
  }
  /// The total of everything that was added; 0 of nothing needs a context, so there it is an error.
  tensor<C, 0, B> total() {
    if (!context_) throw error("sum_list: nothing was added");
    lists_.run();
    if (parts_.size() == 1) return parts_[0];
    tensor<C, 1, B> all(*context_, {static_cast<index_t>(parts_.size())});
    for (std::size_t i = 0; i < parts_.size(); ++i) select(all, 0, static_cast<index_t>(i)).assign(parts_[i]);
    return sum(all);
  }

 private:
  detail::entries_by_type lists_;
  std::vector<tensor<C, 0, B>> parts_;
  std::vector<std::shared_ptr<void>> held_;
  std::optional<typename B::context> context_;
};

}  // namespace cog
