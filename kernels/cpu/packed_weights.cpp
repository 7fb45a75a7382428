#include "kernels/cpu/packed_weights.h"

namespace segrt::kernels::cpu {

Tensor PackedWeights::get(const Tensor& w, uint64_t layout, size_t nbytes,
                          const std::function<void(const Tensor& bytes)>& pack) {
  const Key key{w.storage_id(), w.raw(), layout};
  const uint64_t version = w.version();
  const auto found = index_.find(key);
  const bool unchanged = found != index_.end() && found->second->version == version;
  if (unchanged && found->second->bytes.defined()) {
    entries_.splice(entries_.begin(), entries_, found->second);
    return found->second->bytes;
  }
  Tensor bytes = Tensor::empty({static_cast<int64_t>(nbytes)}, DType::u8, w.device());
  pack(bytes);
  if (found == index_.end()) {
    entries_.push_front({key, version, {}});
    index_[key] = entries_.begin();
  } else {
    entries_.splice(entries_.begin(), entries_, found->second);
  }
  Entry& entry = entries_.front();
  if (entry.bytes.defined()) kept_bytes_ -= static_cast<int64_t>(entry.bytes.nbytes());
  entry.bytes = unchanged ? bytes : Tensor();
  entry.version = version;
  if (unchanged) kept_bytes_ += static_cast<int64_t>(nbytes);
  while (kept_bytes_ > kLimitBytes || entries_.size() > kLimitEntries) drop_least_recent();
  return bytes;
}

void PackedWeights::drop_least_recent() {
  const Entry& last = entries_.back();
  if (last.bytes.defined()) kept_bytes_ -= static_cast<int64_t>(last.bytes.nbytes());
  index_.erase(last.key);
  entries_.pop_back();
}

}  // namespace segrt::kernels::cpu
