#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <bit>
#include <cstring>
#include <limits>
#include <nlohmann/json.hpp>
#include <numeric>

#include "core/error.h"
#include "core/safetensors.h"

namespace segrt {
namespace {
using nlohmann::json;

constexpr uint64_t kMaxHeaderBytes = 100'000'000;  // the format's own limit
constexpr size_t kMaxRank = 64;
constexpr std::string_view kMetadata = "__metadata__";

struct ElementSize {
  std::string_view dtype;
  uint64_t bits;
};
constexpr ElementSize kElementSizes[] = {
    {"BOOL", 8},    {"U8", 8},      {"I8", 8},   {"F8_E5M2", 8}, {"F8_E4M3", 8}, {"F8_E8M0", 8}, {"F4", 4},
    {"F6_E2M3", 6}, {"F6_E3M2", 6}, {"I16", 16}, {"U16", 16},    {"F16", 16},    {"BF16", 16},   {"I32", 32},
    {"U32", 32},    {"F32", 32},    {"C64", 64}, {"F64", 64},    {"I64", 64},    {"U64", 64},
};

// Takes the header's JSON piece by piece (nlohmann-json's SAX interface) and admits only what the format has: nothing
// is built that the format does not need, and repeated keys, which a JSON document would swallow, are seen.
class HeaderReader {
 public:
  HeaderReader(std::string path, size_t data_begin, SafetensorsHeader& header)
      : path_(std::move(path)), data_begin_(data_begin), header_(header) {}

  bool null() { unexpected("null"); }
  bool boolean(bool) { unexpected("true or false"); }
  bool binary(json::binary_t&) { unexpected("binary data"); }
  bool number_integer(int64_t value) { unexpected(fmt::format("{}", value)); }  // called for negative numbers only
  bool number_float(double, const std::string& text) { unexpected(text.substr(0, 40)); }
  bool number_unsigned(uint64_t value);
  bool string(std::string& value);
  bool key(std::string& name);
  bool start_object(size_t);
  bool end_object();
  bool start_array(size_t);
  bool end_array();
  bool parse_error(size_t, const std::string&, const nlohmann::detail::exception& e) {
    std::string what = e.what();
    what.erase(0, what.find("] ") == std::string::npos ? 0 : what.find("] ") + 2);
    throw FileError(fmt::format("{}: the header is not JSON: {}", path_, what.substr(0, 200)));
  }

 private:
  // What the next value may be.
  enum class Expected {
    header,
    tensor_or_metadata,
    metadata,
    metadata_value,
    tensor,
    field,
    dtype,
    shape,
    extent,
    offsets,
    offset,
    nothing
  };
  enum Field : unsigned { kDtype = 1, kShape = 2, kOffsets = 4 };

  [[noreturn]] void fail(const std::string& what) const {
    throw FileError(fmt::format("{}: {}{}", path_, where_.empty() ? "header: " : where_, what));
  }
  [[noreturn]] void unexpected(std::string_view got) const;
  void begin_field(const std::string& name);

  std::string path_, where_;  // where_: "tensor "a.weight": "
  size_t data_begin_;
  SafetensorsHeader& header_;
  Expected expected_ = Expected::header;
  bool has_metadata_ = false;
  unsigned fields_ = 0;  // of the current tensor
  std::string metadata_key_;
  std::array<uint64_t, 2> offsets_{};
  size_t offset_count_ = 0;
};

void HeaderReader::unexpected(std::string_view got) const {
  std::string_view wanted = "nothing more";
  switch (expected_) {
    case Expected::header:
    case Expected::tensor_or_metadata: wanted = "an object"; break;
    case Expected::metadata: wanted = "an object of texts"; break;
    case Expected::metadata_value: wanted = "a text"; break;
    case Expected::tensor: wanted = "an object with dtype, shape and data_offsets"; break;
    case Expected::field: wanted = "a field name"; break;
    case Expected::dtype: wanted = "a dtype name"; break;
    case Expected::shape: wanted = "a list of extents"; break;
    case Expected::extent: wanted = "an extent >= 0"; break;
    case Expected::offsets: wanted = "a list of 2 offsets"; break;
    case Expected::offset: wanted = "an offset >= 0"; break;
    case Expected::nothing: break;
  }
  fail(fmt::format("expected {}, got {}", wanted, got));
}

bool HeaderReader::number_unsigned(uint64_t value) {
  if (expected_ == Expected::extent) {
    std::vector<int64_t>& shape = header_.entries.back().shape;
    if (value > static_cast<uint64_t>(std::numeric_limits<int64_t>::max()))
      fail(fmt::format("extent {} is too large", value));
    if (shape.size() == kMaxRank) fail(fmt::format("more than {} dimensions", kMaxRank));
    shape.push_back(static_cast<int64_t>(value));
  } else if (expected_ == Expected::offset) {
    if (offset_count_ == offsets_.size()) fail("data_offsets has more than 2 numbers");
    offsets_[offset_count_++] = value;
  } else {
    unexpected(fmt::format("{}", value));
  }
  return true;
}

bool HeaderReader::string(std::string& value) {
  if (expected_ == Expected::metadata_value) {
    header_.metadata[metadata_key_] = std::move(value);
  } else if (expected_ == Expected::dtype) {
    header_.entries.back().dtype = value.substr(0, 32);
    expected_ = Expected::field;
  } else {
    unexpected(shown_text(value));
  }
  return true;
}

bool HeaderReader::key(std::string& name) {
  if (expected_ == Expected::metadata_value) {
    if (!header_.metadata.emplace(name, "").second) fail(fmt::format("{} is there twice", shown_text(name)));
    metadata_key_ = name;
  } else if (expected_ == Expected::field) {
    begin_field(name);
  } else if (name == kMetadata) {
    where_ = "__metadata__: ";
    if (has_metadata_) fail("is there twice");
    has_metadata_ = true;
    expected_ = Expected::metadata;
  } else {
    where_ = fmt::format("tensor {}: ", shown_text(name));
    if (!header_.position.emplace(name, header_.entries.size()).second) fail("is there twice");
    header_.entries.push_back({.name = name, .dtype = {}, .shape = {}});
    fields_ = 0;
    expected_ = Expected::tensor;
  }
  return true;
}

void HeaderReader::begin_field(const std::string& name) {
  Field field = kDtype;
  if (name == "dtype") {
    expected_ = Expected::dtype;
  } else if (name == "shape") {
    field = kShape;
    expected_ = Expected::shape;
  } else if (name == "data_offsets") {
    field = kOffsets;
    expected_ = Expected::offsets;
  } else {
    fail(fmt::format("unknown field {}", shown_text(name)));
  }
  if (fields_ & field) fail(fmt::format("field {} is there twice", name));
  fields_ |= field;
}

bool HeaderReader::start_object(size_t) {
  if (expected_ == Expected::header)
    expected_ = Expected::tensor_or_metadata;
  else if (expected_ == Expected::metadata)
    expected_ = Expected::metadata_value;
  else if (expected_ == Expected::tensor)
    expected_ = Expected::field;
  else
    unexpected("an object");
  return true;
}

bool HeaderReader::end_object() {
  if (expected_ == Expected::field) {
    if (!(fields_ & kDtype)) fail("field dtype is missing");
    if (!(fields_ & kShape)) fail("field shape is missing");
    if (!(fields_ & kOffsets)) fail("field data_offsets is missing");
  }
  // The end of a tensor or of the metadata leads back to the header's own level, its end to nothing.
  expected_ = expected_ == Expected::tensor_or_metadata ? Expected::nothing : Expected::tensor_or_metadata;
  where_.clear();
  return true;
}

bool HeaderReader::start_array(size_t) {
  if (expected_ == Expected::shape) {
    expected_ = Expected::extent;
  } else if (expected_ == Expected::offsets) {
    expected_ = Expected::offset;
    offset_count_ = 0;
  } else {
    unexpected("a list");
  }
  return true;
}

bool HeaderReader::end_array() {
  if (expected_ == Expected::offset) {
    if (offset_count_ != offsets_.size()) fail(fmt::format("data_offsets has {} numbers, not 2", offset_count_));
    SafetensorsEntry& entry = header_.entries.back();
    const uint64_t limit = std::numeric_limits<size_t>::max() - data_begin_;
    if (offsets_[0] > offsets_[1] || offsets_[1] > limit)
      fail(fmt::format("data_offsets [{}, {}] is no range", offsets_[0], offsets_[1]));
    entry.begin = data_begin_ + offsets_[0];
    entry.end = data_begin_ + offsets_[1];
  }
  expected_ = Expected::field;
  return true;
}

std::string list_text(const std::vector<int64_t>& shape) {
  std::string text = "[";
  for (const int64_t extent : shape) text += (text.size() > 1 ? "," : "") + std::to_string(extent);
  return text + "]";
}

// Bytes of dtype and shape, compared with the range that the header gives.
void check_size(const SafetensorsEntry& entry, const std::string& where) {
  const uint64_t bits = safetensors_bits(entry, where);
  if (bits % 8 != 0 || bits / 8 != entry.end - entry.begin)
    throw FileError(fmt::format("{}{} {} takes {} bytes, data_offsets give {}", where, entry.dtype,
                                list_text(entry.shape), static_cast<double>(bits) / 8, entry.end - entry.begin));
}

// Every byte after the header belongs to exactly one tensor.
void check_layout(const SafetensorsHeader& header, size_t data_begin, size_t file_size, const std::string& path) {
  const std::vector<SafetensorsEntry>& entries = header.entries;
  for (const SafetensorsEntry& entry : entries) {
    const std::string where = fmt::format("{}: tensor {}: ", path, shown_text(entry.name));
    if (entry.end > file_size)
      throw FileError(fmt::format("{}data_offsets [{}, {}] leave the file, which has {} bytes of data", where,
                                  entry.begin - data_begin, entry.end - data_begin, file_size - data_begin));
    check_size(entry, where);
  }
  std::vector<size_t> order(entries.size());
  std::iota(order.begin(), order.end(), size_t{0});
  std::sort(order.begin(), order.end(), [&](size_t a, size_t b) {
    return std::pair(entries[a].begin, entries[a].end) < std::pair(entries[b].begin, entries[b].end);
  });
  size_t end = data_begin;
  for (size_t i = 0; i < order.size(); ++i) {
    const SafetensorsEntry& entry = entries[order[i]];
    if (entry.begin < end)
      throw FileError(fmt::format("{}: tensor {} overlaps tensor {}", path, shown_text(entry.name),
                                  shown_text(entries[order[i - 1]].name)));
    if (entry.begin > end)
      throw FileError(fmt::format("{}: {} bytes before tensor {} belong to no tensor", path, entry.begin - end,
                                  shown_text(entry.name)));
    end = entry.end;
  }
  if (end != file_size)
    throw FileError(fmt::format("{}: the last {} bytes belong to no tensor", path, file_size - end));
}
}  // namespace

uint64_t safetensors_bits(const WeightEntry& entry, const std::string& where) {
  const auto* size = std::find_if(std::begin(kElementSizes), std::end(kElementSizes),
                                  [&](const ElementSize& e) { return e.dtype == entry.dtype; });
  if (size == std::end(kElementSizes))
    throw FileError(fmt::format("{}unknown dtype {}", where, shown_text(entry.dtype)));
  uint64_t bits = size->bits;
  for (const int64_t extent : entry.shape)
    if (__builtin_mul_overflow(bits, static_cast<uint64_t>(extent), &bits))
      throw FileError(fmt::format("{}{} {} overflows", where, entry.dtype, list_text(entry.shape)));
  return bits;
}

SafetensorsHeader parse_safetensors(std::span<const std::byte> file, const std::string& path) {
  static_assert(std::endian::native == std::endian::little, "safetensors files are little-endian, and read in place");
  uint64_t header_bytes = 0;
  if (file.size() < sizeof header_bytes)
    throw FileError(fmt::format("{}: {} bytes are too few for a safetensors file", path, file.size()));
  std::memcpy(&header_bytes, file.data(), sizeof header_bytes);
  if (header_bytes > kMaxHeaderBytes)
    throw FileError(fmt::format("{}: not a safetensors file: its header would have {} bytes, the limit is {}", path,
                                header_bytes, kMaxHeaderBytes));
  if (header_bytes > file.size() - sizeof header_bytes)
    throw FileError(fmt::format("{}: the header has {} bytes, the file after its length {}", path, header_bytes,
                                file.size() - sizeof header_bytes));
  const std::string_view text(reinterpret_cast<const char*>(file.data()) + sizeof header_bytes, header_bytes);
  if (!text.starts_with('{')) throw FileError(path + ": the header does not start with '{'");
  // The parser takes a zero byte for the end of its input and would not see what follows.
  if (text.find('\0') != std::string_view::npos) throw FileError(path + ": the header is not JSON: it has a zero byte");

  SafetensorsHeader header;
  const size_t data_begin = sizeof header_bytes + static_cast<size_t>(header_bytes);
  HeaderReader reader(path, data_begin, header);
  json::sax_parse(text.begin(), text.end(), &reader);
  check_layout(header, data_begin, file.size(), path);
  return header;
}

}  // namespace segrt
