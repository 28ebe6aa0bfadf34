// The built-in pictures: one shape of one colour on a shaded background, drawn by the program itself. Picture i is a
// function of the seed and i.
#pragma once

#include <string>
#include <vector>

#include "picture.hpp"

namespace image {

/// "red disc", "red square" ...: a colour and a shape make a class.
std::vector<std::string> shape_names();

/// Picture i, of class i % classes: position, size, turn, tint and background are random.
picture draw_shape(std::uint64_t seed, cog::index_t i, cog::index_t size);

}  // namespace image
