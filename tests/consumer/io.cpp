// Built with the component io only.
#include <cog/io/tokenizer.hpp>
