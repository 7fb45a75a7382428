// Typed access to a TOML configuration. Every accessor registers its key, so that check_unused() can refuse the keys of
// the file that nobody asked for: a misspelt setting is an error, not a default.
//
// Keys are dotted paths ("train.lr"). Errors are ConfigError and name where the value was written, the key, what was
// expected and what was found:
//   models/x.toml:12: train.lr: expected a number > 0, got "fast"
//   --set train.lr=fast: train.lr: expected a number > 0, got "fast"
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "core/error.h"

namespace segrt {

struct ConfigNode;

// A key without a fallback is required. Bounds hold for every element of a list. A fallback outside the bounds, or
// one that differs from an earlier fallback of the same key, is an ArgumentError: the saved configuration could not
// be read back.
struct NumberSetting {
  std::optional<double> fallback = {};
  std::optional<double> min = {}, max = {};      // value >= min, value <= max
  std::optional<double> above = {}, below = {};  // value > above, value < below
};
struct IntegerSetting {
  std::optional<int64_t> fallback = {}, min = {}, max = {};
};
struct BooleanSetting {
  std::optional<bool> fallback = {};
};
struct TextSetting {
  std::optional<std::string> fallback = {};
};
struct NumbersSetting {
  std::optional<std::vector<double>> fallback = {};  // .fallback = std::vector{0.5, 1.0}
  std::optional<double> min = {}, max = {}, above = {}, below = {};
  std::optional<size_t> count = {};  // exactly so many elements
};
struct IntegersSetting {
  std::optional<std::vector<int64_t>> fallback = {};
  std::optional<int64_t> min = {}, max = {};
  std::optional<size_t> count = {};
};
struct TextsSetting {
  std::optional<std::vector<std::string>> fallback = {};
  std::optional<size_t> count = {};
};

class Config {
 public:
  // Reads a file, or text that is called `name` in messages. An override "train.lr=0.02" replaces or adds a value; what
  // follows the first '=' is a TOML value or, where it is none, a bare word taken as text ("data.root=/data/city").
  // Throws FileError when the file cannot be read, ConfigError on bad TOML (file and line) or a bad override.
  static Config load(const std::string& path, std::span<const std::string> overrides = {});
  static Config parse(std::string_view toml, const std::string& name, std::span<const std::string> overrides = {});

  double number(std::string_view key, const NumberSetting& options = {}) const;  // finite; 3 is taken as 3.0
  int64_t integer(std::string_view key, const IntegerSetting& options = {}) const;
  int integer32(std::string_view key, const IntegerSetting& options = {}) const;  // bounded by the range of int as well
  bool boolean(std::string_view key, const BooleanSetting& options = {}) const;
  std::string text(std::string_view key, const TextSetting& options = {}) const;
  std::string path(std::string_view key, const TextSetting& options = {}) const;  // non-empty; as written, so relative
                                                                                  // paths start at the working folder
  std::string choice(std::string_view key, const std::vector<std::string>& allowed,
                     const TextSetting& options = {}) const;
  std::vector<double> numbers(std::string_view key, const NumbersSetting& options = {}) const;
  std::vector<int64_t> integers(std::string_view key, const IntegersSetting& options = {}) const;
  std::vector<std::string> texts(std::string_view key, const TextsSetting& options = {}) const;

  // Whether the key has a value (or is a table) in the file or an override. Registers the key.
  bool has(std::string_view key) const;
  // A view of a nested table; of nothing but fallbacks where the file has no such table. Views share one registry.
  Config table(std::string_view key) const;
  // The elements of an array of tables ([[train.stage]]); none where it is absent.
  std::vector<Config> tables(std::string_view key) const;
  // The names written in this table, sorted; for tables whose names are data. Registers nothing.
  std::vector<std::string> keys() const;

  // Accepts everything under a key unread, e.g. the [train] table in a program that only evaluates.
  void ignore(std::string_view key) const;
  // Throws ConfigError, one line a key, for the keys of this view that no accessor asked for:
  //   models/x.toml:12: train.lrr is not a known key; did you mean train.lr?
  void check_unused() const;

  // The whole configuration, with overrides and the fallbacks used so far, as TOML in a fixed order. Parses to the same
  // values.
  std::string to_toml() const;

  const std::string& name() const;  // the file's path, or the name given to parse
  // For checks of the caller's own: throw cfg.error("data.crop", "a multiple of 8", "100").
  ConfigError error(std::string_view key, std::string_view expected, std::string_view got) const;

 private:
  struct State;
  Config(std::shared_ptr<State> state, const ConfigNode* node, std::string prefix);
  static Config make(ConfigNode root, const std::string& name, std::span<const std::string> overrides);
  std::string full(std::string_view key) const;
  const ConfigNode* find(std::string_view key) const;  // null where absent; registers the key
  std::string near_miss(std::string_view key) const;   // "; models/x.toml:12 has train.lrr" where a key is missing
  template <typename T, typename F>
  T read(std::string_view key, const std::optional<T>& fallback, const std::string& expected, const F& convert) const;

  std::shared_ptr<State> state_;
  const ConfigNode* node_;  // this view's table in the state's tree; null where the file has none
  std::string prefix_;      // "" at the root, else the key of this table ("train", "train.stage[1]")
};

}  // namespace segrt
