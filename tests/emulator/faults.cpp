// SIGSEGV on device memory touched by host code, or on a fiber's guard page: one line that says so, then the default.
#include <fmt/format.h>
#include <unistd.h>

#include <csignal>
#include <cstdlib>

#include "block.h"
#include "runtime.h"
#include "sanitizer.h"

namespace segrt::emulator {
namespace {

struct sigaction previous;

// Formatting in a signal handler is not safe in general; the program is dying of a fault in code that does not format.
void on_fault(int signal, siginfo_t* info, void* context) {
  std::string text;
  if (running_thread) {
    const auto& thread = static_cast<const BlockThread&>(*running_thread);
    const bool overflow = thread.fiber && thread.fiber->is_guard(info->si_addr);
    text =
        fmt::format("emulator: {} at {} in {}, thread ({},{},{}){}\n", overflow ? "stack overflow" : "invalid address",
                    info->si_addr, describe(*running_launch, thread.place->block), thread.index.x, thread.index.y,
                    thread.index.z, describe_seed());
  } else if (runtime().memory.in_reserved_range(info->si_addr)) {
    text = fmt::format("emulator: host code touched device memory: {}\n", runtime().memory.describe(info->si_addr));
  }
  if (!text.empty()) static_cast<void>(!write(STDERR_FILENO, text.data(), text.size()));
  sigaction(SIGSEGV, &previous, nullptr);  // a return would fault again, into whoever was there before
  if (previous.sa_flags & SA_SIGINFO) previous.sa_sigaction(signal, info, context);
}

}  // namespace

void install_fault_handler() {
  if (kAddressSanitizer || kThreadSanitizer) return;  // they have their own
  stack_t stack{};
  stack.ss_size = 128 * 1024;  // a fiber that overflowed has no stack to handle its fault on
  stack.ss_sp = std::malloc(stack.ss_size);
  sigaltstack(&stack, nullptr);
  struct sigaction action {};
  action.sa_sigaction = on_fault;
  action.sa_flags = SA_SIGINFO | SA_ONSTACK;
  sigaction(SIGSEGV, &action, &previous);
}

}  // namespace segrt::emulator
