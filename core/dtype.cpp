#include "core/dtype.h"

#include <array>
#include <ostream>
#include <string>
#include <utility>

#include "core/error.h"

namespace segrt {
namespace {
constexpr std::array<std::pair<DType, std::string_view>, 7> kNames{{{DType::f32, "f32"},
                                                                    {DType::bf16, "bf16"},
                                                                    {DType::f16, "f16"},
                                                                    {DType::f64, "f64"},
                                                                    {DType::i64, "i64"},
                                                                    {DType::i32, "i32"},
                                                                    {DType::u8, "u8"}}};
}

std::string_view to_string(DType dtype) {
  for (const auto& [value, name] : kNames)
    if (value == dtype) return name;
  return "?";
}

DType parse_dtype(std::string_view name) {
  std::string known;
  for (const auto& [value, text] : kNames) {
    if (text == name) return value;
    known += (known.empty() ? "" : ", ") + std::string(text);
  }
  throw ArgumentError("dtype: expected one of " + known + ", got \"" + std::string(name) + "\"");
}

std::ostream& operator<<(std::ostream& out, DType dtype) { return out << to_string(dtype); }

}  // namespace segrt
