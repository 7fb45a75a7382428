// What cudaLaunchKernel of the emulator takes as "the address of a kernel".
#pragma once

#include <functional>
#include <source_location>

namespace segrt::emulator {

struct Kernel {
  const void* function;  // the host function that the kernel is here; its symbol gives the name
  bool barrier_free;
  std::source_location where;  // of the launch
  // The call of `function` with a copy of the arguments, to be made once a thread.
  std::function<void()> (*bind)(const void* function, void** arguments);
};

}  // namespace segrt::emulator
