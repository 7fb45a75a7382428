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
}  // namespace

void fill_with_poison(void* p, size_t nbytes) {
  auto* bytes = static_cast<unsigned char*>(p);
  if (nbytes > 0 && reinterpret_cast<uintptr_t>(bytes) % 2 != 0) {
    *bytes++ = kPoison >> 8;
    --nbytes;
  }
  std::fill_n(reinterpret_cast<uint16_t*>(bytes), nbytes / 2, kPoison);
  if (nbytes % 2 != 0) bytes[nbytes - 1] = kPoison & 0xff;
}

const unsigned char* find_damage(const void* p, size_t nbytes) {
  const auto* bytes = static_cast<const unsigned char*>(p);
  for (size_t i = 0; i < nbytes; ++i)
    if (bytes[i] != (reinterpret_cast<uintptr_t>(bytes + i) % 2 == 0 ? kPoison & 0xff : kPoison >> 8)) return bytes + i;
  return nullptr;
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
  for (const auto& [key, slot] : slots_) {
    const bool after = find_damage(slot.memory + slot.nbytes, kCanaryBytes) != nullptr;
    if (after || find_damage(slot.allocation, kCanaryBytes))
      return fmt::format("out-of-bounds write: memory {} the block's {} bytes of shared memory was changed",
                         after ? "after" : "before", slot.nbytes);
  }
  return {};
}

size_t BlockMemory::nbytes_of(Key key) const {
  const auto found = slots_.find(key);
  return found == slots_.end() ? 0 : found->second.nbytes;
}

bool BlockMemory::holds(const void* p, size_t nbytes) const {
  const auto* first = static_cast<const unsigned char*>(p);
  for (const auto& [key, slot] : slots_)
    if (first >= slot.memory && first + nbytes <= slot.memory + slot.nbytes) return true;
  return false;
}

void* BlockMemory::slot(Key key, size_t nbytes) {
  auto [at, is_new] = slots_.try_emplace(key);
  Slot& slot = at->second;
  if (is_new) {
    const UnseenAllocation unseen;
    void* p = nullptr;
    if (posix_memalign(&p, kAlignment, nbytes + 2 * kCanaryBytes) != 0) throw std::bad_alloc();
    slot = {static_cast<unsigned char*>(p), static_cast<unsigned char*>(p) + kCanaryBytes, nbytes, false};
    fill_with_poison(slot.allocation, nbytes + 2 * kCanaryBytes);
    if (key.second == 0) static_bytes_ += nbytes;
  }
  if (!slot.filled) fill_with_poison(slot.memory, nbytes);
  slot.filled = true;
  return slot.memory;
}

}  // namespace segrt::emulator
