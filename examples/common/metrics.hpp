// log.jsonl: one JSON object a line, for every step and every validation; and the picture of the losses in it.
#pragma once

#include <filesystem>
#include <fstream>
#include <string>
#include <vector>

#include <cog/core/config.hpp>
#include <nlohmann/json.hpp>

namespace tool {

class metrics_log {
 public:
  /// Goes on after `step`: later lines of an abandoned run are removed. Step 0 begins anew.
  metrics_log(std::filesystem::path const& file, cog::index_t step);
  /// Appends a line, at once on the disk's way.
  void write(nlohmann::ordered_json const& line);

 private:
  std::ofstream out_;
  std::filesystem::path file_;
};

struct loss_curves {
  std::string title;
  struct point {
    double step, loss;
  };
  std::vector<point> training, validation;
  double speed = 0;  // in training, the median of the steps
};

/// Reads log.jsonl below a folder of `train`; `speed` is the key of what it did a second. Throws when it is not there
/// or not such a log.
loss_curves read_curves(std::filesystem::path const& folder, char const* speed);

/// Draws the curves of one or several runs as a PNG through gnuplot; `axis` says what a loss is. Returns why there is
/// no picture, or nothing.
std::string plot_losses(std::vector<loss_curves> const& curves, std::filesystem::path const& png,
                        std::string const& axis);

}  // namespace tool
