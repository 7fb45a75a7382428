#include "core/pickle_objects.h"

namespace segrt {

std::string_view to_string(PickleKind kind) {
  constexpr std::array<std::string_view, 15> kTexts{"None",   "a boolean", "an integer", "a long integer",  "a number",
                                                    "a text", "bytes",     "a list",     "a tuple",         "a dict",
                                                    "a name", "a storage", "a tensor",   "an inert object", "nothing"};
  return kTexts[static_cast<size_t>(kind)];
}

PickleValue PickleObjects::new_container(PickleKind kind) {
  containers_.emplace_back();
  return {.kind = kind, .bits = static_cast<int64_t>(containers_.size() - 1)};
}

void PickleObjects::append(const PickleValue& v, const PickleValue& item) {
  const auto index = static_cast<uint32_t>(cells_.size());
  cells_.push_back({.value = item});
  Container& c = container(v);
  if (c.last == kNone)
    c.first = index;
  else
    cells_[c.last].next = index;
  c.last = index;
  ++c.count;
}

std::vector<PickleValue> PickleObjects::items(const Container& c, size_t limit) const {
  std::vector<PickleValue> values;
  for (uint32_t i = c.first; i != kNone && values.size() < limit; i = cells_[i].next) values.push_back(cells_[i].value);
  return values;
}

std::vector<int64_t> PickleObjects::extents(uint32_t index) const {
  std::vector<int64_t> values;
  for (uint32_t i = containers_[index].first; i != kNone; i = cells_[i].next) values.push_back(cells_[i].value.bits);
  return values;
}

}  // namespace segrt
