#include "core/open_weights.h"

#include <fmt/format.h>

#include <array>
#include <cstdint>
#include <cstring>
#include <string_view>
#include <utility>

#include "core/error.h"
#include "core/mapped_file.h"
#include "core/safetensors.h"
#include "core/torch_checkpoint.h"

namespace segrt {
namespace {
// What training programs call the entry that holds the weights, in order of preference.
constexpr std::array<std::string_view, 5> kRoots{"state_dict", "model_state_dict", "model", "network", "net"};
constexpr std::array<std::string_view, 2> kPrefixes{"module.", "_orig_mod."};  // DataParallel, torch.compile

// The part of a name behind "root/"; nothing where it lies elsewhere or deeper.
bool lies_in(std::string_view root, std::string_view name) {
  if (!root.empty()) {
    if (!name.starts_with(root) || name.size() <= root.size() || name[root.size()] != '/') return false;
    name.remove_prefix(root.size() + 1);
  }
  return name.find('/') == std::string_view::npos;
}
}  // namespace

WeightFormat weight_format(const std::string& path) {
  const MappedFile file(path);
  const std::string_view text = file.text();
  if (text.empty()) throw FileError(path + ": is empty");
  // A header's length, then its JSON. First, because a length may begin like a pickle.
  if (text.size() > 8 && text[8] == '{') return WeightFormat::safetensors;
  if (text.starts_with("PK")) return WeightFormat::torch_zip;
  if (text.front() == '\x80') return WeightFormat::torch_stream;  // PROTO, the first opcode of a pickle
  throw FileError(fmt::format("{}: is no weight file: neither safetensors nor PyTorch's; it begins with {}", path,
                              shown_text(text.substr(0, 32))));
}

std::unique_ptr<WeightFile> open_weight_file(const std::string& path, bool with_scalars) {
  if (is_torch(weight_format(path))) return std::make_unique<TorchCheckpoint>(path, with_scalars);
  return std::make_unique<SafetensorsFile>(path);
}

WeightNames weight_names(const WeightFile& file) {
  WeightNames names;
  for (const std::string_view root : kRoots) {
    for (const WeightEntry& e : file.entries())
      if (lies_in(root, e.name)) {
        names.root = root;
        break;
      }
    if (!names.root.empty()) break;
  }
  const size_t skipped = names.root.empty() ? 0 : names.root.size() + 1;
  for (bool grown = true; grown;) {
    grown = false;
    for (const std::string_view prefix : kPrefixes) {
      size_t with = 0, all = 0;
      for (const WeightEntry& e : file.entries()) {
        if (!lies_in(names.root, e.name)) continue;
        ++all;
        const std::string_view rest = std::string_view(e.name).substr(skipped);
        if (rest.starts_with(names.prefix) && rest.substr(names.prefix.size()).starts_with(prefix)) ++with;
      }
      if (all == 0 || with != all) continue;
      names.prefix += prefix;
      grown = true;
    }
  }
  return names;
}

std::unique_ptr<WeightFile> open_weights(const std::string& path) {
  std::unique_ptr<WeightFile> file = open_weight_file(path);
  const WeightNames names = weight_names(*file);
  if (names.root.empty() && names.prefix.empty()) return file;
  std::vector<WeightSelection::Choice> choices;
  for (size_t i = 0; i < file->entries().size(); ++i) {
    std::string_view name = file->entries()[i].name;
    if (!names.root.empty() && !(name.starts_with(names.root) && name.substr(names.root.size()).starts_with('/')))
      continue;
    if (!names.root.empty()) name.remove_prefix(names.root.size() + 1);
    if (name.starts_with(names.prefix)) name.remove_prefix(names.prefix.size());
    choices.push_back({i, std::string(name)});
  }
  std::map<std::string, std::string> metadata = file->metadata();
  return std::make_unique<WeightSelection>(std::move(file), std::move(choices), std::move(metadata));
}

}  // namespace segrt
