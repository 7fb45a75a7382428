// Scores of a network during its training. Both ways leave it in evaluation mode.
#pragma once

#include <map>
#include <string>

#include "data/loader.h"
#include "train/evaluator.h"

namespace segrt::train {

// Whole images by the test procedure (the first `limit`; 0: all): miou, macc, pixel_accuracy, images_per_s, and the
// mean of what the network measures.
std::map<std::string, double> validate_images(models::Model& model, const data::Dataset& dataset,
                                              const Evaluator::Options& options, int64_t limit,
                                              Communicator* processes = nullptr);

// Batches of random crops until the loader is at the end of its epoch (DRN's published recipe). pixel_accuracy: the
// mean over batches, weighted by their size, of the share of labelled pixels that are right; loss likewise.
std::map<std::string, double> validate_crops(models::Model& model, data::Loader& crops,
                                             const kernels::Normalization& normalization, DType precision,
                                             int ignore_index, Device& device);

}  // namespace segrt::train
