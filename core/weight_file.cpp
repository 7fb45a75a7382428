#include "core/weight_file.h"

#include <fmt/format.h>

#include <nlohmann/json.hpp>
#include <utility>

#include "core/error.h"
#include "core/safetensors.h"

namespace segrt {

std::string shown_text(std::string_view text) {
  using nlohmann::json;
  constexpr size_t kMaxShown = 120;
  std::string quoted =
      json(std::string(text.substr(0, kMaxShown))).dump(-1, ' ', false, json::error_handler_t::replace);
  if (text.size() > kMaxShown) quoted += "...";
  return quoted;
}

void WeightFile::set_contents(std::vector<WeightEntry> entries, Position position,
                              std::map<std::string, std::string> metadata) {
  entries_ = std::move(entries);
  position_ = std::move(position);
  metadata_ = std::move(metadata);
}

void WeightFile::set_contents(std::vector<WeightEntry> entries, std::map<std::string, std::string> metadata) {
  Position position;
  for (size_t i = 0; i < entries.size(); ++i)
    if (!position.emplace(entries[i].name, i).second)
      throw FileError(fmt::format("{}: two tensors are called {}", path_, shown_text(entries[i].name)));
  set_contents(std::move(entries), std::move(position), std::move(metadata));
}

size_t WeightFile::index_of(std::string_view name) const {
  const auto it = position_.find(name);
  if (it == position_.end()) throw FileError(fmt::format("{}: has no tensor \"{}\"", path_, name));
  return it->second;
}

Tensor WeightFile::read(std::string_view name, Device& device) const {
  const size_t index = index_of(name);
  const WeightEntry& e = entries_[index];
  const std::optional<DType> dtype = dtype_of_safetensors(e.dtype);
  if (!dtype)
    throw FileError(fmt::format("{}: tensor \"{}\" is {}; only F32, BF16, F16, F64, I64, I32 and U8 can be read", path_,
                                name, e.dtype));
  if (e.shape.size() > Shape::kMaxRank)
    throw FileError(fmt::format("{}: tensor \"{}\" has {} dimensions; at most {} can be read", path_, name,
                                e.shape.size(), Shape::kMaxRank));
  Tensor t = Tensor::empty(Shape(std::span<const int64_t>(e.shape)), *dtype, device);
  std::vector<std::byte> buffer;
  const std::span<const std::byte> data = values(index, buffer);
  if (!data.empty()) device.copy_from_host(t.raw(), data.data(), data.size());
  return t;
}

WeightSelection::WeightSelection(std::unique_ptr<WeightFile> source, std::vector<Choice> choices,
                                 std::map<std::string, std::string> metadata)
    : WeightFile(source->path()), source_(std::move(source)), choices_(std::move(choices)) {
  std::vector<WeightEntry> entries;
  entries.reserve(choices_.size());
  for (const Choice& choice : choices_) {
    entries.push_back(source_->entries()[choice.index]);
    entries.back().name = choice.name;
  }
  set_contents(std::move(entries), std::move(metadata));
}

}  // namespace segrt
