// Renewed running statistics against float64 sums over what the batch norms saw.
#include "train/precise_bn.h"

#include <doctest/doctest.h>

#include "tests/support/tensors.h"
#include "tests/support/tiny_network.h"

namespace {
using namespace segrt;

struct Moments {
  std::vector<double> mean, var;  // var: unbiased
};

Moments moments(const Tensor& x) {
  const auto channels = static_cast<size_t>(x.dim(-1));
  const std::vector<double> v = test::to_doubles(x);
  const double count = static_cast<double>(v.size() / channels);
  Moments m{std::vector<double>(channels), std::vector<double>(channels)};
  for (size_t i = 0; i < v.size(); ++i) m.mean[i % channels] += v[i] / count;
  for (size_t i = 0; i < v.size(); ++i) {
    const double d = v[i] - m.mean[i % channels];
    m.var[i % channels] += d * d / (count - 1);
  }
  return m;
}

// A network with a norm that its forward pass leaves out.
class IdleNormNetwork final : public test::TinyNetwork {
 public:
  explicit IdleNormNetwork(nn::Init& init)
      : TinyNetwork(3, init), idle_(child<nn::BatchNorm>("idle", {.channels = 4}, init)) {}
  void begin_step(int64_t step, int64_t total) override { begun.emplace_back(step, total); }
  const nn::BatchNorm& idle() const { return idle_; }
  std::vector<std::pair<int64_t, int64_t>> begun;

 private:
  nn::BatchNorm& idle_;
};
}  // namespace

TEST_CASE("running statistics become the averages over the batches, on every device") {
  constexpr int kBatches = 5;
  for (auto& device : test::test_devices()) {
    CAPTURE(device->name());
    nn::Init init(*device, 3);
    IdleNormNetwork net(init);
    std::vector<double> weights;
    net.visit_parameters([&](const std::string&, nn::Parameter& p) {
      for (const double v : test::to_doubles(p.var.value())) weights.push_back(v);
    });
    // Stale statistics far from the right ones.
    net.visit_buffers([&](const std::string& path, nn::Buffer& b) {
      if (path.ends_with("num_batches_tracked")) return;
      b.tensor.copy_from(test::random_uniform(b.tensor.shape(), DType::f32, *device, 1e3, 1e6, 11));
    });
    const std::vector<double> idle_before = test::to_doubles(net.idle().running_var());

    // The two convolutions that norms follow report their outputs, which are the norms' inputs.
    std::vector<Moments> seen;
    device->observer = [&](const LayerEvent& event) {
      if (event.kind == "conv2d" && event.output.dim(-1) == 8) seen.push_back(moments(event.output));
    };
    int next = 0;
    const int64_t renewed = train::precise_batch_norm(net, kBatches, [&] {
      return test::random_normal({2, 9, 8, 3}, DType::f32, *device,
                                 {.seed = static_cast<uint64_t>(50 + next), .mean = 0.1 * next++, .std = 1.5});
    });
    device->observer = nullptr;
    CHECK(renewed == 2);
    CHECK(next == kBatches);
    CHECK(net.training());
    CHECK(device->grad_enabled());
    CHECK(net.begun == std::vector<std::pair<int64_t, int64_t>>{{0, 0}});
    REQUIRE(seen.size() == 2 * kBatches);

    std::vector<double> mean[2], var[2];
    for (size_t norm = 0; norm < 2; ++norm) {
      mean[norm].resize(8);
      var[norm].resize(8);
      for (size_t batch = 0; batch < kBatches; ++batch)
        for (size_t c = 0; c < 8; ++c) {
          mean[norm][c] += seen[2 * batch + norm].mean[c] / kBatches;
          var[norm][c] += seen[2 * batch + norm].var[c] / kBatches;
        }
    }
    std::vector<double> after;
    net.visit_parameters([&](const std::string&, nn::Parameter& p) {
      for (const double v : test::to_doubles(p.var.value())) after.push_back(v);
    });
    CHECK(after == weights);
    net.visit_modules([&](const std::string& path, nn::Module& module) {
      const auto* norm = dynamic_cast<const nn::BatchNorm*>(&module);
      if (norm == nullptr) return;
      CAPTURE(path);
      CHECK(norm->options().momentum == 0.1);
      if (path == "idle") return;
      const size_t k = path == "bn1" ? 0 : 1;
      CHECK(test::relative_l2(norm->running_mean(), mean[k]) < 1e-6);
      CHECK(test::relative_l2(norm->running_var(), var[k]) < 1e-6);
    });
    CHECK(test::to_doubles(net.idle().running_var()) == idle_before);
  }
}
