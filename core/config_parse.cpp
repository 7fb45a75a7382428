#include <cmath>
#include <sstream>
#include <toml.hpp>

#include "core/config_tree.h"
#include "core/error.h"

namespace segrt {
namespace {
using TomlValue = toml::basic_value<toml::discard_comments, std::map, std::vector>;

// A configuration may come with a downloaded checkpoint. toml11 recurses once a level, so depth is bounded up front.
constexpr size_t kMaxBytes = size_t{1} << 20;
constexpr int kMaxDepth = 64;

[[noreturn]] void fail(const std::string& name, size_t line, const std::string& what) {
  throw ConfigError(name + ":" + std::to_string(line) + ": " + what);
}

// Index just past the string that starts at text[i]; npos if it does not end.
size_t skip_string(std::string_view text, size_t i) {
  const char quote = text[i];
  const bool is_long = text.substr(i, 3) == std::string(3, quote);
  const std::string_view end = is_long ? text.substr(i, 3) : text.substr(i, 1);
  for (i += end.size(); i < text.size(); ++i) {
    if (text[i] == '\\' && quote == '"')
      ++i;
    else if (text.substr(i, end.size()) == end)
      return std::min(text.find_first_not_of(quote, i + end.size()),
                      i + (is_long ? 5 : 1));  // """x"""" ends in a quote
    else if (text[i] == '\n' && !is_long)
      return i;
  }
  return std::string_view::npos;
}

// Refuses brackets nested, or keys dotted, deeper than kMaxDepth. Leaves all other faults to the parser.
void check_depth(std::string_view text, const std::string& name) {
  int depth = 0, dots = 0;
  for (size_t i = 0; i < text.size(); ++i) {
    const char c = text[i];
    if (c == '#') i = std::min(text.find('\n', i), text.size()) - 1;
    if (c == '"' || c == '\'') {
      i = skip_string(text, i);
      if (i == std::string_view::npos) return;
      --i;
    }
    if (c == '[' || c == '{') ++depth;
    if ((c == ']' || c == '}') && depth > 0) --depth;
    if (c == '\n' || c == ',' || c == '=') dots = 0;
    if (c == '.') ++dots;
    if (depth > kMaxDepth || dots > kMaxDepth)
      fail(name, static_cast<size_t>(std::count(text.begin(), text.begin() + static_cast<std::ptrdiff_t>(i), '\n')) + 1,
           "nested deeper than " + std::to_string(kMaxDepth) + " levels");
  }
}

// The characters of a number as written, without '_'.
std::string token_of(const TomlValue& value) {
  const toml::source_location location = value.location();
  const std::string& line = location.line_str();
  const size_t begin = location.column() - 1;
  std::string token = begin < line.size() ? line.substr(begin, location.region()) : "";
  std::erase(token, '_');
  return token;
}

// toml11 3.7 reads a number out of range as the nearest one it can represent; a seed or a limit must not change so.
bool integer_overflows(const TomlValue& value) {
  std::string token = token_of(value);
  int base = 10;
  if (token.starts_with("0x")) base = 16;
  if (token.starts_with("0o")) base = 8;
  if (token.starts_with("0b")) base = 2;
  if (base != 10) token.erase(0, 2);
  errno = 0;
  return std::strtoll(token.c_str(), nullptr, base) != value.as_integer() || errno == ERANGE;
}
bool float_overflows(const TomlValue& value) {
  return std::isfinite(value.as_floating()) && std::isinf(std::strtod(token_of(value).c_str(), nullptr));
}

void check_key(const std::string& key, const std::string& origin) {
  if (key.empty()) throw ConfigError(origin + ": a key is empty");
  for (const char c : key)
    if (c == '.' || c == '[' || c == ']' || static_cast<unsigned char>(c) < 0x20 || c == 0x7f)
      throw ConfigError(origin + ": key " + toml_key(key) + " contains a dot, a bracket or a control character");
}

ConfigNode convert(const TomlValue& value, const std::string& name, const std::string& fixed_origin) {
  ConfigNode node;
  node.origin = fixed_origin.empty() ? name + ":" + std::to_string(value.location().line()) : fixed_origin;
  switch (value.type()) {
    case toml::value_t::boolean: node.value = value.as_boolean(); break;
    case toml::value_t::integer:
      if (integer_overflows(value)) throw ConfigError(node.origin + ": " + token_of(value) + " does not fit 64 bits");
      node.value = int64_t{value.as_integer()};
      break;
    case toml::value_t::floating:
      if (float_overflows(value)) throw ConfigError(node.origin + ": " + token_of(value) + " does not fit a float64");
      node.value = value.as_floating();
      break;
    case toml::value_t::string: node.value = std::string(value.as_string().str); break;
    case toml::value_t::array: {
      ConfigNode::List list;
      for (const TomlValue& element : value.as_array()) list.push_back(convert(element, name, fixed_origin));
      node.value = std::move(list);
      break;
    }
    case toml::value_t::table: {
      ConfigNode::Table table;
      for (const auto& [key, element] : value.as_table()) {
        ConfigNode child = convert(element, name, fixed_origin);
        check_key(key, child.origin);
        table.emplace(key, std::move(child));
      }
      node.value = std::move(table);
      break;
    }
    default: node.value = ConfigNode::Date{toml::format(value)}; break;
  }
  return node;
}

// toml11's report is a heading and a drawing of the source with carets:
//   [error] toml::insert_value: value ("a") already exists.
//    1 | a=1
//      |   ^--- value already exists here
//    3 | a=2
//      |   ^--- value defined twice
// Kept: the heading, the last caret's remark and the first line number if it is another line.
std::string shortened(const std::string& report, size_t error_line) {
  std::istringstream lines(report);
  std::string line, heading, remark, first_line;
  std::getline(lines, heading);
  if (heading.starts_with("[error] ")) heading.erase(0, 8);
  if (const size_t colon = heading.find(": "); colon != std::string::npos && heading.find(' ') > colon)
    heading.erase(0, colon + 2);
  while (!heading.empty() && (heading.back() == '.' || heading.back() == ' ')) heading.pop_back();
  while (std::getline(lines, line)) {
    const size_t bar = line.find('|');
    if (bar == std::string::npos) continue;
    const std::string number = line.substr(0, bar);
    if (const size_t digit = number.find_first_of("0123456789"); digit != std::string::npos) {
      if (first_line.empty()) first_line = number.substr(digit, number.find_last_of("0123456789") - digit + 1);
      continue;
    }
    const size_t mark = line.find_first_of("^~", bar);
    const size_t words = mark == std::string::npos ? mark : line.find_first_not_of("^~- ", mark);
    if (words != std::string::npos) remark = line.substr(words);
  }
  if (remark == "the next token is not a boolean") return "not a TOML value (text needs quotes)";
  if (!remark.empty() && remark != "here") heading += (heading.empty() ? "" : ": ") + remark;
  if (!first_line.empty() && first_line != std::to_string(error_line)) heading += " (see line " + first_line + ")";
  return heading;
}

TomlValue parse_document(std::string_view text, const std::string& name) {
  check_depth(text, name);
  std::istringstream stream{std::string(text)};
  return toml::parse<toml::discard_comments, std::map, std::vector>(stream, name);
}
}  // namespace

ConfigNode parse_toml(std::string_view text, const std::string& name) {
  if (text.size() > kMaxBytes) throw ConfigError(name + ": larger than 1 MiB, which no configuration is");
  try {
    return convert(parse_document(text, name), name, "");
  } catch (const toml::exception& e) {
    const size_t line = e.location().line();
    fail(name, line, shortened(e.what(), line));
  } catch (const Error&) {
    throw;
  } catch (const std::exception& e) {  // toml11 reports some faults of an escape or a date with standard exceptions
    throw ConfigError(name + ": not valid TOML: " + e.what());
  }
}

std::optional<ConfigNode> parse_toml_value(std::string_view text, const std::string& origin) {
  if (text.size() > kMaxBytes || text.find('\n') != std::string_view::npos) return std::nullopt;
  try {
    const TomlValue document = parse_document("value = " + std::string(text), origin);
    return convert(document.as_table().at("value"), origin, origin);
  } catch (const toml::exception&) {
    return std::nullopt;
  } catch (const std::out_of_range&) {
    return std::nullopt;
  }
}

}  // namespace segrt
