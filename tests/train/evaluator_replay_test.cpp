// Evaluation by replay of a graph: the same maps and the same measurements as on a CPU.
#include <doctest/doctest.h>

#include "core/random.h"
#include "models/dynamic_routing.h"
#include "tests/support/tensors.h"
#include "train/evaluator.h"

namespace {
using namespace segrt;

data::Image random_image(uint64_t stream, int height, int width, int brightest) {
  data::Image image(height, width, 3);
  Rng rng(5, stream);
  for (uint8_t& p : image.pixels) p = static_cast<uint8_t>(rng.next_u32() % static_cast<uint32_t>(brightest + 1));
  return image;
}

std::unique_ptr<models::Model> build(Device& device) {
  nn::Init init(device, 1);
  const Config config =
      Config::parse("[model]\nname = \"dynamic_raw_l16\"\nclasses = 4\nlayers = 3\nwidth = 4\n", "test");
  auto model = models::build(config.table("model"), init);
  model->visit_parameters([&](const std::string& path, nn::Parameter& p) {
    if (path.find("list.1.1.gate_conv_beta.2.bias") == std::string::npos) return;
    Tensor bias = p.var.value();
    bias.copy_from(Tensor::from<float>(bias.shape(), std::vector<float>(static_cast<size_t>(bias.numel()), -3.0f),
                                       bias.device()));  // this cell is closed
  });
  return model;
}

TEST_CASE("an evaluator replays, and measures and predicts like one that does not") {
  if (!Device::cuda_available()) return;
  const auto cpu = Device::create("cpu"), cuda = Device::create("cuda");
  const auto reference = build(*cpu), model = build(*cuda);
  for (const bool flip : {false, true}) {
    CAPTURE(flip);
    train::Evaluator::Options options;
    options.flip = flip;
    train::Evaluator eager(*reference, options), replaying(*model, options);
    for (int i = 0; i < 4; ++i) {
      CAPTURE(i);
      const data::Image image = random_image(static_cast<uint64_t>(i), 32, 30, 40 + 70 * i);  // padded to 32x32
      CHECK(test::relative_l2(replaying.pixel_scores(image), test::to_doubles(eager.pixel_scores(image))) < 1e-5);
      CHECK(replaying.inference().reason().empty() == (i > 0));
      REQUIRE(replaying.measurements().size() == eager.measurements().size());
      for (size_t m = 0; m < eager.measurements().size(); ++m) {
        CHECK(replaying.measurements()[m].first == eager.measurements()[m].first);
        CHECK(replaying.measurements()[m].second == doctest::Approx(eager.measurements()[m].second).epsilon(1e-5));
      }
    }
    replaying.pixel_scores(random_image(9, 64, 32, 200));
    CHECK(replaying.inference().reason().starts_with("pass "));
  }
}
}  // namespace
