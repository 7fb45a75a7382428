#include "tests/tools/segrt_golden/onnx_case.h"

#include <filesystem>

#include "core/error.h"
#include "core/safetensors.h"
#include "tests/tools/segrt_golden/maps.h"
#if SEGRT_HAS_ONNX
#include "models/onnx/export.h"
#endif

namespace segrt::golden {

#if SEGRT_HAS_ONNX
void write_onnx_case(GoldenFile& file, const Family& family, const std::string& folder) {
  const std::unique_ptr<Device> device = Device::create("cpu");
  const std::unique_ptr<models::Model> model = family.network(file, *device);
  const Tensor image = family.input(file, *device);
  model->set_training(false);
  model->begin_step(0, 0);
  Tensor logits;
  {
    const NoGrad no_grad(*device);
    const models::Head head = model->forward(image).front();
    const bool segmentation = model->task() == models::Task::segmentation;
    logits = segmentation ? nn::upsampled_scores(head.scores, head.up).value() : head.scores.value();
  }
  const std::string base = (std::filesystem::path(folder) / std::filesystem::path(file.path()).stem()).string();
  const models::OnnxOptions options{.batch = static_cast<int>(image.dim(0)),
                                    .height = static_cast<int>(image.dim(1)),
                                    .width = static_cast<int>(image.dim(2))};
  models::export_onnx(*model, options, base + ".onnx");
  const std::vector<NamedTensor> tensors{{"image", nchw(image, *device)}, {"logits", nchw(logits, *device)}};
  write_safetensors(base + ".safetensors", tensors);
}
#else
void write_onnx_case(GoldenFile&, const Family&, const std::string&) { throw Error("this build has no ONNX"); }
#endif

}  // namespace segrt::golden
