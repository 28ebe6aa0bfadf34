// Everything that needs only Eigen.
#pragma once

#include <cog/core/version.hpp>
#include <cog/core/create.hpp>
#include <cog/expr/evaluate.hpp>
#include <cog/backend/cpu/cpu.hpp>
