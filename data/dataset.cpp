#include "data/dataset.h"

#include <fmt/format.h>

#include "core/error.h"

namespace segrt::data {

int64_t Dataset::class_of(int64_t index) const {
  throw ArgumentError(fmt::format("{}: sample {} has no class of its own", name(), index));
}

PredictionFile Dataset::prediction_file(const std::string& sample, const Image& prediction) const {
  return {.path = std::filesystem::path(sample).relative_path().replace_extension(".png"), .values = prediction};
}

}  // namespace segrt::data
