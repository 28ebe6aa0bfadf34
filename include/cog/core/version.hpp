// The library's version. This file is the one place that states it; CMakeLists.txt reads it from here.
#pragma once

#define COG_VERSION_MAJOR 0
#define COG_VERSION_MINOR 1
#define COG_VERSION_PATCH 0

// One integer that compares in order: 0.1.0 is 100, 1.2.3 is 10203.
#define COG_VERSION (COG_VERSION_MAJOR * 10000 + COG_VERSION_MINOR * 100 + COG_VERSION_PATCH)
