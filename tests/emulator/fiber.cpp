#include "fiber.h"

#include <sys/mman.h>

#include <boost/context/detail/fcontext.hpp>
#include <new>

#include "sanitizer.h"

namespace segrt::emulator {
namespace context = boost::context::detail;

// Sanitizers widen frames.
constexpr size_t kStackBytes = (kThreadSanitizer || kAddressSanitizer ? 256 : 64) * 1024;

struct FiberEntry {
  static void enter(context::transfer_t from) {
    auto* fiber = static_cast<Fiber*>(from.data);
    fiber->scheduler_ = from.fctx;
#if SEGRT_EMULATOR_ASAN
    __sanitizer_finish_switch_fiber(nullptr, &fiber->scheduler_bottom_, &fiber->scheduler_bytes_);
#endif
    fiber->run();
  }
};

Fiber::Fiber() : stack_bytes_(kStackBytes) {
  mapping_ = mmap(nullptr, kGuardBytes + stack_bytes_, PROT_READ | PROT_WRITE,
                  MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_STACK, -1, 0);
  if (mapping_ == MAP_FAILED) throw std::bad_alloc();
  mprotect(mapping_, kGuardBytes, PROT_NONE);
  abandon();
}

Fiber::~Fiber() {
  munmap(mapping_, kGuardBytes + stack_bytes_);
#if SEGRT_EMULATOR_TSAN
  __tsan_destroy_fiber(tsan_);
#endif
}

void Fiber::abandon() {
  char* bottom = static_cast<char*>(mapping_) + kGuardBytes;
#if SEGRT_EMULATOR_ASAN
  __asan_unpoison_memory_region(bottom, stack_bytes_);
  fake_stack_ = nullptr;
#endif
#if SEGRT_EMULATOR_TSAN
  if (tsan_) {  // what it did comes before what the scheduler does next: 0 orders, on the way there and back
    void* scheduler = __tsan_get_current_fiber();
    __tsan_switch_to_fiber(tsan_, 0);
    __tsan_switch_to_fiber(scheduler, 0);
    __tsan_destroy_fiber(tsan_);
  }
  tsan_ = __tsan_create_fiber(0);
#endif
  context_ = context::make_fcontext(bottom + stack_bytes_, stack_bytes_, FiberEntry::enter);
}

void Fiber::run() {
  for (;;) {
    task_(argument_);
    suspend();
  }
}

void Fiber::resume() {
#if SEGRT_EMULATOR_ASAN
  void* own_fake_stack = nullptr;
  __sanitizer_start_switch_fiber(&own_fake_stack, static_cast<char*>(mapping_) + kGuardBytes, stack_bytes_);
#endif
#if SEGRT_EMULATOR_TSAN
  tsan_scheduler_ = __tsan_get_current_fiber();
  __tsan_switch_to_fiber(tsan_, 1);  // 1: switching orders nothing
#endif
  context_ = context::jump_fcontext(context_, this).fctx;
#if SEGRT_EMULATOR_ASAN
  __sanitizer_finish_switch_fiber(own_fake_stack, nullptr, nullptr);
#endif
}

void Fiber::suspend() {
#if SEGRT_EMULATOR_ASAN
  __sanitizer_start_switch_fiber(&fake_stack_, scheduler_bottom_, scheduler_bytes_);
#endif
#if SEGRT_EMULATOR_TSAN
  __tsan_switch_to_fiber(tsan_scheduler_, 1);
#endif
  scheduler_ = context::jump_fcontext(scheduler_, nullptr).fctx;
#if SEGRT_EMULATOR_ASAN
  __sanitizer_finish_switch_fiber(fake_stack_, &scheduler_bottom_, &scheduler_bytes_);
#endif
}

}  // namespace segrt::emulator
