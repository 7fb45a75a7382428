// The programs on CUDA, or on the emulator that stands for it: same losses as on the CPU.
#include <doctest/doctest.h>

#include <cmath>
#include <fstream>
#include <nlohmann/json.hpp>
#include <vector>

#include "core/device.h"
#include "tests/apps/program.h"

namespace {
using namespace segrt;

// The reported training losses of a run.
std::vector<double> losses(const std::filesystem::path& run) {
  std::vector<double> values;
  std::ifstream in(run / "log.jsonl");
  for (std::string line; std::getline(in, line);) {
    const nlohmann::json json = nlohmann::json::parse(line);
    if (json["kind"] == "train") values.push_back(json["loss"].get<double>());
  }
  return values;
}
}  // namespace

TEST_CASE("cuda: two training steps of DRN-D-22 agree with the CPU") {
  if (!Device::cuda_available()) {
    MESSAGE("skipped: no CUDA device in this build");
    return;
  }
  const test::WorkFolder folder;
  std::ofstream(folder.path() / "tiny.toml")
      << "[model]\nname = \"drn_d_22\"\nclasses = 19\n"
         "[data]\nkind = \"synthetic\"\nheight = 32\nwidth = 32\ntrain_size = 2\nval_size = 1\ncrop = 16\nworkers = 0\n"
         "[train]\nepochs = 2\nbatch = 2\nlr = 0.01\nlog_every = 1\n[validate]\nevery = 2\n";
  for (const char* device : {"cpu", "cuda"}) {
    const test::Outcome outcome =
        test::run(std::string("segtrain tiny.toml -o ") + device + " --device " + device, folder.path());
    CAPTURE(outcome.output);
    REQUIRE(outcome.code == 0);
  }
  const std::vector<double> cpu = losses(folder.path() / "cpu"), cuda = losses(folder.path() / "cuda");
  REQUIRE(cpu.size() == 2);
  REQUIRE(cuda.size() == 2);
  CHECK(std::abs(cuda[0] - cpu[0]) < 1e-4 * cpu[0]);
  CHECK(std::abs(cuda[1] - cpu[1]) < 1e-3 * cpu[1]);  // after one update: batch norm over few pixels magnifies rounding
}
