// A trained network as an ONNX file, for other runtimes: what the network computes in inference, batch norms folded
// into the convolutions, and nothing of what only training needs.
#pragma once

#include <string>
#include <vector>

#include "models/model.h"

namespace segrt::models {

struct OnnxOptions {
  int batch = 1, height = 0, width = 0;  // of the image; the exported graph is for this size
  bool free_batch = false;               // any number of images; `batch` is what is traced
  // Segmentation: logits, log_probabilities [N,classes,H,W], or labels [N,H,W] (int64). Classification: logits
  // [N,classes].
  enum class Output : uint8_t { logits, log_probabilities, labels };
  Output output = Output::logits;
  std::vector<std::pair<std::string, std::string>> metadata = {};  // stored in the file beside the model's own
};

// Runs the model (f32, on a CPU) once and writes what it did to `path`; the file's input is "image" [N,3,H,W],
// normalised as the network wants it: mean, std and the order of channels are in the metadata. Every cell of a dynamic
// routing network is computed there, with the gates as factors. Throws ArgumentError that names the operators without a
// translation, if there are any; FileError. Nothing is written then, and a file that was there stays.
void export_onnx(Model& model, const OnnxOptions& options, const std::string& path);

}  // namespace segrt::models
