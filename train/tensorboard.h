// Writes TensorBoard event files: TFRecord frames (length, masked CRC-32C, protobuf Event) with scalar summaries.
// Formats: tensorflow.org/tutorials/load_data/tfrecord, tensorflow/core/util/event.proto.
#pragma once

#include <cstdint>
#include <filesystem>
#include <fstream>
#include <string_view>

namespace segrt::train {

class TensorboardWriter {
 public:
  // Creates events.out.tfevents.<seconds>.<host> in `directory`. Throws FileError.
  explicit TensorboardWriter(const std::filesystem::path& directory);
  void scalar(std::string_view tag, int64_t step, double value);
  void flush();

 private:
  void record(std::string_view event);

  std::filesystem::path path_;
  std::ofstream out_;
};

// CRC-32C (Castagnoli), as in RFC 3720.
uint32_t crc32c(std::string_view bytes);

}  // namespace segrt::train
