// What kernels derive from weights before they can multiply by them (reordered, transformed copies), kept with the
// device. In training a weight changes each step and its copy is used once: such a copy goes back to the allocator at
// once. Only a weight that is seen again unchanged has its copy kept, as far as the limit allows: a network that
// exceeds it keeps the copies of its first layers, instead of each layer driving out the one that is needed next.
#pragma once

#include <cstdint>
#include <functional>
#include <list>
#include <map>
#include <tuple>

#include "core/tensor.h"

namespace segrt::kernels::cpu {

class PackedWeights {
 public:
  static constexpr int64_t kLimitBytes = int64_t{64} << 20;
  static constexpr size_t kLimitEntries = 4096;
  static constexpr uint64_t kForgetAfter = 8192;  // calls of get() without use: the weight is gone, or might as well be

  // nbytes of device memory that pack(bytes) fills from w. `layout` names what pack does: equal for equal contents.
  // The result holds the memory for as long as the caller needs it.
  Tensor get(const Tensor& w, uint64_t layout, size_t nbytes, const std::function<void(const Tensor& bytes)>& pack);

  int64_t kept_bytes() const { return kept_bytes_; }
  size_t entries() const { return entries_.size(); }

 private:
  struct Key {
    uint64_t storage_id;
    const void* address;  // tells the views of one storage apart
    uint64_t layout;
    bool operator<(const Key& o) const {
      return std::tie(storage_id, address, layout) < std::tie(o.storage_id, o.address, o.layout);
    }
  };
  struct Entry {
    Key key;
    uint64_t version;
    Tensor bytes;  // undefined until the version has been asked for twice, and where the limit allows no more
    uint64_t last_use;
  };
  void drop_least_recent();

  std::list<Entry> entries_;  // most recent first
  std::map<Key, std::list<Entry>::iterator> index_;
  int64_t kept_bytes_ = 0;
  uint64_t calls_ = 0;
};

}  // namespace segrt::kernels::cpu
