// Everything that needs only Eigen.
#pragma once

#include <cog/core/version.hpp>
#include <cog/core/create.hpp>
#include <cog/core/print.hpp>
#include <cog/core/wrap.hpp>
#include <cog/expr/evaluate.hpp>
#include <cog/expr/fuse.hpp>
#include <cog/expr/reduce.hpp>
#include <cog/expr/rowwise.hpp>
#include <cog/expr/contract.hpp>
#include <cog/expr/select.hpp>
#include <cog/attention/attention.hpp>
#include <cog/autograd/attention.hpp>
#include <cog/autograd/functional.hpp>
#include <cog/autograd/gradcheck.hpp>
#include <cog/random/random.hpp>
#include <cog/random/stream.hpp>
#include <cog/backend/cpu/cpu.hpp>
#include <cog/backend/cpu/eigen.hpp>
