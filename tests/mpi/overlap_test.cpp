// That gradients travel while the backward pass goes on, read from the trace that a profile writes.
#include <algorithm>
#include <filesystem>
#include <fstream>
#include <map>
#include <nlohmann/json.hpp>

#include "core/op_profile.h"
#include "models/model.h"
#include "tests/core/temporary_folder.h"
#include "tests/mpi/world.h"
#include "tests/support/tensors.h"
#include "train/training_step.h"

using namespace segrt;

namespace {
constexpr int64_t kSteps = 10;

struct Span {
  double start = 0, end = 0;  // us
  std::string name, category, track;
  int64_t bytes = 0;

  bool overlaps(const Span& other) const { return start < other.end && other.start < end; }
};

std::vector<Span> read_trace(const std::filesystem::path& path) {
  std::ifstream in(path);
  const nlohmann::json trace = nlohmann::json::parse(in);
  std::map<int, std::string> tracks;
  for (const nlohmann::json& e : trace.at("traceEvents"))
    if (e.at("name") == "thread_name") tracks[e.at("tid").get<int>()] = e.at("args").at("name").get<std::string>();
  std::vector<Span> spans;
  for (const nlohmann::json& e : trace.at("traceEvents")) {
    if (e.at("ph") != "X") continue;
    const double start = e.at("ts").get<double>();
    spans.push_back({.start = start,
                     .end = start + e.at("dur").get<double>(),
                     .name = e.at("name").get<std::string>(),
                     .category = e.at("cat").get<std::string>(),
                     .track = tracks.at(e.at("tid").get<int>()),
                     .bytes = e.at("args").value("bytes", int64_t{0})});
  }
  return spans;
}

std::vector<Span> where(const std::vector<Span>& spans, const std::function<bool(const Span&)>& wanted) {
  std::vector<Span> chosen;
  std::copy_if(spans.begin(), spans.end(), std::back_inserter(chosen), wanted);
  return chosen;
}

train::Sgd::Options recipe() {
  train::Sgd::Options o;
  o.schedule = {.base = 1e-4, .total = kSteps};
  return o;
}

// A training step of DRN-D-22 over some 60 MB of gradients, in messages of 4 MiB.
struct Training {
  explicit Training(Device& cpu)
      : init(cpu, 1),
        model(models::build(Config::parse("[model]\nname = \"drn_d_22\"\nclasses = 5\n", "test").table("model"), init)),
        optimizer(*model, recipe()),
        parallel(*model, test::world(), {.bucket_bytes = 4 << 20}),
        step(*model, optimizer, {}, &parallel),
        x(test::random_normal({2, 64, 64, 3}, DType::f32, cpu, {.seed = 5})),
        labels(test::random_labels({2, 64, 64}, DType::u8, cpu, 5)) {
    model->set_training(true);
  }
  void run() { step.run(x, labels, steps++, kSteps, {}); }

  nn::Init init;
  std::unique_ptr<models::Model> model;
  train::Sgd optimizer;
  train::DataParallel parallel;
  train::TrainingStep step;
  Tensor x, labels;
  int64_t steps = 0;
};
}  // namespace

TEST_CASE("gradients travel during the backward pass: the trace shows it") {
  const auto cpu = Device::create("cpu");
  Training training(*cpu);
  training.run();  // finds out which gradients there are
  training.run();
  OpProfile profile(*cpu, training.parallel.profiled());
  training.run();
  profile.stop();
  const TemporaryFolder folder;
  const std::string path = folder / "trace.json";
  write_chrome_trace(path, profile.spans(), cpu->description(), profile.communication(), test::world().rank());
  const std::vector<Span> spans = read_trace(path);
  const std::vector<Span> passes = where(spans, [](const Span& s) { return s.name == "backward_pass"; });
  REQUIRE(passes.size() == 1);
  const Span& pass = passes.front();

  const std::vector<Span> sums =
      where(spans, [](const Span& s) { return s.track == "gradients" && s.name.starts_with("bucket "); });
  if (test::world().size() == 1) {
    CHECK(sums.empty());
    return;
  }
  // All of the gradients, each message with its number and bytes, one after another.
  REQUIRE(sums.size() == training.parallel.buckets());
  REQUIRE(sums.size() >= 5);
  int64_t gradient_bytes = 0, sent_bytes = 0;
  training.model->visit_parameters([&](const std::string&, nn::Parameter& p) {
    if (p.trained) gradient_bytes += static_cast<int64_t>(p.var.value().nbytes());
  });
  for (size_t i = 0; i < sums.size(); ++i) {
    CHECK(sums[i].name == "bucket " + std::to_string(i));
    CHECK(sums[i].category == "communication");
    CHECK(sums[i].end > sums[i].start);
    if (i > 0) CHECK(sums[i].start >= sums[i - 1].end - 1e-3);  // the file's last digit
    sent_bytes += sums[i].bytes;
  }
  CHECK(sent_bytes >= gradient_bytes);  // with what aligns them
  CHECK(sent_bytes <= gradient_bytes + gradient_bytes / 10);

  const auto inside = [&pass](double t) { return pass.start < t && t < pass.end; };
  CHECK(std::count_if(sums.begin(), sums.end(), [&](const Span& s) { return inside(s.start); }) >= 1);
  CHECK(std::count_if(sums.begin(), sums.end(), [&](const Span& s) { return inside(s.start) && inside(s.end); }) >= 1);
  // And backward operators run meanwhile.
  const std::vector<Span> operators =
      where(spans, [&](const Span& s) { return s.category == "op" && inside(s.start) && inside(s.end); });
  CHECK(std::any_of(sums.begin(), sums.end(), [&](const Span& s) {
    return std::any_of(operators.begin(), operators.end(), [&](const Span& o) { return o.overlaps(s); });
  }));
  // Norms and losses have messages of their own.
  CHECK(where(spans, [](const Span& s) { return s.track == "norms and losses"; }).size() >= 10);
}
