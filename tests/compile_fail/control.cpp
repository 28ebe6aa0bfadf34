// ok
#include <cog/version.hpp>
static_assert(COG_VERSION > 0);
