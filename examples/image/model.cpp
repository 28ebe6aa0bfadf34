#include "model.hpp"

#include <algorithm>

#include <nlohmann/json.hpp>

namespace image {

namespace fs = std::filesystem;
using cog::index_t;

any_schedule model_description::make_schedule() const {
  if (schedule == "discrete") return cog::discrete_schedule();
  return cog::vp_schedule();
}

index_t model_description::class_of(std::string const& word) const {
  auto const at = std::ranges::find(classes, word);
  if (at != classes.end()) return at - classes.begin();
  if (!word.empty() && word.size() < 10 && word.find_first_not_of("0123456789") == word.npos)
    if (auto const i = std::stol(word); i < static_cast<index_t>(classes.size())) return i;
  std::string all;
  for (auto const& c : classes) all += (all.empty() ? "" : ", ") + c;
  throw cog::error("--class ", word, ": ",
                   classes.empty() ? "the model knows no classes" : "the model's classes are 0, 1, ... or: ", all);
}

namespace {

/// The members of config.json, by the published names: f(name, member).
void visit(model_description& m, auto&& f) {
  auto& c = m.config;
  f("img_size", c.img_size);
  f("patch_size", c.patch_size);
  f("in_chans", c.in_chans);
  f("embed_dim", c.embed_dim);
  f("depth", c.depth);
  f("num_heads", c.num_heads);
  f("mlp_ratio", c.mlp_ratio);
  f("qkv_bias", c.qkv_bias);
  f("mlp_time_embed", c.mlp_time_embed);
  f("conv", c.conv);
  f("skip", c.skip);
  f("np", c.np);
  f("num_classes", c.num_classes);
  f("clip_dim", c.clip_dim);
  f("num_clip_token", c.num_clip_token);
  f("schedule", m.schedule);
  f("classes", m.classes);
  f("scale_factor", m.scale_factor);
}

model_description describe(fs::path const& folder) {
  auto const file = folder / "config.json";
  cog::mapped_file const text(file);
  model_description out;
  try {
    auto const json = cog::detail::parse_json(text.text());
    visit(out, [&](char const* name, auto& member) {
      auto const at = json.find(name);
      if (at == json.end()) return;
      if constexpr (std::same_as<std::remove_cvref_t<decltype(member)>, index_t>)
        if (!at->is_number_integer()) throw cog::error("'", name, "' is not a whole number");
      at->get_to(member);
    });
    for (char const* needed : {"img_size", "patch_size", "in_chans", "embed_dim", "depth", "num_heads"})
      if (!json.contains(needed)) throw cog::error("lacks '", needed, "'");
    if (out.schedule != "vp" && out.schedule != "discrete")
      throw cog::error("schedule '", out.schedule, "' is neither 'vp' nor 'discrete'");
    out.config.num_classes = std::max<index_t>(0, out.config.num_classes);
    out.config.check();
    if (!out.classes.empty() && out.config.num_classes < static_cast<index_t>(out.classes.size()))
      throw cog::error("num_classes = ", out.config.num_classes, ", but ", out.classes.size(), " classes are named");
    for (auto const& name : out.classes)  // pictures are kept in folders of these names
      if (fs::path(name).filename() != name || name.starts_with(".") || name.find('\0') != name.npos)
        throw cog::error("a class named '", name, "', which is no name of a folder");
  } catch (std::exception const& e) {
    throw cog::error(file.string(), ": ", e.what());
  }
  if (out.classes.empty() && out.config.has_classes())  // a converted model: its last embedding may be "no class"
    for (index_t i = 0; i < out.config.num_classes - (out.config.num_classes == 1001); ++i)
      out.classes.push_back(std::to_string(i));
  return out;
}

}  // namespace

void save_description(fs::path const& folder, model_description const& about) {
  auto copy = about;
  nlohmann::ordered_json json;
  visit(copy, [&](char const* name, auto const& member) { json[name] = member; });
  cog::write_file(folder / "config.json", json.dump(2) + "\n");
}

found_model find_model(fs::path const& path, char const* command) {
  if (!fs::exists(path)) throw cog::error("there is no folder ", path.string());
  std::optional<cog::checkpoint_reader> checkpoint;
  auto folder = path;
  if (fs::exists(path / "state.json")) {
    checkpoint.emplace(path);
  } else if (!fs::exists(path / "model.safetensors")) {
    checkpoint = cog::latest_checkpoint(path, [&](std::string const& text) {
      std::fprintf(stderr, "cog-diffusion %s: passed over: %s\n", command, text.c_str());
    });
    if (!checkpoint)
      throw cog::error("no checkpoint in ", path.string(), ": neither model.safetensors nor a complete folder step-*");
    folder = checkpoint->folder();
  }
  return {folder, describe(folder), std::move(checkpoint)};
}

}  // namespace image
