#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <limits>

#include "core/config_state.h"

namespace segrt {
namespace {
struct Bounds {
  std::optional<double> min, max, above, below;
};

std::string expected_number(std::string text, const Bounds& bounds) {
  std::string_view joint = " ";
  auto add = [&](std::string_view sign, const std::optional<double>& bound) {
    if (!bound) return;
    text += fmt::format("{}{} {}", joint, sign, *bound);
    joint = " and ";
  };
  add(">", bounds.above);
  add(">=", bounds.min);
  add("<", bounds.below);
  add("<=", bounds.max);
  return text;
}

std::string expected_integer(std::string text, const IntegerSetting& bounds) {
  if (bounds.min) text += fmt::format(" >= {}", *bounds.min);
  if (bounds.max) text += fmt::format("{} <= {}", bounds.min ? " and" : "", *bounds.max);
  return text;
}

std::string expected_list(const std::string& elements, const std::optional<size_t>& count) {
  return count ? fmt::format("a list of {} {}", *count, elements) : "a list of " + elements;
}

// An integer literal is a number as well; a number is never an integer.
std::optional<double> as_number(const ConfigNode& node, const Bounds& bounds) {
  double v = 0;
  if (const auto* d = node.as<double>())
    v = *d;
  else if (const auto* i = node.as<int64_t>())
    v = static_cast<double>(*i);
  else
    return std::nullopt;
  const bool is_inside = (!bounds.min || v >= *bounds.min) && (!bounds.max || v <= *bounds.max) &&
                         (!bounds.above || v > *bounds.above) && (!bounds.below || v < *bounds.below);
  return is_inside && std::isfinite(v) ? std::optional(v) : std::nullopt;
}

std::optional<int64_t> as_integer(const ConfigNode& node, const IntegerSetting& bounds) {
  const auto* i = node.as<int64_t>();
  if (!i || (bounds.min && *i < *bounds.min) || (bounds.max && *i > *bounds.max)) return std::nullopt;
  return *i;
}

template <typename T>
std::optional<T> as_plain(const ConfigNode& node) {
  const T* value = node.as<T>();
  return value ? std::optional<T>(*value) : std::nullopt;
}

// convert: ConfigNode -> optional<T>.
template <typename T, typename F>
std::optional<std::vector<T>> as_list(const ConfigNode& node, const std::optional<size_t>& count, const F& convert) {
  const auto* list = node.as<ConfigNode::List>();
  if (!list || (count && list->size() != *count)) return std::nullopt;
  std::vector<T> values;
  for (const ConfigNode& element : *list) {
    std::optional<T> value = convert(element);
    if (!value) return std::nullopt;
    values.push_back(std::move(*value));
  }
  return values;
}

template <typename T>
ConfigNode node_of(const T& value) {
  return {.value = value, .origin = "fallback"};
}
template <typename T>
ConfigNode node_of(const std::vector<T>& values) {
  ConfigNode::List list;
  for (const T& value : values) list.push_back(node_of(value));
  return {.value = std::move(list), .origin = "fallback"};
}

bool same_value(const ConfigNode& a, const ConfigNode& b) {
  auto text = [](const ConfigNode& node) {
    return to_toml({.value = ConfigNode::Table{{"value", node}}, .origin = ""});
  };
  return text(a) == text(b);
}

}  // namespace

template <typename T, typename F>
T Config::read(std::string_view key, const std::optional<T>& fallback, const std::string& expected,
               const F& convert) const {
  if (const ConfigNode* node = find(key)) {
    if (std::optional<T> value = convert(*node)) return std::move(*value);
    throw ConfigError(fmt::format("{}: {}: expected {}, got {}", node->origin, full(key), expected, describe(*node)));
  }
  if (!fallback)
    throw ConfigError(fmt::format("{}: {}: expected {}, but the key is missing{}", state_->name, full(key), expected,
                                  near_miss(key)));
  const ConfigNode node = node_of(*fallback);
  if (!convert(node))
    throw ArgumentError(fmt::format("Config: {}: the fallback {} is not {}", full(key), describe(node), expected));
  const auto [kept, is_new] = state_->fallbacks.emplace(full(key), node);
  if (!is_new && !same_value(kept->second, node))
    throw ArgumentError(fmt::format("Config: {}: read with two fallbacks, {} and {}", full(key), describe(kept->second),
                                    describe(node)));
  return *fallback;
}

double Config::number(std::string_view key, const NumberSetting& o) const {
  const Bounds bounds{o.min, o.max, o.above, o.below};
  return read(key, o.fallback, expected_number("a number", bounds),
              [&](const ConfigNode& node) { return as_number(node, bounds); });
}

int64_t Config::integer(std::string_view key, const IntegerSetting& o) const {
  return read(key, o.fallback, expected_integer("an integer", o),
              [&](const ConfigNode& node) { return as_integer(node, o); });
}

int Config::integer32(std::string_view key, const IntegerSetting& o) const {
  IntegerSetting bounded = o;
  bounded.min = std::max<int64_t>(o.min.value_or(std::numeric_limits<int>::min()), std::numeric_limits<int>::min());
  bounded.max = std::min<int64_t>(o.max.value_or(std::numeric_limits<int>::max()), std::numeric_limits<int>::max());
  // The range of int is named only to whoever leaves it.
  const ConfigNode* node = find(key);
  const bool is_huge = node && node->as<int64_t>() && !as_integer(*node, bounded) && as_integer(*node, o);
  return static_cast<int>(read(key, o.fallback, expected_integer("an integer", is_huge ? bounded : o),
                               [&](const ConfigNode& n) { return as_integer(n, bounded); }));
}

bool Config::boolean(std::string_view key, const BooleanSetting& o) const {
  return read(key, o.fallback, "true or false", as_plain<bool>);
}

std::string Config::text(std::string_view key, const TextSetting& o) const {
  return read(key, o.fallback, "a text", as_plain<std::string>);
}

std::string Config::path(std::string_view key, const TextSetting& o) const {
  return read(key, o.fallback, "a path", [](const ConfigNode& node) -> std::optional<std::string> {
    const auto* path = node.as<std::string>();
    if (!path || path->empty() || path->find('\0') != std::string::npos) return std::nullopt;
    return *path;
  });
}

std::string Config::choice(std::string_view key, const std::vector<std::string>& allowed, const TextSetting& o) const {
  std::string expected = "one of";
  for (const std::string& name : allowed) expected += (&name == allowed.data() ? " " : ", ") + name;
  return read(key, o.fallback, expected, [&](const ConfigNode& node) -> std::optional<std::string> {
    const auto* name = node.as<std::string>();
    return name && std::find(allowed.begin(), allowed.end(), *name) != allowed.end() ? std::optional(*name)
                                                                                     : std::nullopt;
  });
}

std::vector<double> Config::numbers(std::string_view key, const NumbersSetting& o) const {
  const Bounds bounds{o.min, o.max, o.above, o.below};
  return read(key, o.fallback, expected_list(expected_number("numbers", bounds), o.count), [&](const ConfigNode& node) {
    return as_list<double>(node, o.count, [&](const ConfigNode& e) { return as_number(e, bounds); });
  });
}

std::vector<int64_t> Config::integers(std::string_view key, const IntegersSetting& o) const {
  const IntegerSetting bounds{.min = o.min, .max = o.max};
  return read(key, o.fallback, expected_list(expected_integer("integers", bounds), o.count),
              [&](const ConfigNode& node) {
                return as_list<int64_t>(node, o.count, [&](const ConfigNode& e) { return as_integer(e, bounds); });
              });
}

std::vector<std::string> Config::texts(std::string_view key, const TextsSetting& o) const {
  return read(key, o.fallback, expected_list("texts", o.count),
              [&](const ConfigNode& node) { return as_list<std::string>(node, o.count, as_plain<std::string>); });
}

}  // namespace segrt
