#include "core/config.h"

#include <fmt/format.h>

#include <algorithm>

#include "core/config_state.h"
#include "core/mapped_file.h"

namespace segrt {
namespace {
// "train.lr" of "train.lr.x" comes first; f(segment, key so far, is_last).
template <typename F>
void for_each_segment(std::string_view key, const F& f) {
  for (size_t begin = 0; begin <= key.size();) {
    const size_t end = std::min(key.find('.', begin), key.size());
    f(std::string(key.substr(begin, end - begin)), std::string(key.substr(0, end)), end == key.size());
    begin = end + 1;
  }
}

std::string_view trimmed(std::string_view text) {
  const size_t begin = text.find_first_not_of(" \t");
  if (begin == std::string_view::npos) return {};
  return text.substr(begin, text.find_last_not_of(" \t") - begin + 1);
}

// The right-hand side of an override: a TOML value, else a bare word. A quote or bracket announces TOML, so that a
// missing one at the end is an error and not a strange text. A date is taken as text: no setting is a date.
ConfigNode override_value(std::string_view text, const std::string& origin) {
  if (std::optional<ConfigNode> node = parse_toml_value(text, origin)) {
    if (node->as<ConfigNode::Date>()) node->value = std::string(text);
    return std::move(*node);
  }
  if (!text.empty() && std::string_view("\"'[{").find(text.front()) != std::string_view::npos)
    throw ConfigError(origin + ": not a TOML value: " + std::string(text));
  return {.value = std::string(text), .origin = origin};
}

void apply_override(ConfigNode& root, const std::string& override_text) {
  const std::string origin = "--set " + override_text;
  const size_t equals = override_text.find('=');
  const std::string key(trimmed(std::string_view(override_text).substr(0, equals)));
  if (equals == std::string::npos) throw ConfigError(origin + ": expected KEY=VALUE");
  ConfigNode value = override_value(trimmed(std::string_view(override_text).substr(equals + 1)), origin);
  ConfigNode* node = &root;
  for_each_segment(key, [&](const std::string& segment, const std::string& so_far, bool is_last) {
    if (segment.empty() || toml_key(segment) != segment)
      throw ConfigError(origin + ": expected a key such as train.lr before '='");
    ConfigNode& child = node->as<ConfigNode::Table>()->try_emplace(segment).first->second;
    if (child.origin.empty()) child = {.value = ConfigNode::Table{}, .origin = origin};  // was not there
    if (!is_last && !child.as<ConfigNode::Table>())
      throw ConfigError(fmt::format("{}: {} is no table but {} ({})", origin, so_far, describe(child), child.origin));
    node = &child;
  });
  *node = std::move(value);
}

bool is_list_of_tables(const ConfigNode& node) {
  const auto* list = node.as<ConfigNode::List>();
  return list && std::any_of(list->begin(), list->end(), [](const ConfigNode& e) { return e.as<ConfigNode::Table>(); });
}

// Appends a line for every key of `table` that nobody asked for.
void find_unused(const ConfigNode::Table& table, const std::string& prefix, const ConfigKeys& keys, std::string& out) {
  for (const auto& [name, node] : table) {
    const std::string key = prefix.empty() ? name : prefix + "." + name;
    if (keys.ignores(key)) continue;
    const auto* child = node.as<ConfigNode::Table>();
    if (!keys.contains(key) && !(child && keys.has_under(key))) {
      out +=
          fmt::format("{}{}: {} is not a known key{}", out.empty() ? "" : "\n", node.origin, key, keys.suggestion(key));
    } else if (child) {
      find_unused(*child, key, keys, out);
    } else if (is_list_of_tables(node)) {
      const auto& list = *node.as<ConfigNode::List>();
      for (size_t i = 0; i < list.size(); ++i)
        if (const auto* element = list[i].as<ConfigNode::Table>())
          find_unused(*element, fmt::format("{}[{}]", key, i), keys, out);
    }
  }
}

// Puts a value where its full key says ("train.stage[1].lr"), making tables on the way. The key is absent.
void insert(ConfigNode& root, std::string_view full_key, const ConfigNode& value) {
  ConfigNode* node = &root;
  for_each_segment(full_key, [&](const std::string& segment, const std::string&, bool is_last) {
    const size_t bracket = segment.find('[');
    const auto [it, is_new] = node->as<ConfigNode::Table>()->try_emplace(segment.substr(0, bracket));
    node = &it->second;
    if (is_new) *node = is_last ? value : ConfigNode{.value = ConfigNode::Table{}, .origin = value.origin};
    if (bracket != std::string::npos) node = &(*node->as<ConfigNode::List>())[std::stoul(segment.substr(bracket + 1))];
  });
}
}  // namespace

Config Config::load(const std::string& path, std::span<const std::string> overrides) {
  const MappedFile file(path);
  return make(parse_toml(file.text(), path), path, overrides);
}

Config Config::parse(std::string_view toml, const std::string& name, std::span<const std::string> overrides) {
  return make(parse_toml(toml, name), name, overrides);
}

Config Config::make(ConfigNode root, const std::string& name, std::span<const std::string> overrides) {
  for (const std::string& text : overrides) apply_override(root, text);
  auto state = std::make_shared<State>();
  state->name = name;
  state->root = std::move(root);
  const ConfigNode* node = &state->root;
  return {std::move(state), node, ""};
}

Config::Config(std::shared_ptr<State> state, const ConfigNode* node, std::string prefix)
    : state_(std::move(state)), node_(node), prefix_(std::move(prefix)) {}

std::string Config::full(std::string_view key) const {
  return prefix_.empty() ? std::string(key) : prefix_ + "." + std::string(key);
}

const ConfigNode* Config::find(std::string_view key) const {
  state_->keys.add(full(key));
  const ConfigNode* node = node_;
  for_each_segment(key, [&](const std::string& segment, const std::string& so_far, bool is_last) {
    if (!node) return;
    const auto& table = *node->as<ConfigNode::Table>();
    const auto it = table.find(segment);
    node = it == table.end() ? nullptr : &it->second;
    if (node && !is_last && !node->as<ConfigNode::Table>())
      throw ConfigError(fmt::format("{}: {}: expected a table, got {}", node->origin, full(so_far), describe(*node)));
  });
  return node;
}

bool Config::has(std::string_view key) const { return find(key) != nullptr; }

Config Config::table(std::string_view key) const {
  const ConfigNode* node = find(key);
  if (node && !node->as<ConfigNode::Table>())
    throw ConfigError(fmt::format("{}: {}: expected a table, got {}", node->origin, full(key), describe(*node)));
  return {state_, node, full(key)};
}

std::vector<Config> Config::tables(std::string_view key) const {
  const ConfigNode* node = find(key);
  std::vector<Config> views;
  if (!node) return views;
  const auto* list = node->as<ConfigNode::List>();
  for (size_t i = 0; list && i < list->size(); ++i) {
    if (!(*list)[i].as<ConfigNode::Table>()) break;
    views.push_back({state_, &(*list)[i], fmt::format("{}[{}]", full(key), i)});
  }
  if (!list || views.size() != list->size())
    throw ConfigError(
        fmt::format("{}: {}: expected a list of tables, got {}", node->origin, full(key), describe(*node)));
  return views;
}

std::vector<std::string> Config::keys() const {
  std::vector<std::string> names;
  if (node_)
    for (const auto& [key, child] : *node_->as<ConfigNode::Table>()) names.push_back(key);
  return names;
}

void Config::ignore(std::string_view key) const { state_->keys.ignore(full(key)); }

std::string Config::near_miss(std::string_view key) const {
  const size_t dot = key.rfind('.');
  const ConfigNode* parent = dot == std::string_view::npos ? node_ : find(key.substr(0, dot));
  const auto* table = parent ? parent->as<ConfigNode::Table>() : nullptr;
  if (!table) return "";
  for (const auto& [name, node] : *table) {
    const std::string sibling = dot == std::string_view::npos ? name : std::string(key.substr(0, dot + 1)) + name;
    if (!state_->keys.contains(full(sibling)) && edit_distance(sibling, key) <= 2)
      return fmt::format("; {} has {}", node.origin, full(sibling));
  }
  return "";
}

void Config::check_unused() const {
  std::string unused;
  if (node_) find_unused(*node_->as<ConfigNode::Table>(), prefix_, state_->keys, unused);
  if (!unused.empty()) throw ConfigError(unused);
}

std::string Config::to_toml() const {
  ConfigNode root = state_->root;
  for (const auto& [key, node] : state_->fallbacks) insert(root, key, node);
  return segrt::to_toml(root);
}

const std::string& Config::name() const { return state_->name; }

ConfigError Config::error(std::string_view key, std::string_view expected, std::string_view got) const {
  const ConfigNode* node = find(key);
  return ConfigError(
      fmt::format("{}: {}: expected {}, got {}", node ? node->origin : state_->name, full(key), expected, got));
}

}  // namespace segrt
