#include "model.hpp"

namespace lm {

using namespace tool;

namespace fs = std::filesystem;

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
  auto const count = [](nlohmann::json const& object, auto const& key) {
    auto const n = cog::detail::count_of(object, key);
    if (n > std::uint64_t{1} << 31) throw cog::error(key, " is ", n);
    return static_cast<cog::index_t>(n);
  };
  cog::cogformer_config c;
  c.vocab_size = count(j, "vocab_size");
  c.n_layers = count(j, "n_layers");
  c.max_seq_length = count(j, "max_seq_length");
  c.dim = count(j, "dim");
  c.n_heads = count(j, "n_heads");
  c.head_dim = count(j, "head_dim");
  c.hidden_dim = count(j, "hidden_dim");
  j.at("norm_eps").get_to(c.norm_eps);
  c.attn_type = cog::attn_type_of(j.at("attn_type").get<std::string>());
  constexpr auto recipe = "shared_expert_recipe";
  if (j.at(recipe).is_array()) {
    c.shared_expert_recipe.clear();
    for (auto const& share : j.at(recipe)) c.shared_expert_recipe.push_back(count({{recipe, share}}, recipe));
  } else {
    c.shared_expert_recipe.assign(static_cast<std::size_t>(count(j, recipe)), 1);  // n means n ones
  }
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

}  // namespace lm
