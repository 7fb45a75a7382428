#include <fmt/format.h>

#include <algorithm>

#include "core/config_tree.h"

namespace segrt {
namespace {
bool is_bare(char c) {
  return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_' || c == '-';
}

std::string quoted(std::string_view text) {
  std::string out = "\"";
  for (const char c : text) {
    const auto code = static_cast<unsigned char>(c);
    if (c == '"' || c == '\\')
      out += {'\\', c};
    else if (c == '\n')
      out += "\\n";
    else if (c == '\t')
      out += "\\t";
    else if (code < 0x20 || code == 0x7f)
      out += fmt::format("\\u{:04X}", code);
    else
      out += c;
  }
  return out + '"';
}

// Shortest digits that read back as the same float64, marked as a float ("3.0", not "3").
std::string float_text(double value) {
  std::string text = fmt::format("{}", value);
  if (text.find_first_of(".en") == std::string::npos) text += ".0";
  return text;
}

bool is_list_of_tables(const ConfigNode& node) {
  const auto* list = node.as<ConfigNode::List>();
  return list && !list->empty() &&
         std::all_of(list->begin(), list->end(), [](const ConfigNode& e) { return e.as<ConfigNode::Table>(); });
}

std::string inline_text(const ConfigNode& node) {
  if (const auto* b = node.as<bool>()) return *b ? "true" : "false";
  if (const auto* i = node.as<int64_t>()) return fmt::format("{}", *i);
  if (const auto* d = node.as<double>()) return float_text(*d);
  if (const auto* s = node.as<std::string>()) return quoted(*s);
  if (const auto* date = node.as<ConfigNode::Date>()) return date->text;
  std::string out;
  if (const auto* list = node.as<ConfigNode::List>()) {
    for (const ConfigNode& element : *list) out += (out.empty() ? "" : ", ") + inline_text(element);
    return "[" + out + "]";
  }
  for (const auto& [key, element] : *node.as<ConfigNode::Table>())
    out += (out.empty() ? "" : ", ") + toml_key(key) + " = " + inline_text(element);
  return "{" + out + "}";
}

void append_table(const ConfigNode::Table& table, const std::string& prefix, std::string& out) {
  for (const auto& [key, node] : table)
    if (!node.as<ConfigNode::Table>() && !is_list_of_tables(node))
      out += toml_key(key) + " = " + inline_text(node) + "\n";
  for (const auto& [key, node] : table) {
    const std::string path = prefix + toml_key(key);
    const std::string gap = out.empty() ? "" : "\n";
    if (const auto* child = node.as<ConfigNode::Table>()) {
      out += gap + "[" + path + "]\n";
      append_table(*child, path + ".", out);
    } else if (is_list_of_tables(node)) {
      for (const ConfigNode& element : *node.as<ConfigNode::List>()) {
        out += (out.empty() ? "[[" : "\n[[") + path + "]]\n";
        append_table(*element.as<ConfigNode::Table>(), path + ".", out);
      }
    }
  }
}
}  // namespace

std::string toml_key(std::string_view segment) {
  return !segment.empty() && std::all_of(segment.begin(), segment.end(), is_bare) ? std::string(segment)
                                                                                  : quoted(segment);
}

std::string to_toml(const ConfigNode& table) {
  std::string out;
  append_table(*table.as<ConfigNode::Table>(), "", out);
  return out;
}

std::string describe(const ConfigNode& node) {
  constexpr size_t kMaxShown = 60;
  if (const auto* list = node.as<ConfigNode::List>())
    if (is_list_of_tables(node) || inline_text(node).size() > kMaxShown)
      return fmt::format("a list of {}", list->size());
  if (node.as<ConfigNode::Table>()) return "a table";
  if (const auto* date = node.as<ConfigNode::Date>()) return "the date " + date->text;
  return inline_text(node);
}

}  // namespace segrt
