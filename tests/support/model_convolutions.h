// The distinct convolutions that the shipped configurations (models/*.toml) ask of the kernels. Models run on a meta
// device: nothing is computed.
#pragma once

#include <algorithm>
#include <filesystem>
#include <map>
#include <string>

#include "core/config.h"
#include "core/op_event.h"
#include "kernels/vendor/cudnn/conv_problem.h"
#include "models/model.h"

namespace segrt::test {

using kernels::vendor::cudnn::ConvFusion;
using kernels::vendor::cudnn::ConvKey;
using kernels::vendor::cudnn::ConvOp;
using kernels::vendor::cudnn::ConvProblem;

inline constexpr int64_t kTrainingBatch = 8;

// By what they are, with the type left open: a set without duplicates.
using ConvProblems = std::map<ConvKey, ConvProblem>;

inline bool is_depthwise(const ConvProblem& p) { return p.g.groups > 1 && p.g.groups == p.x[3] && p.w[3] == 1; }

// What the engine asks of the kernels for one event, forward and, in training, backward.
inline void collect_convolutions(const OpEvent& e, bool training, ConvProblems& problems) {
  if (e.op != "conv2d" && e.op != "conv_transpose2d") return;
  const auto value = [&](const char* name, size_t i) { return static_cast<int>(e.attributes.at(name)[i]); };
  ConvProblem p{.x = e.inputs[0].shape(),
                .w = e.inputs[1].shape(),
                .y = e.output.shape(),
                .g = {.stride_h = value("stride", 0),
                      .stride_w = value("stride", 1),
                      .pad_top = value("pad", 0),
                      .pad_left = value("pad", 1),
                      .pad_bottom = value("pad", 2),
                      .pad_right = value("pad", 3),
                      .dilation_h = value("dilation", 0),
                      .dilation_w = value("dilation", 1),
                      .groups = value("groups", 0)}};
  const auto add = [&](ConvOp op, const ConvFusion& fusion = {}) {
    p.op = op;
    p.fusion = fusion;
    problems.emplace(key_of(p), p);
  };
  const auto given = [&](size_t i) { return i < e.inputs.size() && e.inputs[i].defined(); };
  if (e.op == "conv_transpose2d") {  // the input gradient of the convolution the other way
    std::swap(p.x, p.y);
    add(ConvOp::backward_input);
    if (training) add(ConvOp::forward);
  } else {
    const auto relu = e.attributes.find("relu");
    add(ConvOp::forward,
        {.bias = given(2), .residual = given(3), .relu = relu != e.attributes.end() && relu->second[0] != 0});
    if (training) add(ConvOp::backward_input);
    if (training && !given(2)) add(ConvOp::forward, {.statistics = true});  // of the batch norm after it
  }
  if (training) add(ConvOp::backward_weight);
}

// Those of one configuration, for a batch [N,H,W,3].
inline void collect_convolutions(const Config& config, const Shape& image, bool training, ConvProblems& problems) {
  const std::unique_ptr<Device> device = Device::create("meta");
  nn::Init init(*device, 0);
  const std::unique_ptr<models::Model> model = models::build(config.table("model"), init);
  model->set_training(training);
  device->op_observer = [&](const OpEvent& e) { collect_convolutions(e, training, problems); };
  device->set_grad_enabled(training);
  model->forward(Tensor::empty(image, DType::f32, *device));
  device->op_observer = nullptr;
}

// Of a configuration file at its training crop, and segmentation also at 1 x 1024 x 2048.
inline void collect_convolutions(const std::string& toml, ConvProblems& problems) {
  const Config config = Config::load(toml);
  const Config data = config.table("data");
  const auto crop = [&]() -> std::vector<int64_t> {  // crop = 896 or crop = [768, 768]
    try {
      return {data.integer("crop"), data.integer("crop")};
    } catch (const ConfigError&) {
      return data.integers("crop", {.count = 2});
    }
  }();
  collect_convolutions(config, {kTrainingBatch, crop[0], crop[1], 3}, true, problems);
  if (models::task_of(config.table("model")) == models::Task::segmentation)
    collect_convolutions(config, {1, 1024, 2048, 3}, false, problems);
}

// Of every configuration in a folder.
inline ConvProblems shipped_convolutions(const std::string& models_folder) {
  ConvProblems problems;
  for (const auto& file : std::filesystem::directory_iterator(models_folder))
    if (file.path().extension() == ".toml") collect_convolutions(file.path().string(), problems);
  return problems;
}

}  // namespace segrt::test
