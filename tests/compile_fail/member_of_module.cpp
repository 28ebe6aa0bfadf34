// expect: a module's members are tensors, modules, and vectors or optionals of these
#include "backends.hpp"

#include <cog/nn/module.hpp>

struct counter {
  int n;
  void visit(auto&& f) { f("n", n); }
};
void f(counter c) {
  cog::for_each_parameter(c, [](auto const&, auto&) {});
}
