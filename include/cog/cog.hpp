// Everything that needs only Eigen: all floors but io, and the CPU backend. For a smaller include name the headers you use.
#pragma once

#include <cog/floors.hpp>

#include <cog/backend/cpu/cpu.hpp>
#include <cog/backend/cpu/eigen.hpp>
