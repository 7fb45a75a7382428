// One kernel launch and its execution.
#pragma once

#include <cstdint>
#include <functional>
#include <source_location>
#include <stdexcept>
#include <string>

#include "emulator/thread.h"

namespace segrt::emulator {

struct Launch {
  std::string kernel;  // name
  std::source_location where;
  Index3 grid, block;
  size_t shared_bytes;
  bool barrier_free;
  std::function<void()> body;  // the kernel for the running thread
  uint64_t number;             // since the program started: part of the seed
};

// What a kernel did wrong. what() says where and under which seed.
class KernelFailure : public std::runtime_error {
 public:
  using std::runtime_error::runtime_error;
};

// The launch of the running thread, for reports; null when none runs.
extern const Launch* running_launch;

// Runs all blocks, in an order that seed() and launch.number decide. Throws what a thread threw.
void run(const Launch& launch);

}  // namespace segrt::emulator
