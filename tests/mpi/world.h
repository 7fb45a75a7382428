// What the tests of this folder share: one communicator a process. Every process runs the same cases in the same order:
// `mpirun -np 3 test_mpi`; alone, it is a world of one.
#pragma once

#include <doctest/doctest.h>

#include "core/communicator.h"

namespace segrt::test {

// Opened on first use, closed when the program ends. For tensors on CPUs and on emulated GPUs.
inline Communicator& world() {
  static const std::unique_ptr<Device> cpu = Device::create("cpu");
  static const std::unique_ptr<Communicator> communicator = Communicator::open(*cpu, {.timeout_s = 300});
  return *communicator;
}

}  // namespace segrt::test
