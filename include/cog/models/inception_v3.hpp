// Inception v3 (Szegedy et al. 2016) as FID uses it (Heusel et al. 2017): pictures to 2048 features, the mean over the
// last mixed block. The names are torchvision's, the three changes those of TensorFlow's 2015 graph: average pools
// leave the border out, and the last block's pool takes the maximum. For inference; memory beside the activations is
// bounded by that of conv2d.
#pragma once

#include <array>
#include <vector>

#include <cog/nn/conv.hpp>

namespace cog {

namespace nn {

/// relu(batch norm(conv x)), with the statistics that training left.
template <floating T, backend B>
struct basic_conv {
  conv2d<T, B> conv;
  tensor<T, 1, B> weight, bias, running_mean, running_var;
  double eps = 1e-3;

  basic_conv() = default;
  basic_conv(typename B::context const& ctx, index_t in, index_t out, std::array<index_t, 2> kernel,
             window_steps const& steps = {})
      : conv(ctx, in, out, kernel, steps, false),
        weight(cog::ones<T>(ctx, {out})),
        bias(cog::zeros<T>(ctx, {out})),
        running_mean(cog::zeros<T>(ctx, {out})),
        running_var(cog::ones<T>(ctx, {out})) {}

  void visit(auto&& f) {
    f("conv", conv);
    f("bn.weight", weight);
    f("bn.bias", bias);
    f("bn.running_mean", running_mean);
    f("bn.running_var", running_var);
  }

  auto operator()(auto const& x) const {
    auto const scale = eval(weight * rsqrt(running_var + eps));
    auto const shift = eval(bias - running_mean * scale);
    auto const column = [](auto const& v) { return reshape(v, extents<3>{v.extent(0), 1, 1}); };
    return eval(relu(conv(x) * column(scale) + column(shift)));
  }
};

/// Layers that follow each other, under names of their own.
template <floating T, backend B>
struct conv_chain {
  std::vector<std::pair<std::string, basic_conv<T, B>>> layers;

  void visit(auto&& f) {
    for (auto& [name, layer] : layers) f(name, layer);
  }
  template <class X>
  auto operator()(X x) const {
    for (auto const& [name, layer] : layers) x = layer(x);
    return x;
  }
};

}  // namespace nn

/// x [b, 3, 299, 299] in [-1, 1] -> [b, 2048]. `narrower` divides the channels of every layer: small models are for
/// tests.
template <floating T, backend B>
class inception_v3 {
 public:
  using value_type = T;
  using backend_type = B;
  using context_type = typename B::context;

  inception_v3() = default;
  /// Zero weights: see `load`.
  explicit inception_v3(context_type const& ctx, index_t narrower = 1) : ctx_(ctx), narrower_(narrower) {
    std::array<index_t, 2> const two{2, 2}, one{1, 1}, three{3, 3};
    window_steps const down{two, {0, 0}}, same{one, one};
    index_t c = 3;
    chain(stem_, c,
          {{"Conv2d_1a_3x3", 32, three, down}, {"Conv2d_2a_3x3", 32, three, {}}, {"Conv2d_2b_3x3", 64, three, same}});
    chain(stem2_, c, {{"Conv2d_3b_1x1", 80, one, {}}, {"Conv2d_4a_3x3", 192, three, {}}});
    for (auto const& [name, pool] : {std::pair{"Mixed_5b", 32}, {"Mixed_5c", 64}, {"Mixed_5d", 64}})
      block(
          name, c,
          {{{"branch1x1", 64, one, {}}},
           {{"branch5x5_1", 48, one, {}}, {"branch5x5_2", 64, {5, 5}, {one, two}}},
           {{"branch3x3dbl_1", 64, one, {}}, {"branch3x3dbl_2", 96, three, same}, {"branch3x3dbl_3", 96, three, same}},
           {{"branch_pool", pool, one, {}}}},
          pool_kind::average);
    block("Mixed_6a", c,
          {{{"branch3x3", 384, three, down}},
           {{"branch3x3dbl_1", 64, one, {}}, {"branch3x3dbl_2", 96, three, same}, {"branch3x3dbl_3", 96, three, down}}},
          pool_kind::down);
    std::array<index_t, 2> const across{1, 7}, along{7, 1};
    window_steps const a{one, {0, 3}}, l{one, {3, 0}};
    for (auto const& [name, w] : {std::pair{"Mixed_6b", 128}, {"Mixed_6c", 160}, {"Mixed_6d", 160}, {"Mixed_6e", 192}})
      block(name, c,
            {{{"branch1x1", 192, one, {}}},
             {{"branch7x7_1", w, one, {}}, {"branch7x7_2", w, across, a}, {"branch7x7_3", 192, along, l}},
             {{"branch7x7dbl_1", w, one, {}},
              {"branch7x7dbl_2", w, along, l},
              {"branch7x7dbl_3", w, across, a},
              {"branch7x7dbl_4", w, along, l},
              {"branch7x7dbl_5", 192, across, a}},
             {{"branch_pool", 192, one, {}}}},
            pool_kind::average);
    block("Mixed_7a", c,
          {{{"branch3x3_1", 192, one, {}}, {"branch3x3_2", 320, three, down}},
           {{"branch7x7x3_1", 192, one, {}},
            {"branch7x7x3_2", 192, across, a},
            {"branch7x7x3_3", 192, along, l},
            {"branch7x7x3_4", 192, three, down}}},
          pool_kind::down);
    window_steps const wide{one, {0, 1}}, tall{one, {1, 0}};
    for (auto const& [name, pool] : {std::pair{"Mixed_7b", pool_kind::average}, {"Mixed_7c", pool_kind::maximum}})
      block(name, c,
            {{{"branch1x1", 320, one, {}}},
             {{"branch3x3_1", 384, one, {}}},
             {{"branch3x3dbl_1", 448, one, {}}, {"branch3x3dbl_2", 384, three, same}},
             {{"branch_pool", 192, one, {}}}},
            pool,
            {{1, {"branch3x3_2a", 384, {1, 3}, wide}, {"branch3x3_2b", 384, {3, 1}, tall}},
             {2, {"branch3x3dbl_3a", 384, {1, 3}, wide}, {"branch3x3dbl_3b", 384, {3, 1}, tall}}});
  }

  void visit(auto&& f) {
    stem_.visit(f);
    stem2_.visit(f);
    for (auto& b : blocks_) f(b.name, b);
  }

  /// Published weights; the classifier and counters of batches are skipped.
  template <class Source>
  void load(Source const& source) {
    load_parameters(*this, source, [](std::string_view name) {
      return name.starts_with("fc.") || name.starts_with("AuxLogits.") || name.ends_with("num_batches_tracked");
    });
  }

  /// The features of pictures of any size from 75 x 75 on; FID gives 299 x 299.
  template <expression X>
  tensor<T, 2, B> operator()(X const& pictures) const {
    window_steps const down{{2, 2}, {0, 0}};
    auto x = max_pool(stem_(tensor<T, 4, B>(eval(pictures))), {3, 3}, down);
    x = max_pool(stem2_(x), {3, 3}, down);
    for (auto const& b : blocks_) x = b(x);
    return mean(x, axes<2, 3>{});
  }

 private:
  enum class pool_kind { average, maximum, down };
  struct layer {
    char const* name;
    index_t out;
    std::array<index_t, 2> kernel;
    window_steps steps;
  };
  /// A branch whose end is made twice, by two layers side by side.
  struct fork {
    std::size_t branch;
    layer first, second;
  };

  /// Branches over one input, joined along the channels; the pooled input is the last of them, through a convolution or
  /// as it is.
  struct mixed {
    std::string name;
    std::vector<nn::conv_chain<T, B>> branches;
    std::vector<std::pair<std::size_t, std::array<nn::conv_chain<T, B>, 2>>> forks;
    pool_kind pool;

    void visit(auto&& f) {
      for (std::size_t i = 0; i < branches.size(); ++i) {
        branches[i].visit(f);
        for (auto& [at, ends] : forks)
          if (at == i)
            for (auto& end : ends) end.visit(f);
      }
    }
    tensor<T, 4, B> operator()(tensor<T, 4, B> const& x) const {
      std::vector<tensor<T, 4, B>> parts;
      for (std::size_t i = 0; i < branches.size(); ++i) {
        bool const pooled = pool != pool_kind::down && i + 1 == branches.size();
        window_steps const around{{1, 1}, {1, 1}};
        auto const y = branches[i](!pooled                      ? x
                                   : pool == pool_kind::average ? average_pool(x, {3, 3}, around, false)
                                                                : max_pool(x, {3, 3}, around));
        bool forked = false;
        for (auto const& [at, ends] : forks)
          if (at == i) {
            for (auto const& end : ends) parts.push_back(end(y));
            forked = true;
          }
        if (!forked) parts.push_back(y);
      }
      if (pool == pool_kind::down) parts.push_back(max_pool(x, {3, 3}, window_steps{{2, 2}, {0, 0}}));
      return concatenate(1, parts);
    }
  };

  void chain(nn::conv_chain<T, B>& to, index_t& channels, std::vector<layer> const& layers) {
    for (auto const& l : layers) {
      to.layers.emplace_back(l.name, nn::basic_conv<T, B>(ctx_, channels, l.out / narrower_, l.kernel, l.steps));
      channels = l.out / narrower_;
    }
  }
  void block(char const* name, index_t& channels, std::vector<std::vector<layer>> const& branches, pool_kind pool,
             std::vector<fork> const& forks = {}) {
    mixed m;
    m.name = name;
    m.pool = pool;
    index_t total = pool == pool_kind::down ? channels : 0;
    for (std::size_t i = 0; i < branches.size(); ++i) {
      index_t width = channels;
      chain(m.branches.emplace_back(), width, branches[i]);
      bool forked = false;
      for (auto const& f : forks)
        if (f.branch == i) {
          auto& ends = m.forks.emplace_back(i, std::array<nn::conv_chain<T, B>, 2>{}).second;
          for (auto const& [end, l] : {std::pair{&ends[0], f.first}, {&ends[1], f.second}}) {
            index_t out = width;
            chain(*end, out, {l});
            total += out;
          }
          forked = true;
        }
      if (!forked) total += width;
    }
    channels = total;
    blocks_.push_back(std::move(m));
  }

  context_type ctx_;
  index_t narrower_ = 1;
  nn::conv_chain<T, B> stem_, stem2_;
  std::vector<mixed> blocks_;
};

}  // namespace cog
