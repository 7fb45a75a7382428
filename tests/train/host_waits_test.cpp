// A host that trains on a GPU waits for it where it reports, and nowhere between.
#include <doctest/doctest.h>

#if __has_include("emulator/control.h")
#include <fstream>
#include <nlohmann/json.hpp>

#include "emulator/control.h"  // counts waits
#include "tests/core/temporary_folder.h"
#include "tests/support/tiny_network.h"
#include "train/trainer.h"

namespace {
using namespace segrt;

constexpr const char* kConfig = R"([model]
name = "tiny"
[data]
kind = "synthetic"
height = 32
width = 48
train_size = 24
val_size = 1
crop = [16, 32]
workers = 0
[train]
iterations = 24
batch = 1
checkpoint_every = 0
log_every = 8
[validate]
every = 0
)";
constexpr int64_t kSteps = 24, kLogEvery = 8;

// Asks the device for a value in every pass.
class Asking final : public test::TinyNetwork {
 public:
  using TinyNetwork::TinyNetwork;
  std::vector<models::Head> forward(const Var& image) override {
    image.value().to_vector<float>();
    return TinyNetwork::forward(image);
  }
};

// Waits of the host between the end of each step and the end of the next.
template <typename Network>
std::vector<uint64_t> waits(const std::vector<std::string>& overrides) {
  const TemporaryFolder folder;
  const train::RunDirectory directory(folder / "run");
  const Config config = Config::parse(kConfig, "x.toml", overrides);
  const std::unique_ptr<Device> device = Device::create("cuda");
  train::Trainer trainer(config, *device, directory, [](const Config& table, nn::Init& init) {
    table.text("name");
    return std::make_unique<Network>(19, init);
  });
  train::RunDirectory(directory).create(config);
  train::RunLog log({.directory = directory.path(), .quiet = true});
  std::vector<uint64_t> counts;
  const size_t blocks_before = emulator::page_locked_blocks();
  trainer.run(log, [&] {
    counts.push_back(emulator::host_waits());
    // A batch is held until its copy is done, which a report sees to at the latest: those of a window, the one before,
    // and the next. How many it takes in fact depends on how far copies get.
    CHECK(emulator::page_locked_blocks() <= blocks_before + kLogEvery + 2);
    return false;
  });
  REQUIRE(counts.size() == kSteps);
  for (size_t i = counts.size() - 1; i > 0; --i) counts[i] -= counts[i - 1];
  return counts;
}
}  // namespace

TEST_CASE("between reports the host of a training run does not wait for the device") {
  for (const char* capture : {"train.capture=true", "train.capture=false"}) {
    CAPTURE(capture);
    const std::vector<uint64_t> counts = waits<test::TinyNetwork>({capture});
    // The first window makes memory and records.
    for (size_t i = kLogEvery; i < counts.size(); ++i) {
      CAPTURE(i);
      const bool reports = (i + 1) % kLogEvery == 0;
      CHECK((counts[i] > 0) == reports);
    }
  }
}

TEST_CASE("a network that asks the device for values is seen to wait") {
  const std::vector<uint64_t> counts = waits<Asking>({});
  for (size_t i = kLogEvery; i < counts.size(); ++i) CHECK(counts[i] > 0);
}
#endif
