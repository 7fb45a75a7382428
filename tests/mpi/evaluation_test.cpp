#include "data/synthetic.h"
#include "tests/mpi/world.h"
#include "tests/support/tensors.h"
#include "tests/support/tiny_network.h"
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
