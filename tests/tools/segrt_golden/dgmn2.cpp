#include "tests/tools/segrt_golden/dgmn2.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "autograd/loss.h"
#include "core/error.h"
#include "kernels/argmax.h"
#include "kernels/elementwise.h"
#include "kernels/resize.h"
#include "kernels/softmax.h"
#include "tests/support/tensors.h"
#include "tests/tools/segrt_golden/maps.h"
#include "tests/tools/segrt_golden/model_state.h"
#include "train/sliding_window.h"

namespace segrt::golden {
namespace {
// Of the largest magnitude, in float32; in float64 what the file's own float32 rounding is, with room.
constexpr double kStated = 1e-4, kExact = 2e-5;
constexpr int kSlideCrop = 65, kSlideStride = 41;

bool owns(GoldenFile& file) {
  if (!file.has("family") || file.text("family") != "dgmn2") return false;
  return file.has("model") || (file.has("op") && file.text("op").starts_with("DGMN2Block"));
}

bool slides(GoldenFile& file) { return file.contains("slide_logits"); }
bool classifies(GoldenFile& file) { return file.text("model").ends_with("classifier"); }

// "DGMN2-tiny + setr_mla" and "DGMN2-tiny ImageNet classifier".
std::string model_table(GoldenFile& file) {
  const std::string model = file.text("model");
  constexpr std::string_view kFamily = "DGMN2-", kPlus = " + ";
  const std::string size = model.substr(kFamily.size(), model.find(' ') - kFamily.size());
  std::string table = fmt::format("[model]\nclasses = {}\n", file.get<int64_t>("num_classes"));
  if (classifies(file)) return table + fmt::format("name = \"dgmn2_{}\"\ntask = \"classification\"\n", size);
  const std::string head = model.substr(model.find(kPlus) + kPlus.size());
  table += fmt::format("name = \"dgmn2_{}_{}\"\n", size, head);
  if (head == "fpn") table += "dropout = 0\n";
  const Json image_size = file.has("img_size") ? file.json("img_size") : Json();
  if (image_size.is_number() && (head == "setr_naive" || head == "setr_mla"))
    table += fmt::format("image_size = {}\n", image_size.get<int>());
  return table;
}

// Parameters of blocks with two dimensions or more are halved.
std::map<std::string, float> fill_factors(GoldenFile&, models::Model& model) {
  std::map<std::string, float> factors;
  model.visit_parameters([&](const std::string& path, nn::Parameter& p) {
    const size_t at = path.find("block");
    const bool of_block = at != std::string::npos && (at == 0 || path[at - 1] == '.');
    if (of_block && p.var.shape().rank() >= 2) factors[path] = 0.5f;
  });
  return factors;
}

constexpr NetworkRules kRules{model_table, fill_factors, nullptr};

std::unique_ptr<models::Model> build_network(GoldenFile& file, Device& device) {
  return build_model(file, kRules, device);
}

Tensor input(GoldenFile& file, Device& device) {
  Fields fields = file.fields("input");
  return golden_input(fields.get<std::string>("name"), fields.get<std::vector<int64_t>>("eval_shape"), device);
}

// A map in the file's order: tokens as they are, else [N,C,H,W].
std::vector<double> stored_order(const std::string& name, const Tensor& map, int64_t stride, Device& host) {
  const bool tokens = name.starts_with("feat.block");
  return subsample(tokens ? map.to(host) : nchw(map, host), stride);
}

// The maps that the file holds, by the names of its tensors.
Results inference(GoldenFile& file, models::Model& model, const Tensor& image) {
  const Json strides = file.json("strides");
  Results results;
  model.set_training(false);
  const NoGrad no_grad(image.device());
  model.tap = [&](std::string_view name, const Var& value) {
    // Files leave out the part that a map belongs to, but for what the parts return.
    std::string row = "feat." + std::string(name);
    for (const std::string_view part : {"backbone.", "decode_head."})
      if (!file.contains(row) && name.starts_with(part)) row = "feat." + std::string(name.substr(part.size()));
    if (file.contains(row)) results[row] = stored_order(row, value.value(), stride_of(strides, row), file.host());
  };
  const models::Head head = model.forward(image).front();
  model.tap = nullptr;
  const Var logits = classifies(file) ? head.scores : nn::upsampled_scores(head.scores, head.up);
  results["logits"] = stored_order("logits", logits.value(), stride_of(strides, "logits"), file.host());
  return results;
}

// The logits of a picture in windows, [1,H,W,classes] of a size that is given.
Tensor slide_logits(models::Model& model, const Tensor& image, int height, int width) {
  Tensor map = Tensor::empty({image.dim(1), image.dim(2), model.classes()}, image.dtype(), image.device());
  train::slide(
      image, {.height = kSlideCrop, .width = kSlideCrop, .stride_height = kSlideStride, .stride_width = kSlideStride},
      [&](const Tensor& windows) {
        const models::Head head = model.forward(windows).front();
        return nn::upsampled_scores(head.scores, head.up).value();
      },
      [&](int64_t first, const Tensor& rows) {
        map.slice(first, rows.dim(1)).copy_from(rows.reshape({rows.dim(1), rows.dim(2), rows.dim(3)}));
      });
  Tensor y = Tensor::empty({1, height, width, model.classes()}, image.dtype(), image.device());
  kernels::resize_forward(map.reshape({1, image.dim(1), image.dim(2), model.classes()}),
                          {.coordinates = kernels::Coordinates::align_corners}, y);
  return y;
}

struct Slide {
  Results results;
  Tensor probabilities;  // the mean over both pictures and their mirror images
};
Slide slide_results(GoldenFile& file, models::Model& model, const Tensor& image) {
  const Json strides = file.json("strides");
  Fields fields = file.fields("input");
  const Json second = fields.raw("second");
  const Tensor small = in_type(golden_input(second.at(0).get<std::string>(),
                                            {second.at(1), second.at(2), second.at(3), second.at(4)}, image.device()),
                               image.dtype(), image.device());
  model.set_training(false);
  const NoGrad no_grad(image.device());
  Slide r;
  const int height = static_cast<int>(image.dim(1)), width = static_cast<int>(image.dim(2));
  const auto add = [&](const Tensor& logits, bool mirrored) {
    Tensor p = Tensor::like(logits);
    kernels::softmax_forward(logits, p);
    if (mirrored) {
      Tensor back = Tensor::like(p);
      kernels::flip_horizontal(p, back);
      p = back;
    }
    if (r.probabilities.defined())
      kernels::add_scaled(r.probabilities, 1, p, 0.25, r.probabilities);
    else
      kernels::scale(p, 0.25, 0, r.probabilities = Tensor::like(p));
  };
  for (const auto& [name, picture] :
       {std::pair<std::string, const Tensor&>{"slide_logits", image}, {"slide_logits_small", small}}) {
    const Tensor logits = slide_logits(model, picture, height, width);
    r.results[name] = stored_order(name, logits, stride_of(strides, name), file.host());
    add(logits, false);
    Tensor mirrored = Tensor::like(picture);
    kernels::flip_horizontal(picture, mirrored);
    add(slide_logits(model, mirrored, height, width), true);
  }
  r.results["aug_probs"] = stored_order("aug_probs", r.probabilities, stride_of(strides, "aug_probs"), file.host());
  return r;
}

// A class may differ where the two largest probabilities do not differ by more than rounding.
void check_argmax(GoldenFile& file, const Tensor& probabilities, Report& report) {
  Tensor got = Tensor::empty({1, probabilities.dim(1), probabilities.dim(2)}, DType::u8, probabilities.device());
  kernels::argmax(probabilities, got);
  const std::vector<double> classes = test::to_doubles(got), expected = file.values("aug_argmax");
  const std::vector<double> p = test::to_doubles(probabilities);
  const auto count = static_cast<size_t>(probabilities.dim(3));
  size_t wrong = classes.size() == expected.size() ? 0 : 1, close = 0;
  for (size_t i = 0; i < classes.size() && i < expected.size(); ++i) {
    if (classes[i] == expected[i]) continue;
    const double mine = p[i * count + static_cast<size_t>(classes[i])];
    const double theirs = p[i * count + static_cast<size_t>(expected[i])];
    ++(mine - theirs <= kStated ? close : wrong);
  }
  report.equal("aug_argmax", wrong == 0 && close * 1000 <= classes.size(),
               fmt::format("in {} of {} pixels, {} of the others too close to call", classes.size() - wrong - close,
                           classes.size(), close));
}

// Running statistics that one training pass leaves, against the file's.
void check_statistics(GoldenFile& file, Device& device, Report& report) {
  Tensor image = input(file, device);
  if (slides(file)) {
    const Tensor rows = image.reshape({image.dim(1), image.dim(2) * 3}).slice(0, kSlideCrop);
    Tensor corner = Tensor::empty({kSlideCrop, kSlideCrop * 3}, image.dtype(), device);
    kernels::copy_from_channels(rows, 0, corner);
    image = corner.reshape({1, kSlideCrop, kSlideCrop, 3});
  }
  const std::unique_ptr<models::Model> model = build_network(file, device);
  calibrate(*model, image);
  double worst = 0;
  std::string where;
  model->visit_buffers([&](const std::string& path, nn::Buffer& b) {
    if (path.ends_with("num_batches_tracked")) return;
    const std::vector<double> expected = file.values("state." + path);
    double largest = 0;
    for (const double v : expected) largest = std::max(largest, std::abs(v));
    const double error = test::max_abs_difference(test::to_doubles(b.tensor), expected) / largest;
    if (!(error <= worst)) {
      worst = error;
      where = path;
    }
  });
  report.error("state.*", "of the largest", worst, kStated, where);
}

Results maps(GoldenFile& file, models::Model& model, const Tensor& image) {
  if (slides(file)) return slide_results(file, model, image).results;
  return inference(file, model, image);
}

void check_inference(GoldenFile& file, Device& device, Report& report) {
  const std::unique_ptr<models::Model> model = build_network(file, device);
  check_structure(file, *model, report);
  report.identical("params", std::vector<double>{static_cast<double>(model->parameter_count())},
                   {file.get<double>("params")});
  const Tensor image = input(file, device);
  Results got;
  if (slides(file)) {
    const Slide slide = slide_results(file, *model, image);
    got = slide.results;
    check_argmax(file, slide.probabilities, report);
  } else {
    got = inference(file, *model, image);
  }
  const std::unique_ptr<models::Model> wide = build_network(file, file.host());
  make_float64(*wide);
  Results exact;
  // The sum over windows is f32 by design.
  if (!slides(file)) exact = inference(file, *wide, in_type(image, DType::f64, file.host()));
  for (const auto& [row, values] : got) {
    if (exact.contains(row)) check_of_largest(row + " (f64)", exact.at(row), file.values(row), kExact, report);
    check_of_largest(row, values, file.values(row), kStated, report);
  }
  for (const std::string& row : file.tensors_with_prefix("feat."))
    if (!got.contains(row)) report.fail(row, "the network has no such map");
}

Dgmn2Network network_of(GoldenFile& file) {
  return [&file](Device& device) { return build_network(file, device); };
}

void run(GoldenFile& file, Device& device, Report& report) {
  for (const char* words : {"torch", "fill", "config", "forward", "subsample", "shapes", "logits_stats", "loss_traj",
                            "img_size", "ignore_index"})
    file.skip(words);
  if (!file.has("model")) return run_dgmn2_block(file, device, report);
  check_inference(file, device, report);
  check_statistics(file, device, report);
  if (file.contains("loss")) run_dgmn2_training(file, network_of(file), device, report);
}

double first_loss(GoldenFile& file, Device& device, DType precision) {
  return dgmn2_first_loss(file, network_of(file), device, precision);
}
}  // namespace

int64_t stride_of(const Json& strides, const std::string& name) { return strides.value(name, int64_t{1}); }

void check_of_largest(const std::string& name, const std::vector<double>& got, const std::vector<double>& expected,
                      double tolerance, Report& report) {
  if (got.size() != expected.size())
    return report.fail(name, fmt::format("{} values, expected {}", got.size(), expected.size()));
  double largest = 0;
  for (const double v : expected) largest = std::max(largest, std::abs(v));
  report.error(name, "of the largest", test::max_abs_difference(got, expected) / largest, tolerance);
}

Tensor in_type(const Tensor& x, DType dtype, Device& device) {
  Tensor y = Tensor::empty(x.shape(), dtype, device);
  kernels::cast(&x.device() == &device ? x : x.to(device), y);
  return y;
}

const Family kDgmn2{"dgmn2", owns, run, build_network, input, maps, first_loss};

}  // namespace segrt::golden
