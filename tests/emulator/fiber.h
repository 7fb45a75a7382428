// A stack of its own that can be left and entered again, on boost.context's fcontext: tens of nanoseconds a switch,
// where ucontext's system calls take some 300. Sanitizers are told of every switch.
#pragma once

#include <cstddef>

namespace segrt::emulator {

// A fiber runs `task(argument)` to its end and is then idle, ready for the next task on the same stack.
class Fiber {
 public:
  using Task = void (*)(void* argument);

  Fiber();
  ~Fiber();
  Fiber(const Fiber&) = delete;
  Fiber& operator=(const Fiber&) = delete;

  void assign(Task task, void* argument) {
    task_ = task;
    argument_ = argument;
  }
  // Called on the scheduler's stack: runs until the task suspends or ends.
  void resume();
  // Called on the fiber's stack: back to the scheduler.
  void suspend();
  // Forgets what is on the stack, without running destructors, so that assign() is possible again.
  void abandon();
  // Whether `p` is in the guard pages below the stack: an overflow.
  bool is_guard(const void* p) const { return p >= mapping_ && p < static_cast<const char*>(mapping_) + kGuardBytes; }

 private:
  friend struct FiberEntry;
  void run();

  static constexpr size_t kGuardBytes = 64 * 1024;
  void* mapping_ = nullptr;  // guard pages, then the stack
  size_t stack_bytes_;
  void* context_ = nullptr;    // where resume() continues
  void* scheduler_ = nullptr;  // where suspend() continues
  Task task_ = nullptr;
  void* argument_ = nullptr;
  void* tsan_ = nullptr;            // ThreadSanitizer's contexts: this fiber's
  void* tsan_scheduler_ = nullptr;  // and the one that resumed it
  void* fake_stack_ = nullptr;      // AddressSanitizer's, while suspended
  const void* scheduler_bottom_ = nullptr;
  size_t scheduler_bytes_ = 0;
};

}  // namespace segrt::emulator
