// [train] and [eval]: what they read, and what they refuse.
#include "train/settings.h"

#include <doctest/doctest.h>

#include <filesystem>

#include "models/model.h"
#include "tests/support/source_dir.h"
#include "tests/support/tensors.h"
#include "train/data_settings.h"
#include "train/evaluator.h"

namespace {
using namespace segrt;

std::string refusal(const std::string& toml, const std::vector<std::string>& overrides = {}) {
  return test::error_of([&] {
    const Config config = Config::parse(toml, "x.toml", overrides);
    train::train_settings(config);
    train::eval_settings(config);
    config.check_unused();
  });
}
}  // namespace

TEST_CASE("the length of training is given in epochs or in iterations") {
  const auto settings = [](const std::string& toml) { return train::train_settings(Config::parse(toml, "x.toml")); };
  const train::TrainSettings epochs = settings("[train]\nepochs = 3\nbatch = 2\n");
  CHECK(epochs.epochs == 3);
  CHECK(epochs.iterations == 0);
  CHECK(epochs.schedule_per_epoch);
  const train::TrainSettings iterations = settings("[train]\niterations = 190000\nbatch = 8\n");
  CHECK(iterations.epochs == 0);
  CHECK(iterations.iterations == 190000);
  CHECK_FALSE(iterations.schedule_per_epoch);
  CHECK(refusal("[train]\nbatch = 2\n").find("train.epochs") != std::string::npos);
  CHECK(refusal("[train]\nbatch = 2\nepochs = 1\niterations = 5\n") ==
        "x.toml:4: train.iterations: expected either epochs or iterations, got both");
  CHECK(refusal("[train]\nbatch = 2\niterations = 5\nschedule_per = \"epoch\"\n") ==
        "x.toml:4: train.schedule_per: expected \"iteration\" with train.iterations, got \"epoch\"");
}

TEST_CASE("gradients summed by samples go with float32, and with a message for each norm") {
  const std::string head = "[train]\nepochs = 1\nbatch = 1\n";
  const auto settings = [&](const std::string& more) {
    return train::train_settings(Config::parse(head + more, "x.toml"));
  };
  CHECK_FALSE(settings("").sums_by_sample);
  CHECK(settings("").parallel.batched_norms);
  CHECK(settings("sums_by_sample = true").sums_by_sample);
  CHECK_FALSE(settings("sums_by_sample = true").parallel.batched_norms);
  CHECK(refusal(head + "sums_by_sample = true\nsync_bn_batched = true\n") ==
        "x.toml:5: train.sync_bn_batched: expected false with train.sums_by_sample, got true");
  CHECK(refusal(head + "sums_by_sample = true\nprecision = \"bf16\"\n").find("train.sums_by_sample: expected false") !=
        std::string::npos);
}

TEST_CASE("the saved configuration of a run by iterations reads back") {
  const Config config =
      Config::parse("[train]\niterations = 5\nbatch = 1\nlr_factors = { gate_conv = 2.5 }\n", "x.toml");
  const train::TrainSettings first = train::train_settings(config);
  const train::TrainSettings again = train::train_settings(Config::parse(config.to_toml(), "again.toml"));
  CHECK(again.iterations == first.iterations);
  CHECK(again.optimizer.lr_factors == first.optimizer.lr_factors);
  CHECK(first.optimizer.lr_factors == std::vector<std::pair<std::string, double>>{{"gate_conv", 2.5}});
}

TEST_CASE("exemptions and factors are read, and wrong ones refused") {
  const std::string head = "[train]\nepochs = 1\nbatch = 1\n";
  const auto s = train::train_settings(Config::parse(
      head + "no_decay = [\"norm.weight\", \"norm.bias\"]\nprecise_bn_batches = 200\ncheckpoint_every_steps = 5000\n",
      "x.toml"));
  CHECK(s.optimizer.no_decay == std::vector<std::string>{"norm.weight", "norm.bias"});
  CHECK(s.precise_bn_batches == 200);
  CHECK(s.checkpoint_every_steps == 5000);
  CHECK(refusal(head + "lr_factors = { gate = -1 }\n").find("train.lr_factors.gate") != std::string::npos);
  CHECK(refusal(head + "lr_factors = 2\n").find("expected a table") != std::string::npos);
}

TEST_CASE("each optimizer and each schedule has its own keys") {
  const std::string head = "[train]\nepochs = 1\nbatch = 1\n";
  const auto optimizer = [&](const std::string& keys) {
    return train::train_settings(Config::parse(head + keys, "x.toml")).optimizer;
  };
  using Kind = train::Optimizer::Kind;
  CHECK(optimizer("").kind == Kind::sgd);
  const auto adam = optimizer("optimizer = \"adam\"\nbeta1 = 0.5\n");
  CHECK(adam.kind == Kind::adam);
  CHECK(adam.adam.beta1 == 0.5);
  CHECK(adam.adam.beta2 == 0.999);
  CHECK(adam.adam.eps == 1e-8);
  const auto adamw = optimizer("optimizer = \"adamw\"\nbeta2 = 0.95\neps = 1e-6\nend_lr = 1e-4\n");
  CHECK(adamw.kind == Kind::adamw);
  CHECK(adamw.adam.beta2 == 0.95);
  CHECK(adamw.adam.eps == 1e-6);
  CHECK(adamw.schedule.end_lr == 1e-4);
  CHECK(refusal(head + "beta1 = 0.5\n") ==
        "x.toml:4: train.beta1: expected no such key with optimizer = \"sgd\", got a value");
  CHECK(refusal(head + "optimizer = \"adamw\"\nmomentum = 0.5\n") ==
        "x.toml:5: train.momentum: expected no such key with optimizer = \"adamw\", got a value");
  CHECK(refusal(head + "optimizer = \"adam\"\nbeta2 = 1\n").find("train.beta2") != std::string::npos);
  CHECK(refusal(head + "optimizer = \"adagrad\"\n").find("train.optimizer") != std::string::npos);
  CHECK(refusal(head + "schedule = \"step\"\nend_lr = 1e-4\n") ==
        "x.toml:5: train.end_lr: expected no such key with schedule = \"step\", got a value");
}

TEST_CASE("precisions, and the loss scaling of f16") {
  const std::string head = "[train]\nepochs = 1\nbatch = 1\n";
  const auto settings = [&](const std::string& keys) {
    return train::train_settings(Config::parse(head + keys, "x.toml"));
  };
  CHECK(settings("").precision == DType::f32);
  CHECK_FALSE(settings("").tf32);
  CHECK(settings("precision = \"tf32\"\n").precision == DType::f32);
  CHECK(settings("precision = \"tf32\"\n").tf32);
  CHECK(settings("precision = \"bf16\"\n").precision == DType::bf16);
  CHECK(settings("precision = \"bf16\"\n").optimizer.loss_scaling.initial == 0);
  const train::TrainSettings f16 = settings("precision = \"f16\"\n");
  CHECK(f16.precision == DType::f16);
  CHECK(f16.optimizer.loss_scaling.initial == 65536);
  CHECK(f16.optimizer.loss_scaling.rule.growth == 2);
  CHECK(f16.optimizer.loss_scaling.rule.backoff == 0.5);
  CHECK(f16.optimizer.loss_scaling.rule.growth_interval == 2000);
  const auto scaling = settings(
                           "precision = \"f16\"\nloss_scale = 128\nloss_scale_growth = 4\nloss_scale_backoff = 0.25\n"
                           "loss_scale_interval = 10\nloss_scale_least = 1\n")
                           .optimizer.loss_scaling;
  CHECK(scaling.initial == 128);
  CHECK(scaling.rule.growth == 4);
  CHECK(scaling.rule.backoff == 0.25);
  CHECK(scaling.rule.growth_interval == 10);
  CHECK(scaling.least == 1);
  CHECK(refusal(head + "loss_scale = 128\n") ==
        "x.toml:4: train.loss_scale: expected no such key with a precision other than \"f16\", got a value");
  CHECK(refusal(head + "precision = \"f8\"\n").find("train.precision") != std::string::npos);
  CHECK(refusal(head + "precision = \"f16\"\nloss_scale_backoff = 1\n").find("train.loss_scale_backoff") !=
        std::string::npos);
}

TEST_CASE("the two ways of resizing in [eval] have their own keys") {
  const std::string train = "[train]\nepochs = 1\nbatch = 1\n[eval]\n";
  const auto settings = [&](const std::string& eval) {
    return train::eval_settings(Config::parse(train + eval, "x.toml"));
  };
  const train::EvalSettings ratio = settings("");
  CHECK(ratio.average == train::Average::log_probabilities);
  CHECK(ratio.scales == std::vector<double>{1.0, 0.5, 0.75, 1.25, 1.5, 1.75});
  CHECK(ratio.edges.empty());
  CHECK(ratio.base.shortest == 0);
  const train::EvalSettings edge =
      settings("average = \"logits\"\nresize = \"shortest_edge\"\nsizes = [512, 768]\nmax_long_edge = 4000\n");
  CHECK(edge.average == train::Average::logits);
  REQUIRE(edge.edges.size() == 2);
  CHECK(edge.edges[1].shortest == 768);
  CHECK(edge.edges[1].longest == 4000);
  CHECK(edge.base.shortest == 1024);
  CHECK(edge.base.longest == 2048);
  CHECK(refusal(train + "sizes = [512]\n") ==
        "x.toml:5: eval.sizes: expected no such key with eval.resize = \"ratio\", got a value");
  CHECK(refusal(train + "base_shortest_edge = 0\n").find("eval.base_shortest_edge") != std::string::npos);
  CHECK(refusal(train + "resize = \"shortest_edge\"\nscales = [1]\n") ==
        "x.toml:6: eval.scales: expected no such key with eval.resize = \"shortest_edge\", got a value");
  CHECK(refusal(train, {"eval.average=mean"}).find("eval.average") != std::string::npos);
  CHECK(refusal(train + "resize = \"shortest_edge\"\nsizes = []\n").find("eval.sizes: expected at least one size") !=
        std::string::npos);
  CHECK(refusal(train + "sizess = [512]\n").find("did you mean eval.sizes?") != std::string::npos);
}

TEST_CASE("a base size and windows in [eval] are read with their defaults, and refused where they do nothing") {
  const std::string train = "[train]\nepochs = 1\nbatch = 1\n[eval]\n";
  const auto settings = [&](const std::string& eval) {
    return train::eval_settings(Config::parse(train + eval, "x.toml"));
  };
  const train::EvalSettings base =
      settings("average = \"probabilities\"\nresize = \"base_size\"\nbase_size = [1024, 2048]\n");
  CHECK(base.average == train::Average::probabilities);
  CHECK(base.base_size.size == data::ImageSize{1024, 2048});
  CHECK(base.base_size.keep_ratio);
  CHECK(base.scales == std::vector<double>{1.0, 0.5, 0.75, 1.25, 1.5, 1.75});
  CHECK_FALSE(base.window.has_value());
  const train::EvalSettings square = settings(
      "resize = \"base_size\"\nbase_size = 640\nkeep_ratio = false\nscales = [0.5]\nwindow = 769\nwindow_stride = "
      "[513, "
      "500]\n");
  CHECK(square.base_size.size == data::ImageSize{640, 640});
  CHECK_FALSE(square.base_size.keep_ratio);
  REQUIRE(square.window.has_value());
  CHECK(square.window->height == 769);
  CHECK(square.window->stride_height == 513);
  CHECK(square.window->stride_width == 500);
  CHECK(square.window->batch == 4);
  CHECK(settings("window = [8, 9]\nwindow_stride = 8\nwindow_batch = 1\n").window->batch == 1);
  const auto options = train::evaluation_options(square, true, true);
  CHECK(options.base_size.size == data::ImageSize{640, 640});
  CHECK(options.window->width == 769);
  CHECK(options.scales == std::vector<double>{0.5});
  CHECK(train::evaluation_options(square, false, false).scales == std::vector<double>{1});

  CHECK(refusal(train + "base_size = 640\n") ==
        "x.toml:5: eval.base_size: expected no such key with eval.resize = \"ratio\", got a value");
  CHECK(refusal(train + "resize = \"shortest_edge\"\nkeep_ratio = true\n").find("eval.keep_ratio") !=
        std::string::npos);
  CHECK(refusal(train + "resize = \"base_size\"\nbase_size = 640\nsizes = [5]\n").find("eval.sizes") !=
        std::string::npos);
  CHECK(refusal(train + "resize = \"base_size\"\n").find("eval.base_size") != std::string::npos);
  CHECK(refusal(train + "window = 16\n").find("eval.window_stride") != std::string::npos);
  CHECK(refusal(train + "window_stride = 16\n") ==
        "x.toml:5: eval.window_stride: expected no such key with no eval.window, got a value");
  CHECK(refusal(train + "window = 16\nwindow_stride = 17\n").find("at most the sides of eval.window") !=
        std::string::npos);
  CHECK(refusal("[model]\nname = \"drn_d_22\"\ntask = \"classification\"\nclasses = 2\n" + train + "window = 16\n")
            .find("eval.window: expected no such key") != std::string::npos);
}

TEST_CASE("validation every so many steps takes the place of that after epochs, unless both are asked for") {
  const auto settings = [](const std::string& text) {
    return train::validate_settings(Config::parse("[validate]\n" + text, "x.toml"));
  };
  CHECK(settings("").every == 1);
  CHECK(settings("").every_steps == 0);
  CHECK(settings("every_steps = 8000\n").every_steps == 8000);
  CHECK(settings("every_steps = 8000\n").every == 0);
  CHECK(settings("every_steps = 8000\nevery = 2\n").every == 2);
}

TEST_CASE("every configuration that is shipped is understood to its last key") {
  const std::unique_ptr<Device> device = Device::create("meta");
  int found = 0;
  for (const auto& file : std::filesystem::directory_iterator(test::source_dir() + "/models")) {
    if (file.path().extension() != ".toml") continue;
    CAPTURE(file.path().string());
    ++found;
    const Config config = Config::load(file.path().string());
    nn::Init init(*device, 1);
    CHECK(models::build(config.table("model"), init)->parameter_count() > 0);
    const train::DataSettings data = train::data_settings(config);
    for (const char* key : {"kind", "root", "lists", "labels", "height", "width", "train_size", "val_size",
                            "scene_seed", "train_split", "val_split"})
      if (config.has(std::string("data.") + key)) config.ignore(std::string("data.") + key);  // for make_dataset
    CHECK(data.crop_height > 0);
    const train::TrainSettings training = train::train_settings(config);
    CHECK(training.batch > 0);
    train::validate_settings(config);
    train::eval_settings(config);
    config.check_unused();
  }
  CHECK(found >= 13);
}
