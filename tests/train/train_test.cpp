// Metrics, optimizer, TensorBoard files and the evaluator, against formulas written out here.
#include <doctest/doctest.h>
#include <unistd.h>

#include <cmath>
#include <filesystem>
#include <fstream>
#include <sstream>

#include "core/error.h"
#include "data/label_table.h"
#include "kernels/elementwise.h"
#include "tests/support/tensors.h"
#include "tests/support/tiny_network.h"
#include "train/checkpoint.h"
#include "train/evaluator.h"
#include "train/log.h"
#include "train/metrics.h"
#include "train/nonfinite.h"
#include "train/optimizer.h"
#include "train/tensorboard.h"

namespace {
using namespace segrt;
namespace fs = std::filesystem;

struct Folder {
  fs::path path = fs::temp_directory_path() / ("segrt_train_test_" + std::to_string(getpid()));
  Folder() { fs::create_directories(path); }
  ~Folder() { fs::remove_all(path); }
};

std::string contents(const fs::path& path) {
  std::ifstream in(path, std::ios::binary);
  std::ostringstream text;
  text << in.rdbuf();
  return text.str();
}
}  // namespace

TEST_CASE("scores of a confusion matrix worked out by hand") {
  // Labels: class 0 four pixels (3 right, 1 called 1), class 1 two pixels (both right), class 2 none but once
  // predicted, class 3 nothing.
  const std::vector<int64_t> m{3, 1, 0, 0, 0, 1, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0};
  const auto s = train::segmentation_scores(m, 4);
  CHECK(s.iou[0] == doctest::Approx(3.0 / 4));
  CHECK(s.iou[1] == doctest::Approx(1.0 / 3));
  CHECK(s.iou[2] == 0);
  CHECK(std::isnan(s.iou[3]));
  CHECK(s.miou == doctest::Approx((3.0 / 4 + 1.0 / 3 + 0) / 3));
  CHECK(s.macc == doctest::Approx((3.0 / 4 + 1.0 / 2) / 2));
  CHECK(s.aacc == doctest::Approx(4.0 / 6));
  const auto floor = train::majority_scores(m, 4);  // all six pixels called 0: IoU 4/6 and 0
  CHECK(floor.miou == doctest::Approx((4.0 / 6 + 0) / 2));
  CHECK(floor.aacc == doctest::Approx(4.0 / 6));
  CHECK(std::isnan(train::segmentation_scores(std::vector<int64_t>(4), 2).miou));
  CHECK(test::error_of([&] { train::segmentation_scores(m, 3); }).find("3x3") != std::string::npos);
}

TEST_CASE("three steps of SGD with momentum, weight decay, clipping and a schedule equal the formula on every device") {
  for (auto& device : test::test_devices()) {
    CAPTURE(device->name());
    nn::Init init(*device, 1);
    test::TinyNetwork net(3, init);
    train::Sgd::Options o;
    o.schedule = {.kind = kernels::LrSchedule::Kind::poly, .base = 0.1, .total = 10};
    o.sgd.momentum = 0.9f;
    o.weight_decay = 0.01;
    o.clip_norm = 1;
    train::Sgd sgd(net, o);

    std::vector<std::vector<double>> w, m, g;
    net.visit_parameters([&](const std::string&, nn::Parameter& p) {
      w.push_back(test::to_doubles(p.var.value()));
      m.emplace_back(w.back().size(), 0.0);
    });
    for (int step = 0; step < 3; ++step) {
      g.clear();
      double squares = 0;
      net.visit_parameters([&](const std::string&, nn::Parameter& p) {
        const Tensor grad = test::random_normal(p.var.shape(), DType::f32, *device,
                                                {.seed = static_cast<uint64_t>(17 * step) + g.size()});
        g.push_back(test::to_doubles(grad));
        for (const double v : g.back()) squares += v * v;
        p.var.set_grad(grad);
      });
      sgd.step();
      const double lr = 0.1 * std::pow(1 - step / 10.0, 0.9);
      const double clip = std::min(1.0, 1 / (std::sqrt(squares) + 1e-6));
      CHECK(sgd.learning_rate().item() == doctest::Approx(lr).epsilon(1e-6));
      CHECK(sgd.gradient_norm().item() == doctest::Approx(std::sqrt(squares)).epsilon(1e-5));
      for (size_t k = 0; k < w.size(); ++k)
        for (size_t i = 0; i < w[k].size(); ++i) {
          m[k][i] = 0.9 * m[k][i] + clip * g[k][i] + 0.01 * w[k][i];
          w[k][i] -= lr * m[k][i];
        }
    }
    size_t k = 0;
    net.visit_parameters([&](const std::string& path, nn::Parameter& p) {
      CAPTURE(path);
      CHECK(test::max_abs_difference(test::to_doubles(p.var.value()), w[k++]) < 1e-5);
    });
    CHECK(sgd.step_counter().item() == 3);
  }
}

TEST_CASE("a parameter without a gradient is left alone, weight decay included") {
  auto device = Device::create("cpu");
  nn::Init init(*device, 1);
  test::TinyNetwork net(3, init);
  train::Sgd sgd(net, {.schedule = {}, .sgd = {}, .weight_decay = 0.5});
  std::vector<std::vector<double>> before;
  net.visit_parameters(
      [&](const std::string&, nn::Parameter& p) { before.push_back(test::to_doubles(p.var.value())); });
  sgd.step();
  size_t k = 0;
  net.visit_parameters(
      [&](const std::string&, nn::Parameter& p) { CHECK(test::to_doubles(p.var.value()) == before[k++]); });
}

TEST_CASE("CRC-32C of the check string, and the frames of an event file") {
  CHECK(train::crc32c("123456789") == 0xE3069283u);
  const Folder folder;
  {
    train::TensorboardWriter writer(folder.path);
    writer.scalar("a/b", 300, 0.5);
    writer.flush();
  }
  const std::string bytes = contents(fs::directory_iterator(folder.path)->path());
  const auto word = [&](size_t at) {
    uint32_t v = 0;
    for (size_t i = 0; i < 4; ++i) v |= static_cast<uint32_t>(static_cast<uint8_t>(bytes[at + i])) << (8 * i);
    return v;
  };
  const auto unmasked = [](uint32_t masked) {
    const uint32_t rotated = masked - 0xa282ead8u;
    return (rotated >> 17) | (rotated << 15);
  };
  size_t at = 0;
  std::vector<std::string> events;
  while (at < bytes.size()) {
    const size_t length = word(at);
    CHECK(word(at + 4) == 0);
    CHECK(unmasked(word(at + 8)) == train::crc32c(std::string_view(bytes).substr(at, 8)));
    events.push_back(bytes.substr(at + 12, length));
    CHECK(unmasked(word(at + 12 + length)) == train::crc32c(events.back()));
    at += 16 + length;
  }
  REQUIRE(events.size() == 2);
  CHECK(events[0].find("brain.Event:2") != std::string::npos);
  // step = 300 as a varint, then summary { value { tag "a/b" simple_value 0.5 } }.
  CHECK(events[1].substr(9) == std::string("\x10\xac\x02\x2a\x0c\x0a\x0a\x0a\x03"
                                           "a/b\x15\x00\x00\x00\x3f",
                                           3 + 2 + 2 + 5 + 5));
}

TEST_CASE_FIXTURE(Folder, "a run's folder belongs to one process at a time") {
  const train::RunDirectory run(path / "new" / "run");
  {
    const train::RunLock lock(run);
    CHECK(test::error_of([&] { const train::RunLock second(run); }) ==
          run.path().string() + ": another process is training in this folder");
  }
  const train::RunLock again(run);
  CHECK(fs::exists(run.path()));
}

TEST_CASE("the run log appends JSON lines, with null for a score that is not defined") {
  const Folder folder;
  for (int start = 0; start < 2; ++start) {
    train::RunLog log({.directory = folder.path, .quiet = true});
    log.values("val", 5, 1, {{"miou", 0.25}, {"loss", std::nan("")}});
  }
  CHECK(contents(folder.path / "log.jsonl") ==
        "{\"epoch\":1,\"kind\":\"val\",\"loss\":null,\"miou\":0.25,\"step\":5}\n{\"epoch\":1,\"kind\":\"val\",\"loss\":"
        "null,\"miou\":0.25,\"step\":5}\n");
}

TEST_CASE("the first non-finite tensor is named") {
  auto device = Device::create("cpu");
  nn::Init init(*device, 1);
  test::TinyNetwork net(3, init);
  const Tensor x = test::random_normal({1, 8, 8, 3}, DType::f32, *device);
  CHECK(train::first_nonfinite(net, x) == "every tensor is finite");
  net.visit_parameters([](const std::string& path, nn::Parameter& p) {
    Tensor t = p.var.value();
    if (path == "head.weight") kernels::fill(t, 3e38);  // finite, but sums of it are not
    t.bump_version();
  });
  CHECK(train::first_nonfinite(net, x).find("the output of layer") != std::string::npos);
  net.visit_parameters([](const std::string& path, nn::Parameter& p) {
    Tensor t = p.var.value();
    if (path == "conv2.weight") t.data<float>()[7] = INFINITY;
  });
  CHECK(train::first_nonfinite(net, x).find("parameter conv2.weight [8,3,3,8] has 1 non-finite") != std::string::npos);
  CHECK(train::first_nonfinite(net, test::filled_with_nan({1, 8, 8, 3}, DType::f32, *device)).find("the input") == 0);
}

TEST_CASE("a mirrored image has the mirrored prediction when flips are averaged") {
  for (auto& device : test::test_devices()) {
    CAPTURE(device->name());
    nn::Init init(*device, 4);
    test::TinyNetwork net(5, init);
    train::Evaluator evaluator(
        net, {.scales = {1, 0.5, 1.5}, .flip = true, .mean = {0.5, 0.5, 0.5}, .std = {0.2, 0.2, 0.2}});
    data::Image image(10, 14, 3), mirrored(10, 14, 3);
    for (int y = 0; y < 10; ++y)
      for (int x = 0; x < 14; ++x)
        for (int c = 0; c < 3; ++c)
          image.row(y)[3 * x + c] = mirrored.row(y)[3 * (13 - x) + c] =
              static_cast<uint8_t>((37 * y + 91 * x + 53 * c + x * y) % 256);
    const std::vector<double> a = test::to_doubles(evaluator.pixel_scores(image));
    const std::vector<double> b = test::to_doubles(evaluator.pixel_scores(mirrored));
    double worst = 0;
    for (size_t y = 0; y < 10; ++y)
      for (size_t x = 0; x < 14; ++x)
        for (size_t c = 0; c < 5; ++c)
          worst = std::max(worst, std::abs(a[(y * 14 + x) * 5 + c] - b[(y * 14 + 13 - x) * 5 + c]));
    CHECK(worst < 1e-4);
    CHECK(evaluator.predict(image).shape() == Shape{1, 10, 14});
  }
}

TEST_CASE(
    "a checkpoint restores weights, momentum, statistics and progress, and names what is wrong with another file") {
  auto device = Device::create("cpu");
  const Folder folder;
  const train::RunDirectory run(folder.path / "run");
  const Config config = Config::parse("[model]\nname = \"tiny\"\n", "test.toml");
  config.ignore("model");
  run.create(config);
  nn::Init init(*device, 1);
  test::TinyNetwork net(3, init);
  train::Sgd sgd(net, {.schedule = {}, .sgd = {}});
  net.visit_parameters([&](const std::string&, nn::Parameter& p) {
    p.var.set_grad(test::random_normal(p.var.shape(), DType::f32, *device));
  });
  sgd.step();
  const train::DatasetCard card{{0.1, 0.2, 0.3}, {0.4, 0.5, 0.6}, data::generic_labels(3)};
  const train::Progress progress{
      .epoch = 3, .batch = 7, .step = 1, .best_score = 0.25, .best_epoch = 2, .train_seconds = 1.5};
  train::save_checkpoint(run.numbered(1), net, sgd, progress, config, card);
  run.publish(1, true, 2);

  nn::Init other(*device, 2);
  test::TinyNetwork copy(3, other);
  train::Sgd copy_sgd(copy, {.schedule = {}, .sgd = {}});
  const train::Progress restored = train::load_checkpoint(run.latest(), copy, copy_sgd);
  CHECK(restored.epoch == 3);
  CHECK(restored.batch == 7);
  CHECK(restored.best_score == 0.25);
  CHECK(train::checkpoint_card(run.best()).std == card.std);
  CHECK(train::checkpoint_card(run.best()).classes == card.classes);
  // The next step of both is the same bit for bit.
  for (models::Model* model : {static_cast<models::Model*>(&net), static_cast<models::Model*>(&copy)})
    model->visit_parameters([&](const std::string&, nn::Parameter& p) {
      p.var.set_grad(test::random_normal(p.var.shape(), DType::f32, *device, {.seed = 9}));
    });
  sgd.step();
  copy_sgd.step();
  std::vector<std::vector<double>> a, b;
  net.visit_parameters([&](const std::string&, nn::Parameter& p) { a.push_back(test::to_doubles(p.var.value())); });
  copy.visit_parameters([&](const std::string&, nn::Parameter& p) { b.push_back(test::to_doubles(p.var.value())); });
  CHECK(a == b);

  for (int64_t step = 2; step <= 4; ++step) {
    train::save_checkpoint(run.numbered(step), net, sgd, progress, config, card);
    run.publish(step, false, 2);
  }
  CHECK_FALSE(fs::exists(run.numbered(2)));
  CHECK(fs::exists(run.numbered(3)));
  CHECK(fs::read_symlink(run.latest()) == run.numbered(4).filename());
  CHECK(fs::exists(run.best()));
  CHECK(train::find_checkpoint(run.path()) == run.best());

  nn::Init third(*device, 3);
  test::TinyNetwork wider(4, third);
  train::Sgd wider_sgd(wider, {.schedule = {}, .sgd = {}});
  CHECK(test::error_of([&] { train::load_checkpoint(run.best(), wider, wider_sgd); }).find("wrong shape") !=
        std::string::npos);
  const std::string note =
      train::load_pretrained(run.best(), wider);  // a head of other classes is re-initialised, with a notice
  CHECK(note.find("left as initialised: head.weight, head.bias") != std::string::npos);
  write_safetensors((folder.path / "plain.safetensors").string(), std::vector<NamedTensor>{});
  CHECK(test::error_of([&] {
          train::load_checkpoint(folder.path / "plain.safetensors", copy, copy_sgd);
        }).find("not a checkpoint") != std::string::npos);
}
