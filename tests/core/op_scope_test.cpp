// Scopes nest and are told to who listens; the report of a device without memory names who asked and who holds.
#include "core/op_scope.h"

#include <doctest/doctest.h>

#include "core/error.h"
#include "core/live_tensors.h"
#include "message_of.h"

namespace segrt {
namespace {

class Recorder final : public ScopeListener {
 public:
  explicit Recorder(Device& device) : device_(device) { device.state<ScopeStack>().add(*this); }
  ~Recorder() override { device_.state<ScopeStack>().remove(*this); }
  Recorder(const Recorder&) = delete;
  Recorder& operator=(const Recorder&) = delete;

  void enter(const Scope& scope) override { events.push_back("+" + describe(&scope)); }
  void leave(const Scope& scope) noexcept override { events.push_back("-" + std::string(scope.name())); }
  bool needs_every_op() const override { return true; }
  std::vector<std::string> events;

 private:
  Device& device_;
};

// What a layer does in both passes.
void forward_and_backward(Device& device, int& asked) {
  const Tensor y = Tensor::empty({2, 3}, DType::f32, device);
  const std::string path = "layer1.conv";
  const auto work = [&] {
    ++asked;
    return OpWork{24, 100};
  };
  {
    const PartScope part(path, "conv2d", device);
    const FunctionScope function("conv2d", device);
    const OpScope op("conv2d", y, work);
  }
  const FunctionScope function("conv2d", device, path);
  const OpScope op("sum_to", y, work);
}
}  // namespace

TEST_CASE("scopes nest: modules, functions, operators, backward passes with the module that called") {
  const auto device = Device::create("cpu");
  int asked = 0;
  {
    const Recorder recorder(*device);
    CHECK(watched(*device));
    forward_and_backward(*device, asked);
    CHECK(recorder.events == std::vector<std::string>{"+conv2d layer1.conv", "+conv2d in layer1.conv",
                                                      "+conv2d in layer1.conv", "-conv2d", "-conv2d", "-layer1.conv",
                                                      "+conv2d (backward) of layer1.conv",
                                                      "+sum_to (backward) of layer1.conv", "-sum_to", "-conv2d"});
  }
  CHECK(asked == 2);
  CHECK(device->state<ScopeStack>().innermost() == nullptr);
}

TEST_CASE("where nobody listens, nobody is asked for an operator's work") {
  const auto device = Device::create("cpu");
  int asked = 0;
  forward_and_backward(*device, asked);
  CHECK(asked == 0);
  CHECK_FALSE(watched(*device));
}

TEST_CASE("a scope that an exception leaves is closed") {
  const auto device = Device::create("cpu");
  try {
    const FunctionScope function("conv2d", *device);
    throw ArgumentError("x");
  } catch (const Error&) {
    CHECK(device->state<ScopeStack>().innermost() == nullptr);
  }
}

TEST_CASE("a CPU without memory says what was wanted by whom, and who holds what") {
  const auto device = Device::create("cpu");
  std::vector<Tensor> held;
  const std::string path = "layer3.0";
  const Shape impossible{1 << 20, 1 << 20, 1 << 20};  // 4 EiB
  const std::string message = message_of<DeviceError>([&] {
    {
      const FunctionScope function("relu", *device);
      for (int i = 0; i < 3; ++i) held.push_back(Tensor::empty({1, 512, 1024}, DType::f32, *device));  // 2 MiB each
      held.push_back(Tensor::empty({256, 1024}, DType::bf16, *device));
    }
    held.push_back(Tensor::empty({1024, 1024}, DType::f32, *device));
    const FunctionScope backward("conv2d", *device, path);
    held.push_back(Tensor::empty({1024}, DType::u8, *device));
    Tensor::empty(impossible, DType::f32, *device);
  });
  CHECK(message ==
        "cpu: out of memory: 4294967296.0 GiB wanted for f32 [1048576,1048576,1048576] by conv2d (backward) of "
        "layer3.0; 10.5 MiB held, 0 bytes cached; held by the tensors of\n"
        "     6.5 MiB  relu: 3 x f32 [1,512,1024] (6.0 MiB), 1 x bf16 [256,1024] (512.0 KiB)\n"
        "     4.0 MiB  made outside of operators: 1 x f32 [1024,1024] (4.0 MiB)\n"
        "     1.0 KiB  conv2d (backward): 1 x u8 [1024] (1.0 KiB)");
  CHECK(device->memory().current_bytes < 11 << 20);  // the failed one is not counted
  held.clear();
  CHECK(device->state<LiveTensorsOfDevice>().tensors->nbytes() == 0);
}

TEST_CASE("the report leaves out what is small") {
  LiveTensors live;
  std::vector<LiveTensor> tensors(12);
  const char* names[] = {"a", "b", "c", "d", "e", "f", "g", "h", "i", "j", "k", "l"};
  for (size_t i = 0; i < tensors.size(); ++i) {
    tensors[i].shape = {static_cast<int64_t>(i) + 1};
    tensors[i].nbytes = 1000 * (i + 1);
    tensors[i].op = names[i / 6 * 6];  // two operators of six shapes each
    live.add(tensors[i]);
  }
  CHECK(live.holders(1) ==
        "\n    55.7 KiB  g: 1 x f32 [12] (11.7 KiB), 1 x f32 [11] (10.7 KiB), 1 x f32 [10] (9.8 KiB), 1 x f32 [9] "
        "(8.8 KiB), 2 more shapes\n              and 1 other operators");
  for (LiveTensor& t : tensors) live.remove(t);
  CHECK(live.holders(1).empty());
}

}  // namespace segrt
