#include "core/live_tensors.h"

#include <fmt/format.h>

#include <algorithm>
#include <map>
#include <vector>

#include "core/error.h"
#include "core/op_scope.h"

namespace segrt {
namespace {
struct Share {
  int64_t count = 0, nbytes = 0;
};
using ByShape = std::map<std::string, Share>;

template <typename Map, typename Size>
std::vector<typename Map::const_iterator> largest_first(const Map& map, const Size& size) {
  std::vector<typename Map::const_iterator> order;
  for (auto it = map.begin(); it != map.end(); ++it) order.push_back(it);
  std::stable_sort(order.begin(), order.end(),
                   [&](const auto& a, const auto& b) { return size(a->second) > size(b->second); });
  return order;
}

std::string shapes_line(const ByShape& shapes) {
  constexpr size_t kNamed = 4;
  const auto order = largest_first(shapes, [](const Share& s) { return s.nbytes; });
  std::string line;
  for (size_t i = 0; i < std::min(order.size(), kNamed); ++i)
    line += fmt::format("{}{} x {} ({})", i ? ", " : "", order[i]->second.count, order[i]->first,
                        readable_bytes(order[i]->second.nbytes));
  if (order.size() > kNamed) line += fmt::format(", {} more shapes", order.size() - kNamed);
  return line;
}

int64_t total(const ByShape& shapes) {
  int64_t sum = 0;
  for (const auto& [shape, share] : shapes) sum += share.nbytes;
  return sum;
}
}  // namespace

std::string readable_bytes(int64_t nbytes) {
  constexpr double kUnit = 1024;
  const auto value = static_cast<double>(nbytes);
  if (value < kUnit) return fmt::format("{} bytes", nbytes);
  if (value < kUnit * kUnit) return fmt::format("{:.1f} KiB", value / kUnit);
  if (value < kUnit * kUnit * kUnit) return fmt::format("{:.1f} MiB", value / (kUnit * kUnit));
  return fmt::format("{:.1f} GiB", value / (kUnit * kUnit * kUnit));
}

void LiveTensors::add(LiveTensor& tensor) {
  const std::lock_guard lock(mutex_);
  tensor.next = first_;
  if (first_ != nullptr) first_->previous = &tensor;
  first_ = &tensor;
  nbytes_ += static_cast<int64_t>(tensor.nbytes);
}

void LiveTensors::remove(LiveTensor& tensor) noexcept {
  const std::lock_guard lock(mutex_);
  (tensor.previous != nullptr ? tensor.previous->next : first_) = tensor.next;
  if (tensor.next != nullptr) tensor.next->previous = tensor.previous;
  nbytes_ -= static_cast<int64_t>(tensor.nbytes);
}

int64_t LiveTensors::nbytes() const {
  const std::lock_guard lock(mutex_);
  return nbytes_;
}

std::string LiveTensors::holders(size_t most) const {
  std::map<std::string, ByShape> by_op;
  {
    const std::lock_guard lock(mutex_);
    for (const LiveTensor* t = first_; t != nullptr; t = t->next) {
      if (t->nbytes == 0) continue;
      const std::string op =
          t->op.empty() ? "made outside of operators" : fmt::format("{}{}", t->op, t->backward ? " (backward)" : "");
      Share& share = by_op[op][fmt::format("{} {}", to_string(t->dtype), to_string(t->shape))];
      ++share.count;
      share.nbytes += static_cast<int64_t>(t->nbytes);
    }
  }
  const auto order = largest_first(by_op, total);
  std::string text;
  for (size_t i = 0; i < std::min(order.size(), most); ++i)
    text += fmt::format("\n{:>12}  {}: {}", readable_bytes(total(order[i]->second)), order[i]->first,
                        shapes_line(order[i]->second));
  if (order.size() > most) text += fmt::format("\n              and {} other operators", order.size() - most);
  return text;
}

std::string describe(std::string_view device, const MemoryShortage& s, std::string_view whose) {
  std::string text = fmt::format("{}: out of memory: {} wanted{}; {} held, {} cached", device,
                                 readable_bytes(static_cast<int64_t>(s.wanted_bytes)), whose,
                                 readable_bytes(s.held_bytes), readable_bytes(s.cached_bytes));
  if (s.total_bytes >= 0)
    text += fmt::format(", {} of {} free", readable_bytes(s.free_bytes), readable_bytes(s.total_bytes));
  return text;
}

void throw_out_of_memory(Device& device, const MemoryShortage& shortage) {
  constexpr size_t kHolders = 10;
  const auto& live = device.state<LiveTensorsOfDevice>();
  std::string whose;
  if (live.wanted != nullptr)
    whose = fmt::format(" for {} {}", to_string(live.wanted->dtype), to_string(live.wanted->shape));
  if (const Scope* scope = device.state<ScopeStack>().innermost()) whose += " by " + describe(scope);
  std::string message = describe(device.name(), shortage, whose);
  const std::string holders = live.tensors->holders(kHolders);
  if (!holders.empty()) message += "; held by the tensors of" + holders;
  const int64_t elsewhere = shortage.held_bytes - live.tensors->nbytes();
  if (elsewhere > 0)
    message += fmt::format("\n{:>12}  no tensor: workspaces, recorded graphs, rounding", readable_bytes(elsewhere));
  throw DeviceError(message);
}

}  // namespace segrt
