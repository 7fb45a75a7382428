#include "core/safetensors.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <optional>
#include <utility>

#include "core/error.h"

namespace segrt {
namespace {
constexpr std::array<std::pair<std::string_view, DType>, 7> kDTypes{{{"F32", DType::f32},
                                                                     {"BF16", DType::bf16},
                                                                     {"F16", DType::f16},
                                                                     {"F64", DType::f64},
                                                                     {"I64", DType::i64},
                                                                     {"I32", DType::i32},
                                                                     {"U8", DType::u8}}};

std::optional<DType> dtype_named(std::string_view name) {
  for (const auto& [text, dtype] : kDTypes)
    if (text == name) return dtype;
  return std::nullopt;
}
}  // namespace

std::string_view safetensors_name(DType dtype) {
  for (const auto& [text, value] : kDTypes)
    if (value == dtype) return text;
  return "?";
}

SafetensorsFile::SafetensorsFile(const std::string& path)
    : path_(path), file_(path), header_(parse_safetensors(file_.bytes(), path)) {}

const SafetensorsEntry& SafetensorsFile::entry(std::string_view name) const {
  const auto it = header_.position.find(name);
  if (it == header_.position.end()) throw FileError(fmt::format("{}: has no tensor \"{}\"", path_, name));
  return header_.entries[it->second];
}

std::span<const std::byte> SafetensorsFile::bytes(std::string_view name) const {
  const SafetensorsEntry& e = entry(name);
  return file_.bytes().subspan(e.begin, e.end - e.begin);
}

Tensor SafetensorsFile::read(std::string_view name, Device& device) const {
  const SafetensorsEntry& e = entry(name);
  const std::optional<DType> dtype = dtype_named(e.dtype);
  if (!dtype)
    throw FileError(fmt::format("{}: tensor \"{}\" is {}; only F32, BF16, F16, F64, I64, I32 and U8 can be read", path_,
                                name, e.dtype));
  if (e.shape.size() > Shape::kMaxRank)
    throw FileError(fmt::format("{}: tensor \"{}\" has {} dimensions; at most {} can be read", path_, name,
                                e.shape.size(), Shape::kMaxRank));
  Tensor t = Tensor::empty(Shape(std::span<const int64_t>(e.shape)), *dtype, device);
  const std::span<const std::byte> data = bytes(name);
  if (!data.empty()) device.copy_from_host(t.raw(), data.data(), data.size());
  return t;
}

}  // namespace segrt
