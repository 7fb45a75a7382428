// Asynchronous copies: queued by a thread, made as late as the kernel allows, in its wait.
#include <fmt/format.h>

#include "block.h"
#include "sanitizer.h"

namespace segrt::emulator {

void queue_copy(const AsyncCopy& copy, const Site& site) {
  BlockThread& thread = block_thread("copy_async", site);
  const UnseenAllocation unseen;
  thread.copies.push_back({copy, thread.copy_group, site});
}

void close_copy_group() { ++block_thread("copy_async_commit", Site::current()).copy_group; }

bool take_copy(int groups, AsyncCopy& copy) {
  BlockThread& thread = block_thread("copy_async_wait", Site::current());
  if (thread.copies.empty() || thread.copies.front().group + groups >= thread.copy_group) return false;
  const UnseenAllocation unseen;
  copy = thread.copies.front().copy;
  thread.copies.pop_front();
  return true;
}

void check_shared(const void* p, size_t nbytes, const Site& site) {
  if (block_thread("an access of shared memory", site).owner->memory().holds(p, nbytes)) return;
  fail(fmt::format("{} bytes at {} are not in the block's shared memory", nbytes, p), site);
}

}  // namespace segrt::emulator
