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
constexpr unsigned char kCanary = 0xC5;

size_t round_up(size_t n) { return (n + kAlignment - 1) / kAlignment * kAlignment; }

}  // namespace

DeviceMemory::DeviceMemory(size_t limit) : limit_(limit) {
  if (kAddressSanitizer) return;
  range_bytes_ = limit + limit / 8 + (size_t{1} << 20);  // canaries and holes
  void* p = mmap(nullptr, range_bytes_, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (p == MAP_FAILED) throw std::bad_alloc();
  range_ = static_cast<unsigned char*>(p);
}

DeviceMemory::~DeviceMemory() {
  if (range_) munmap(range_, range_bytes_);
}

// Of one allocation, while host code runs; open() and close() are for all of them.
void DeviceMemory::set_access([[maybe_unused]] unsigned char* start, [[maybe_unused]] size_t nbytes, bool accessible) {
#if SEGRT_EMULATOR_ASAN
  accessible ? __asan_unpoison_memory_region(start, nbytes) : __asan_poison_memory_region(start, nbytes);
#else
  constexpr uintptr_t kPage = 4096;
  const uintptr_t first = reinterpret_cast<uintptr_t>(start) / kPage * kPage;
  const uintptr_t end = (reinterpret_cast<uintptr_t>(start) + nbytes + kPage - 1) / kPage * kPage;
  mprotect(reinterpret_cast<void*>(first), end - first, accessible ? PROT_READ | PROT_WRITE : PROT_NONE);
#endif
}

void DeviceMemory::open() {
  if (open_++ > 0) return;
  if (range_ && high_water_ > 0) mprotect(range_, high_water_, PROT_READ | PROT_WRITE);
  if (kAddressSanitizer)
    for (const auto& [p, a] : allocations_) set_access(p, a.nbytes, true);
}

void DeviceMemory::close() {
  if (--open_ > 0) return;
  if (range_ && high_water_ > 0) mprotect(range_, high_water_, PROT_NONE);
  if (kAddressSanitizer)
    for (const auto& [p, a] : allocations_) set_access(p, a.nbytes, false);
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
  constexpr size_t kStep = size_t{1} << 20;
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
  if (kAddressSanitizer) {
    void* block = nullptr;
    if (posix_memalign(&block, kAlignment, std::max<size_t>(nbytes, 1)) == 0) p = static_cast<unsigned char*>(block);
  } else if (unsigned char* start = take(taken)) {
    p = start + kCanaryBytes;
    if (open_ == 0) set_access(start, taken, true);
    std::memset(start, kCanary, kCanaryBytes);
    std::memset(p + nbytes, kCanary, taken - kCanaryBytes - nbytes);
  }
  if (!p) return nullptr;
  fill_with_poison(p, nbytes);
  if (open_ == 0) set_access(kAddressSanitizer ? p : p - kCanaryBytes, kAddressSanitizer ? nbytes : taken, false);
  allocations_.emplace(p, Allocation{nbytes, taken});
  used_ += nbytes;
  return p;
}

std::string DeviceMemory::canary_damage(unsigned char* p, const Allocation& a) const {
  if (kAddressSanitizer) return {};  // red zones do better
  const auto is_damaged = [](unsigned char byte) { return byte != kCanary; };
  const unsigned char* end = p + a.taken - kCanaryBytes;
  const unsigned char* after = std::find_if(static_cast<const unsigned char*>(p) + a.nbytes, end, is_damaged);
  if (after != end)
    return fmt::format("out-of-bounds write: byte {} of a device allocation of {} bytes was written", after - p,
                       a.nbytes);
  if (std::any_of(p - kCanaryBytes, p, is_damaged))
    return fmt::format("out-of-bounds write: memory before a device allocation of {} bytes was written", a.nbytes);
  return {};
}

std::string DeviceMemory::free(void* address) {
  auto* p = static_cast<unsigned char*>(address);
  const auto at = allocations_.find(p);
  if (at == allocations_.end()) return fmt::format("free of {}, which is not a live device allocation", address);
  const Allocation a = at->second;
  unsigned char* start = kAddressSanitizer ? p : p - kCanaryBytes;
  const size_t all = kAddressSanitizer ? a.nbytes : a.taken;
  if (open_ == 0) set_access(start, all, true);
  const std::string damage = canary_damage(p, a);
  allocations_.erase(at);
  used_ -= a.nbytes;
  if (kAddressSanitizer) {
    std::free(address);
  } else {
    fill_with_poison(p, a.nbytes);  // so that use after free shows
    if (open_ == 0) set_access(start, all, false);
    give(start, all);
  }
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
      std::memset(at->first - kCanaryBytes, kCanary, kCanaryBytes);
      std::memset(at->first + at->second.nbytes, kCanary, at->second.taken - kCanaryBytes - at->second.nbytes);
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
