// The keys that a program asked its configuration for, and the nearest of them to one that it did not. Internal to
// core.
#pragma once

#include <set>
#include <string>
#include <string_view>

namespace segrt {

class ConfigKeys {
 public:
  void add(std::string key) { asked_.insert(std::move(key)); }
  void ignore(std::string key) { ignored_.insert(std::move(key)); }
  bool contains(std::string_view key) const { return asked_.contains(key); }
  bool ignores(std::string_view key) const { return ignored_.contains(key); }
  bool has_under(std::string_view table) const;  // whether a key inside this table was asked for

  // "; did you mean train.lr?", or the keys that are known beside it, or nothing.
  std::string suggestion(std::string_view unknown) const;

 private:
  std::set<std::string, std::less<>> asked_, ignored_;
};

// Insertions, deletions and substitutions that turn a into b (Levenshtein 1966).
size_t edit_distance(std::string_view a, std::string_view b);

}  // namespace segrt
