#include "device_memory.h"

#include <fmt/format.h>
#include <sys/mman.h>

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <new>

#include "block_memory.h"
#include "sanitizer.h"

namespace segrt::emulator {
namespace {

constexpr size_t kAlignment = 256;
constexpr size_t kCanaryBytes = 256;  // at least, either side

void set_canaries(unsigned char* p, size_t nbytes, size_t taken) {
  fill_with_poison(p - kCanaryBytes, kCanaryBytes);
  fill_with_poison(p + nbytes, taken - kCanaryBytes - nbytes);
}

size_t round_up(size_t n) { return (n + kAlignment - 1) / kAlignment * kAlignment; }

}  // namespace

DeviceMemory::DeviceMemory(size_t limit) : limit_(limit) {
  if (kAddressSanitizer) return;
  range_bytes_ = limit + limit / 8 + (size_t{1} << 20);  // canaries and holes
  void* p = mmap(nullptr, range_bytes_, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (p == MAP_FAILED) throw std::bad_alloc();
  range_ = static_cast<unsigned char*>(p);
  madvise(p, range_bytes_, MADV_HUGEPAGE);
}

DeviceMemory::~DeviceMemory() {
  if (range_) munmap(range_, range_bytes_);
}

void DeviceMemory::open() {
  if (open_++ > 0) return;
#if SEGRT_EMULATOR_ASAN
  for (const auto& [p, a] : allocations_) __asan_unpoison_memory_region(p, a.nbytes);
#else
  if (high_water_ > 0) mprotect(range_, high_water_, PROT_READ | PROT_WRITE);
#endif
  for (unsigned char* p : unfilled_)
    if (const auto at = allocations_.find(p); at != allocations_.end() && !at->second.filled) fill(p, at->second);
  unfilled_.clear();
}

void DeviceMemory::close() {
  if (--open_ > 0) return;
#if SEGRT_EMULATOR_ASAN
  for (const auto& [p, a] : allocations_) __asan_poison_memory_region(p, a.nbytes);
#else
  if (high_water_ > 0) mprotect(range_, high_water_, PROT_NONE);
#endif
}

void DeviceMemory::fill(unsigned char* p, Allocation& a) {
  fill_with_poison(p, a.nbytes);
  if (!kAddressSanitizer) set_canaries(p, a.nbytes, a.taken);
  a.filled = true;
}

// First fit among holes, else from the untouched end of the range. Null when it is full.
unsigned char* DeviceMemory::take(size_t nbytes) {
  for (auto hole = holes_.begin(); hole != holes_.end(); ++hole) {
    const auto [start, size] = *hole;
    if (size < nbytes) continue;
    holes_.erase(hole);
    if (size > nbytes) holes_.emplace(start + nbytes, size - nbytes);
    return start;
  }
  if (high_water_ + nbytes > range_bytes_) return nullptr;
  unsigned char* start = range_ + high_water_;
  constexpr size_t kStep = size_t{1} << 21;  // a huge page
  high_water_ = std::min(range_bytes_, (high_water_ + nbytes + kStep - 1) / kStep * kStep);
  const size_t rest = static_cast<size_t>(range_ + high_water_ - start) - nbytes;
  if (open_ > 0) mprotect(range_, high_water_, PROT_READ | PROT_WRITE);
  if (rest > 0) give(start + nbytes, rest);
  return start;
}

void DeviceMemory::give(unsigned char* start, size_t nbytes) {
  auto next = holes_.lower_bound(start);
  if (next != holes_.end() && start + nbytes == next->first) {
    nbytes += next->second;
    next = holes_.erase(next);
  }
  if (next != holes_.begin()) {
    const auto before = std::prev(next);
    if (before->first + before->second == start) {
      before->second += nbytes;
      return;
    }
  }
  holes_.emplace(start, nbytes);
}

void* DeviceMemory::allocate(size_t nbytes) {
  if (nbytes > limit_ || used_ > limit_ - nbytes) return nullptr;
  const size_t taken = round_up(nbytes) + 2 * kCanaryBytes;
  unsigned char* p = nullptr;
#if SEGRT_EMULATOR_ASAN
  void* block = nullptr;
  if (posix_memalign(&block, kAlignment, std::max<size_t>(nbytes, 1)) != 0) return nullptr;
  p = static_cast<unsigned char*>(block);
  if (open_ == 0) __asan_poison_memory_region(p, nbytes);
#else
  unsigned char* start = take(taken);
  if (!start) return nullptr;
  p = start + kCanaryBytes;
#endif
  Allocation& a = allocations_.insert_or_assign(p, Allocation{nbytes, taken}).first->second;
  used_ += nbytes;
  if (open_ > 0)
    fill(p, a);
  else
    unfilled_.push_back(p);
  return p;
}

std::string DeviceMemory::canary_damage(unsigned char* p, const Allocation& a) const {
  if (kAddressSanitizer) return {};  // red zones do better
  if (const unsigned char* at = find_damage(p + a.nbytes, a.taken - kCanaryBytes - a.nbytes))
    return fmt::format("out-of-bounds write: byte {} of a device allocation of {} bytes was written", at - p, a.nbytes);
  if (const unsigned char* at = find_damage(p - kCanaryBytes, kCanaryBytes))
    return fmt::format("out-of-bounds write: byte {} of a device allocation of {} bytes was written", at - p, a.nbytes);
  return {};
}

std::string DeviceMemory::free(void* address) {
  auto* p = static_cast<unsigned char*>(address);
  const auto at = allocations_.find(p);
  if (at == allocations_.end()) return fmt::format("free of {}, which is not a live device allocation", address);
  const Allocation a = at->second;
  std::string damage;
  if (a.filled) {
    open();
    damage = canary_damage(p, a);
    // So that use after free shows; not all of a large block, which costs time.
    constexpr size_t kPoisoned = 64 * 1024;
    if (!kAddressSanitizer) fill_with_poison(p, std::min(a.nbytes, kPoisoned));
    close();
  }
  allocations_.erase(at);
  used_ -= a.nbytes;
  if (kAddressSanitizer)
    std::free(address);
  else
    give(p - kCanaryBytes, a.taken);
  return damage;
}

const std::pair<unsigned char* const, DeviceMemory::Allocation>* DeviceMemory::find(const void* address) const {
  auto* p = static_cast<unsigned char*>(const_cast<void*>(address));
  auto at = allocations_.upper_bound(p);
  if (at == allocations_.begin()) return nullptr;
  --at;
  return p < at->first + std::max<size_t>(at->second.nbytes, 1) ? &*at : nullptr;
}

bool DeviceMemory::owns(const void* p) const { return find(p) != nullptr; }

std::string DeviceMemory::check_range(const void* p, size_t nbytes) const {
  const auto* found = find(p);
  if (!found) return fmt::format("{} is not device memory, or has been freed", p);
  const auto offset = static_cast<size_t>(static_cast<const unsigned char*>(p) - found->first);
  if (nbytes <= found->second.nbytes - offset) return {};
  return fmt::format("{} bytes at offset {} of a device allocation of {} bytes", nbytes, offset, found->second.nbytes);
}

std::string DeviceMemory::check_canaries(size_t count) {
  count = kAddressSanitizer ? 0 : std::min(count, allocations_.size());
  auto at = allocations_.lower_bound(next_checked_);
  for (; count > 0; --count, ++at) {
    if (at == allocations_.end()) at = allocations_.begin();
    const std::string damage = canary_damage(at->first, at->second);
    if (!damage.empty()) {  // report it once
      set_canaries(at->first, at->second.nbytes, at->second.taken);
      return damage;
    }
  }
  next_checked_ = at == allocations_.end() ? nullptr : at->first;
  return {};
}

std::string DeviceMemory::describe(const void* p) const {
  const auto* found = find(p);
  if (!found) return fmt::format("{}, in no live allocation", p);
  return fmt::format("{}, {} bytes into an allocation of {} bytes", p,
                     static_cast<const unsigned char*>(p) - found->first, found->second.nbytes);
}

}  // namespace segrt::emulator
