// Knobs of the emulator for tests. In a program they come from the environment: see docs/emulator.md.
#pragma once

#include <cstddef>
#include <cstdint>

namespace segrt::emulator {

// The seed that orders streams, blocks, warps and threads. Starts as SEGRT_EMULATOR_SEED (default 1).
uint64_t seed();
void set_seed(uint64_t seed);

// Device memory that cudaMalloc will hand out in all. Starts as SEGRT_EMULATOR_MEMORY bytes (default 16 GiB).
size_t memory_limit();
void set_memory_limit(size_t nbytes);

// Kernels and copies that were queued and have not run.
size_t queued_operations();

// Kernels that have run since the program started.
uint64_t kernels_run();

// Calls of this thread since the program started for which a host waits for its GPU, or may: synchronisation of device,
// stream or event, copies with memory that is not page-locked, device memory taken or freed other than in stream order,
// and page-locked memory freed.
uint64_t host_waits();

// Blocks of page-locked memory that are held.
size_t page_locked_blocks();

}  // namespace segrt::emulator
