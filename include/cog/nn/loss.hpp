// Cross-entropy of logits [..., V] with labels [...]. Computed in float also for bf16 and half logits; one pass over them for the
// value and one for the gradient. Positions whose label is `ignore` have loss 0 and gradient 0, whatever their logits are.
// Errors: labels and logits of other shapes, a label outside [0, V) that is not `ignore`.
#pragma once

#include <cog/autograd/functions.hpp>

namespace cog {

/// PyTorch's label of positions that do not count.
inline constexpr std::int64_t ignore_index = -100;

namespace detail {

/// The labels with 0 in place of `ignore`, and which count.
template <class I, int R, class B>
struct checked_labels {
  tensor<I, R, B> safe;
  tensor<bool, R, B> counts;
};

template <class T, int R, class B, class I>
checked_labels<I, R - 1, B> check_labels(tensor<T, R, B> const& logits, tensor<I, R - 1, B> const& labels, std::int64_t ignore) {
  extents<R - 1> lead{};
  std::copy_n(logits.extents().begin(), R - 1, lead.begin());
  if (lead != labels.extents()) throw error("cross_entropy: labels of shape ", labels.extents(), " for logits ", logits.extents());
  tensor<bool, R - 1, B> const counts = labels != I(ignore);
  return {where(counts, labels, I(0)), counts};
}

template <class T, int R, class B, class I>
auto token_losses(tensor<T, R, B> const& logits, checked_labels<I, R - 1, B> const& labels, tensor<compute_t<T>, R - 1, B> const& lse) {
  using C = compute_t<T>;
  auto const picked = [&] {
    try {
      return take_along(logits, labels.safe);
    } catch (error const& e) {
      throw error("cross_entropy: labels for logits ", logits.extents(), ": ", e.what());
    }
  }();
  return tensor<C, R - 1, B>(where(labels.counts, lse - cast<C>(picked), C(0)));
}

template <class L, class I, int R>
consteval void check_label_type() {
  static_assert(index_element<I>, "cog: cross_entropy: labels are int32 or int64");
  static_assert(R == L::rank - 1, "cog: cross_entropy: labels have one axis less than logits: [..., V] and [...]");
}

}  // namespace detail

/// -log softmax(logits)[label] at every position: [..., V], [...] -> [...].
template <class T, int R, class B, class I>
  requires(index_element<I> && R >= 2)
auto cross_entropy_each(tensor<T, R, B> const& logits, tensor<I, R - 1, B> const& labels, std::int64_t ignore = ignore_index) {
  return detail::token_losses(logits, detail::check_labels(logits, labels, ignore), row_logsumexp(cast<compute_t<T>>(logits)));
}

/// d logits = g (softmax(logits) - one-hot(label)).
template <class T, int R, class B, class I>
  requires(index_element<I> && R >= 2)
auto cross_entropy_each(variable<T, R, B> const& logits, tensor<I, R - 1, B> const& labels, std::int64_t ignore = ignore_index) {
  using C = compute_t<T>;
  pause_recording const paused;
  auto const checked = detail::check_labels(logits.value(), labels, ignore);
  auto const lse = row_logsumexp(cast<C>(logits.value()));
  return detail::record(
      detail::token_losses(logits.value(), checked, lse), logits.recorder(),
      [logits, checked, lse](tensor<C, R - 1, B> const& g) {
        auto const share = [](auto const& x) { return unsqueeze(x, -1); };
        tensor<C, R - 1, B> const weight = where(checked.counts, g, C(0));
        auto const counts = share(checked.counts);
        tensor<T, R, B> d = cast<T>(where(counts, exp(cast<C>(logits.value()) - share(lse)) * share(weight), C(0)));
        add_along(d, checked.safe, tensor<T, R - 1, B>(cast<T>(-weight)));
        detail::accumulate(logits, d);
      },
      logits);
}
template <expression L, class I, int R, class B>
  requires(!detail::is_tensor<L> && !detail::is_variable<L>)
auto cross_entropy_each(L const& logits, tensor<I, R, B> const& labels, std::int64_t ignore = ignore_index) {
  return cross_entropy_each(eval(logits), labels, ignore);
}

/// The sum over the positions that count, rank 0.
template <expression L, class I, int R, class B>
auto cross_entropy_sum(L const& logits, tensor<I, R, B> const& labels, std::int64_t ignore = ignore_index) {
  detail::check_label_type<L, I, R>();
  return sum(cross_entropy_each(logits, labels, ignore));
}

/// The mean over the positions that count, rank 0; 0 if none does.
template <expression L, class I, int R, class B>
auto cross_entropy(L const& logits, tensor<I, R, B> const& labels, std::int64_t ignore = ignore_index) {
  detail::check_label_type<L, I, R>();
  using C = compute_t<typename L::value_type>;
  auto const count = eval(cast<C>(maximum(sum(labels != I(ignore)), 1)));
  return eval(cross_entropy_sum(logits, labels, ignore) / count);
}

}  // namespace cog
