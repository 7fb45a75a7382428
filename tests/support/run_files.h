// What training runs leave in files, for tests that compare them.
#pragma once

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>
#include <string>
#include <utility>
#include <vector>

#include "core/safetensors.h"

namespace segrt::test {

// Whether two safetensors files hold the same tensors, bit for bit. Metadata may differ.
inline bool equal_tensors(const std::filesystem::path& a, const std::filesystem::path& b) {
  const SafetensorsFile x(a.string()), y(b.string());
  if (x.entries().size() != y.entries().size()) return false;
  return std::all_of(x.entries().begin(), x.entries().end(), [&](const SafetensorsEntry& e) {
    const auto p = x.bytes(e.name), q = y.bytes(e.name);
    return std::equal(p.begin(), p.end(), q.begin(), q.end());
  });
}

// The lines of a kind ("train", "val", "message") in the log of the run in a folder.
inline std::vector<nlohmann::json> log_lines(const std::filesystem::path& run, const std::string& kind) {
  std::vector<nlohmann::json> found;
  std::ifstream in(run / "log.jsonl");
  for (std::string line; std::getline(in, line);)
    if (nlohmann::json json = nlohmann::json::parse(line); json["kind"] == kind) found.push_back(std::move(json));
  return found;
}

}  // namespace segrt::test
