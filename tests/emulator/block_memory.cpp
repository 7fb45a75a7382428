#include "block_memory.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstdlib>
#include <new>

#include "sanitizer.h"

namespace segrt::emulator {
namespace {
constexpr size_t kAlignment = 128;
constexpr size_t kCanaryBytes = kAddressSanitizer ? 0 : kAlignment;
constexpr unsigned char kCanary = 0xC5;
}  // namespace

void fill_with_poison(void* p, size_t nbytes) {
  std::fill_n(static_cast<uint16_t*>(p), nbytes / 2, kPoison);
  if (nbytes % 2 != 0) static_cast<unsigned char*>(p)[nbytes - 1] = kPoison & 0xff;
}

BlockMemory::~BlockMemory() { release(); }

void BlockMemory::release() {
  const UnseenAllocation unseen;
  for (auto& [key, slot] : slots_) std::free(slot.allocation);
  slots_.clear();
  static_bytes_ = 0;
}

void BlockMemory::begin_block() {
  if (kThreadSanitizer) release();
  for (auto& [key, slot] : slots_) slot.filled = false;
}

std::string BlockMemory::end_block() {
  for (const auto& [key, slot] : slots_)
    for (size_t i = 0; i < kCanaryBytes; ++i)
      if (slot.memory[slot.nbytes + i] != kCanary || slot.memory[-1 - static_cast<ptrdiff_t>(i)] != kCanary)
        return fmt::format("out-of-bounds write: memory {} the block's {} bytes of shared memory was changed",
                           slot.memory[slot.nbytes + i] != kCanary ? "after" : "before", slot.nbytes);
  return {};
}

size_t BlockMemory::nbytes_of(Key key) const {
  const auto found = slots_.find(key);
  return found == slots_.end() ? 0 : found->second.nbytes;
}

void* BlockMemory::slot(Key key, size_t nbytes) {
  auto [at, is_new] = slots_.try_emplace(key);
  Slot& slot = at->second;
  if (is_new) {
    const UnseenAllocation unseen;
    void* p = nullptr;
    if (posix_memalign(&p, kAlignment, nbytes + 2 * kCanaryBytes) != 0) throw std::bad_alloc();
    slot = {static_cast<unsigned char*>(p), static_cast<unsigned char*>(p) + kCanaryBytes, nbytes, false};
    for (size_t i = 0; i < kCanaryBytes; ++i) slot.allocation[i] = slot.memory[nbytes + i] = kCanary;
    if (key.second == 0) static_bytes_ += nbytes;
  }
  if (!slot.filled) fill_with_poison(slot.memory, nbytes);
  slot.filled = true;
  return slot.memory;
}

}  // namespace segrt::emulator
