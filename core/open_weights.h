// Weight files of every format that is read, told apart by their content, never by their name.
#pragma once

#include <memory>
#include <string>

#include "core/weight_file.h"

namespace segrt {

enum class WeightFormat { safetensors, torch_zip, torch_stream };

// What the file's first bytes say. Throws FileError for a file that is none of these.
WeightFormat weight_format(const std::string& path);
inline bool is_torch(WeightFormat format) { return format != WeightFormat::safetensors; }

// Everything that the file holds, under the names that it has there; PyTorch files: core/torch_checkpoint.h.
std::unique_ptr<WeightFile> open_weight_file(const std::string& path, bool with_scalars = false);

// Where a file keeps a model's weights: the path of the dict that holds them ("state_dict", "model"; "" for the top),
// and what every name in it begins with though no model has it ("module.", from data-parallel training).
struct WeightNames {
  std::string root, prefix;
};
WeightNames weight_names(const WeightFile& file);

// The model's weights alone, under the model's own names: root and prefix are taken off. Throws FileError.
std::unique_ptr<WeightFile> open_weights(const std::string& path);

}  // namespace segrt
