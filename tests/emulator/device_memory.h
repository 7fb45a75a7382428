// The emulated GPU's memory: host memory that host code may not touch.
#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <string>
#include <utility>
#include <vector>

namespace segrt::emulator {

// Under AddressSanitizer every allocation is a malloc of its own between red zones, poisoned while host code runs.
// Otherwise allocations lie in one reserved range between canaries, and the range is mapped without access while host
// code runs: an mprotect of huge pages at either end of a synchronisation, whatever the number of allocations.
class DeviceMemory {
 public:
  explicit DeviceMemory(size_t limit);
  ~DeviceMemory();
  DeviceMemory(const DeviceMemory&) = delete;
  DeviceMemory& operator=(const DeviceMemory&) = delete;

  // 256-byte aligned, filled with poison when work next runs; null when the limit is reached.
  void* allocate(size_t nbytes);
  // Empty, or what is wrong: unknown address, damaged canary.
  std::string free(void* p);
  // Empty, or why [p, p + nbytes) is not inside one allocation.
  std::string check_range(const void* p, size_t nbytes) const;
  // Looks at the canaries of up to `count` allocations, in turns. Empty, or the damage.
  std::string check_canaries(size_t count);
  bool owns(const void* p) const;  // an address in any allocation

  // Lets kernels and copies in; the default is closed.
  void open();
  void close();

  size_t limit() const { return limit_; }
  void set_limit(size_t nbytes) { limit_ = nbytes; }
  size_t used() const { return used_; }
  // "0x7f.., 32 bytes into an allocation of 4096 bytes", for an address that faulted.
  std::string describe(const void* p) const;
  bool in_reserved_range(const void* p) const { return p >= range_ && p < range_ + range_bytes_; }

 private:
  struct Allocation {
    size_t nbytes;
    size_t taken;  // with canaries
    bool filled = false;
  };
  void fill(unsigned char* p, Allocation& a);
  unsigned char* take(size_t nbytes);
  void give(unsigned char* start, size_t nbytes);
  std::string canary_damage(unsigned char* p, const Allocation& a) const;
  const std::pair<unsigned char* const, Allocation>* find(const void* p) const;

  size_t limit_;
  size_t used_ = 0;
  int open_ = 0;
  std::map<unsigned char*, Allocation> allocations_;
  std::vector<unsigned char*> unfilled_;  // may have been freed since
  unsigned char* next_checked_ = nullptr;
  // The reserved range; unused under AddressSanitizer.
  unsigned char* range_ = nullptr;
  size_t range_bytes_ = 0;
  size_t high_water_ = 0;
  std::map<unsigned char*, size_t> holes_;
};

}  // namespace segrt::emulator
