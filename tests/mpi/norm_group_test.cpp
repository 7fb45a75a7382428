// Batch norms that share their messages: the same bits as with messages of their own, and fewer messages.
#include <algorithm>
#include <string>

#include "autograd/elementwise.h"
#include "autograd/norm_group.h"
#include "models/model.h"
#include "nn/norm_group.h"
#include "tests/mpi/world.h"
#include "tests/support/tensors.h"
#include "train/data_parallel.h"
#include "train/network_loss.h"

using namespace segrt;
using autograd::NormInput;

namespace {
struct Messages {
  int64_t gathered = 0, reduced = 0;
};
Messages count(const std::vector<CommunicationSpan>& spans) {
  const auto of = [&](const char* name) {
    return std::count_if(spans.begin(), spans.end(), [&](const CommunicationSpan& s) { return s.name == name; });
  };
  return {of("all_gather"), of("all_reduce")};
}

// Three norms: of a convolution with ReLU, of a map with a residual, of a strided convolution. Channels do not divide.
struct Norms {
  std::vector<Var> parameters;  // all that collects a gradient
  std::vector<NormInput> inputs;

  Norms(Device& device, DType dtype, Communicator& processes) {
    const DType affine = dtype == DType::f64 ? DType::f64 : DType::f32;
    uint64_t seed = 100 * static_cast<uint64_t>(processes.rank() + 1);  // each process has maps of its own
    const auto own = [&](const Shape& shape) {
      parameters.push_back(Var::parameter(test::random_normal(shape, dtype, device, {.seed = ++seed})));
      return parameters.back();
    };
    uint64_t common = 1;
    const auto shared = [&](const Shape& shape, DType type, double mean) {
      parameters.push_back(Var::parameter(test::random_normal(shape, type, device, {.seed = ++common, .mean = mean})));
      return parameters.back();
    };
    const int64_t samples = processes.rank() + 1;
    const Var x = own({samples, 6, 5, 7});  // read by two of them
    for (const int64_t channels : {19, 7, 8}) {
      NormInput i{.x = x,
                  .w = {},
                  .weight = shared({channels}, affine, 1),
                  .bias = shared({channels}, affine, 0),
                  .state = {.running_mean = Tensor::zeros({channels}, affine, device),
                            .running_var = test::random_uniform({channels}, affine, device, 0.5, 2, 7),
                            .training = true,
                            .processes = &processes},
                  .residual = {}};
      if (channels == 19) {
        i.w = shared({channels, 3, 3, 7}, dtype, 0);
        i.geometry = kernels::ConvGeometry::square({.stride = 1, .padding = 1, .dilation = 1, .groups = 1});
        i.relu = true;
      } else if (channels == 8) {
        i.w = shared({channels, 1, 1, 7}, dtype, 0);
        i.geometry = kernels::ConvGeometry::square({.stride = 2, .padding = 0, .dilation = 1, .groups = 1});
      } else {
        i.x = own({samples, 3, 2, channels});
        i.residual = own({samples, 3, 2, channels});
      }
      inputs.push_back(i);
    }
  }
};

// Outputs, gradients and running statistics, after a backward pass through the first `outputs` of the norms.
std::vector<std::vector<double>> results(Norms& norms, bool together, size_t outputs) {
  std::vector<Var> y;
  if (together)
    y = autograd::batch_norms(norms.inputs);
  else
    for (const NormInput& i : norms.inputs)
      y.push_back(i.w.defined()
                      ? autograd::conv_batch_norm(i.x, i.w, i.geometry, i.weight, i.bias, i.state, i.residual, i.relu)
                      : autograd::batch_norm(i.x, i.weight, i.bias, i.state, i.residual, i.relu));
  Var loss;
  for (size_t k = 0; k < outputs; ++k) {
    const Tensor factors = test::random_normal(y[k].shape(), y[k].dtype(), y[k].device(), {.seed = 77 + k});
    const Var term = autograd::mean(autograd::mul(y[k], factors));
    loss = k == 0 ? term : autograd::add(loss, term);
  }
  backward(loss);
  std::vector<std::vector<double>> all;
  for (const Var& v : y) all.push_back(test::to_doubles(v.value()));
  for (const Var& p : norms.parameters)
    all.push_back(p.grad().defined() ? test::to_doubles(p.grad()) : std::vector<double>());
  for (const NormInput& i : norms.inputs) {
    all.push_back(test::to_doubles(i.state.running_mean));
    all.push_back(test::to_doubles(i.state.running_var));
  }
  return all;
}
}  // namespace

TEST_CASE("batch norms with shared messages: the bits of messages of their own, one forward and one backward") {
  Communicator& world = test::world();
  const auto messages_of = test::world().duplicate();
  const bool several = world.size() > 1;
  for (const auto& device : test::test_devices())
    for (const DType dtype : test::dtypes_of(*device)) {
      CAPTURE(device->name());
      CAPTURE(to_string(dtype));
      Norms apart(*device, dtype, *messages_of), grouped(*device, dtype, *messages_of);
      messages_of->start_recording();
      const auto expected = results(apart, false, 3);
      const Messages separate = count(messages_of->stop_recording());
      messages_of->start_recording();
      const auto got = results(grouped, true, 3);
      const Messages shared = count(messages_of->stop_recording());
      REQUIRE(got.size() == expected.size());
      for (size_t i = 0; i < got.size(); ++i) {
        CAPTURE(i);
        CHECK_FALSE(expected[i].empty());
        CHECK(got[i] == expected[i]);
      }
      CHECK(separate.gathered == (several ? 3 : 0));
      CHECK(separate.reduced == (several ? 3 : 0));
      CHECK(shared.gathered == (several ? 1 : 0));
      CHECK(shared.reduced == (several ? 1 : 0));
    }
}

TEST_CASE("of norms with shared messages one may take no part in the loss") {
  const auto cpu = Device::create("cpu");
  Norms apart(*cpu, DType::f32, test::world()), grouped(*cpu, DType::f32, test::world());
  const auto expected = results(apart, false, 2), got = results(grouped, true, 2);
  for (size_t i = 0; i < got.size(); ++i) {
    CAPTURE(i);
    const bool none = expected[i].empty();  // of the third norm: zeros here, no gradient there
    if (none)
      CHECK(std::all_of(got[i].begin(), got[i].end(), [](double g) { return g == 0; }));
    else
      CHECK(got[i] == expected[i]);
  }
}

namespace {
struct Network {
  const char* name;
  const char* table;
  int64_t side;
  int64_t norms, shared;  // messages forward, and as many backward: of their own, and shared
};
const Network kNetworks[] = {
    {"drn_d_22", "name = \"drn_d_22\"\nclasses = 5\n", 32, 25, 21},
    {"drn_d_54", "name = \"drn_d_54\"\nclasses = 5\n", 32, 57, 53},
    {"dynamic_a", "name = \"dynamic_a\"\nclasses = 5\nwidth = 4\nsmall_gate = false\n", 64, 280, 57},
    {"dynamic_raw_l16_long", "name = \"dynamic_raw_l16_long\"\nclasses = 5\nwidth = 4\n", 64, 280, 57},
    {"dynamic_fix_l16", "name = \"dynamic_fix_l16\"\nclasses = 5\nwidth = 4\n", 64, 218, 57},
    {"dabnet_r_p2", "name = \"dabnet_r_p2\"\nclasses = 5\n", 64, 62, 42},
    {"dabnet_e", "name = \"dabnet_e\"\nclasses = 5\n", 64, 108, 91},
    {"dgmn2_tiny_fpn", "name = \"dgmn2_tiny_fpn\"\nclasses = 5\n", 64, 13, 9},
    {"dgmn2_tiny_setr_mla", "name = \"dgmn2_tiny_setr_mla\"\nclasses = 5\n", 64, 14, 8},
};

struct Pass {
  double loss = 0;
  std::vector<double> gradients;
  Messages messages;
};

Pass pass(const Network& network, DType dtype, bool batched, Device& cpu) {
  nn::Init init(cpu, 1);
  const auto model =
      models::build(Config::parse(std::string("[model]\n") + network.table, "test").table("model"), init);
  model->set_training(true);
  const auto as_double = [](const Tensor& t) {
    return test::from_doubles(t.shape(), test::to_doubles(t), DType::f64, t.device());
  };
  if (dtype == DType::f64) {
    model->visit_parameters([&](const std::string&, nn::Parameter& p) {
      if (p.trained) p.var = Var::parameter(as_double(p.var.value()));
    });
    model->visit_buffers([&](const std::string&, nn::Buffer& b) {
      if (b.tensor.dtype() == DType::f32) b.tensor = as_double(b.tensor);
    });
  }
  train::DataParallel parallel(*model, test::world(), {.batched_norms = batched});
  const auto seed = static_cast<uint64_t>(test::world().rank());
  const Tensor x = test::random_normal({2, network.side, network.side, 3}, dtype, cpu, {.seed = 5 + seed});
  const Tensor labels = test::random_labels({2, network.side, network.side}, DType::u8, cpu, 5);
  model->begin_step(60, 100);  // where all parts of a loss are there, and something is dropped
  parallel.statistics().start_recording();
  train::NetworkLoss loss = train::network_loss(*model, x, labels, {.ignore_index = 255}, &parallel);
  Pass p;
  p.loss = loss.total.value().item();
  backward(loss.total);
  loss = {};
  p.messages = count(parallel.statistics().stop_recording());
  parallel.finish();
  model->visit_parameters([&](const std::string&, nn::Parameter& parameter) {
    if (!parameter.var.grad().defined()) return;
    const std::vector<double> values = test::to_doubles(parameter.var.grad());
    p.gradients.insert(p.gradients.end(), values.begin(), values.end());
  });
  return p;
}
}  // namespace

// Losses are of each process's own pixels: no messages but those of norms.
TEST_CASE("networks whose norms share messages: fewer of them, the same loss and gradients") {
  const auto cpu = Device::create("cpu");
  const bool several = test::world().size() > 1;
  for (const Network& network : kNetworks) {
    const std::string name = network.name;
    CAPTURE(name);
    const Pass apart = pass(network, DType::f32, false, *cpu), shared = pass(network, DType::f32, true, *cpu);
    CHECK(apart.loss == shared.loss);
    CHECK(apart.messages.gathered == (several ? network.norms : 0));
    CHECK(apart.messages.reduced == (several ? network.norms : 0));
    CHECK(shared.messages.gathered == (several ? network.shared : 0));
    CHECK(shared.messages.reduced == (several ? network.shared : 0));
    // Where three gradients or more of one map add up, they may do so in another order.
    CHECK(test::relative_l2(shared.gradients, apart.gradients) <= 1e-5);
    if (test::world().rank() == 0)
      MESSAGE(name, ": ", apart.messages.gathered, " and ", apart.messages.reduced, " messages, shared ",
              shared.messages.gathered, " and ", shared.messages.reduced, "; gradients differ by ",
              test::relative_l2(shared.gradients, apart.gradients));
  }
}
