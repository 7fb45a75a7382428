// Where segeval puts predictions.
#pragma once

#include <memory>
#include <string>

#include "core/atomic_file.h"
#include "core/zip_writer.h"
#include "data/dataset.h"

namespace segrt::apps {

// A folder of PNGs or, where the name ends in ".zip", an archive of them, which appears when it is complete.
class PredictionWriter {
 public:
  explicit PredictionWriter(const std::string& path);  // "": predictions are not kept

  void add(const data::PredictionFile& file);
  void finish();

 private:
  std::string path_;
  std::unique_ptr<AtomicFile> archive_;
  std::unique_ptr<ZipWriter> zip_;
};

}  // namespace segrt::apps
