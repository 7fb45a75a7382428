#include "data/synthetic.h"
#include "data/synthetic_shapes.h"
#include "tests/mpi/world.h"
#include "tests/support/tensors.h"
#include "tests/support/tiny_classifier.h"
#include "tests/support/tiny_network.h"
#include "train/classification.h"
#include "train/evaluator.h"

using namespace segrt;

TEST_CASE("an evaluation by several processes is that of one, to the last integer") {
  Communicator& world = test::world();
  for (const auto& device : test::test_devices()) {
    CAPTURE(device->name());
    const data::SyntheticStreets streets({.size = 5, .height = 24, .width = 32});  // not a multiple of the processes
    nn::Init init(*device, 3);
    test::TinyNetwork network(streets.classes().size(), init);
    train::Evaluator evaluator(network, {.mean = streets.mean(), .std = streets.std()});
    for (const int64_t limit : {0, 1}) {  // at last fewer images than processes
      CAPTURE(limit);
      const auto alone = evaluator.evaluate(streets, limit);
      std::vector<int64_t> seen;
      const auto together = evaluator.evaluate(
          streets, limit, [&](int64_t i, const data::Sample&, const data::Image&) { seen.push_back(i); }, &world);
      CHECK(together.confusion == alone.confusion);
      CHECK(together.scores.miou == alone.scores.miou);
      CHECK(together.images == alone.images);
      for (const int64_t i : seen) CHECK(i % world.size() == world.rank());
      const std::vector<int64_t> counts = world.all_gather(static_cast<int64_t>(seen.size()));
      int64_t total = 0;
      for (const int64_t count : counts) total += count;
      CHECK(total == alone.images);  // none left out, none twice
    }
  }
}

TEST_CASE("a classifier's evaluation by several processes has the counts of one") {
  Communicator& world = test::world();
  const auto cpu = Device::create("cpu");
  const data::SyntheticShapes shapes({.size = 7, .height = 20, .width = 26});  // not a multiple of the processes
  nn::Init init(*cpu, 3);
  test::TinyClassifier network(12, false, init);
  train::ClassifierEvaluation evaluation{.centre_crop = {.scale_size = 16, .crop_size = 14},
                                         .mean = shapes.mean(),
                                         .std = shapes.std(),
                                         .batch = 2,
                                         .workers = 1};
  for (const int64_t limit : {0, 5, 1}) {  // at last fewer images than processes
    CAPTURE(limit);
    evaluation.limit = limit;
    int64_t own = 0;
    evaluation.progress = nullptr;
    const train::ClassificationScores alone = evaluation.run(network, shapes);
    evaluation.progress = [&own](int64_t images) { own = images; };
    const train::ClassificationScores together = evaluation.run(network, shapes, &world);
    CHECK(together.images == alone.images);
    CHECK(together.top1 == alone.top1);
    CHECK(together.top5 == alone.top5);
    CHECK(together.class_images == alone.class_images);
    CHECK(together.class_correct == alone.class_correct);
    CHECK(together.mean_loss() == doctest::Approx(alone.mean_loss()).epsilon(1e-6));
    int64_t sum = 0;
    for (const int64_t images : world.all_gather(own)) sum += images;
    CHECK(sum == alone.images);  // shared out
    CHECK(own <= (alone.images + world.size() - 1) / world.size());
  }
}
