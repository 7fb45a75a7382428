#include "tests/tools/segrt_op_vectors/attributes.h"

#include <fmt/format.h>

namespace segrt::op_vectors {
namespace {
[[noreturn]] void wrong_kind(const std::string& name, const char* wanted) {
  throw Malformed(fmt::format("attribute {}: expected {}", name, wanted));
}
}  // namespace

const Attribute* Attributes::find(const std::string& name) const {
  const auto found = values_.find(name);
  return found == values_.end() ? nullptr : &found->second;
}

int64_t Attributes::integer(const std::string& name, int64_t fallback) const {
  const Attribute* value = find(name);
  if (!value) return fallback;
  if (const auto* i = std::get_if<int64_t>(value)) return *i;
  wrong_kind(name, "an integer");
}

double Attributes::number(const std::string& name, double fallback) const {
  const Attribute* value = find(name);
  if (!value) return fallback;
  if (const auto* d = std::get_if<double>(value)) return *d;
  if (const auto* i = std::get_if<int64_t>(value)) return static_cast<double>(*i);
  wrong_kind(name, "a number");
}

std::string Attributes::text(const std::string& name, const std::string& fallback) const {
  const Attribute* value = find(name);
  if (!value) return fallback;
  if (const auto* s = std::get_if<std::string>(value)) return *s;
  wrong_kind(name, "a text");
}

std::vector<int64_t> Attributes::integers(const std::string& name, const std::vector<int64_t>& fallback) const {
  const Attribute* value = find(name);
  if (!value) return fallback;
  if (const auto* list = std::get_if<std::vector<int64_t>>(value)) return *list;
  wrong_kind(name, "a list of integers");
}

std::vector<double> Attributes::numbers(const std::string& name) const {
  const Attribute* value = find(name);
  if (!value) return {};
  if (const auto* list = std::get_if<std::vector<double>>(value)) return *list;
  if (const auto* list = std::get_if<std::vector<int64_t>>(value)) return {list->begin(), list->end()};
  wrong_kind(name, "a list of numbers");
}

}  // namespace segrt::op_vectors
