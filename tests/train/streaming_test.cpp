// A stream of images gives what the images give one by one, in order; a bad one is named and nothing hangs.
#include "train/streaming.h"

#include <doctest/doctest.h>

#include <atomic>
#include <chrono>
#include <set>
#include <thread>

#include "core/error.h"
#include "core/random.h"
#include "tests/support/tensors.h"
#include "tests/support/tiny_network.h"
#include "train/evaluator.h"
#include "train/fasterseg_protocol.h"
#if __has_include("emulator/control.h")
#include "emulator/control.h"
#endif

namespace segrt::train {
namespace {
constexpr std::array<double, 3> kMean{0.4, 0.5, 0.6}, kStd{0.2, 0.3, 0.25};
constexpr int kClasses = 5;

// Sizes change now and then, so that graphs and buffers are made anew.
data::Image image_of(int64_t index) {
  const bool wide = index % 7 >= 4;
  data::Image image(6 + (wide ? 2 : 0), wide ? 10 : 8, 3);
  Rng rng(7, static_cast<uint64_t>(index));
  for (uint8_t& p : image.pixels) p = static_cast<uint8_t>(rng.next_u32());
  return image;
}

data::Image decoded_late(int64_t index) {
  std::this_thread::sleep_for(std::chrono::milliseconds((index * 5) % 3));
  return image_of(index);
}

StreamingInference make_stream(models::Model& network, Device& device, int workers, bool capture = true) {
  return {network, device, {.inference = {.mean = kMean, .std = kStd, .capture = capture}, .workers = workers}};
}
}  // namespace

TEST_CASE("a stream of images gives the maps of the images, in order") {
  constexpr int64_t kCount = 12;
  for (const auto& device : test::test_devices()) {
    nn::Init init(*device, 3);
    test::TinyNetwork network(kClasses, init);
    Evaluator evaluator(network, {.mean = kMean, .std = kStd});
    std::vector<std::vector<uint8_t>> expected;
    std::set<uint8_t> classes;
    for (int64_t i = 0; i < kCount; ++i) {
      expected.push_back(evaluator.predict(image_of(i)).to_vector<uint8_t>());
      classes.insert(expected.back().begin(), expected.back().end());
    }
    REQUIRE(classes.size() > 1);  // or the comparison says nothing
    for (const int workers : {1, 3})
      for (const bool capture : {true, false})
        for (const int64_t count : {int64_t{0}, int64_t{1}, int64_t{2}, kCount}) {
          CAPTURE(device->name());
          CAPTURE(workers);
          CAPTURE(capture);
          CAPTURE(count);
          std::vector<std::vector<uint8_t>> got;
          StreamingInference stream = make_stream(network, *device, workers, capture);
          const auto stats =
              stream.run(count, decoded_late, [&](int64_t index, const data::Image& image, const data::Image& map) {
                CHECK(index == static_cast<int64_t>(got.size()));
                CHECK(image == image_of(index));
                CHECK(map.height == image.height);
                got.push_back(map.pixels);
              });
          CHECK(stats.frames == count);
          CHECK(stats.latency_ms.size() == static_cast<size_t>(count));
          CHECK(got == std::vector(expected.begin(), expected.begin() + count));
        }
  }
}

#if __has_include("emulator/control.h")
TEST_CASE("a stream is right whatever the order of the device's streams") {
  for (uint64_t seed = 1; seed <= 8; ++seed) {
    CAPTURE(seed);
    emulator::set_seed(seed);
    const auto device = Device::create("cuda");
    nn::Init init(*device, 3);
    test::TinyNetwork network(kClasses, init);
    Evaluator evaluator(network, {.mean = kMean, .std = kStd});
    StreamingInference stream = make_stream(network, *device, 2);
    stream.run(5, image_of, [&](int64_t index, const data::Image&, const data::Image& map) {
      CHECK(map.pixels == evaluator.predict(image_of(index)).to_vector<uint8_t>());
    });
  }
}
#endif

TEST_CASE("an image that cannot be had ends a stream: those before it arrive, it is named") {
  for (const auto& device : test::test_devices()) {
    nn::Init init(*device, 3);
    test::TinyNetwork network(kClasses, init);
    for (const int64_t bad : {0, 1, 5}) {
      CAPTURE(device->name());
      CAPTURE(bad);
      std::atomic<int64_t> asked = 0;
      int64_t arrived = 0;
      StreamingInference stream = make_stream(network, *device, 2);
      const auto source = [&](int64_t index) {
        ++asked;
        if (index == bad) throw FileError("street.png: not an image");
        return image_of(index);
      };
      const auto sink = [&](int64_t, const data::Image&, const data::Image&) { ++arrived; };
      CHECK(test::error_of([&] { stream.run(1000, source, sink); }) ==
            "frame " + std::to_string(bad) + ": street.png: not an image");
      CHECK(arrived == bad);
      CHECK(asked <= bad + 5);                           // the workers did not go on: 4 ahead
      CHECK(stream.run(3, image_of, sink).frames == 3);  // and the object works on
    }
  }
}

TEST_CASE("a stream refuses what is no RGB image, and passes on what its receiver throws") {
  const auto device = Device::create("cpu");
  nn::Init init(*device, 3);
  test::TinyNetwork network(kClasses, init);
  StreamingInference stream = make_stream(network, *device, 2);
  const auto ignore = [](int64_t, const data::Image&, const data::Image&) {};
  CHECK(test::error_of([&] {
          stream.run(
              4, [](int64_t) { return data::Image(4, 4, 1); }, ignore);
        }) == "frame 0: expected an RGB image, got 4x4 pixels of 1 channels");
  CHECK(test::error_of([&] {
          stream.run(9, image_of, [](int64_t index, const data::Image&, const data::Image&) {
            if (index == 2) throw FileError("disk full");
          });
        }) == "disk full");
  CHECK(test::error_of([&] { make_stream(network, *device, 0); }) == "streaming: workers: expected 1 or more, got 0");
}

TEST_CASE("FasterSeg's protocol: the count of timed runs is computed from twice the true rate") {
  std::vector<int64_t> loops;
  const auto result = measure_as_fasterseg([&](int64_t runs) {
    loops.push_back(runs);
    return 4.0 * static_cast<double>(runs);  // 250 runs a second
  });
  // Loops of 100 and 200 take 0.4 and 0.8 s, 400 take 1.6 s: rate = 800 / 1.6 s = 500, twice the true one.
  CHECK(loops == std::vector<int64_t>{10, 100, 200, 400, 3000});
  CHECK(result.calibrated_rate == doctest::Approx(500));
  CHECK(result.latency_ms == doctest::Approx(4));
  CHECK(result.fps() == doctest::Approx(250));
}

}  // namespace segrt::train
