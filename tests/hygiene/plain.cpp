#include <cog/version.hpp>
int main() { return COG_VERSION == 0; }
