// DGMN2's ImageNet recipe, all of its pieces on, teaches a small network of DGMN2's blocks to tell four kinds of
// pictures from each other, which lie in folders as ImageNet's do.
#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>
#include <filesystem>
#include <nlohmann/json.hpp>

#include "autograd/pool.h"
#include "core/random.h"
#include "models/dgmn2_blocks.h"
#include "tests/core/temporary_folder.h"
#include "tests/support/run_files.h"
#include "tests/support/tensors.h"
#include "train/classification.h"
#include "train/trainer.h"

namespace {
using namespace segrt;
constexpr int kSide = 32;

constexpr const char* kConfig = R"([model]
name = "small_dgmn2"
task = "classification"
classes = 4
drop_path = 0.1
[data]
kind = "image_folder"
root = "ROOT"
augment = "random_resized_crop"
crop = 32
crop_aspect = "log_uniform"
resample = "bicubic"
rand_augment = 2
rand_augment_magnitude = 9
rand_augment_std = 0.5
random_erasing = 0.25
repeated_augmentation = 3
workers = 2
seed = 0
[train]
epochs = 16
batch = 16
optimizer = "adamw"
lr = 2e-3
weight_decay = 0.05
no_decay_1d = true
no_decay = [".bias"]
schedule = "cosine"
end_lr = 1e-5
warmup_epochs = 2
warmup_lr = 1e-5
schedule_lag = 1
mixup = 0.8
cutmix = 1.0
cutmix_probability = 0.5
label_smoothing = 0.1
ema_decay = 0.95
seed = 0
log_every = 16
checkpoint_every = 0
[validate]
every = 0
[eval]
scale_size = 36
crop_size = 32
resample = "bicubic"
)";

// Two patch embeddings and three blocks; drop path as in the backbone, more in later blocks.
class SmallDgmn2 final : public models::Model {
 public:
  SmallDgmn2(int classes, double drop_path, nn::Init& init)
      : Model("small_dgmn2", models::Task::classification, classes),
        drop_path_(drop_path),
        embed_(
            child<models::Dgmn2PatchEmbed>("patch_embed1", {.layers = {{3, 32, 2}, {32, 32, 1}, {32, 64, 2}}}, init)),
        first_(child<models::Dgmn2Block>("block1", {.stage = stage(8), .layer = 1}, init)),
        second_(child<models::Dgmn2Block>("block2", {.stage = stage(8), .layer = 2}, init)),
        reduce_(child<models::Dgmn2PatchEmbed>("patch_embed2", {.layers = {{64, 64, 2}}}, init)),
        third_(child<models::Dgmn2Block>("block3", {.stage = stage(4), .layer = 3}, init)),
        head_(child<nn::Linear>("head", {.in = 64, .out = classes, .weight_std = 0.02}, init)) {}

  std::vector<models::Head> forward(const Var& image) override {
    Var x = embed_.forward(image);  // [N,8,8,64]
    x = first_.forward(x, 0, embed_.step());
    x = second_.forward(x, drop_path_ / 2, embed_.step());
    x = third_.forward(reduce_.forward(x), drop_path_, reduce_.step());  // [N,4,4,64]
    return {{.scores = head_.forward(autograd::global_avg_pool(x)), .up = {}}};
  }

 private:
  static models::Dgmn2Stage stage(int grid) { return {.channels = 64, .heads = 1, .mlp_ratio = 2, .grid = grid}; }
  double drop_path_;
  models::Dgmn2PatchEmbed& embed_;
  models::Dgmn2Block &first_, &second_;
  models::Dgmn2PatchEmbed& reduce_;
  models::Dgmn2Block& third_;
  nn::Linear& head_;
};

std::unique_ptr<models::Model> build(const Config& table, nn::Init& init) {
  table.text("name");
  const models::Task task = models::task_of(table);
  REQUIRE(task == models::Task::classification);
  return std::make_unique<SmallDgmn2>(table.integer32("classes", {}), table.number("drop_path", {}), init);
}

// Stripes of one colour on another, upright or lying, of changing width, phase and brightness, with noise: which way
// they run and which of two pairs of colours they have is the class.
data::Image picture(bool upright, bool warm, uint64_t number) {
  Rng rng(17, number);
  const double width = rng.uniform(4, 7), phase = rng.uniform(0, 2 * width), light = rng.uniform(0.7, 1.0);
  const double colours[2][3] = {{warm ? 230.0 : 60.0, 90, warm ? 50.0 : 220.0}, {70, warm ? 60.0 : 110.0, 70}};
  data::Image image(kSide + 8, kSide + 8, 3);
  for (int y = 0; y < image.height; ++y)
    for (int x = 0; x < image.width; ++x) {
      const bool on = std::fmod((upright ? x : y) + phase, 2 * width) < width;
      for (size_t c = 0; c < 3; ++c)
        image.row(y)[static_cast<size_t>(3 * x) + c] =
            static_cast<uint8_t>(std::clamp(light * colours[on ? 0 : 1][c] + rng.uniform(-20, 20), 0.0, 255.0));
    }
  return image;
}

void write_pictures(const std::filesystem::path& root, const std::string& split, int per_class, uint64_t first) {
  for (int c = 0; c < 4; ++c)
    for (int i = 0; i < per_class; ++i)
      data::write_png(root / split / ("kind" + std::to_string(c)) / (std::to_string(100 + i) + ".png"),
                      picture(c % 2 == 1, c / 2 == 1, first + static_cast<uint64_t>(4 * i + c)));
}
}  // namespace

TEST_CASE("learns: the ImageNet recipe, and the averaged weights that it saves are those that score") {
  const TemporaryFolder folder;
  const std::filesystem::path root = folder.path() + "/pictures";
  write_pictures(root, "train", 64, 0);
  write_pictures(root, "val", 20, 1000);
  std::string text = kConfig;
  text.replace(text.find("ROOT"), 4, root.string());
  const Config config = Config::parse(text, "recipe.toml");
  const auto device = Device::create("cpu");
  const train::RunDirectory directory(folder / "run");
  {
    train::Trainer trainer(config, *device, directory, build);
    directory.create(config);
    train::RunLog log({.directory = directory.path(), .quiet = true});
    REQUIRE(trainer.run(log, {}) == train::Trainer::Outcome::finished);
  }
  const nlohmann::json score = test::log_lines(directory.path(), "val").back();
  const double top1 = score.at("top1").get<double>();
  MESSAGE("top-1 ", top1, " %");
  CHECK(top1 >= 75);  // chance is 25 %, of 80 pictures with a deviation of 5

  nn::Init init(*device, 5);
  const auto fresh = build(config.table("model"), init);
  const auto val_set = train::make_dataset(config, "val");
  const train::ClassifierEvaluation evaluation{.centre_crop = train::eval_settings(config).centre_crop,
                                               .mean = val_set->mean(),
                                               .std = val_set->std(),
                                               .batch = 16,
                                               .workers = 1};
  CHECK(evaluation.run(*fresh, *val_set).top1_percent() < 60);
  train::load_weights(directory.latest(), *fresh);
  CHECK(evaluation.run(*fresh, *val_set).top1_percent() == top1);
}
