#include "kernels/cpu/packed_weights.h"

namespace segrt::kernels::cpu {

Tensor PackedWeights::get(const Tensor& w, uint64_t layout, size_t nbytes,
                          const std::function<void(const Tensor& bytes)>& pack) {
  ++calls_;
  const Key key{w.storage_id(), w.raw(), layout};
  const auto found = index_.find(key);
  if (found == index_.end()) {
    entries_.push_front({key, w.version(), {}, calls_});
    index_[key] = entries_.begin();
  } else {
    entries_.splice(entries_.begin(), entries_, found->second);
  }
  while (entries_.size() > kLimitEntries || calls_ - entries_.back().last_use > kForgetAfter) drop_least_recent();
  Entry& entry = entries_.front();
  const bool unchanged = found != index_.end() && entry.version == w.version();
  entry.version = w.version();
  entry.last_use = calls_;
  if (unchanged && entry.bytes.defined()) return entry.bytes;

  if (entry.bytes.defined()) kept_bytes_ -= static_cast<int64_t>(entry.bytes.nbytes());
  entry.bytes = {};  // before the new copy is made, which can then take its memory
  const Tensor bytes = Tensor::empty({static_cast<int64_t>(nbytes)}, DType::u8, w.device());
  pack(bytes);
  if (unchanged && kept_bytes_ + static_cast<int64_t>(nbytes) <= kLimitBytes) {
    entry.bytes = bytes;
    kept_bytes_ += static_cast<int64_t>(nbytes);
  }
  return bytes;
}

void PackedWeights::drop_least_recent() {
  const Entry& last = entries_.back();
  if (last.bytes.defined()) kept_bytes_ -= static_cast<int64_t>(last.bytes.nbytes());
  index_.erase(last.key);
  entries_.pop_back();
}

}  // namespace segrt::kernels::cpu
