// A profile's spans nest, its table adds up, its trace is JSON that nests.
#include "core/op_profile.h"

#include <doctest/doctest.h>

#include <chrono>
#include <fstream>
#include <nlohmann/json.hpp>
#include <thread>

#include "temporary_folder.h"

namespace segrt {
namespace {
using std::chrono::milliseconds;

std::vector<ProfileSpan> profiled_layer(Device& device) {
  const Tensor y = Tensor::empty({2, 3}, DType::f32, device);
  const std::string path = "conv1";
  OpProfile profile(device);
  {
    const PartScope part(path, "conv2d", device);
    const FunctionScope function("conv2d", device);
    const OpScope op("conv2d", y, [] { return OpWork{24, 100}; });
    std::this_thread::sleep_for(milliseconds(5));
    const OpScope inner("cast", y, [] { return OpWork{7, 7}; });
  }
  {
    const FunctionScope function("conv2d", device, path);
    const OpScope op("sum_to", y, [] { return OpWork{48, 0}; });
    std::this_thread::sleep_for(milliseconds(2));
  }
  profile.stop();
  const OpScope unseen("fill", y, [] { return OpWork{}; });
  return profile.spans();
}

ProfileSpan op(const std::string& name, const std::string& module, double ms, OpWork work, bool backward = false) {
  ProfileSpan span;
  span.name = name;
  span.module = module;
  span.backward = backward;
  span.work = work;
  span.end_ms = ms;
  return span;
}
}  // namespace

TEST_CASE("a profile has every scope with its place and time") {
  const auto device = Device::create("cpu");
  const std::vector<ProfileSpan> spans = profiled_layer(*device);
  REQUIRE(spans.size() == 6);
  const std::vector<std::string> names{"conv1", "conv2d", "conv2d", "cast", "conv2d", "sum_to"};
  const std::vector<int> depths{0, 1, 2, 3, 0, 1};
  for (size_t i = 0; i < spans.size(); ++i) {
    CAPTURE(i);
    CHECK(spans[i].name == names[i]);
    CHECK(spans[i].depth == depths[i]);
    CHECK(spans[i].module == "conv1");
    CHECK(spans[i].backward == (i >= 4));
    CHECK(spans[i].inner == (i == 3));
    CHECK(spans[i].end_ms >= spans[i].start_ms);
  }
  CHECK(spans[2].output == "f32 [2,3]");
  CHECK(spans[2].work.flops == 100);
  CHECK(spans[2].end_ms - spans[2].start_ms >= 5);
  CHECK(spans[5].end_ms - spans[5].start_ms >= 2);
}

TEST_CASE("the table of a profile: sums, rates, share of the floor, longest first") {
  // 1 TFLOP/s and 100 GB/s: the first conv2d takes at least 2 ms to compute, the second 3 ms to read.
  const DevicePeaks peaks{.flops_per_s = 1e12, .bytes_per_s = 1e11, .source = "given"};
  const std::vector<ProfileSpan> spans{
      op("conv2d", "a", 4, {100'000'000, 2'000'000'000}), op("conv2d", "b", 6, {300'000'000, 1'000'000'000}),
      op("sum_to", "a", 11, {110'000'000, 0}, true), op("conv2d_backward_input", "a", 1, {0, 0}, true)};
  const std::vector<OpTableRow> rows = op_rows(spans, peaks, false);
  REQUIRE(rows.size() == 3);
  CHECK(rows[0].name == "sum_to (backward)");
  CHECK(rows[0].floor_ms == doctest::Approx(1.1));
  CHECK(rows[1].name == "conv2d");
  CHECK(rows[1].calls == 2);
  CHECK(rows[1].total_ms == doctest::Approx(10));
  CHECK(rows[1].work.bytes == 400'000'000);
  CHECK(rows[1].work.flops == 3'000'000'000);
  CHECK(rows[1].floor_ms == doctest::Approx(5));
  CHECK(rows[2].name == "conv2d_backward_input");
  const std::string table = op_table(rows, peaks, 2);
  // conv2d over two runs: 1 call, 5 ms, 5 ms a call, 200 MB, 1.5 GFLOP, 40 GB/s, 0.3 TFLOP/s, 50 %.
  CHECK(table.find("conv2d                                              1      5.000   45.5     5.0000     200.00      "
                   "1.500      40.0     0.300    50.0") != std::string::npos);
  CHECK(table.find("peaks: given") != std::string::npos);
  CHECK(op_rows(spans, peaks, true).size() == 4);
  CHECK(op_table(op_rows(spans, {}, true), {.source = "nobody knows"}, 1).find("no floor: nobody knows") !=
        std::string::npos);
}

TEST_CASE("a trace file parses, and its spans nest") {
  const TemporaryFolder folder;
  const auto device = Device::create("cpu");
  const std::vector<ProfileSpan> spans = profiled_layer(*device);
  const std::string path = folder / "trace.json";
  write_chrome_trace(path, spans, "cpu (2 threads)");
  std::ifstream in(path);
  const nlohmann::json trace = nlohmann::json::parse(in);
  std::vector<nlohmann::json> events;
  for (const nlohmann::json& e : trace.at("traceEvents"))
    if (e.at("ph") == "X") events.push_back(e);
  REQUIRE(events.size() == spans.size());
  CHECK(events[4].at("name") == "conv2d (backward)");
  CHECK(events[2].at("cat") == "op");
  CHECK(events[2].at("args").at("flops") == 100);
  // Each lies within the one that stands before it with a smaller depth, or after it.
  const auto begin = [](const nlohmann::json& e) { return e.at("ts").get<double>(); };
  const auto end = [&](const nlohmann::json& e) { return begin(e) + e.at("dur").get<double>(); };
  std::vector<nlohmann::json> open;
  for (size_t i = 0; i < events.size(); ++i) {
    open.resize(static_cast<size_t>(spans[i].depth));
    if (!open.empty()) {
      CHECK(begin(events[i]) >= begin(open.back()));
      CHECK(end(events[i]) <= end(open.back()) + 1e-6);
    }
    open.push_back(events[i]);
  }
}

TEST_CASE("a trace of one of several processes has a track for each of its communicators") {
  const TemporaryFolder folder;
  const auto device = Device::create("cpu");
  const std::string path = folder / "trace.json";
  write_chrome_trace(
      path, profiled_layer(*device), "cpu",
      {{"gradients", {{.name = "bucket 0", .bytes = 4096, .queued_ms = 1, .start_ms = 1.5, .end_ms = 3}}},
       {"norms", {}}},
      2);
  std::ifstream in(path);
  const nlohmann::json trace = nlohmann::json::parse(in);
  std::vector<std::string> tracks;
  int messages = 0;
  for (const nlohmann::json& e : trace.at("traceEvents")) {
    CHECK(e.at("pid") == 3);
    if (e.at("name") == "process_name") CHECK(e.at("args").at("name") == "segrt, process 2");
    if (e.at("name") == "thread_name") tracks.push_back(e.at("args").at("name").get<std::string>());
    if (e.at("ph") != "X" || e.at("cat") != "communication") continue;
    ++messages;
    CHECK(e.at("tid") == 2);
    CHECK(e.at("name") == "bucket 0");
    CHECK(e.at("ts") == 1500);
    CHECK(e.at("dur") == 1500);
    CHECK(e.at("args").at("bytes") == 4096);
    CHECK(e.at("args").at("waited_us") == 500);
  }
  CHECK(messages == 1);
  CHECK(tracks == std::vector<std::string>{"cpu", "gradients", "norms"});
}

}  // namespace segrt
