// segbench as a user runs it: every mode prints its header and writes figures that fit together.
#include <doctest/doctest.h>

#include <fstream>
#include <nlohmann/json.hpp>

#include "core/device.h"
#include "data/image.h"
#include "tests/apps/program.h"

namespace {
using namespace segrt;

const char* const kTiny =
    "[model]\nname = \"drn_d_22\"\nclasses = 19\n[train]\nepochs = 1\nbatch = 1\nlr = 0.01\n[data]\nkind = "
    "\"synthetic\"\n";

nlohmann::json json_of(const std::filesystem::path& path) {
  std::ifstream in(path);
  return nlohmann::json::parse(in);
}

// Runs it on tiny.toml; what it says, and its JSON.
nlohmann::json bench(const test::WorkFolder& folder, const std::string& options, std::string& output) {
  std::ofstream(folder.path() / "tiny.toml") << kTiny;
  const test::Outcome outcome =
      test::run("segbench tiny.toml --device cpu --threads 1 --json out.json " + options, folder.path());
  output = outcome.output;
  CAPTURE(outcome.output);
  REQUIRE(outcome.code == 0);
  return json_of(folder.path() / "out.json");
}
}  // namespace

TEST_CASE("segbench: every mode says what it measured") {
  const test::WorkFolder folder;
  std::string output;
  for (const std::string mode : {"forward", "train", "latency", "stream"}) {
    CAPTURE(mode);
    const nlohmann::json json = bench(folder, "--mode " + mode + " --input 1x32x48 --repeat 3 --warmup 1", output);
    CHECK(output.starts_with("drn_d_22 " + mode + " 1x32x48 f32 on cpu"));
    CHECK(json.at("mode") == mode);
    CHECK(json.at("model") == "drn_d_22");
    CHECK(json.at("input") == "1x32x48");
    CHECK(json.at("repeat") == 3);
    if (mode == "stream") {
      CHECK(json.at("frames") == 3);
      CHECK(json.at("frames_per_s").get<double>() == doctest::Approx(3 / json.at("seconds").get<double>()));
      continue;
    }
    CHECK(json.at("min_ms").get<double>() <= json.at("median_ms").get<double>());
    CHECK(json.at("median_ms").get<double>() <= json.at("p95_ms").get<double>());
    CHECK(json.at("replayed") == false);
    CHECK(json.at("eager_reason") == "on cpu there are no graphs");
    if (mode != "latency") {
      CHECK(json.at("all_ms").size() == 3);
      continue;
    }
    CHECK(json.at("fps").get<double>() == doctest::Approx(1000 / json.at("median_ms").get<double>()));
    CHECK(json.at("cold").at("all_ms").size() == 3);
    CHECK(output.find("FPS as papers state it (1000 / median warm ms): ") != std::string::npos);
  }
}

TEST_CASE("segbench: a stream of files, and one that is damaged") {
  const test::WorkFolder folder;
  std::filesystem::create_directories(folder.path() / "photos");
  for (int i = 0; i < 3; ++i)
    data::write_png(folder.path() / "photos" / (std::to_string(i) + ".png"), data::Image(32 + 8 * i, 40, 3));
  std::string output;
  CHECK(bench(folder, "--mode stream --images photos --repeat 4 --warmup 0 --input 1x32x32", output).at("frames") == 4);
  std::ofstream(folder.path() / "photos" / "1.png") << "nothing";
  const test::Outcome broken = test::run(
      "segbench tiny.toml --device cpu --threads 1 --mode stream --images photos --repeat 4 --warmup 0", folder.path());
  CHECK(broken.code == 1);
  CHECK(broken.says("segbench: error: frame 1: photos/1.png: "));
  const test::Outcome batch =
      test::run("segbench tiny.toml --device cpu --threads 1 --mode stream --input 2x32x32", folder.path());
  CHECK(batch.code == 1);
  CHECK(batch.says("--input: --mode stream takes images one by one: expected 1xHxW"));
}

TEST_CASE("segbench --profile: a table by operator and a trace that nests") {
  const test::WorkFolder folder;
  std::string output;
  bench(folder,
        "--mode train --input 1x32x32 --repeat 1 --warmup 0 --profile trace.json --profile-runs 2 --peak-gflops 100 "
        "--peak-gbs 10",
        output);
  CAPTURE(output);
  CHECK(output.find("profile of 2 runs on cpu") != std::string::npos);
  CHECK(output.find("\nconv2d_backward_weight ") != std::string::npos);
  CHECK(output.find("\nsgd_step ") != std::string::npos);
  CHECK(output.find("\nsum_to (backward) ") != std::string::npos);
  CHECK(output.find("peaks: given") != std::string::npos);
  const nlohmann::json trace = json_of(folder.path() / "trace.json");
  int modules = 0, backward = 0;
  for (const nlohmann::json& e : trace.at("traceEvents")) {
    if (e.at("ph") != "X") continue;
    modules += e.at("cat") == "module" && e.at("name") == "base.3.0.conv1" ? 1 : 0;
    backward += e.at("name") == "conv_batch_norm (backward)" ? 1 : 0;
    CHECK(e.at("dur").get<double>() >= 0);
  }
  CHECK(modules == 2);
  CHECK(backward > 40);
}
