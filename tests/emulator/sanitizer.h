// The few sanitizer hooks that a runtime which switches stacks has to call. All do nothing in other builds. The runtime
// itself is compiled without ThreadSanitizer, which must not see the scheduler's own memory, hence the definition by
// CMake.
#pragma once

#include <cstddef>

#if !defined(SEGRT_EMULATOR_TSAN)
#define SEGRT_EMULATOR_TSAN 0
#endif
#if defined(__SANITIZE_ADDRESS__)
#define SEGRT_EMULATOR_ASAN 1
#include <sanitizer/asan_interface.h>
#include <sanitizer/common_interface_defs.h>
#else
#define SEGRT_EMULATOR_ASAN 0
#endif

#if SEGRT_EMULATOR_TSAN
extern "C" {
void* __tsan_get_current_fiber();
void* __tsan_create_fiber(unsigned flags);
void __tsan_destroy_fiber(void* fiber);
void __tsan_switch_to_fiber(void* fiber, unsigned flags);
void __tsan_acquire(void* token);
void __tsan_release(void* token);
void AnnotateIgnoreWritesBegin(const char* file, int line);
void AnnotateIgnoreWritesEnd(const char* file, int line);
}
#endif

namespace segrt::emulator {

inline constexpr bool kThreadSanitizer = SEGRT_EMULATOR_TSAN != 0;
inline constexpr bool kAddressSanitizer = SEGRT_EMULATOR_ASAN != 0;

// Everything before a release of `token` happens before what follows an acquire of it.
inline void happens_before([[maybe_unused]] void* token) {
#if SEGRT_EMULATOR_TSAN
  __tsan_release(token);
#endif
}
inline void happens_after([[maybe_unused]] void* token) {
#if SEGRT_EMULATOR_TSAN
  __tsan_acquire(token);
#endif
}

// While one lives, ThreadSanitizer takes malloc and free as a change of the memory's identity only, not as a write by
// the thread that happens to call it.
class UnseenAllocation {
 public:
  UnseenAllocation() {
#if SEGRT_EMULATOR_TSAN
    AnnotateIgnoreWritesBegin(__FILE__, __LINE__);
#endif
  }
  ~UnseenAllocation() {
#if SEGRT_EMULATOR_TSAN
    AnnotateIgnoreWritesEnd(__FILE__, __LINE__);
#endif
  }
  UnseenAllocation(const UnseenAllocation&) = delete;
  UnseenAllocation& operator=(const UnseenAllocation&) = delete;
};

}  // namespace segrt::emulator
