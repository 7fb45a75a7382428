#include "apps/segmodel/convert.h"

#include <fmt/format.h>

#include <algorithm>
#include <cctype>
#include <filesystem>
#include <map>
#include <memory>
#include <utility>
#include <vector>

#include "core/error.h"
#include "core/open_weights.h"
#include "core/safetensors.h"
#include "core/torch_checkpoint.h"
#include "train/checkpoint.h"

namespace segrt::apps {
namespace {
namespace fs = std::filesystem;

struct Arguments {
  std::string in, out;
  bool all = false;
};

bool writes_torch(const std::string& out) {
  std::string name = fs::path(out).filename().string();
  std::transform(name.begin(), name.end(), name.begin(), [](unsigned char c) { return std::tolower(c); });
  for (const char* ending : {".pth", ".pt", ".pth.tar"})
    if (name.ends_with(ending)) return true;
  if (name.ends_with(".safetensors")) return false;
  throw ArgumentError(out + ": expected a name that ends in .safetensors, .pth, .pt or .pth.tar");
}

const char* described(WeightFormat format) {
  switch (format) {
    case WeightFormat::safetensors: return "safetensors";
    case WeightFormat::torch_zip: return "PyTorch zip";
    case WeightFormat::torch_stream: return "PyTorch before 1.6";
  }
  return "";
}

// The weights without what a training of segrt keeps beside them. What a user of the weights needs to know of the
// training stays: the configuration and the dataset's classes.
std::unique_ptr<WeightFile> weights_alone(const std::string& path) {
  std::unique_ptr<WeightFile> file = open_weights(path);
  std::vector<WeightSelection::Choice> choices;
  for (size_t i = 0; i < file->entries().size(); ++i)
    if (!file->entries()[i].name.starts_with(train::kTrainPrefix)) choices.push_back({i, file->entries()[i].name});
  std::map<std::string, std::string> metadata;
  for (const char* key : {"config", "dataset"})
    if (const auto found = file->metadata().find(key); found != file->metadata().end()) metadata.insert(*found);
  return std::make_unique<WeightSelection>(std::move(file), std::move(choices), std::move(metadata));
}

int convert(const Arguments& a) {
  const bool to_torch = writes_torch(a.out);
  const WeightFormat format = weight_format(a.in);
  std::error_code none;  // OUT need not exist
  if (fs::equivalent(a.in, a.out, none)) throw ArgumentError(a.out + ": is the file to convert; name another one");
  const std::unique_ptr<WeightFile> whole = open_weight_file(a.in, a.all);
  const WeightNames names = weight_names(*whole);
  std::unique_ptr<WeightFile> alone;
  if (!a.all) alone = weights_alone(a.in);
  const WeightFile& chosen = a.all ? *whole : *alone;
  if (chosen.entries().empty()) throw FileError(a.in + ": holds no tensors");
  std::map<std::string, std::string> metadata = chosen.metadata();
  if (a.all && is_torch(format)) {
    metadata["weights_root"] = names.root;
    metadata["key_prefix"] = names.prefix;
  }
  if (to_torch)
    write_torch_checkpoint(a.out, chosen);
  else
    write_safetensors(a.out, chosen, metadata);
  fmt::print("{} ({}) -> {}: {} of {} tensors{}{}\n", a.in, described(format), a.out, chosen.entries().size(),
             whole->entries().size(), names.root.empty() || a.all ? "" : ", from \"" + names.root + "\"",
             names.prefix.empty() || a.all ? "" : ", without \"" + names.prefix + "\"");
  return 0;
}
}  // namespace

std::function<int()> add_convert(CLI::App& app) {
  const auto a = std::make_shared<Arguments>();
  CLI::App& command = *app.add_subcommand(
      "convert", "the weights of a checkpoint (segrt's, safetensors, PyTorch's of any age) in another format");
  command.add_option("in", a->in, "weight file; its format is told by its content")->required();
  command.add_option("out", a->out, "*.safetensors, or *.pth, *.pt or *.pth.tar for PyTorch")->required();
  command.add_flag("--all", a->all,
                   "every tensor under its path in the file (state_dict/module.conv1.weight), not the weights alone; "
                   "numbers and texts go to the metadata \"scalars\" of a safetensors file");
  return [a] { return convert(*a); };
}

}  // namespace segrt::apps
