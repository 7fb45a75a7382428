#include "data/loader.h"

#include <doctest/doctest.h>

#include <algorithm>
#include <map>
#include <chrono>
#include <set>
#include <string>

#include "core/error.h"
#include "tests/data/test_files.h"
#include "tests/support/tensors.h"

using namespace segrt;
using namespace segrt::data;
using segrt::test::contains;
using segrt::test::error_of;

namespace {

// Sample k: every pixel k, one label pixel k; takes an irregular time, so that workers overtake each other.
class Numbers final : public Dataset {
 public:
  explicit Numbers(int64_t size, int64_t broken = -1, bool labels = true)
      : size_(size), broken_(broken), labels_(labels) {}
  const std::string& name() const override { return name_; }
  int64_t size() const override { return size_; }
  Sample load(int64_t index) const override {
    std::this_thread::sleep_for(std::chrono::microseconds(index * 7919 % 5 * 200));
    if (index == broken_) throw FileError("/data/number_" + std::to_string(index) + ".png: damaged");
    Sample sample{Image(12, 10, 3), labels_ ? Image(12, 10, 1) : Image(), std::to_string(index)};
    for (size_t i = 0; i < sample.image.pixels.size(); ++i)
      sample.image.pixels[i] = static_cast<uint8_t>(static_cast<size_t>(index) + i * i);
    if (labels_) sample.label.row(3)[4] = static_cast<uint8_t>(index);
    return sample;
  }
  const LabelTable& classes() const override { return classes_; }
  bool has_labels() const override { return labels_; }
  std::array<double, 3> mean() const override { return {}; }
  std::array<double, 3> std() const override { return {1, 1, 1}; }

 private:
  std::string name_ = "numbers";
  int64_t size_, broken_;
  bool labels_;
  LabelTable classes_ = generic_labels(200);
};

// What a batch says, comparable.
struct Record {
  LoaderPosition position;
  std::vector<std::string> names;
  std::vector<int64_t> samples;
  std::vector<uint8_t> images, labels;
  bool operator==(const Record&) const = default;
};
Record record(const Batch& b) {
  return {
      {b.epoch, b.index}, b.names, b.samples, {b.images.begin(), b.images.end()}, {b.labels.begin(), b.labels.end()}};
}
std::vector<Record> take(Loader& loader, int count) {
  std::vector<Record> records;
  while (count-- > 0) records.push_back(record(*loader.next()));
  return records;
}

struct Setup {
  std::unique_ptr<Device> device = Device::create("cpu");
  Numbers numbers{23};
  TrainTransform augmented{{.crop_height = 6, .crop_width = 7, .random_rotate = 5, .random_scale = 1.5}};
  EvalTransform plain;
};

}  // namespace

TEST_CASE_FIXTURE(Setup, "batches are the same for any number of workers, over epochs") {
  Loader reference(numbers, augmented, *device, {.batch_size = 4, .workers = 0, .seed = 5});
  CHECK(reference.batches_per_epoch() == 5);
  const std::vector<Record> expected = take(reference, 12);
  CHECK(expected[5].position == LoaderPosition{1, 0});
  for (const int workers : {1, 2, 5})
    for (const int queue : {1, 3}) {
      CAPTURE(workers);
      CAPTURE(queue);
      Loader loader(numbers, augmented, *device, {.batch_size = 4, .workers = workers, .queue = queue, .seed = 5});
      CHECK(take(loader, 12) == expected);
    }
  Loader other(numbers, augmented, *device, {.batch_size = 4, .workers = 0, .seed = 6});
  CHECK(take(other, 1)[0].samples != expected[0].samples);
}

TEST_CASE_FIXTURE(Setup, "a batch holds its samples at their places") {
  Loader loader(numbers, plain, *device, {.batch_size = 4, .workers = 2, .shuffle = false, .drop_last = false});
  CHECK(loader.batches_per_epoch() == 6);
  for (int64_t b = 0; b < 6; ++b) {
    const Batch batch = *loader.next();
    CHECK(batch.size == (b < 5 ? 4 : 3));
    CHECK(batch.height == 12);
    CHECK(batch.width == 10);
    REQUIRE(batch.images.size() == static_cast<size_t>(batch.size) * 360);
    REQUIRE(batch.labels.size() == static_cast<size_t>(batch.size) * 120);
    for (size_t k = 0; k < batch.samples.size(); ++k) {
      const int64_t index = b * 4 + static_cast<int64_t>(k);
      CHECK(batch.samples[k] == index);
      CHECK(batch.names[k] == std::to_string(index));
      const Sample sample = numbers.load(index);
      CHECK(std::equal(sample.image.pixels.begin(), sample.image.pixels.end(),
                       batch.images.begin() + static_cast<std::ptrdiff_t>(k) * 360));
      CHECK(std::equal(sample.label.pixels.begin(), sample.label.pixels.end(),
                       batch.labels.begin() + static_cast<std::ptrdiff_t>(k) * 120));
    }
  }
}

TEST_CASE_FIXTURE(Setup, "an epoch visits every sample once, each epoch in another order") {
  Loader loader(numbers, plain, *device, {.batch_size = 4, .workers = 2, .drop_last = false, .endless = false});
  std::set<std::vector<int64_t>> orders;
  for (int64_t epoch = 0; epoch < 4; ++epoch) {
    std::vector<int64_t> order;
    while (const std::optional<Batch> batch = loader.next()) {
      CHECK(batch->epoch == epoch);
      order.insert(order.end(), batch->samples.begin(), batch->samples.end());
    }
    CHECK(loader.position() == LoaderPosition{epoch + 1, 0});
    orders.insert(order);
    std::sort(order.begin(), order.end());
    REQUIRE(order.size() == 23);
    for (int64_t i = 0; i < 23; ++i) CHECK(order[static_cast<size_t>(i)] == i);
  }
  CHECK(orders.size() == 4);
}

TEST_CASE_FIXTURE(Setup, "a run resumed in the middle of an epoch continues exactly") {
  Loader whole(numbers, augmented, *device, {.batch_size = 4, .workers = 2, .seed = 9});
  const std::vector<Record> expected = take(whole, 13);
  for (const int stop : {0, 3, 5, 8}) {
    Loader first(numbers, augmented, *device, {.batch_size = 4, .workers = 3, .seed = 9});
    take(first, stop);
    const LoaderPosition position = first.position();
    Loader second(numbers, augmented, *device, {.batch_size = 4, .workers = 1, .seed = 9});
    second.seek(position);
    CHECK(second.position() == position);
    CHECK(take(second, 13 - stop) == std::vector<Record>(expected.begin() + stop, expected.end()));
    second.seek({0, 1});  // also back, with batches in the queue
    CHECK(take(second, 1)[0] == expected[1]);
  }
  CHECK_THROWS_AS(whole.seek({0, 6}), ArgumentError);
  whole.seek({0, 5});
  CHECK(whole.position() == LoaderPosition{1, 0});
}

TEST_CASE_FIXTURE(Setup, "processes share an epoch") {
  Loader one(numbers, plain, *device, {.batch_size = 6, .workers = 0});
  Loader a(numbers, plain, *device, {.batch_size = 2, .workers = 1, .rank = 0, .world = 3});
  Loader b(numbers, plain, *device, {.batch_size = 2, .workers = 1, .rank = 1, .world = 3});
  Loader c(numbers, plain, *device, {.batch_size = 2, .workers = 1, .rank = 2, .world = 3});
  REQUIRE(a.batches_per_epoch() == one.batches_per_epoch());
  REQUIRE(c.batches_per_epoch() == one.batches_per_epoch());
  for (int64_t i = 0; i < 2 * one.batches_per_epoch(); ++i) {
    std::vector<int64_t> expected = one.next()->samples, all;
    for (Loader* loader : {&a, &b, &c}) {
      const Batch batch = *loader->next();
      all.insert(all.end(), batch.samples.begin(), batch.samples.end());
    }
    std::sort(expected.begin(), expected.end());
    std::sort(all.begin(), all.end());
    CHECK(all == expected);
  }
}

TEST_CASE_FIXTURE(Setup, "the order goes on when the number of processes changes and a step has as many samples") {
  // Item j of process r is item j * world + r of the step.
  const auto step_of = [&](int world, LoaderPosition position) {
    std::vector<int64_t> all(6);
    for (int rank = 0; rank < world; ++rank) {
      Loader loader(numbers, plain, *device, {.batch_size = 6 / world, .workers = 0, .rank = rank, .world = world});
      loader.seek(position);
      const Batch batch = *loader.next();
      for (size_t j = 0; j < batch.samples.size(); ++j)
        all[j * static_cast<size_t>(world) + static_cast<size_t>(rank)] = batch.samples[j];
    }
    return all;
  };
  for (int64_t epoch = 0; epoch < 2; ++epoch)
    for (int64_t batch = 0; batch < 3; ++batch) {
      const std::vector<int64_t> one = step_of(1, {epoch, batch});
      CHECK(step_of(2, {epoch, batch}) == one);
      CHECK(step_of(3, {epoch, batch}) == one);
    }
}

TEST_CASE_FIXTURE(Setup, "with wrap all processes have equally many samples, the first of the order twice") {
  std::map<int64_t, int> seen;
  for (int rank = 0; rank < 4; ++rank) {  // 23 samples
    Loader loader(numbers, plain, *device,
                  {.batch_size = 4, .workers = 0, .drop_last = false, .rank = rank, .world = 4, .wrap = true});
    CHECK(loader.batches_per_epoch() == 2);
    CHECK(loader.next()->size == 4);
    Loader again(numbers, plain, *device,
                 {.batch_size = 6, .workers = 0, .drop_last = false, .rank = rank, .world = 4, .wrap = true});
    const Batch all = *again.next();
    for (const int64_t sample : all.samples) ++seen[sample];
    CHECK(loader.next()->size == 2);
  }
  CHECK(seen.size() == 23);
  Loader first(numbers, plain, *device, {.batch_size = 1, .workers = 0});
  CHECK(seen.at(first.next()->samples[0]) == 2);
}

TEST_CASE_FIXTURE(Setup, "errors of a sample reach the consumer in order and with the file's name") {
  const Numbers broken(23, 10);
  for (const int workers : {0, 1, 4}) {
    Loader loader(broken, plain, *device, {.batch_size = 4, .workers = workers, .shuffle = false});
    CHECK(loader.next()->index == 0);
    CHECK(loader.next()->index == 1);
    for (int again = 0; again < 2; ++again) {
      CHECK_THROWS_AS(loader.next(), FileError);
      CHECK(error_of([&] { loader.next(); }) == "/data/number_10.png: damaged");
    }
    loader.seek({0, 3});
    CHECK(loader.next()->index == 3);
  }
}

TEST_CASE_FIXTURE(Setup, "samples of different sizes do not make a batch, but single ones do") {
  class Growing final : public Transform {
   public:
    Sample apply(Sample sample, Rng&) const override {
      const int side = 5 + std::stoi(sample.name);
      return {Image(side, 7, 3), Image(side, 7, 1), sample.name};
    }
  } growing;
  Loader pairs(numbers, growing, *device, {.batch_size = 2, .workers = 2, .shuffle = false});
  const std::string message = error_of([&] { pairs.next(); });
  CHECK(contains(message, "numbers: "));
  CHECK(contains(message, "batches of 1"));
  Loader single(numbers, growing, *device, {.batch_size = 1, .workers = 2, .shuffle = false});
  for (int i = 0; i < 23; ++i) CHECK(single.next()->height == 5 + i);
}

TEST_CASE_FIXTURE(Setup, "a loader may end at any time, and batches may outlive it") {
  Batch kept;
  for (const int taken : {0, 1, 2, 7}) {
    Loader loader(numbers, augmented, *device, {.batch_size = 3, .workers = 4, .queue = 2});
    for (int i = 0; i < taken; ++i) kept = *loader.next();
  }
  CHECK(kept.index == 6);
  CHECK(std::any_of(kept.images.begin(), kept.images.end(), [](uint8_t v) { return v != 0; }));
}

TEST_CASE_FIXTURE(Setup, "memory goes back to the pool") {
  Loader loader(numbers, augmented, *device, {.batch_size = 2, .workers = 0});
  const uint8_t* first = loader.next()->images.data();
  CHECK(loader.next()->images.data() == first);
  const Batch held = *loader.next();
  CHECK(loader.next()->images.data() != held.images.data());
}

TEST_CASE_FIXTURE(Setup, "without ground truth a batch has no labels") {
  const Numbers unlabelled(5, -1, false);
  Loader loader(unlabelled, augmented, *device, {.batch_size = 2, .workers = 1});
  const Batch batch = *loader.next();
  CHECK(batch.labels.empty());
  CHECK(batch.images.size() == 2 * 6 * 7 * 3);
}

TEST_CASE_FIXTURE(Setup, "time without a batch is counted") {
  Loader loader(numbers, plain, *device, {.batch_size = 23, .workers = 1});
  CHECK(loader.stall_seconds() == 0);
  loader.next();
  CHECK(loader.stall_seconds() > 0.0005);  // loading sleeps longer than that in all
}

TEST_CASE_FIXTURE(Setup, "impossible options are refused") {
  auto message = [&](const Loader::Options& o) { return error_of([&] { Loader(numbers, plain, *device, o); }); };
  CHECK(contains(message({.batch_size = 0}), "batch_size"));
  CHECK(contains(message({.workers = -1}), "workers"));
  CHECK(contains(message({.queue = 0}), "queue"));
  CHECK(contains(message({.rank = 2, .world = 2}), "rank 2 of 2"));
  CHECK(contains(message({.batch_size = 24}), "numbers has 23 samples"));
  CHECK(message({.batch_size = 24, .drop_last = false}) == "");
}
