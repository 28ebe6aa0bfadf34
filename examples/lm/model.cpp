#include "model.hpp"

#include <algorithm>
#include <cmath>
#include <numbers>

#include "terminal.hpp"

namespace lm {

namespace fs = std::filesystem;
using cog::index_t;

nlohmann::ordered_json config_to_json(cog::cogformer_config const& c) {
  return {{"vocab_size", c.vocab_size},
          {"n_layers", c.n_layers},
          {"max_seq_length", c.max_seq_length},
          {"dim", c.dim},
          {"n_heads", c.n_heads},
          {"head_dim", c.head_dim},
          {"hidden_dim", c.hidden_dim},
          {"norm_eps", c.norm_eps},
          {"attn_type", c.attn_type == cog::attn_type::np ? "np" : "vanilla"},
          {"shared_expert_recipe", c.shared_expert_recipe}};
}

cog::cogformer_config config_from_json(nlohmann::json const& j) {
  cog::cogformer_config c;
  j.at("vocab_size").get_to(c.vocab_size);
  j.at("n_layers").get_to(c.n_layers);
  j.at("max_seq_length").get_to(c.max_seq_length);
  j.at("dim").get_to(c.dim);
  j.at("n_heads").get_to(c.n_heads);
  j.at("head_dim").get_to(c.head_dim);
  j.at("hidden_dim").get_to(c.hidden_dim);
  j.at("norm_eps").get_to(c.norm_eps);
  c.attn_type = cog::attn_type_of(j.at("attn_type").get<std::string>());
  auto const& recipe = j.at("shared_expert_recipe");
  if (recipe.is_number_integer()) c.shared_expert_recipe.assign(recipe.get<std::size_t>(), 1);  // n means n ones
  else recipe.get_to(c.shared_expert_recipe);
  c.check();
  return c;
}

void save_description(fs::path const& folder, cog::cogformer_config const& config, vocabulary const& words) {
  auto j = config_to_json(config);
  j["document_start"] = words.document_start ? nlohmann::ordered_json(*words.document_start) : nullptr;
  cog::write_file(folder / "config.json", j.dump(2) + "\n");
  words.save(folder);
}

model_description describe_model(fs::path const& path, std::function<void(std::string const&)> const& note) {
  std::optional<cog::checkpoint_reader> checkpoint;
  auto folder = path;
  if (fs::exists(path / "state.json")) {
    checkpoint.emplace(path);
  } else if (!fs::exists(path / "model.safetensors")) {
    if (!fs::exists(path)) throw cog::error("there is no folder ", path.string());
    checkpoint = cog::latest_checkpoint(path, note);
    if (!checkpoint)
      throw cog::error("no checkpoint in ", path.string(), ": neither model.safetensors nor a complete folder step-*");
    folder = checkpoint->folder();
  }

  auto words = load_vocabulary(folder);
  auto const file = folder / "config.json";
  cog::mapped_file const text(file);
  try {
    auto const json = cog::detail::parse_json(text.text());
    auto const config = config_from_json(json);
    if (auto const start = json.find("document_start"); start != json.end()) {
      words.document_start.reset();
      if (!start->is_null()) words.document_start = start->get<std::int64_t>();
    }
    if (words.size() > config.vocab_size)
      throw cog::error("vocab_size = ", config.vocab_size, ", but the tokenizer beside it has ", words.size(),
                       " tokens");
    return {folder, config, std::move(words), std::move(checkpoint)};
  } catch (std::exception const& e) {
    throw cog::error(file.string(), ": ", e.what());
  }
}

language_model load_model(device::context const& ctx, fs::path const& path, bool averaged,
                          std::function<void(std::string const&)> const& note) {
  auto about = describe_model(path, note);
  network model(ctx, about.config);
  std::string file = "model.safetensors";
  if (about.checkpoint) {
    if (averaged && about.checkpoint->contains("ema.safetensors")) file = "ema.safetensors";
    about.checkpoint->load(file, model);
  } else {
    cog::safetensors_file const source(about.folder / file);
    try {
      model.load(source);
    } catch (cog::error const& e) {
      std::string const text = e.what();
      throw cog::error(text.find(source.path().string()) == text.npos ? source.path().string() + ": " + text : text);
    }
  }
  return {std::move(about), std::move(model), file};
}

double evaluation::bits_per_byte() const { return nats / std::numbers::ln2 / static_cast<double>(bytes); }
double evaluation::perplexity() const { return std::exp(loss()); }

evaluation evaluate(network const& model, vocabulary const& words, std::span<std::int32_t const> tokens,
                    index_t most_windows, std::function<bool(double)> const& progress) {
  auto const& ctx = model.context();
  index_t const window = model.config.max_seq_length, total = static_cast<index_t>(tokens.size()) - 1;
  if (total < 1) throw cog::error("evaluate: ", tokens.size(), " tokens; at least two are needed");
  stopwatch const since;
  evaluation out;
  auto const sizes = words.byte_counts();

  std::vector<index_t> starts;
  index_t const whole = total / window;
  index_t const used = most_windows > 0 ? std::min(most_windows, whole) : whole;
  for (index_t i = 0; i < used; ++i) starts.push_back(i * whole / used * window);
  index_t const rest = used == whole ? total % window : 0;
  // Logits of about a quarter of a gigabyte at a time.
  index_t const rows = std::clamp<index_t>((index_t{1} << 26) / (window * model.config.vocab_size), 1, 64);

  auto const add = [&](std::span<index_t const> at, index_t length) {
    std::vector<std::int32_t> x, y;
    for (index_t start : at)
      for (index_t i = start; i < start + length; ++i) {
        x.push_back(tokens[static_cast<std::size_t>(i)]);
        y.push_back(tokens[static_cast<std::size_t>(i) + 1]);
        out.bytes += sizes[static_cast<std::size_t>(y.back())];
      }
    index_t const shape[] = {static_cast<index_t>(at.size()), length};
    out.nats +=
        static_cast<double>(cross_entropy_sum(model(cog::from(ctx, x, shape)), cog::from(ctx, y, shape)).item());
    out.tokens += static_cast<index_t>(y.size());
    return progress(static_cast<double>(out.tokens) / static_cast<double>(used * window + rest));
  };
  bool on = true;
  for (std::size_t i = 0; i < starts.size() && on; i += static_cast<std::size_t>(rows))
    on = add(std::span(starts).subspan(i, std::min(starts.size() - i, static_cast<std::size_t>(rows))), window);
  if (on && rest > 0) add(std::array{whole * window}, rest);
  out.seconds = since.seconds();
  return out;
}

}  // namespace lm
