// What failures say: kernel, block, threads, places, seed.
#include <fmt/format.h>

#include <cstdio>
#include <cstring>

#include "block.h"
#include "emulator/control.h"
#include "sanitizer.h"

namespace segrt::emulator {
namespace {

std::string describe(const Index3& i) { return fmt::format("({},{},{})", i.x, i.y, i.z); }

// What a thread is doing, as a key that threads in the same place share.
std::string describe_state(const BlockThread& thread) {
  switch (thread.state) {
    case State::done: return "returned";
    case State::ready: return "can run";
    case State::at_block_barrier:
    case State::at_operations: return fmt::format("in {} at {}", thread.what, emulator::describe(thread.site));
    case State::at_warp:
      return fmt::format("in {} at {} with mask {:#010x}", thread.what, emulator::describe(thread.site), thread.mask);
  }
  return {};
}

}  // namespace

std::string describe(const Site& site) {
  const char* name = std::strrchr(site.file_name(), '/');
  return fmt::format("{}:{}", name ? name + 1 : site.file_name(), site.line());
}

std::string describe(const Launch& launch, const Index3& block) {
  return fmt::format("{} launched at {}, block {} of grid {}, {} threads", launch.kernel, describe(launch.where),
                     describe(block), describe(launch.grid), launch.block.x * launch.block.y * launch.block.z);
}

std::string describe_seed() { return fmt::format(" (SEGRT_EMULATOR_SEED={})", seed()); }

// Threads by what they do, as ranges: "threads 0-31 in sync_block at a.cu:12; thread 32 returned".
void Block::fail_divergent(const std::string& what, size_t first, size_t count) const {
  const size_t end = std::min(first + count, threads_.size());
  std::string text;
  for (size_t i = first; i < end;) {
    const std::string state = describe_state(threads_[i]);
    size_t last = i;
    while (last + 1 < end && describe_state(threads_[last + 1]) == state) ++last;
    text += text.empty() ? "" : "; ";
    text += last == i ? fmt::format("thread {} {}", i, state) : fmt::format("threads {}-{} {}", i, last, state);
    i = last + 1;
    if (text.size() > 1000) {
      text += fmt::format("; ... up to thread {}", end - 1);
      break;
    }
  }
  throw KernelFailure(fmt::format("{} in {}: {}{}", what, describe(launch_, place_.block), text, describe_seed()));
}

void fail_outside_kernel() { throw std::logic_error("emulator: a device function was called outside of a kernel"); }

void fail(const std::string& what, const Site& site) {
  const Thread& thread = this_thread();
  throw KernelFailure(fmt::format("{} at {} in {}, thread {}{}", what, describe(site),
                                  describe(*running_launch, thread.place->block), describe(thread.index),
                                  describe_seed()));
}

void fail_alignment(const void* p, size_t wanted, const Site& site) {
  fail(fmt::format("misaligned address {}: this access needs {} bytes", p, wanted), site);
}

// Printed ahead of a sanitizer's own report, which knows addresses and lines but no blocks.
void print_running_thread() {
  if (!running_thread || !running_launch) return;
  const std::string text =
      fmt::format("emulator: {}, thread {}{}\n", describe(*running_launch, running_thread->place->block),
                  describe(running_thread->index), describe_seed());
  std::fputs(text.c_str(), stderr);
}

}  // namespace segrt::emulator

#if SEGRT_EMULATOR_ASAN
extern "C" void __asan_on_error() { segrt::emulator::print_running_thread(); }
#endif
#if SEGRT_EMULATOR_TSAN
extern "C" void __tsan_on_report(void*) { segrt::emulator::print_running_thread(); }
#endif
