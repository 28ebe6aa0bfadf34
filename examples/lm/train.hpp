// cog-lm train. Everything random is a function of the seed and of counters that the checkpoint keeps, so that a run
// that was interrupted and resumed ends with the very same bits as one that was not.
#pragma once

#include <algorithm>
#include <cmath>
#include <fstream>
#include <numeric>
#include <optional>

#include <cog/models/generate.hpp>
#include <cog/optim/accumulate.hpp>
#include <cog/optim/adamw.hpp>
#include <cog/optim/clip.hpp>
#include <cog/optim/ema.hpp>
#include <cog/optim/learning_rate.hpp>
#include <cog/optim/loss_scale.hpp>
#include <cog/random/random.hpp>
#include <cog/random/stream.hpp>

#include "../common/device.hpp"
#include "../common/metrics.hpp"
#include "../common/terminal.hpp"
#include "../common/training.hpp"
#include "commands.hpp"
#include "learning.hpp"
#include "model.hpp"
#include "text.hpp"

namespace lm {

namespace fs = std::filesystem;
using cog::index_t;

/// As a JSON string: on one line whatever it holds.
inline std::string on_one_line(std::string const& text) {
  auto line = nlohmann::json(text).dump(-1, ' ', false, nlohmann::json::error_handler_t::replace);
  for (std::size_t at; (at = line.find('\x7f')) != line.npos;) line.replace(at, 1, "\\u007f");  // which JSON may hold as it is
  return line;
}

template <class B, class T>
class training {
 public:
  training(train_settings settings, std::set<std::string> const& given);
  int run();

 private:
  void begin(std::set<std::string> const& given);
  void show_settings(split_text const& text) const;
  double one_step(index_t step, nlohmann::ordered_json& line);
  double work() const;
  void validate(index_t step);
  void save(index_t step);

  network<B, T> smooth() const { return average_ ? average_->of(*model_) : *model_; }
  void say(std::string const& line) { bar_.print(line); }

  train_settings s_;
  fs::path out_;
  typename B::context ctx_;
  std::optional<vocabulary> words_;
  std::optional<network<B, T>> model_;
  std::optional<cog::adamw<B>> optimizer_;
  std::optional<cog::ema<B>> average_;
  cog::gradient_mean<B> mean_;
  std::optional<batch_source<B>> data_;
  std::vector<std::int32_t> held_out_;
  std::optional<metrics_log> log_;
  cog::learning_rate rate_{};
  static constexpr bool scales = std::same_as<T, cog::half>;  // the loss, whose gradients would be too small
  cog::loss_scaler scaler_;
  double seconds_ = 0;  // of all steps
  index_t first_step_ = 0, saved_ = -1;
  progress_bar bar_{"train"};
};

template <class B, class T>
training<B, T>::training(train_settings settings, std::set<std::string> const& given)
    : s_(std::move(settings)), out_(s_.out) {
  begin(given);
}

template <class B, class T>
void training<B, T>::begin(std::set<std::string> const& given) {
  auto const device = s_.device, dtype = s_.dtype;  // this function was chosen by them
  auto const from = resume_settings(s_, given, "cog-lm");
  s_.device = device;
  if (s_.dtype != dtype)
    throw cog::error("the checkpoint ", from->folder().string(), " was computed in ", s_.dtype, ": give --dtype ",
                     s_.dtype);
  auto const note = [](std::string const&) {};  // it has been said
  if (from) first_step_ = saved_ = from->step();
  if (s_.data.empty()) throw cog::error("--data is required");
  if (s_.dim % s_.heads != 0 || s_.dim / s_.heads % 2 != 0)
    throw cog::error("--dim ", s_.dim, " and --heads ", s_.heads, ": a head must have a whole, even width");
  if (s_.attention == "cog" && s_.layers < 3)
    throw cog::error("--attention cog needs --layers 3 or more, not ", s_.layers,
                     ": the first and the last are softmax");
  rate_ = {.peak = s_.lr, .floor = std::min(s_.min_lr, s_.lr), .warmup = s_.warmup, .steps = s_.decay_steps};
  if (rate_.steps == 0) rate_.steps = s_.steps;
  rate_.warmup = std::min(rate_.warmup, rate_.steps);

  ctx_ = make_context<B>(s_.threads);
  auto text = hold_out(read_documents(s_.data), s_.held_out);
  if (from) {
    words_ = describe_model(from->folder(), note).words;
  } else {
    words_ = make_vocabulary(s_.tokenizer, text.training);
    if (text.documents == 1) words_->document_start.reset();  // one text has no borders to learn
  }
  auto const encoded = [&](std::vector<document> const& documents) {
    std::vector<std::int32_t> ids;
    for (auto const& d : documents) {
      auto const more = words_->encode(d.text);
      ids.insert(ids.end(), more.begin(), more.end());
    }
    return ids;
  };
  held_out_ = encoded(text.held_out);
  s_.data = fs::absolute(s_.data).lexically_normal();
  data_.emplace(ctx_, encoded(text.training), s_.batch, s_.context, static_cast<std::uint64_t>(s_.seed));

  cog::cogformer_config const config{.vocab_size = words_->size(),
                                     .n_layers = s_.layers,
                                     .max_seq_length = s_.context,
                                     .dim = s_.dim,
                                     .n_heads = s_.heads,
                                     .head_dim = s_.dim / s_.heads,
                                     .hidden_dim = s_.hidden ? s_.hidden : 3 * s_.dim,
                                     .attn_type = s_.attention == "cog" ? cog::attn_type::np : cog::attn_type::vanilla};
  model_.emplace(ctx_, config);
  if (!from) model_->initialise(static_cast<std::uint64_t>(s_.seed));
  optimizer_.emplace(
      *model_, cog::adamw_options{
                   .learning_rate = s_.lr, .beta1 = s_.beta1, .beta2 = s_.beta2, .weight_decay = s_.weight_decay});
  if (from) {
    from->load("model.safetensors", *model_);
    from->load("optimizer.safetensors", *optimizer_);
    data_->random.offset = from->state().at("data_offset").get<std::uint64_t>();
    if (auto const kept = from->state().find("loss_scale"); kept != from->state().end())
      scaler_.load({kept->at(0).get<double>(), kept->at(1).get<index_t>()});
    if (from->state().at("data_crc32") != data_->crc32() && !given.contains("data"))
      throw cog::error("the text in ", s_.data, " is not the one that the checkpoint ", from->folder().string(),
                       " was trained on; give --data to go on with it");
  }
  if (s_.ema > 0) {
    average_.emplace(*model_, s_.ema);
    if (from && from->contains("ema.safetensors")) from->load("ema.safetensors", *average_);
  }
  fs::create_directories(out_);
  log_.emplace(out_ / "log.jsonl", first_step_);
  show_settings(text);
  if (from) say("resumed from " + from->folder().string());
}

template <class B, class T>
void training<B, T>::show_settings(split_text const& text) const {
  auto const& c = model_->config;
  settings_table table;
  index_t const parameters = parameter_count(*model_);
  index_t const per_step = s_.batch * s_.accumulate * s_.context;
  auto const state = optimizer_->bytes() + (average_ ? average_->bytes() : 0);
  auto const weights = static_cast<double>(parameters) * sizeof(T);
  table.row("data", format("%s: %s, %s bytes to learn, %s held out", s_.data.c_str(),
                           counted(static_cast<long>(text.documents), "document").c_str(),
                           with_prefix(static_cast<double>(total_bytes(text.training))).c_str(),
                           with_prefix(static_cast<double>(total_bytes(text.held_out))).c_str()));
  table.row("tokens", format("%s, %ld in the vocabulary; %s to learn, %s held out", words_->description.c_str(),
                             static_cast<long>(words_->size()), with_prefix(static_cast<double>(data_->size())).c_str(),
                             with_prefix(static_cast<double>(held_out_.size())).c_str()));
  index_t cog_layers = 0;
  for (index_t l = 0; l < c.n_layers; ++l) cog_layers += c.kind(l) == cog::nn::attention_kind::cog;
  table.row("attention", format("%s: %s of Cog attention, %ld of softmax", s_.attention.c_str(),
                                counted(cog_layers, "layer").c_str(), static_cast<long>(c.n_layers - cog_layers)));
  table.row("model",
            format("%s, %s of %ld, width %ld, feed-forward %ld, context %ld", counted(c.n_layers, "layer").c_str(),
                   counted(c.n_heads, "head").c_str(), static_cast<long>(c.head_dim), static_cast<long>(c.dim),
                   static_cast<long>(c.hidden_dim), static_cast<long>(c.max_seq_length)));
  table.row("parameters", with_prefix(static_cast<double>(parameters)));
  table.row("memory",
            format("weights %sB, optimiser %sB%s", with_prefix(weights).c_str(),
                   with_prefix(static_cast<double>(state)).c_str(), s_.recompute ? ", activations recomputed" : ""));
  table.row("device", describe(ctx_) + ", computing in " + s_.dtype);
  table.row("batch", format("%ld sequences x %ld, %ld tokens/step", static_cast<long>(s_.batch),
                            static_cast<long>(s_.accumulate), static_cast<long>(per_step)));
  table.row("optimiser",
            format("AdamW, betas %g %g, weight decay %g, clip %g, dropout %g%s", s_.beta1, s_.beta2, s_.weight_decay,
                   s_.clip, s_.dropout, average_ ? format(", average %g", s_.ema).c_str() : ""));
  table.row("rate", format("%.2e after %ld steps, cosine to %.2e at step %ld", rate_.peak,
                           static_cast<long>(rate_.warmup), rate_.floor, static_cast<long>(rate_.steps)));
  table.row("steps", format("%ld to %ld, seed %ld", static_cast<long>(first_step_), static_cast<long>(s_.steps),
                            static_cast<long>(s_.seed)));
  table.row("out", out_.string());
}

/// Returns the seconds that it took.
template <class B, class T>
double training<B, T>::one_step(index_t step, nlohmann::ordered_json& line) {
  stopwatch const since;
  double loss = 0, norm = 0;
  double const rate = rate_(step);
  auto const micro = [&](index_t i) {
    auto const b = data_->next();
    dropout_points const dropout{s_.dropout, static_cast<std::uint64_t>(s_.seed),
                                 static_cast<std::uint64_t>(step * s_.accumulate + i)};
    auto result = cog::value_and_grad(*model_, [&](auto& m) {
      auto const mean = recorded_loss(m, b, dropout, s_.recompute);
      if constexpr (scales) return scaler_.scale(mean);
      else return mean;
    });
    double const unit = scales ? scaler_.current() : 1;
    loss += static_cast<double>(result.value.item()) / unit / static_cast<double>(s_.accumulate);
    return std::move(result.gradients);
  };
  auto const update = [&](auto const& raw) {
    if constexpr (scales) {
      auto const gradients = scaler_.unscale(raw);
      norm = global_norm(*model_, gradients);
      if (scaler_.update(norm)) {
        double const scale = s_.clip > 0 && norm > s_.clip ? s_.clip / norm : 1;
        optimizer_->step(*model_, cog::scaled_gradients<decltype(gradients)>{gradients, scale}, rate);
      } else {
        norm = 0;  // this step is left out
      }
      return;
    }
    auto const& gradients = raw;
    if (s_.clip > 0) {
      auto const clipped = clip_norm(*model_, gradients, s_.clip);
      norm = clipped.norm;
      optimizer_->step(*model_, clipped, rate);
    } else {
      norm = global_norm(*model_, gradients);
      optimizer_->step(*model_, gradients, rate);
    }
  };
  try {
    if (s_.accumulate == 1) {
      update(micro(0));
    } else {
      mean_.clear();
      for (index_t i = 0; i < s_.accumulate; ++i) mean_.add(*model_, micro(i));
      update(mean_);
    }
  } catch (cog::error const& e) {
    throw cog::error("step ", step + 1, ": ", e.what());
  }
  if (!std::isfinite(loss) || !std::isfinite(norm))
    throw cog::error("step ", step + 1, ": the loss is ", loss, ", the norm of its gradient ", norm);
  if (average_) average_->update(*model_);
  double const seconds = since.seconds();
  seconds_ += seconds;
  line = {{"step", step + 1},
          {"loss", loss},
          {"norm", norm},
          {"lr", rate},
          {"ms", 1e3 * seconds},
          {"tokens_per_second", static_cast<double>(s_.batch * s_.accumulate * s_.context) / seconds}};
  if (scales) line["loss_scale"] = scaler_.current();
  return seconds;
}

/// Operations of a step: 6 a token for every element of a matrix product, and causal attention's half of 12 n dim a
/// layer.
template <class B, class T>
double training<B, T>::work() const {
  auto const& c = model_->config;
  auto const tokens = static_cast<double>(s_.batch * s_.accumulate * s_.context);
  auto const weights = parameter_count(*model_) - model_->embedding.weight.size();
  return 6 * tokens * static_cast<double>(weights + c.n_layers * s_.context * c.n_heads * c.head_dim);
}

/// Operations a second of a large product: the best of those whose size doubles until one takes 20 ms.
template <class B, class T>
double product_rate(typename B::context const& ctx) {
  double best = 0, seconds = 0;
  for (index_t n = 256; seconds < 0.02 && n <= 8192; n *= 2) {
    auto const x = cog::eval(cog::cast<T>(cog::rand<float>(ctx, {n, n}, 1)));
    for (int i = 0; i < 4; ++i) {
      stopwatch const since;
      auto const y = cog::eval(matmul(x, x));
      B::synchronize(ctx);
      seconds = since.seconds();
      if (i > 0) best = std::max(best, 2.0 * static_cast<double>(n) * static_cast<double>(n) * static_cast<double>(n) / seconds);
    }
  }
  return best;
}

template <class B, class T>
void training<B, T>::validate(index_t step) {
  auto const model = smooth();
  if (held_out_.size() > 1) {
    auto const result = evaluate(model, *words_, held_out_, s_.eval_windows, [&](double done) {
      bar_.update(static_cast<double>(step) / static_cast<double>(s_.steps), format("validation %.0f %%", 100 * done));
      return interruption::signal() == 0;
    });
    if (interruption::signal() != 0) return;
    say(format("validation %ld/%ld | loss %.4f | %.4f bits/byte | perplexity %.2f | %s tokens", static_cast<long>(step),
               static_cast<long>(s_.steps), result.loss(), result.bits_per_byte(), result.perplexity(),
               with_prefix(static_cast<double>(result.tokens)).c_str()));
    log_->write({{"step", step},
                 {"validation_loss", result.loss()},
                 {"bits_per_byte", result.bits_per_byte()},
                 {"validation_tokens", result.tokens}});
  }
  if (s_.sample_tokens > 0) {
    auto const start = words_->document_start
                           ? std::vector<std::int32_t>{static_cast<std::int32_t>(*words_->document_start)}
                           : words_->tokenizer.encode_ordinary("\n");
    auto const made = generate(model, cog::from(ctx_, start, {1, static_cast<index_t>(start.size())}),
                               {.max_tokens = s_.sample_tokens,
                                .sampling = {.temperature = 0.8, .top_p = 0.95},
                                .seed = static_cast<std::uint64_t>(s_.seed),
                                .stop = words_->ends});
    std::vector<std::int32_t> const ids(made[0].begin(), made[0].end());
    say("sample     " + on_one_line(words_->tokenizer.decode(ids)));
  }
}

template <class B, class T>
void training<B, T>::save(index_t step) {
  if (saved_ == step) return;
  auto const folder = cog::save_checkpoint(
      out_, step,
      {{"settings", settings_to_json(s_)},
       {"data_offset", data_->random.offset},
       {"data_crc32", data_->crc32()},
       {"loss_scale", {scaler_.save().scale, scaler_.save().good}}},
      [&](fs::path const& to) {
        save_description(to, model_->config, *words_);
        save_parameters(*model_, to / "model.safetensors");
        save_parameters(*optimizer_, to / "optimizer.safetensors");
        if (average_) save_parameters(*average_, to / "ema.safetensors");
      },
      s_.keep);
  saved_ = step;
  say("saved      " + folder.string());
}

template <class B, class T>
int training<B, T>::run() {
  stopwatch const since;
  step_loop const loop{"cog-lm",      s_.out,        first_step_,         s_.steps, s_.log_every,
                       s_.eval_every, s_.save_every, "tokens_per_second", "tok/s"};
  if (int const status = run_steps(
          loop, bar_, *log_, [&](index_t step, auto& line) { return one_step(step, line); },
          [&](index_t step) { validate(step); }, [&](index_t step) { save(step); }))
    return status;
  if (auto const why = plot_losses({read_curves(out_, "tokens_per_second")}, out_ / "loss.png", loss_axis);
      !why.empty())
    say("no picture of the losses: " + why);
  else say("picture    " + (out_ / "loss.png").string());
  say(format("%ld steps in %s, at most %sB of tensors", static_cast<long>(s_.steps - first_step_),
             duration(since.seconds()).c_str(), with_prefix(static_cast<double>(ctx_.memory().report().peak)).c_str()));
  if (s_.steps == first_step_) return 0;
  double const rate = work() * static_cast<double>(s_.steps - first_step_) / seconds_, limit = product_rate<B, T>(ctx_);
  say(format("model FLOP utilisation %.0f %%: %sFLOP/s of %sFLOP/s that a large product reaches here",
             100 * rate / limit, with_prefix(rate).c_str(), with_prefix(limit).c_str()));
  return 0;
}

template <class B, class T>
int train(train_settings settings, std::set<std::string> const& given) {
  return training<B, T>(std::move(settings), given).run();
}

}  // namespace lm
