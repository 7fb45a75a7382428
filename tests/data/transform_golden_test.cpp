// data/geometry.h, data/resample.h and data/transform.h against the reference outputs in drn_transforms.safetensors
// (Pillow 9.4 and the published training code): every value equal.
#include <doctest/doctest.h>

#include <nlohmann/json.hpp>

#include "core/safetensors.h"
#include "data/transform.h"
#include "tests/data/test_files.h"
#include "tests/support/golden.h"

using namespace segrt;
using namespace segrt::data;
using Json = nlohmann::json;

namespace {

struct Golden {
  std::unique_ptr<Device> device = Device::create("cpu");
  SafetensorsFile file{(test::golden_folder() / "drn_transforms.safetensors").string()};
  Json draws = Json::parse(file.metadata().at("draws"));
  Json info = Json::parse(file.metadata().at("info"));
  Image photo = image("image"), label = image("label");

  Image image(const std::string& name) const {
    const Tensor t = file.read(name, *device);
    Image image(static_cast<int>(t.dim(0)), static_cast<int>(t.dim(1)), t.rank() == 3 ? static_cast<int>(t.dim(2)) : 1);
    image.pixels = t.to_vector<uint8_t>();
    return image;
  }
  // A float map stored [1,C,H,W] or [C,H,W], as [H,W,C].
  std::vector<float> map(const std::string& name) const {
    const Tensor t = file.read(name, *device);
    const std::vector<float> chw = t.to_vector<float>();
    return to_hwc(chw, static_cast<size_t>(t.dim(-3)));
  }
  static std::vector<float> to_hwc(const std::vector<float>& chw, size_t channels) {
    const size_t pixels = chw.size() / channels;
    std::vector<float> hwc(chw.size());
    for (size_t c = 0; c < channels; ++c)
      for (size_t p = 0; p < pixels; ++p) hwc[p * channels + c] = chw[c * pixels + p];
    return hwc;
  }
  std::array<double, 3> triple(const char* key) const { return info.at(key).get<std::array<double, 3>>(); }
};

std::vector<int64_t> widened(const Image& label) { return {label.pixels.begin(), label.pixels.end()}; }

}  // namespace

TEST_CASE_FIXTURE(Golden, "reflection padding") {
  for (int i = 0; i < 4; ++i) {
    const std::string name = "pad_reflection." + std::to_string(i);
    CAPTURE(name);
    const Json& d = draws.at(name);
    CHECK(pad_reflection(photo, {d.at("top"), d.at("bottom"), d.at("left"), d.at("right")}) == image(name));
  }
}

TEST_CASE_FIXTURE(Golden, "rotation") {
  for (int i = 0; i < 4; ++i) {
    const std::string name = "rotate." + std::to_string(i);
    CAPTURE(name);
    const double angle = draws.at(name).at("angle_degrees");
    CHECK(rotate_image(photo, angle) == image(name + ".image"));
    CHECK(rotate_label(label, angle) == image(name + ".label"));
  }
}

TEST_CASE_FIXTURE(Golden, "scaling") {
  for (int i = 0; i < 5; ++i) {
    const std::string name = "scale." + std::to_string(i);
    CAPTURE(name);
    const double ratio = draws.at(name).at("ratio");
    CHECK(scale_image(photo, ratio) == image(name + ".image"));
    CHECK(resize_nearest(label, scaled_length(label.height, ratio), scaled_length(label.width, ratio)) ==
          image(name + ".label"));
  }
}

TEST_CASE_FIXTURE(Golden, "crop") {
  for (int i = 0; i < 4; ++i) {
    const std::string name = "crop." + std::to_string(i);
    CAPTURE(name);
    const Json& d = draws.at(name);
    const int size = d.at("size"), y = d.at("y1"), x = d.at("x1");
    CHECK(crop(photo, size, size, y, x, {.reflect = true}) == image(name + ".image"));
    CHECK(crop(label, size, size, y, x, {.reflect = false, .value = 255}) == image(name + ".label"));
  }
}

TEST_CASE_FIXTURE(Golden, "flip") {
  CHECK(flip_horizontal(photo) == image("flip.image"));
  CHECK(flip_horizontal(label) == image("flip.label"));
}

TEST_CASE_FIXTURE(Golden, "normalisation") {
  CHECK(normalise(photo, triple("mean"), triple("std")) == map("tensor.image"));
  CHECK(widened(label) == file.read("tensor.label", *device).to_vector<int64_t>());
}

TEST_CASE_FIXTURE(Golden, "the whole chain") {
  const Json& d = draws.at("chain");
  const int size = d.at("crop_size");
  const TrainTransform transform({.crop_height = size, .crop_width = size, .random_rotate = 10, .random_scale = 2});
  const Sample out = transform.apply(Sample{photo, label, "golden"}, {.angle_degrees = d.at("angle_degrees"),
                                                                      .ratio = d.at("ratio"),
                                                                      .y = d.at("y1"),
                                                                      .x = d.at("x1"),
                                                                      .flip = d.at("flip")});
  CHECK(normalise(out.image, triple("mean"), triple("std")) == map("chain.image"));
  CHECK(widened(out.label) == file.read("chain.label", *device).to_vector<int64_t>());
}

TEST_CASE_FIXTURE(Golden, "images of multi-scale testing") {
  for (const auto& [name, scale] :
       {std::pair{"0.5", 0.5}, {"0.75", 0.75}, {"1.25", 1.25}, {"1.5", 1.5}, {"1.75", 1.75}}) {
    CAPTURE(name);
    CHECK(scale_for_testing(photo, scale) == image(std::string("ms_image.") + name));
  }
}

TEST_CASE_FIXTURE(Golden, "float maps of multi-scale testing") {
  const std::vector<float> source = to_hwc(golden::image("drn/transforms.maps", 1, 24, 40, 4), 4);
  const Json sizes = Json::parse(file.metadata().at("ms_resize")).at("sizes_wh");
  for (size_t i = 0; i < sizes.size(); ++i) {
    CAPTURE(i);
    const int width = sizes[i][0], height = sizes[i][1];
    std::vector<float> y(static_cast<size_t>(height) * static_cast<size_t>(width) * 4);
    resize(source, 24, 40, 4, y, height, width, Filter::bilinear);
    CHECK(y == map("ms_resize." + std::to_string(i)));
  }
}
