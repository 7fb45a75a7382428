// The device memory that a captured graph works in. Its nodes hold addresses, so no block may serve anybody else while
// the graph can be replayed, whatever becomes of the tensors.
#pragma once

#include <cstddef>
#include <map>
#include <unordered_map>
#include <unordered_set>
#include <vector>

#include "core/cuda/caching_allocator.h"

namespace segrt {

// Two kinds of blocks:
// * Taken during the capture: a block whose tensor has died serves later tensors of the same capture, whose work comes
//   after that of the dead one at every replay. After the capture it serves nobody.
// * There before the capture (weights, caches, inputs), as captured work may read them: kept when their tensors die.
// When the graph dies, both are given back; blocks that tensors still hold become ordinary blocks of the allocator, and
// those tensors stay valid.
class GraphMemory {
 public:
  // `stream` is the one that graphs are replayed on and that the allocator's blocks are ordered by.
  GraphMemory(CachingAllocator& allocator, cudaStream_t stream);

  void* allocate(size_t nbytes);  // while capturing; throws DeviceError when there is no memory
  // Takes a block that a tensor gives back. False: the block is none of this graph's business.
  bool take_back(void* pointer);
  // All that this object holds and no tensor does; it forgets the rest.
  std::vector<void*> surrender();

  size_t reserved_bytes() const { return reserved_bytes_; }  // taken during the capture

 private:
  CachingAllocator& allocator_;
  cudaStream_t stream_;
  std::unordered_map<void*, size_t> held_;  // by tensors of the capture
  std::multimap<size_t, void*> free_;       // of tensors of the capture that have died
  std::unordered_set<void*> outside_;       // live before the capture
  std::vector<void*> kept_;                 // of these, whose tensors have died
  size_t reserved_bytes_ = 0;
};

}  // namespace segrt
