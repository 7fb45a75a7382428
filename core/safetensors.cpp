#include "core/safetensors.h"

#include <array>
#include <utility>

namespace segrt {
namespace {
constexpr std::array<std::pair<std::string_view, DType>, 7> kDTypes{{{"F32", DType::f32},
                                                                     {"BF16", DType::bf16},
                                                                     {"F16", DType::f16},
                                                                     {"F64", DType::f64},
                                                                     {"I64", DType::i64},
                                                                     {"I32", DType::i32},
                                                                     {"U8", DType::u8}}};
}  // namespace

std::optional<DType> dtype_of_safetensors(std::string_view name) {
  for (const auto& [text, dtype] : kDTypes)
    if (text == name) return dtype;
  return std::nullopt;
}

std::string_view safetensors_name(DType dtype) {
  for (const auto& [text, value] : kDTypes)
    if (value == dtype) return text;
  return "?";
}

SafetensorsFile::SafetensorsFile(const std::string& path) : WeightFile(path), file_(path) {
  SafetensorsHeader header = parse_safetensors(file_.bytes(), path);
  set_contents(std::move(header.entries), std::move(header.position), std::move(header.metadata));
}

std::span<const std::byte> SafetensorsFile::bytes(std::string_view name) const {
  const SafetensorsEntry& e = entry(name);
  return file_.bytes().subspan(e.begin, e.end - e.begin);
}

std::span<const std::byte> SafetensorsFile::values(size_t index, std::vector<std::byte>& /*buffer*/) const {
  const SafetensorsEntry& e = entries()[index];
  return file_.bytes().subspan(e.begin, e.end - e.begin);
}

}  // namespace segrt
