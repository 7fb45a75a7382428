// Scores of classifiers: how often the right class is the first, or among the first five.
#pragma once

#include <array>
#include <cstdint>
#include <functional>
#include <map>
#include <span>
#include <string>
#include <vector>

#include "core/communicator.h"
#include "data/dataset.h"
#include "data/random_resized_crop.h"
#include "models/model.h"

namespace segrt::train {

// Exact counts over images. A class is among the first k if fewer than k others score higher, or as high with a lower
// index; a label whose score is NaN is behind all.
struct ClassificationScores {
  int64_t images = 0, top1 = 0, top5 = 0;
  double loss_sum = 0;                               // cross-entropy, natural logarithm
  std::vector<int64_t> class_images, class_correct;  // by class: images, and those whose first class it is

  explicit ClassificationScores(int classes)
      : class_images(static_cast<size_t>(classes)), class_correct(static_cast<size_t>(classes)) {}
  void add(std::span<const float> scores, int64_t label);  // of one image, one a class
  void add_up(Communicator& processes);                    // those of all

  // In percent, NaN without images. With equal weight of images this is the mean over batches weighted by their size.
  double top1_percent() const { return percent(top1); }
  double top5_percent() const { return percent(top5); }
  double mean_loss() const { return loss_sum / static_cast<double>(images); }

 private:
  double percent(int64_t count) const { return 100.0 * static_cast<double>(count) / static_cast<double>(images); }
};

// The `count` first classes (at most all) by falling score; of equal ones the lower index first.
std::vector<int64_t> first_classes(std::span<const float> scores, int64_t count);
// exp(s[c] - max) / sum: in float64.
std::vector<double> softmax(std::span<const float> scores);

// Throws ArgumentError unless scores are [N,1,1,classes], naming what decides their size.
void require_one_cell(const models::Model& model, const Var& scores);

// Whole datasets through the loader, in order, each image by its centre crop.
struct ClassifierEvaluation {
  data::CentreCrop::Options centre_crop = {};
  DType precision = DType::f32;
  std::array<double, 3> mean{}, std{};  // of the dataset, for a network that does not say how it wants its images
  int batch = 32, workers = 2;
  int64_t limit = 0;                                       // images; 0: all
  std::function<void()> after_batch = nullptr;             // while the model still holds what the pass did
  std::function<void(int64_t images)> progress = nullptr;  // after each batch: images done

  // Leaves the model in evaluation mode. Throws ArgumentError for a dataset without classes and for a crop that the
  // network does not reduce to one cell. With several processes each takes every so manieth image and all get the
  // scores of all images: the same counts as one process, and the loss but for the order of its sum. after_batch and
  // progress are of this process's images.
  ClassificationScores run(models::Model& model, const data::Dataset& dataset, Communicator* processes = nullptr) const;
};

// top1, top5 (percent), loss: what a training run logs and picks its best checkpoint by.
std::map<std::string, double> validation_values(const ClassificationScores& scores);

}  // namespace segrt::train
