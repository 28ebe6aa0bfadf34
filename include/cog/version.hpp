// The path under which users look for the version; its contents are in core/version.hpp.
#pragma once

#include <cog/core/version.hpp>
