// cog's attention as a shared library for attention.py: the calls of examples/libtorch, errors as text.
#include "../../examples/libtorch/kernels.cu"

#include <string>

/// Null, or what went wrong.
extern "C" char const* attention_run(attention_call const* call, int backward) {
  static thread_local std::string text;
  try {
    backward ? attention_backward(*call) : attention_forward(*call);
    return nullptr;
  } catch (std::exception const& e) {
    text = e.what();
    return text.c_str();
  }
}
