// JSON files of a data folder. Internal to data.
#pragma once

#include <filesystem>
#include <nlohmann/json_fwd.hpp>

namespace segrt::data {

// Throws FileError for a file that is missing, a folder, or no JSON.
nlohmann::json read_json(const std::filesystem::path& path);

}  // namespace segrt::data
