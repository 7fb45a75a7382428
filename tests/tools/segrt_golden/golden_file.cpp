#include "tests/tools/segrt_golden/golden_file.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include "core/error.h"
#include "tests/support/tensors.h"

namespace segrt::golden {

Fields::Fields(Json object, std::string where) : object_(std::move(object)), where_(std::move(where)) {
  if (!object_.is_object()) throw FileError(where_ + ": expected a JSON object, got " + object_.dump());
}

const Json& Fields::raw(const std::string& key) {
  if (!object_.contains(key)) throw FileError(where_ + ": " + key + " is missing");
  used_.insert(key);
  return object_.at(key);
}

std::vector<std::string> Fields::keys() const {
  std::vector<std::string> keys;
  for (const auto& [key, value] : object_.items()) keys.push_back(key);
  return keys;
}

void Fields::check_used() const {
  for (const auto& [key, value] : object_.items())
    if (!used_.contains(key))
      throw FileError(fmt::format("{}: {}: {} is not known to this program", where_, key, value.dump()));
}

void Fields::throw_wrong(const std::string& key, const std::string& reason) const {
  throw FileError(fmt::format("{}: {}: {} ({})", where_, key, object_.at(key).dump(), reason));
}

std::string GoldenFile::text(const std::string& key) {
  const auto found = file_.metadata().find(key);
  if (found == file_.metadata().end()) throw FileError(path() + ": the metadata has no " + key);
  used_metadata_.insert(key);
  return found->second;
}

Json GoldenFile::json(const std::string& key) {
  const std::string value = text(key);
  try {
    return Json::parse(value);
  } catch (const Json::exception& e) {
    throw FileError(fmt::format("{}: metadata {}: not JSON: {}", path(), key, e.what()));
  }
}

Tensor GoldenFile::tensor(const std::string& name) {
  used_tensors_.insert(name);
  return file_.read(name, *host_);
}

std::vector<double> GoldenFile::values(const std::string& name) { return test::to_doubles(tensor(name)); }

std::vector<std::string> GoldenFile::tensors_with_prefix(const std::string& prefix) const {
  std::vector<std::string> names;
  for (const SafetensorsEntry& e : file_.entries())
    if (e.name.starts_with(prefix)) names.push_back(e.name);
  return names;
}

std::vector<std::string> GoldenFile::unused_metadata() const {
  std::vector<std::string> keys;
  for (const auto& [key, value] : file_.metadata())
    if (!used_metadata_.contains(key)) keys.push_back(key);
  return keys;
}

std::vector<std::string> GoldenFile::unused_tensors() const {
  std::vector<std::string> names;
  for (const SafetensorsEntry& e : file_.entries())
    if (!used_tensors_.contains(e.name)) names.push_back(e.name);
  return names;
}

std::string to_string(const std::vector<int64_t>& shape) { return fmt::format("[{}]", fmt::join(shape, ",")); }

}  // namespace segrt::golden
