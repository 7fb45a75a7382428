// What the readers of weight files have in common: a table of named tensors, and their values on demand.
// core/open_weights.h opens a file of any known format.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "core/tensor.h"

namespace segrt {

struct WeightEntry {
  std::string name;
  std::string dtype;           // in safetensors' terms: "F32", "BF16", "BOOL", ...
  std::vector<int64_t> shape;  // outermost first; [] is a scalar
  size_t begin = 0, end = 0;   // byte range in the file, where the format keeps a tensor's bytes in one piece; else 0
};

class WeightFile {
 public:
  using Position = std::map<std::string, size_t, std::less<>>;  // name -> index in entries

  WeightFile(WeightFile&&) = default;
  WeightFile& operator=(WeightFile&&) = default;
  virtual ~WeightFile() = default;

  const std::string& path() const { return path_; }
  const std::map<std::string, std::string>& metadata() const { return metadata_; }
  const std::vector<WeightEntry>& entries() const { return entries_; }
  bool contains(std::string_view name) const { return position_.contains(name); }
  const WeightEntry& entry(std::string_view name) const { return entries_[index_of(name)]; }  // FileError if none

  // The values of entries()[index], little-endian, in C order: inside the file where they lie there so, else written to
  // `buffer`. Valid while this object and the buffer live; of no particular alignment.
  virtual std::span<const std::byte> values(size_t index, std::vector<std::byte>& buffer) const = 0;
  // A copy on the device. Throws FileError where the runtime has no such dtype (BOOL, I8, F8_E4M3, ...) or rank.
  Tensor read(std::string_view name, Device& device) const;

 protected:
  explicit WeightFile(std::string path) : path_(std::move(path)) {}
  void set_contents(std::vector<WeightEntry> entries, Position position, std::map<std::string, std::string> metadata);
  // The same, with the positions made here. Throws FileError for a name that is there twice.
  void set_contents(std::vector<WeightEntry> entries, std::map<std::string, std::string> metadata);
  size_t index_of(std::string_view name) const;

 private:
  std::string path_;
  std::map<std::string, std::string> metadata_;
  std::vector<WeightEntry> entries_;
  Position position_;
};

// Some tensors of a file, under other names.
class WeightSelection final : public WeightFile {
 public:
  struct Choice {
    size_t index;  // in the source's entries
    std::string name;
  };
  // Throws FileError where two tensors get one name.
  WeightSelection(std::unique_ptr<WeightFile> source, std::vector<Choice> choices,
                  std::map<std::string, std::string> metadata);
  std::span<const std::byte> values(size_t index, std::vector<std::byte>& buffer) const override {
    return source_->values(choices_[index].index, buffer);
  }

 private:
  std::unique_ptr<WeightFile> source_;
  std::vector<Choice> choices_;
};

// A text from a file as a message can show it: quoted, without control characters, at most 120 bytes of it.
std::string shown_text(std::string_view text);

}  // namespace segrt
