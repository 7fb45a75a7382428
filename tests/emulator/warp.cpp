// Warp collectives: lanes meet by mask, whatever the rest of the warp does.
#include <fmt/format.h>

#include <bit>
#include <cstring>

#include "block.h"
#include "sanitizer.h"

namespace segrt::emulator {
namespace {

constexpr size_t kWarpSize = 32;
constexpr unsigned kFullMask = 0xffffffffu;
constexpr uint64_t kPoisonWord = 0x0001000100010001u * kPoison;

}  // namespace

BlockThread& block_thread(const char* what, const Site& site) {
  auto& thread = static_cast<BlockThread&>(this_thread());
  if (!thread.owner) fail(fmt::format("a kernel launched as barrier_free calls {}", what), site);
  return thread;
}

WarpGroup& Block::group_of(size_t warp, unsigned mask) {
  for (WarpGroup& group : warps_[warp].groups)
    if (group.mask == mask) return group;
  const UnseenAllocation unseen;
  return warps_[warp].groups.emplace_back(WarpGroup{.mask = mask});
}

// All lanes that met under a mask are in the same call of the same collective.
void Block::check_agreement(size_t warp, const WarpGroup& group, const BlockThread& last) const {
  for (size_t lane = 0; lane < kWarpSize; ++lane) {
    if (!((group.mask & warps_[warp].alive) >> lane & 1u)) continue;
    const BlockThread& other = threads_[warp * kWarpSize + lane];
    const bool same_call = std::strcmp(other.what, last.what) == 0 && other.site.line() == last.site.line() &&
                           std::strcmp(other.site.file_name(), last.site.file_name()) == 0;
    if (!same_call) fail_divergent("divergent warp collective", warp * kWarpSize, kWarpSize);
  }
}

void Block::meet(BlockThread& thread, const char* what, unsigned mask, const Site& site, bool orders_memory) {
  const size_t warp = static_cast<size_t>(thread.linear) / kWarpSize;
  const size_t lane = static_cast<size_t>(thread.linear) % kWarpSize;
  if (!(mask >> lane & 1u)) fail(fmt::format("{}: lane {} is not in its own mask {:#010x}", what, lane, mask), site);
  WarpGroup& group = group_of(warp, mask);
  const unsigned phase = group.phase;
  if (orders_memory) happens_before(&group.tokens[phase & 1]);
  thread.state = State::at_warp;
  thread.what = what;
  thread.site = site;
  thread.mask = mask;
  ++group.arrived;
  if (group.arrived == std::popcount(mask & warps_[warp].alive)) {
    check_agreement(warp, group, thread);
    complete(warp, group);
  }
  thread.fiber->suspend();
  if (orders_memory) happens_after(&group.tokens[phase & 1]);
}

void Block::complete(size_t warp, WarpGroup& group) {
  const unsigned members = group.mask & warps_[warp].alive;
  unsigned ballot = 0;
  for (size_t lane = 0; lane < kWarpSize; ++lane)
    if (members >> lane & 1u) ballot |= threads_[warp * kWarpSize + lane].offer.predicate ? 1u << lane : 0u;
  for (size_t lane = 0; lane < kWarpSize; ++lane) {
    if (!(members >> lane & 1u)) continue;
    BlockThread& thread = threads_[warp * kWarpSize + lane];
    const auto source = static_cast<size_t>(thread.offer.source_lane);
    if (members >> source & 1u) {
      const WarpOffer& offer = threads_[warp * kWarpSize + source].offer;
      thread.result = {{offer.value[0], offer.value[1]}, ballot};
    } else {  // undefined on a GPU
      thread.result = {{kPoisonWord, kPoisonWord}, ballot};
    }
    make_ready(thread);
  }
  group.arrived = 0;
  ++group.phase;
}

void sync_block(const Site& site) {
  BlockThread& thread = block_thread("sync_block", site);
  thread.owner->sync_block(thread, site);
}

void sync_warp(unsigned mask, const Site& site) {
  BlockThread& thread = block_thread("sync_warp", site);
  thread.offer = {.source_lane = thread.linear % static_cast<int>(kWarpSize)};
  thread.owner->meet(thread, "sync_warp", mask, site, true);
}

WarpResult warp_exchange(const char* what, const WarpOffer& offer, unsigned mask, const Site& site) {
  BlockThread& thread = block_thread(what, site);
  thread.offer = offer;
  thread.owner->meet(thread, what, mask, site, false);
  return thread.result;
}

void* block_memory(const void* key, size_t nbytes, const Site& site) {
  constexpr size_t kStaticLimit = 48 * 1024;
  BlockThread& thread = block_thread("block_shared", site);
  BlockMemory& memory = thread.owner->memory();
  void* p = memory.slot({key, 0}, nbytes);
  if (memory.static_bytes() > kStaticLimit)
    fail(fmt::format("block_shared: {} bytes of static shared memory, at most {} fit", memory.static_bytes(),
                     kStaticLimit),
         site);
  return p;
}

void* dynamic_memory(const Site& site) {
  static constexpr char kKey = 0;
  BlockThread& thread = block_thread("dynamic_shared", site);
  return thread.owner->memory().slot({&kKey, 1}, thread.owner->launch().shared_bytes);
}

}  // namespace segrt::emulator
