// The tree behind Config: plain values and where each was written. Internal to core.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

namespace segrt {

struct ConfigNode {
  struct Date {  // kept as written: no setting is a date, but messages show it
    std::string text;
    bool operator==(const Date&) const = default;
  };
  using List = std::vector<ConfigNode>;
  using Table = std::map<std::string, ConfigNode, std::less<>>;

  std::variant<bool, int64_t, double, std::string, Date, List, Table> value;
  std::string origin;  // "models/x.toml:12", "--set train.lr=0.02"

  template <typename T>
  const T* as() const {
    return std::get_if<T>(&value);
  }
  template <typename T>
  T* as() {
    return std::get_if<T>(&value);
  }
};

// A TOML document. Throws ConfigError "name:line: what is wrong".
ConfigNode parse_toml(std::string_view text, const std::string& name);
// One TOML value; nothing if the text is none. Every node gets the origin.
std::optional<ConfigNode> parse_toml_value(std::string_view text, const std::string& origin);

std::string to_toml(const ConfigNode& table);    // a document: scalars, then tables; names sorted
std::string describe(const ConfigNode& node);    // for messages: "fast", 3, [1, 2], a table
std::string toml_key(std::string_view segment);  // quoted where it is not a bare key

}  // namespace segrt
