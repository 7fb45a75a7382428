#include "data/dataset.h"

namespace segrt::data {

PredictionFile Dataset::prediction_file(const std::string& sample, const Image& prediction) const {
  return {.path = std::filesystem::path(sample).relative_path().replace_extension(".png"), .values = prediction};
}

}  // namespace segrt::data
