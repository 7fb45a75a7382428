// A golden file that knows what has been used of it: whatever nobody read was not checked, and that is a failure.
#pragma once

#include <nlohmann/json.hpp>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "core/safetensors.h"
#include "tests/support/legacy_checkpoint.h"

namespace segrt::golden {

using Json = nlohmann::json;

// A JSON object read field by field. Errors are FileError and name `where` and the key.
class Fields {
 public:
  Fields(Json object, std::string where);

  bool has(const std::string& key) const { return object_.contains(key); }
  const Json& raw(const std::string& key);  // marks it as used
  template <typename T>
  T get(const std::string& key) {
    const Json& value = raw(key);
    try {
      return value.get<T>();
    } catch (const Json::exception& e) {
      throw_wrong(key, e.what());
    }
  }
  template <typename T>
  T get(const std::string& key, const T& fallback) {
    return has(key) ? get<T>(key) : fallback;
  }
  void skip(const std::string& key) { used_.insert(key); }  // words for a reader
  std::vector<std::string> keys() const;
  // Throws FileError for fields that were neither read nor skipped.
  void check_used() const;

 private:
  [[noreturn]] void throw_wrong(const std::string& key, const std::string& reason) const;

  Json object_;
  std::string where_;
  std::set<std::string> used_;
};

class GoldenFile {
 public:
  explicit GoldenFile(const std::string& path) : file_(path), host_(Device::create("cpu")) {}
  const std::string& path() const { return file_.path(); }
  // Where set, networks get their weights by way of a file as the authors published theirs, in this style.
  std::optional<test::LegacyStyle> published_as = {};
  Device& host() const { return *host_; }

  // Metadata; strings, of which all that is not plain text is JSON.
  bool has(const std::string& key) const { return file_.metadata().contains(key); }
  std::string text(const std::string& key);
  Json json(const std::string& key);
  Fields fields(const std::string& key) { return Fields(json(key), path() + ": " + key); }
  template <typename T>
  T get(const std::string& key) {
    return Fields(Json{{key, json(key)}}, path()).get<T>(key);
  }
  void skip(const std::string& key) { used_metadata_.insert(key); }  // words for a reader, if it is there at all

  // Tensors, as doubles (exact for every stored type at these magnitudes) or in their own type.
  bool contains(const std::string& name) const { return file_.contains(name); }
  std::vector<int64_t> shape(const std::string& name) const { return file_.entry(name).shape; }
  std::vector<double> values(const std::string& name);
  Tensor tensor(const std::string& name);
  std::vector<std::string> tensors_with_prefix(const std::string& prefix) const;

  std::vector<std::string> unused_metadata() const;
  std::vector<std::string> unused_tensors() const;

 private:
  SafetensorsFile file_;
  std::unique_ptr<Device> host_;
  std::set<std::string> used_metadata_, used_tensors_;
};

// "[2,3]"
std::string to_string(const std::vector<int64_t>& shape);

}  // namespace segrt::golden
