// What a profile sees of a network: modules, both passes, work by the formulas, on every device.
#include <doctest/doctest.h>

#include <algorithm>

#include "autograd/elementwise.h"
#include "core/op_profile.h"
#include "models/captured_inference.h"
#include "tests/support/tensors.h"
#include "tests/support/tiny_network.h"

namespace segrt::models {
namespace {
constexpr int kClasses = 3;
const Shape kImage{1, 8, 12, 3};

int64_t total_flops(const std::vector<ProfileSpan>& spans, std::string_view op, std::string_view module) {
  int64_t flops = 0;
  for (const ProfileSpan& s : spans)
    if (s.kind == Scope::Kind::op && s.name == op && s.module == module) flops += s.work.flops;
  return flops;
}

// By an explicit stack: each span lies within the one around it.
void check_nesting(const std::vector<ProfileSpan>& spans) {
  std::vector<const ProfileSpan*> open;
  for (const ProfileSpan& s : spans) {
    open.resize(static_cast<size_t>(s.depth));
    CHECK(s.end_ms >= s.start_ms);
    if (!open.empty()) {
      CHECK(s.start_ms >= open.back()->start_ms);
      CHECK(s.end_ms <= open.back()->end_ms + 1e-3);  // CUDA events are told in float ms
    }
    open.push_back(&s);
  }
}
}  // namespace

TEST_CASE("a profile of a training pass names modules and backward operators") {
  for (const auto& device : test::test_devices()) {
    CAPTURE(device->name());
    nn::Init init(*device, 1);
    test::TinyNetwork network(kClasses, init);
    network.set_training(true);
    const Tensor image = test::random_normal(kImage, DType::f32, *device);
    const Tensor labels = test::random_labels({1, 8, 12}, DType::u8, *device, kClasses);
    OpProfile profile(*device);
    const Head head = network.forward(image).front();
    backward(nn::segmentation_loss(head.scores, head.up, labels).loss);
    profile.stop();
    const std::vector<ProfileSpan>& spans = profile.spans();
    check_nesting(spans);
    // conv1: 4x6 outputs of 8 channels, 3x3x3 terms each; conv2: 3x3x8 terms; head: 8 terms for 3 classes.
    const int64_t outputs = 4 * 6;
    CHECK(total_flops(spans, "conv2d", "conv1") == 2 * outputs * 8 * 27);
    CHECK(total_flops(spans, "conv2d_backward_weight", "conv1") == 2 * outputs * 8 * 27);
    CHECK(total_flops(spans, "conv2d_backward_input", "conv1") == 0);  // the image needs no gradient
    CHECK(total_flops(spans, "conv2d", "conv2") == 2 * outputs * 8 * 72);
    CHECK(total_flops(spans, "conv2d_backward_input", "conv2") == 2 * outputs * 8 * 72);
    CHECK(total_flops(spans, "conv2d_backward_weight", "head") == 2 * outputs * 3 * 8);
    const auto in_backward = std::count_if(spans.begin(), spans.end(), [](const ProfileSpan& s) {
      return s.kind == Scope::Kind::op && s.name == "sum_to" && s.backward && s.module == "head";
    });
    CHECK(in_backward == 1);  // the bias of the head
    const auto rows = op_rows(spans, {}, /*by_module=*/true);
    CHECK(std::any_of(rows.begin(), rows.end(),
                      [](const OpTableRow& r) { return r.module == "conv1" && r.name == "batch_norm_apply"; }));
    double sum = 0, whole = 0;
    for (const OpTableRow& r : rows) sum += r.total_ms;
    for (const ProfileSpan& s : spans) whole = std::max(whole, s.end_ms);
    CHECK(sum <= whole + 1e-3);  // nothing is counted twice
  }
}

TEST_CASE("while a profile listens, nothing is replayed") {
  for (const auto& device : test::test_devices()) {
    if (!device->is_cuda()) continue;
    nn::Init init(*device, 1);
    test::TinyNetwork network(kClasses, init);
    network.set_training(false);
    const NoGrad no_grad(*device);
    CapturedInference inference(network);
    const Tensor image = test::random_normal(kImage, DType::f32, *device);
    for (int i = 0; i < 3; ++i) inference.forward(image);
    CHECK(inference.reason().empty());
    OpProfile profile(*device);
    inference.forward(image);
    CHECK(inference.reason() == "somebody looks at every layer");
    profile.stop();
    CHECK(std::any_of(profile.spans().begin(), profile.spans().end(), [](const ProfileSpan& s) {
      return s.name == "conv2d" && s.module == "conv2" && s.kind == Scope::Kind::op;
    }));
    for (int i = 0; i < 3; ++i) inference.forward(image);
    CHECK(inference.reason().empty());
  }
}

}  // namespace segrt::models
