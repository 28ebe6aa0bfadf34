// Golden files hold several sources of parameters: each is the tensors under a prefix.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include <cog/io/safetensors.hpp>

namespace nn_test {

/// The tensors of a file whose names begin with a prefix.
struct part_of_file {
  cog::safetensors_file const& file;
  std::string prefix;
  std::vector<std::string> names() const {
    std::vector<std::string> out;
    for (auto const& name : file.names())
      if (name.starts_with(prefix)) out.push_back(name.substr(prefix.size()));
    return out;
  }
  bool contains(std::string_view name) const { return file.contains(prefix + std::string(name)); }
  void load_into(std::string_view name, auto const& target) const {
    file.load_into(prefix + std::string(name), target);
  }
};

}  // namespace nn_test
