// What every mode of segbench says of itself and of its times.
#pragma once

#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "apps/segbench/arguments.h"

namespace segrt::apps {

struct Times {
  double median = 0, min = 0, p95 = 0;
  explicit Times(std::vector<double> ms);
};

// "drn_d_22 forward 1x512x1024 f32 on cpu (2 threads), 2 threads": how every mode begins its line.
std::string bench_header(const BenchArguments& a, const BenchNetwork& network);
// The same as JSON, with all that is needed to repeat it.
nlohmann::json bench_json(const BenchArguments& a, const BenchNetwork& network);
// Writes --json, if it was given. Throws FileError.
void write_json(const BenchArguments& a, const nlohmann::json& json);

// Of this process so far, all of it: code, libraries, caches.
int64_t peak_resident_bytes();
// Who computes what on a GPU, and what was measured to decide it.
void explain_choices(Device& device);

}  // namespace segrt::apps
