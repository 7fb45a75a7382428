#include "data/json_file.h"

#include <fmt/format.h>

#include <fstream>
#include <nlohmann/json.hpp>

#include "core/error.h"

namespace segrt::data {

nlohmann::json read_json(const std::filesystem::path& path) {
  const auto fail = [&](const std::string& cause) { throw FileError(path.string() + ": " + cause); };
  if (std::filesystem::is_directory(path)) fail("is a folder");
  std::ifstream file(path);
  if (!file) fail(std::filesystem::exists(path) ? "cannot open" : "no such file");
  try {
    return nlohmann::json::parse(file);
  } catch (const nlohmann::json::exception& e) {
    throw FileError(fmt::format("{}: not valid JSON: {}", path.string(), e.what()));
  }
}

}  // namespace segrt::data
