// The attributes of an operator, from the JSON object that a case carries.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <variant>
#include <vector>

#include "core/error.h"

namespace segrt::op_vectors {

// What the runtime does not compute; what() is the reason.
class Unsupported : public Error {
 public:
  using Error::Error;
};

// A case that contradicts the format or itself.
class Malformed : public Error {
 public:
  using Error::Error;
};

// A value; monostate stands for kinds that no supported operator has (tensors, graphs, lists of texts).
using Attribute = std::variant<std::monostate, int64_t, double, std::string, std::vector<int64_t>, std::vector<double>>;

// Each getter returns the fallback where the attribute is absent and throws Malformed where its kind is another.
class Attributes {
 public:
  void set(const std::string& name, Attribute value) { values_[name] = std::move(value); }

  bool has(const std::string& name) const { return values_.contains(name); }
  int64_t integer(const std::string& name, int64_t fallback) const;
  double number(const std::string& name, double fallback) const;
  std::string text(const std::string& name, const std::string& fallback) const;
  std::vector<int64_t> integers(const std::string& name, const std::vector<int64_t>& fallback = {}) const;
  std::vector<double> numbers(const std::string& name) const;

 private:
  const Attribute* find(const std::string& name) const;

  std::map<std::string, Attribute> values_;
};

}  // namespace segrt::op_vectors
