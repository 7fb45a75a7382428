#include "tests/tools/segrt_op_vectors/case.h"

#include <fmt/format.h>

#include <algorithm>
#include <nlohmann/json.hpp>

namespace segrt::op_vectors {
namespace {
using nlohmann::json;

Attribute attribute_of(const json& value) {
  if (value.is_boolean()) return int64_t{value.get<bool>()};
  if (value.is_number_integer()) return value.get<int64_t>();
  if (value.is_number()) return value.get<double>();
  if (value.is_string()) return value.get<std::string>();
  if (!value.is_array()) return {};
  const auto all = [&](auto is) { return std::all_of(value.begin(), value.end(), is); };
  if (all([](const json& v) { return v.is_number_integer(); })) return value.get<std::vector<int64_t>>();
  if (all([](const json& v) { return v.is_number(); })) return value.get<std::vector<double>>();
  return {};
}

const json& field(const json& object, const char* name) {
  const auto found = object.find(name);
  if (found == object.end()) throw Malformed(fmt::format("the description has no \"{}\"", name));
  return *found;
}

template <typename T>
T field_as(const json& object, const char* name) {
  try {
    return field(object, name).get<T>();
  } catch (const json::exception&) {
    throw Malformed(fmt::format("\"{}\" has another type than the format says", name));
  }
}

double tolerance_of(const json& object, const char* name) {
  const double value = field_as<double>(object, name);
  if (!(value >= 0)) throw Malformed(fmt::format("\"{}\": expected a number >= 0, got {}", name, value));
  return value;
}
}  // namespace

Case::Case(const SafetensorsFile& file, const std::string& name, const std::string& description, Device& device)
    : file_(file), device_(device), name_(name) {
  const json object = json::parse(description, nullptr, false);
  if (!object.is_object()) throw Malformed("the description is not a JSON object");
  op_ = field_as<std::string>(object, "op");
  domain_ = object.contains("domain") ? field_as<std::string>(object, "domain") : "";
  opset_ = field_as<int64_t>(object, "opset");
  inputs_ = field_as<std::vector<std::string>>(object, "inputs");
  outputs_ = field_as<std::vector<std::string>>(object, "outputs");
  rtol_ = tolerance_of(object, "rtol");
  atol_ = tolerance_of(object, "atol");
  const json& attributes = field(object, "attrs");
  if (!attributes.is_object()) throw Malformed("\"attrs\" is not a JSON object");
  for (const auto& [key, value] : attributes.items()) attributes_.set(key, attribute_of(value));

  const auto require_tensor = [&](const std::string& key) {
    if (!file_.contains(key)) throw Malformed(fmt::format("tensor \"{}\" is missing", key));
  };
  for (size_t i = 0; i < inputs_.size(); ++i)
    if (has_input(i)) require_tensor(input_key(i));
  for (size_t i = 0; i < outputs_.size(); ++i)
    if (wants_output(i)) require_tensor(output_key(i));
  if (std::all_of(outputs_.begin(), outputs_.end(), [](const std::string& o) { return o.empty(); }))
    throw Malformed("no output to compare with");
}

std::string Case::input_key(size_t i) const { return fmt::format("{}/in{}", name_, i); }
std::string Case::output_key(size_t i) const { return fmt::format("{}/out{}", name_, i); }

Tensor Case::read(const std::string& key, const std::string& what) const {
  const SafetensorsEntry& entry = file_.entry(key);
  constexpr DType kTypes[] = {DType::f32, DType::bf16, DType::f16, DType::f64, DType::i64, DType::i32, DType::u8};
  if (std::none_of(std::begin(kTypes), std::end(kTypes), [&](DType t) { return safetensors_name(t) == entry.dtype; }))
    throw Unsupported(fmt::format("{} is {}, a type that the runtime does not have", what, entry.dtype));
  if (entry.shape.size() > Shape::kMaxRank)
    throw Unsupported(
        fmt::format("{} has {} dimensions, the runtime at most {}", what, entry.shape.size(), Shape::kMaxRank));
  return file_.read(key, device_);
}

Tensor Case::input(size_t i) const {
  if (!has_input(i)) throw Malformed(fmt::format("{} needs input {}", op_, i));
  return read(input_key(i), fmt::format("input {} ({})", i, inputs_[i]));
}

Tensor Case::float_input(size_t i) const {
  Tensor t = input(i);
  if (!is_float(t.dtype()))
    throw Unsupported(fmt::format("{} of {} (input {}): the runtime computes with floating-point numbers only", op_,
                                  to_string(t.dtype()), i));
  if (t.dtype() == DType::f64 && !device_.is_cpu())
    throw Unsupported(fmt::format("f64 (input {}): the runtime has it on the CPU only", i));
  return t;
}

std::vector<int64_t> Case::integer_input(size_t i) const {
  const Tensor t = input(i);
  if (t.dtype() == DType::i64) return t.to_vector<int64_t>();
  if (t.dtype() != DType::i32)
    throw Malformed(fmt::format("input {} ({}): expected integers, got {}", i, inputs_[i], describe(t)));
  const std::vector<int32_t> values = t.to_vector<int32_t>();
  return {values.begin(), values.end()};
}

bool Case::flag_input(size_t i) const {
  if (!has_input(i)) throw Malformed(fmt::format("{} needs input {}", op_, i));
  const std::string key = input_key(i);
  if (file_.entry(key).dtype != "BOOL" || file_.bytes(key).size() != 1)
    throw Malformed(fmt::format("input {} ({}): expected one BOOL", i, inputs_[i]));
  return file_.bytes(key)[0] != std::byte{0};
}

Tensor Case::expected(size_t i) const { return read(output_key(i), fmt::format("output {} ({})", i, outputs_[i])); }

}  // namespace segrt::op_vectors
