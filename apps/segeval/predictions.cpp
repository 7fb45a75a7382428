#include "apps/segeval/predictions.h"

#include <filesystem>

#include "data/png.h"

namespace segrt::apps {

PredictionWriter::PredictionWriter(const std::string& path) : path_(path) {
  if (!path_.ends_with(".zip")) return;
  archive_ = std::make_unique<AtomicFile>(path_);
  zip_ = std::make_unique<ZipWriter>(*archive_);
}

void PredictionWriter::add(const data::PredictionFile& file) {
  if (path_.empty()) return;
  if (!zip_) {
    data::write_png(std::filesystem::path(path_) / file.path, file.values, file.palette);
    return;
  }
  const std::vector<uint8_t> png = data::encode_png(file.path, file.values, file.palette);
  zip_->add(file.path.generic_string(), std::as_bytes(std::span(png)));
}

void PredictionWriter::finish() {
  if (!zip_) return;
  zip_->finish();
  archive_->commit();
}

}  // namespace segrt::apps
