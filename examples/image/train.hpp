// cog-diffusion train. Everything random is a function of the seed and of a counter that the checkpoint keeps, so that
// a run that was interrupted and resumed ends with the very same bits as one that was not.
#pragma once

#include <cmath>
#include <numbers>
#include <numeric>
#include <optional>

#include <cog/autograd/functional.hpp>
#include <cog/diffusion/objective.hpp>
#include <cog/optim/adamw.hpp>
#include <cog/optim/clip.hpp>
#include <cog/optim/ema.hpp>
#include <cog/optim/learning_rate.hpp>
#include <cog/optim/loss_scale.hpp>
#include <cog/random/stream.hpp>

#include "../common/device.hpp"
#include "../common/training.hpp"
#include "commands.hpp"
#include "dataset.hpp"
#include "features.hpp"
#include "latent.hpp"
#include "published.hpp"
#include "sampler.hpp"

namespace image {

/// What a step is made of: drawn on the host, so that a counter tells all of it.
struct examples {
  std::vector<cog::index_t> which{};
  std::vector<double> times{};
  std::vector<bool> mirrored{}, without_condition{};  // empty: none
  std::vector<cog::index_t> captions{};               // empty: the first
  std::uint64_t noise = 0;                            // a stream
};

template <class B, class T>
class training {
 public:
  training(train_settings settings, std::set<std::string> const& given);
  int run();

 private:
  using index_t = cog::index_t;
  void begin(std::set<std::string> const& given);
  void describe();
  void place_sinusoids();
  void show_settings() const;
  template <class Network>
  auto loss(Network const& m, examples const& e) const;
  auto latents_or_pictures(examples const& e) const;
  double one_step(index_t step, nlohmann::ordered_json& line);
  void validate(index_t step);
  void preview(network<B, T> const& model, index_t step);
  void save(index_t step);
  network<B, T> smooth() const { return average_ ? average_->of(*model_) : *model_; }
  index_t count() const { return features_ ? features_->count() : data_.count(); }
  std::uint32_t crc32() const {
    return features_ ? features_->crc32() : cog::detail::crc32(std::as_bytes(std::span(data_.pixels)));
  }

  train_settings s_;
  std::filesystem::path out_;
  typename B::context ctx_;
  dataset data_;
  std::optional<feature_folder> features_;  // instead of data_
  index_t first_held_out_ = 0;              // in order_
  std::vector<index_t> order_;              // what is learnt from, then what is held out
  model_description about_;
  std::optional<network<B, T>> model_;
  std::optional<cog::autoencoder_kl<T, B>> autoencoder_;
  std::optional<cog::adamw<B>> optimizer_;
  std::optional<cog::ema<B>> average_;
  cog::random_stream random_;
  std::optional<metrics_log> log_;
  cog::learning_rate rate_{};
  static constexpr bool scales = std::same_as<T, cog::half>;  // the loss, whose gradients would be too small
  cog::loss_scaler scaler_;
  index_t first_step_ = 0, saved_ = -1;
  progress_bar bar_{"train"};
};

template <class B, class T>
training<B, T>::training(train_settings settings, std::set<std::string> const& given)
    : s_(with_published(settings, given)), out_(s_.out) {
  begin(given);
}

template <class B, class T>
void training<B, T>::begin(std::set<std::string> const& given) {
  namespace fs = std::filesystem;
  auto const device = s_.device, dtype = s_.dtype;  // this function was chosen by them
  auto const from = resume_settings(s_, given, "cog-diffusion");
  s_.device = device;
  if (s_.dtype != dtype)
    throw cog::error("the checkpoint ", from->folder().string(), " was computed in ", s_.dtype, ": give --dtype ",
                     s_.dtype);
  if (from) first_step_ = saved_ = from->step();
  rate_ = {
      .peak = s_.lr, .floor = std::min(s_.min_lr, s_.lr), .warmup = std::min(s_.warmup, s_.steps), .steps = s_.steps};
  ctx_ = make_context<B>(s_.threads);
  auto const seed = static_cast<std::uint64_t>(s_.seed);
  if (fs::exists(fs::path(s_.data) / "empty_context.npy")) features_.emplace(s_.data);
  else data_ = load_dataset(s_.data, s_.size, s_.pictures, seed);
  if (s_.data != "shapes") s_.data = fs::absolute(s_.data).lexically_normal();
  cog::random_stream split{seed + 1, 0};
  order_ = cog::permutation(count(), split);
  first_held_out_ = count() - static_cast<index_t>(s_.held_out * static_cast<double>(count()));
  if (first_held_out_ < 1)
    throw cog::error("--held-out ", s_.held_out, " leaves none of ", count(), " pictures to learn from");

  describe();
  model_.emplace(ctx_, about_.config);
  model_->config.use_checkpoint = s_.recompute;
  if (!from) {
    model_->initialise(seed);
    if (s_.positions == "sinusoids") place_sinusoids();
  }
  optimizer_.emplace(*model_, cog::adamw_options{.learning_rate = s_.lr,
                                                 .beta1 = s_.beta1,
                                                 .beta2 = s_.beta2,
                                                 .weight_decay = s_.weight_decay,
                                                 .decays = [](std::string_view, int) { return true; }});
  random_ = {seed, 0};
  if (from) {
    auto const before = find_model(from->folder(), "train").about.classes;
    if (before != about_.classes)
      throw cog::error("the ", about_.classes.size(), " classes of ", s_.data, " are not the ", before.size(),
                       " that the checkpoint ", from->folder().string(), " was trained on");
    from->load("model.safetensors", *model_);
    from->load("optimizer.safetensors", *optimizer_);
    random_.offset = from->state().at("random_offset").template get<std::uint64_t>();
    if (auto const kept = from->state().find("loss_scale"); kept != from->state().end())
      scaler_.load({kept->at(0).template get<double>(), kept->at(1).template get<index_t>()});
    if (from->state().at("data_crc32") != crc32() && !given.contains("data"))
      throw cog::error("the pictures of ", s_.data, " are not those that the checkpoint ", from->folder().string(),
                       " was trained on; give --data to go on with them");
  }
  if (s_.ema > 0) {
    average_.emplace(*model_, s_.ema);
    if (from && from->contains("ema.safetensors")) from->load("ema.safetensors", *average_);
  }
  if (!s_.autoencoder.empty()) autoencoder_.emplace(load_autoencoder<B, T>(ctx_, s_.autoencoder, s_.scale_factor));
  fs::create_directories(out_);
  log_.emplace(out_ / "log.jsonl", first_step_);
  show_settings();
  if (from) bar_.print("resumed from " + from->folder().string());
}

template <class B, class T>
void training<B, T>::describe() {
  index_t const size = features_ ? features_->moments_shape()[1] : data_.size;
  if (s_.layers % 2 != 0)
    throw cog::error("--layers ", s_.layers, ": the blocks of both halves are paired; give an even number");
  if (s_.dim % s_.heads != 0)
    throw cog::error("--dim ", s_.dim, " and --heads ", s_.heads, ": a head must have a whole width");
  if (size % s_.patch != 0)
    throw cog::error("--patch ", s_.patch, " does not divide the side of the pictures, ", size, "; see --size");
  about_.schedule = s_.schedule;
  auto& c = about_.config;
  c = {.img_size = size,
       .patch_size = s_.patch,
       .in_chans = features_ ? features_->moments_shape()[0] / 2 : data_.channels,
       .embed_dim = s_.dim,
       .depth = s_.layers,
       .num_heads = s_.heads,
       .conv = !s_.no_final_conv,
       .np = s_.attention == "cog"};
  if (features_) {
    about_.scale_factor = s_.scale_factor;
    c.num_clip_token = features_->text_shape()[0];
    c.clip_dim = features_->text_shape()[1];
    return;
  }
  if (data_.classes.size() < 2 || s_.unconditional) return;
  about_.classes = data_.classes;
  c.num_classes = static_cast<index_t>(data_.classes.size()) + (s_.drop_class > 0);
}

/// Positions of patches as [cos, sin] of the row, then of the column, with wavelengths from 2 patches to 4 grids; 0.5
/// in the quadratic mean, about as large as an embedded patch.
template <class B, class T>
void training<B, T>::place_sinusoids() {
  auto const& c = about_.config;
  index_t const n = c.embed_dim / 4, g = c.grid();
  if (n == 0) throw cog::error("--dim ", c.embed_dim, ": --positions sinusoids needs 4 or more");
  std::vector<float> values;
  for (index_t patch = 0; patch < g * g; ++patch)
    for (index_t i = 0; i < c.embed_dim; ++i) {
      double const share = static_cast<double>(i % n) / static_cast<double>(std::max<index_t>(n - 1, 1));
      double const wavelength = 2 * std::pow(2 * static_cast<double>(g), share);
      double const along = static_cast<double>(i / n < 2 ? patch / g : patch % g);
      double const angle = 2 * std::numbers::pi * along / wavelength;
      values.push_back(static_cast<float>(
          i >= 4 * n ? 0 : std::numbers::sqrt2 / 2 * (i / n % 2 == 0 ? std::cos(angle) : std::sin(angle))));
    }
  auto const place = slice(model_->pos_embed, 1, c.extras(), c.tokens());
  place.assign(cog::cast<T>(cog::from(ctx_, values, {index_t{1}, g * g, c.embed_dim})));
}

template <class B, class T>
void training<B, T>::show_settings() const {
  auto const& c = about_.config;
  settings_table table;
  table.row("data", format("%s: %ld %s of %ld x %ld to learn, %ld held out",
                           features_ ? s_.data.c_str() : data_.description.c_str(), static_cast<long>(first_held_out_),
                           features_ ? "latents" : "pictures", static_cast<long>(c.img_size),
                           static_cast<long>(c.img_size), static_cast<long>(count() - first_held_out_)));
  std::string const dropped = format("dropped with probability %g", s_.drop_class);
  table.row("condition", c.has_text() ? format("texts of %ld tokens x %ld, ", static_cast<long>(c.num_clip_token),
                                               static_cast<long>(c.clip_dim)) +
                                            dropped
                         : about_.classes.empty() ? "none"
                                                  : format("%zu classes, ", about_.classes.size()) + dropped);
  index_t cog_blocks = 0;
  for (index_t i = 0; i <= c.depth; ++i) cog_blocks += c.kind(i) == cog::nn::attention_kind::cog;
  table.row("attention", format("%s: %ld blocks of Cog attention, %ld of softmax", s_.attention.c_str(),
                                static_cast<long>(cog_blocks), static_cast<long>(c.depth + 1 - cog_blocks)));
  table.row("model", format("%ld + 1 blocks, %ld heads, width %ld, patches of %ld, %ld tokens",
                            static_cast<long>(c.depth), static_cast<long>(c.num_heads), static_cast<long>(c.embed_dim),
                            static_cast<long>(c.patch_size), static_cast<long>(c.tokens())));
  double const parameters = static_cast<double>(parameter_count(*model_));
  table.row("parameters", with_prefix(parameters));
  table.row("memory",
            format("weights %sB, optimiser %sB%s", with_prefix(parameters * sizeof(T)).c_str(),
                   with_prefix(static_cast<double>(optimizer_->bytes() + (average_ ? average_->bytes() : 0))).c_str(),
                   s_.recompute ? ", activations recomputed" : ""));
  table.row("device", tool::describe(ctx_) + ", computing in " + s_.dtype);
  table.row("objective", "noise prediction, schedule " + s_.schedule);
  table.row("optimiser", format("AdamW, betas %g %g, weight decay %g, clip %g%s", s_.beta1, s_.beta2, s_.weight_decay,
                                s_.clip, average_ ? format(", average %g", s_.ema).c_str() : ""));
  table.row("rate", format("%.2e after %ld steps, cosine to %.2e at step %ld", rate_.peak,
                           static_cast<long>(rate_.warmup), rate_.floor, static_cast<long>(rate_.steps)));
  table.row("steps", format("%ld to %ld of %ld pictures, seed %ld", static_cast<long>(first_step_),
                            static_cast<long>(s_.steps), static_cast<long>(s_.batch), static_cast<long>(s_.seed)));
  table.row("out", s_.out);
}

/// Of pictures, or drawn from the moments of latents.
template <class B, class T>
auto training<B, T>::latents_or_pictures(examples const& e) const {
  if (!features_) return data_.batch(ctx_, e.which, e.mirrored);
  auto const moments = features_->moments(ctx_, e.which);
  auto shape = moments.extents();
  shape[1] /= 2;
  return draw_latent(moments, cog::randn<float>(ctx_, shape, static_cast<std::uint64_t>(s_.seed) + 1, e.noise),
                     s_.scale_factor);
}

template <class B, class T>
template <class Network>
auto training<B, T>::loss(Network const& m, examples const& e) const {
  auto const x = latents_or_pictures(e);
  auto const z = cog::randn<float>(ctx_, x.extents(), static_cast<std::uint64_t>(s_.seed), e.noise);
  auto const of = [&](auto const&... condition) {
    return std::visit(
        [&](auto const& schedule) { return noise_prediction_loss(m, schedule, x, z, e.times, condition...); },
        about_.make_schedule());
  };
  auto const dropped = [&](std::size_t i) { return i < e.without_condition.size() && e.without_condition[i]; };
  if (features_) {
    auto captions = e.captions;
    captions.resize(e.which.size());
    for (std::size_t i = 0; i < captions.size(); ++i)
      if (dropped(i)) captions[i] = -1;
    return of(features_->texts(ctx_, e.which, captions));
  }
  if (about_.classes.empty()) return of();
  auto labels = data_.labels_of(e.which);
  for (std::size_t i = 0; i < labels.size(); ++i)
    if (dropped(i)) labels[i] = about_.config.num_classes - 1;
  return of(cog::from(ctx_, labels, {static_cast<index_t>(labels.size())}));
}

template <class B, class T>
double training<B, T>::one_step(index_t step, nlohmann::ordered_json& line) {
  stopwatch const since;
  double const rate = rate_(step);
  examples e;
  std::visit([&](auto const& schedule) { e.times = draw_times(schedule, s_.batch, random_); }, about_.make_schedule());
  for (index_t i = 0; i < s_.batch; ++i) {
    e.which.push_back(order_[static_cast<std::size_t>(random_.below(first_held_out_))]);
    e.mirrored.push_back(s_.mirror && !features_ && random_.uniform() < 0.5);
    e.without_condition.push_back(about_.can_be_guided() && random_.uniform() < s_.drop_class);
    if (features_) e.captions.push_back(random_.below(features_->captions(e.which.back())));
  }
  e.noise = random_.next();
  double value = 0, norm = 0;
  try {
    auto const result = cog::value_and_grad(*model_, [&](auto& m) {
      auto const mean = loss(m, e);
      if constexpr (scales) return scaler_.scale(mean);
      else return mean;
    });
    value = static_cast<double>(result.value.item());
    if constexpr (scales) {
      value /= scaler_.current();
      auto const gradients = scaler_.unscale(result.gradients);
      norm = global_norm(*model_, gradients);
      if (scaler_.update(norm)) {
        double const scale = s_.clip > 0 && norm > s_.clip ? s_.clip / norm : 1;
        optimizer_->step(*model_, cog::scaled_gradients<decltype(gradients)>{gradients, scale}, rate);
      } else {
        norm = 0;  // this step is left out
      }
    } else if (s_.clip > 0) {
      auto const clipped = clip_norm(*model_, result.gradients, s_.clip);
      norm = clipped.norm;
      optimizer_->step(*model_, clipped, rate);
    } else {
      norm = global_norm(*model_, result.gradients);
      if (std::isfinite(norm)) optimizer_->step(*model_, result.gradients, rate);
    }
  } catch (cog::error const& why) {
    throw cog::error("step ", step + 1, ": ", why.what());
  }
  if (!std::isfinite(value) || !std::isfinite(norm))
    throw cog::error("step ", step + 1, ": the loss is ", value, ", the norm of its gradient ", norm);
  if (average_) average_->update(*model_);
  double const seconds = since.seconds();
  line = {{"step", step + 1}, {"loss", value},       {"norm", norm},
          {"lr", rate},       {"ms", 1e3 * seconds}, {"images_per_second", static_cast<double>(s_.batch) / seconds}};
  if (scales) line["loss_scale"] = scaler_.current();
  return seconds;
}

/// The same pictures, times and noise every time, so that losses compare.
template <class B, class T>
void training<B, T>::validate(index_t step) {
  auto const model = smooth();
  index_t count = this->count() - first_held_out_;
  if (s_.eval_pictures > 0) count = std::min(count, s_.eval_pictures);
  if (count > 0) {
    double total = 0;
    for (index_t first = 0; first < count && interruption::signal() == 0; first += s_.batch) {
      examples e{.noise = ~std::uint64_t{0} - static_cast<std::uint64_t>(first)};
      for (index_t i = first; i < std::min(count, first + s_.batch); ++i) {
        e.which.push_back(order_[static_cast<std::size_t>(first_held_out_ + i)]);
        e.times.push_back((static_cast<double>(i * 7919 % count) + 0.5) / static_cast<double>(count));
      }
      total += static_cast<double>(loss(model, e).item()) * static_cast<double>(e.which.size());
    }
    if (interruption::signal() != 0) return;
    double const value = total / static_cast<double>(count);
    bar_.print(format("validation %ld/%ld | loss %.5f | %ld pictures", static_cast<long>(step),
                      static_cast<long>(s_.steps), value, static_cast<long>(count)));
    log_->write({{"step", step}, {"validation_loss", value}});
  }
  if (s_.previews > 0 && (autoencoder_ || !about_.of_latents())) preview(model, step);
}

/// The classes in turn, or the first captions of what is held out.
template <class B, class T>
void training<B, T>::preview(network<B, T> const& model, index_t step) {
  wishes<B> what{.count = s_.previews};
  auto const classes = std::max<index_t>(1, static_cast<index_t>(about_.classes.size()));
  std::vector<index_t> which, first(static_cast<std::size_t>(s_.previews), 0);
  for (index_t i = 0; i < s_.previews; ++i) {
    what.labels.push_back(i % classes);
    which.push_back(order_[static_cast<std::size_t>((first_held_out_ + i) % count())]);
  }
  if (features_) {
    what.texts = features_->texts(ctx_, which, first);
    what.no_text = features_->texts(ctx_, std::vector<index_t>{0}, std::vector<index_t>{-1});
  }
  cog::tensor<float, 4, B> x;
  struct stopped {};
  try {
    x = draw_pictures(model, about_, what,
                      {.steps = s_.preview_steps,
                       .threshold = about_.of_latents() ? 0 : 0.995,
                       .seed = static_cast<std::uint64_t>(s_.seed)},
                      0, [] { if (interruption::signal() != 0) throw stopped(); });
  } catch (stopped) {
    return;
  }
  if (autoencoder_) x = decode(*autoencoder_, x);
  auto const file = out_ / format("preview-%08ld.png", static_cast<long>(step));
  write_png(file, grid(to_pictures(x), classes > 1 ? classes : 8),
            {{"Software", "cog-diffusion"}, {"step", std::to_string(step)}});
  bar_.print("preview    " + file.string());
}

template <class B, class T>
void training<B, T>::save(index_t step) {
  if (saved_ == step) return;
  auto const folder = cog::save_checkpoint(
      out_, step,
      {{"settings", settings_to_json(s_)},
       {"random_offset", random_.offset},
       {"data_crc32", crc32()},
       {"loss_scale", {scaler_.save().scale, scaler_.save().good}}},
      [&](std::filesystem::path const& to) {
        save_description(to, about_);
        save_parameters(*model_, to / "model.safetensors");
        save_parameters(*optimizer_, to / "optimizer.safetensors");
        if (average_) save_parameters(*average_, to / "ema.safetensors");
      },
      s_.keep);
  saved_ = step;
  bar_.print("saved      " + folder.string());
}

template <class B, class T>
int training<B, T>::run() {
  stopwatch const since;
  step_loop const loop{"cog-diffusion", s_.out,        first_step_,         s_.steps, s_.log_every,
                       s_.eval_every,   s_.save_every, "images_per_second", "img/s"};
  if (int const status = run_steps(
          loop, bar_, *log_, [&](index_t step, auto& line) { return one_step(step, line); },
          [&](index_t step) { validate(step); }, [&](index_t step) { save(step); }))
    return status;
  if (auto const why = plot_losses({read_curves(s_.out, loop.speed_key)}, out_ / "loss.png", loss_axis); !why.empty())
    bar_.print("no picture of the losses: " + why);
  else bar_.print("picture    " + (out_ / "loss.png").string());
  bar_.print(format("%ld steps in %s, at most %sB of tensors", static_cast<long>(s_.steps - first_step_),
                    duration(since.seconds()).c_str(),
                    with_prefix(static_cast<double>(ctx_.memory().report().peak)).c_str()));
  return 0;
}

template <class B, class T>
int train(train_settings settings, std::set<std::string> const& given) {
  return training<B, T>(std::move(settings), given).run();
}

}  // namespace image
