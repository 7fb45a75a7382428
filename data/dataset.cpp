#include "data/dataset.h"

#include <fmt/format.h>

#include "core/error.h"

namespace segrt::data {

std::vector<std::filesystem::path> Dataset::files(int64_t) const { return {}; }

void Dataset::require_sample(int64_t index) const {
  if (index < 0 || index >= size()) throw ArgumentError(fmt::format("{}: sample {} of {}", name(), index, size()));
}

int64_t Dataset::class_of(int64_t index) const {
  throw ArgumentError(fmt::format("{}: sample {} has no class of its own", name(), index));
}

PredictionFile Dataset::prediction_file(const std::string& sample, const Image& prediction) const {
  return {.path = std::filesystem::path(sample).relative_path().replace_extension(".png"), .values = prediction};
}

void require_size_of_image(const std::filesystem::path& label_file, const Image& label,
                           const std::filesystem::path& image_file, const Image& image) {
  if (label.height != image.height || label.width != image.width)
    throw FileError(fmt::format("{}: label map is {}x{}, but {} is {}x{} (width x height)", label_file.string(),
                                label.width, label.height, image_file.string(), image.width, image.height));
}

void report_missing(std::vector<std::string>* problems, const std::string& what) {
  if (problems == nullptr) throw FileError(what);
  problems->push_back(what);
}

}  // namespace segrt::data
