#include "data/sample_cache.h"

#include <doctest/doctest.h>

#include <chrono>

#include "core/error.h"
#include "core/parallel.h"
#include "data/cityscapes_dataset.h"
#include "data/loader.h"
#include "data/synthetic.h"
#include "tests/data/cityscapes_tree.h"
#include "tests/support/tensors.h"

using namespace segrt;
using namespace segrt::data;
using segrt::test::contains;
using segrt::test::error_of;
namespace fs = std::filesystem;

namespace {

constexpr int kFrames = 7;

struct Tree : test::CityscapesTree {
  fs::path file;
  Tree() : file(root() / "cache/cityscapes_train.segcache") {
    for (int i = 0; i < kFrames; ++i) {
      add_image("train", frame(i), 6 + i, 10);
      add_label("train", frame(i), "labelIds.png", i, 34, 6 + i, 10);
    }
  }
  static std::string frame(int i) { return "ulm/u_" + std::to_string(i); }
  std::unique_ptr<Dataset> open() const { return std::make_unique<Cityscapes>(Cityscapes::Options{.root = root()}); }
  std::string refusal() const {
    return error_of([&] { CachedDataset(open(), file); });
  }
  void check_equal(const Dataset& a, const Dataset& b) const {
    REQUIRE(a.size() == b.size());
    for (int64_t i = 0; i < a.size(); ++i) {
      const Sample x = a.load(i), y = b.load(i);
      CHECK(x.name == y.name);
      CHECK(x.image == y.image);
      CHECK(x.label == y.label);
    }
  }
};

void write_bytes(const fs::path& path, const std::string& bytes) { std::ofstream(path, std::ios::binary) << bytes; }

}  // namespace

TEST_CASE_FIXTURE(Tree, "cache: samples are the same, bit for bit, and the file does not depend on threads") {
  const auto dataset = open();
  CHECK(cache_file(root() / "cache", *dataset) == file);
  set_threads(1);
  int64_t last = 0;
  const CacheResult one = write_cache(*dataset, file, false, [&](int64_t done, int64_t) { last = done; });
  CHECK(last == kFrames);
  CHECK(!one.up_to_date);
  CHECK(one.samples == kFrames);
  CHECK(one.resumed == 0);
  const std::string bytes = test::read_file(file);
  CHECK(one.nbytes == bytes.size());
  set_threads(2);
  write_cache(*dataset, file, true);
  set_threads(0);
  CHECK(test::read_file(file) == bytes);
  CHECK(!fs::exists(file.string() + ".part"));

  const CachedDataset cached(open(), file);
  check_equal(*dataset, cached);
  CHECK(cached.name() == dataset->name());
  CHECK(cached.classes() == dataset->classes());
  CHECK(cached.mean() == dataset->mean());
  CHECK(cached.files(2) == dataset->files(2));
  CHECK(cached.has_labels());
  CHECK(cached.prediction_file(cached.load(0).name, Image(1, 1, 1)).path == "u_0_leftImg8bit.png");
  CHECK_THROWS_AS(cached.load(kFrames), ArgumentError);
  CHECK(write_cache(*dataset, file, false).up_to_date);

  // Through the loader with augmentation: the same batches.
  const auto device = Device::create("cpu");
  const TrainTransform transform({.crop_height = 8, .crop_width = 8, .random_scale = 2});
  const Loader::Options options{.batch_size = 3, .workers = 2, .seed = 5};
  Loader plain(*dataset, transform, *device, options), fast(cached, transform, *device, options);
  for (int step = 0; step < 5; ++step) {
    const Batch a = *plain.next(), b = *fast.next();
    CHECK(a.names == b.names);
    CHECK(std::equal(a.images.begin(), a.images.end(), b.images.begin(), b.images.end()));
    CHECK(std::equal(a.labels.begin(), a.labels.end(), b.labels.begin(), b.labels.end()));
  }
}

TEST_CASE_FIXTURE(Tree, "cache: an interrupted run is taken up where it was") {
  const auto dataset = open();
  write_cache(*dataset, file, false);
  const std::string whole = test::read_file(file);
  const fs::path part = file.string() + ".part";
  fs::remove(file);
  int most = 0;
  for (size_t length = 0; length < whole.size(); length += 1 + whole.size() / 37) {  // killed after so many bytes
    write_bytes(part, whole.substr(0, length));
    const CacheResult result = write_cache(*dataset, file, false);
    CHECK(result.resumed <= kFrames);
    most = std::max(most, static_cast<int>(result.resumed));
    CHECK(test::read_file(file) == whole);
    CHECK(!fs::exists(part));
    fs::remove(file);
  }
  CHECK(most == kFrames);
  // A record whose pixels never reached the disk is not kept, nor one whose source is another by now.
  std::string damaged = whole;
  damaged[whole.size() / 2] = static_cast<char>(damaged[whole.size() / 2] ^ 1);
  write_bytes(part, damaged);
  const CacheResult result = write_cache(*dataset, file, false);
  CHECK(result.resumed > 0);
  CHECK(result.resumed < kFrames);
  CHECK(test::read_file(file) == whole);
  fs::remove(file);
  write_bytes(part, whole);
  add_image("train", frame(2), 9, 10);
  add_label("train", frame(2), "labelIds.png", 2, 34, 9, 10);
  CHECK(write_cache(*dataset, file, false).resumed == 2);
  check_equal(*dataset, CachedDataset(open(), file));
  write_bytes(part, "something else");
  CHECK(write_cache(*dataset, file, true).resumed == 0);
  // A sample that cannot be read: an error, no file, and what came before is kept.
  fs::remove(file);
  write_bytes(image_path("train", frame(6)), "no picture");
  set_threads(1);  // four samples at a time
  CHECK(contains(error_of([&] { write_cache(*dataset, file, false); }), "u_6_leftImg8bit.png: "));
  CHECK(!fs::exists(file));
  add_image("train", frame(6), 12, 10);
  CHECK(write_cache(*dataset, file, false).resumed == 4);
  set_threads(0);
}

TEST_CASE_FIXTURE(Tree, "cache: another data set, or files that changed, are noticed") {
  write_cache(*open(), file, false);
  CHECK(refusal().empty());
  const fs::path image = image_path("train", frame(3)), label = label_path("train", frame(3), "labelIds.png");
  const auto time = fs::last_write_time(image);
  fs::last_write_time(image, time + std::chrono::nanoseconds(1000));
  CHECK(refusal() == file.string() + ": made before " + image.string() +
                         " or its label map changed; `segdata cache` makes it again");
  fs::last_write_time(image, time);
  CHECK(refusal().empty());
  const auto label_time = fs::last_write_time(label);
  write_bytes(label, test::read_file(label) + "x");
  fs::last_write_time(label, label_time);
  CHECK(contains(refusal(), "made before "));
  CHECK(!write_cache(*open(), file, false).up_to_date);  // and it is made again
  CHECK(refusal().empty());
  // Train ids, where there are any, are other files.
  add_label("train", frame(3), "labelTrainIds.png", 1, 5, 9, 10);
  CHECK(contains(refusal(), "made before "));
  fs::remove(label_path("train", frame(3), "labelTrainIds.png"));
  add_image("train", "ulm/v_1");
  add_label("train", "ulm/v_1", "labelIds.png", 1, 34);
  CHECK(contains(refusal(), "not a cache of cityscapes/train, or of other files in it"));
  const SyntheticStreets streets({.size = 2, .height = 16, .width = 16});
  CHECK(contains(error_of([&] { write_cache(streets, root() / "s.segcache", false); }), "is not made of files"));
}

TEST_CASE_FIXTURE(Tree, "cache: damage and cuts are refused, changed pixels are found by their checksums") {
  const auto dataset = open();
  write_cache(*dataset, file, false);
  const std::string whole = test::read_file(file);
  for (size_t length = 0; length < whole.size(); length += 1 + length / 20) {
    CAPTURE(length);
    write_bytes(file, whole.substr(0, length));
    CHECK(refusal().starts_with(file.string() + ": "));
  }
  write_bytes(file, whole);
  CHECK(refusal().empty());
  // Every byte in turn: the file is refused, or the sample it is of, or nothing that is read depends on it.
  int refused = 0, found = 0;
  for (size_t at = 0; at < whole.size(); ++at) {
    std::string damaged = whole;
    damaged[at] = static_cast<char>(damaged[at] ^ 0x20);
    write_bytes(file, damaged);
    try {
      const CacheFile cache(*dataset, file);
      for (int64_t i = 0; i < kFrames; ++i) {
        if (!cache.damage(i).empty()) {
          ++found;
          continue;
        }
        if (at % 16 != 0) continue;
        const Sample x = cache.load(i), y = dataset->load(i);
        CHECK((x.image == y.image && x.label == y.label && x.name == y.name));
      }
    } catch (const FileError&) {
      ++refused;
    }
  }
  int64_t pixels = 0;
  for (int64_t i = 0; i < kFrames; ++i) pixels += 4 * 10 * (6 + i);
  CHECK(found == pixels);
  // Header (but for the half that is reserved), trailer and index.
  CHECK(refused == 32 + 32 + kFrames * (80 + static_cast<int>(dataset->load(0).name.size())));
  write_bytes(file, "no cache");
  CHECK(contains(refusal(), "not a cache of samples"));
  fs::remove(file);
  CHECK(contains(refusal(), "cannot open"));
}
