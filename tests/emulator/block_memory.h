// Shared memory and matrix tiles of the running block.
#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <string>
#include <utility>

namespace segrt::emulator {

// Signalling NaN as float, bf16 and (quiet) as f16; a large number as an integer or double: wrong in any type. Fresh
// memory and the canaries around it are filled with it; the phase follows the address.
inline constexpr uint16_t kPoison = 0x7FA1;
void fill_with_poison(void* p, size_t nbytes);
// The first byte of [p, p + nbytes) that is no longer poison, or null.
const unsigned char* find_damage(const void* p, size_t nbytes);

// Each slot is an allocation of its own, between red zones of AddressSanitizer or canaries; it is filled when a block
// first asks for it. Under ThreadSanitizer a slot lives for one block, as a freed and newly taken slot has no access
// history: blocks that use the same memory one after the other do not race.
class BlockMemory {
 public:
  using Key = std::pair<const void*, int>;

  BlockMemory() = default;
  ~BlockMemory();
  BlockMemory(const BlockMemory&) = delete;
  BlockMemory& operator=(const BlockMemory&) = delete;

  void begin_block();
  // The description of a damaged canary, or nothing.
  std::string end_block();
  void* slot(Key key, size_t nbytes);
  size_t nbytes_of(Key key) const;
  // Whether [p, p + nbytes) lies in one slot.
  bool holds(const void* p, size_t nbytes) const;
  // Bytes of the slots whose keys have number 0, the static shared memory.
  size_t static_bytes() const { return static_bytes_; }

 private:
  struct Slot {
    unsigned char* allocation;
    unsigned char* memory;
    size_t nbytes;
    bool filled;
  };
  void release();

  std::map<Key, Slot> slots_;
  size_t static_bytes_ = 0;
};

}  // namespace segrt::emulator
