#include "tests/tools/segrt_golden/dabnet.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <numeric>

#include "autograd/loss.h"
#include "core/error.h"
#include "kernels/elementwise.h"
#include "kernels/resize.h"
#include "models/dabnet.h"
#include "tests/support/tensors.h"
#include "tests/tools/segrt_golden/maps.h"
#include "tests/tools/segrt_golden/model_state.h"
#include "tests/tools/segrt_golden/sensitivity.h"

namespace segrt::golden {
namespace {

bool owns(GoldenFile& file) { return file.has("model") && file.text("model").starts_with("DABNet_"); }

std::string lower(std::string text) {
  std::transform(text.begin(), text.end(), text.begin(), [](unsigned char c) { return std::tolower(c); });
  return text;
}

std::string model_table(GoldenFile& file) {
  return fmt::format("[model]\nname = \"{}\"\nclasses = {}\ndropout = 0\n", lower(file.text("model")),
                     file.get<int64_t>("num_classes"));
}

std::map<std::string, float> no_factors(GoldenFile&, models::Model&) { return {}; }

constexpr NetworkRules kRules{model_table, no_factors, nullptr};

std::unique_ptr<models::Model> build_network(GoldenFile& file, Device& device) {
  return build_model(file, kRules, device);
}

Tensor input(GoldenFile& file, Device& device) {
  return golden_input(file.text("input_name"), file.get<std::vector<int64_t>>("input_shape"), device);
}

// Means over the pixels of a patch are summed in an order of each implementation's own: patches of 64 pixels and more
// move the logits by several 1e-4.
double logit_tolerance(GoldenFile& file) {
  const std::string model = file.text("model");
  return model.ends_with("_P8") || model.ends_with("_P16") ? 1e-3 : 1e-4;
}

// Everything that the file's inference part holds, by the names of its tensors.
Results inference(GoldenFile& file, models::DabNet& model, const Tensor& image, const Json& strides) {
  model.set_training(false);
  const NoGrad no_grad(image.device());
  Results r;
  const auto keep = [&](const std::string& name, const Tensor& map) {
    r[name] = strided(map, strides.value(name, std::vector<int64_t>{}), file.host());
  };
  model.tap = [&](std::string_view name, const Var& value) {
    const std::string row = "feat." + std::string(name);
    if (file.contains(row)) keep(row, value.value());
  };
  const std::vector<models::Head> heads = model.forward(image, /*auxiliary=*/true);
  model.tap = nullptr;
  const models::Head& head = heads.front();
  keep("logits_lowres", head.scores.value());
  for (size_t k = 1; k < heads.size(); ++k) keep(fmt::format("aux_logits.{}", k - 1), heads[k].scores.value());
  const Var logits = nn::upsampled_scores(head.scores, head.up);
  keep("logits", logits.value());

  std::vector<double>& counts = r["argmax_histogram"];
  counts.resize(static_cast<size_t>(model.classes()));
  for (const uint8_t c :
       nn::segmentation_argmax(head.scores.value(), head.up, head.up.height, head.up.width).to_vector<uint8_t>())
    ++counts.at(c);

  // The mean of the probabilities of the image and of its mirror image, mirrored back.
  Tensor mirrored = Tensor::like(image);
  kernels::flip_horizontal(image, mirrored);
  const models::Head other = model.forward(mirrored, /*auxiliary=*/false).front();
  const Tensor there = autograd::softmax(nn::upsampled_scores(other.scores, other.up)).value();
  Tensor mean = Tensor::like(there);
  kernels::flip_horizontal(there, mean);
  kernels::add_scaled(autograd::softmax(logits).value(), 0.5, mean, 0.5, mean);
  keep("probs_flip_avg", mean);
  return r;
}

// Counts of pixels are no map.
Results maps(GoldenFile& file, models::Model& model, const Tensor& image) {
  Results r = inference(file, dynamic_cast<models::DabNet&>(model), image, file.json("strides"));
  r.erase("argmax_histogram");
  return r;
}

// How far the reference's float32 runs stray in relative L2; 0 where a file does not say.
double recorded_l2(GoldenFile& file, const std::string& row) {
  if (!file.has("fp32_noise")) return 0;
  return file.fields("fp32_noise").get<std::vector<double>>(row + ", L2", {0.0}).at(0);
}

// In float64 and in float32, against a file of either kind. Values of a float64 run are met to their own rounding in
// float64; float32 may stray five times as far as the reference's float32 runs do, which the file says. Values of a
// float32 run hold noise that the float64 run measures and float32 may exceed five times; and that noise is of the
// size that float32 has here.
void check_inference(GoldenFile& file, const Results& exact, const Results& got, Report& report) {
  const auto measured = [&](const std::string& row, double stated) {
    const std::vector<double> expected = file.values(row);
    const double off = test::max_abs_difference(exact.at(row), expected);
    double noise = off, most = std::max(stated, kRoom * test::max_abs_difference(got.at(row), exact.at(row)));
    if (file.has("fp32_noise")) {
      noise = recorded_noise(file, row).at(0);
      double largest = 1;
      for (const double v : expected) largest = std::max(largest, std::abs(v));
      most = 1e-6 * largest;
    }
    report.error(row + " (f64)", "max abs", off, most);
    report.error(row, "max abs", test::max_abs_difference(got.at(row), expected), std::max(stated, kRoom * noise),
                 fmt::format("the reference's float32 {:.1e}", noise));
  };
  for (const auto& [row, values] : got) {
    if (!file.contains(row)) {
      report.fail(row, "the file has no such tensor");
    } else if (row == "argmax_histogram") {
      const std::vector<double> expected = file.values(row);
      double moved = 0, pixels = 0;
      for (size_t c = 0; c < expected.size(); ++c) {
        moved += std::abs(values.at(c) - expected[c]) / 2;
        pixels += expected[c];
      }
      report.error(row, "share moved", moved / pixels, 1e-4);
    } else if (row == "probs_flip_avg") {
      measured(row, 1e-4);
    } else {
      report.relative_l2(row, values, file.values(row), std::max(1e-4, kRoom * recorded_l2(file, row)));
      if (!row.starts_with("feat.")) measured(row, logit_tolerance(file));
    }
  }
  for (const std::string& row : file.tensors_with_prefix("feat."))
    if (!got.contains(row)) report.fail(row, "the network has no such map");
}

NetworkOnDevice on_device(GoldenFile& file, Device& device) {
  return {device, [&file](Device& d) { return build_network(file, d); }};
}

void run(GoldenFile& file, Device& device, Report& report) {
  for (const char* words :
       {"upstream_config", "backbone_override", "forward", "calibration", "training", "f64", "torch"})
    file.skip(words);
  {
    const std::unique_ptr<models::Model> model = build_network(file, device);
    check_structure(file, *model, report);
    report.identical("total_params", std::vector<double>{static_cast<double>(model->parameter_count())},
                     {file.get<double>("total_params")});
    const Json strides = file.json("strides");
    const Results got = inference(file, dynamic_cast<models::DabNet&>(*model), input(file, device), strides);
    const std::unique_ptr<models::Model> wide = build_network(file, file.host());
    make_float64(*wide);
    Tensor image = input(file, file.host()), wide_image = Tensor::empty(image.shape(), DType::f64, file.host());
    kernels::cast(image, wide_image);
    check_inference(file, inference(file, dynamic_cast<models::DabNet&>(*wide), wide_image, strides), got, report);
  }
  run_dabnet_training(file, on_device(file, device), report);
}

double first_loss(GoldenFile& file, Device& device, DType precision) {
  return dabnet_loss(file, on_device(file, device), precision);
}

}  // namespace

std::vector<double> recorded_noise(GoldenFile& file, const std::string& row) {
  return file.fields("fp32_noise").get<std::vector<double>>(row);
}

std::vector<double> strided(const Tensor& map, const std::vector<int64_t>& stride, Device& host) {
  const std::vector<double> all = test::to_doubles(map.to(host));
  const std::vector<int64_t> step = stride.empty() ? std::vector<int64_t>{1, 1, 1, 1} : stride;
  if (step.size() != 4) throw FileError("strides: expected four, got " + to_string(stride));
  std::vector<double> some;
  for (int64_t n = 0; n < map.dim(0); n += step[0])
    for (int64_t c = 0; c < map.dim(3); c += step[1])
      for (int64_t h = 0; h < map.dim(1); h += step[2])
        for (int64_t w = 0; w < map.dim(2); w += step[3])
          some.push_back(all[static_cast<size_t>(((n * map.dim(1) + h) * map.dim(2) + w) * map.dim(3) + c)]);
  return some;
}

const Family kDabNet{"dabnet", owns, run, build_network, input, maps, first_loss};

}  // namespace segrt::golden
