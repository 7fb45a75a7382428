#include "kernels/cuda/routing.h"

#include "kernels/cuda/device.h"

namespace segrt::kernels::cuda {
namespace {
constexpr int kThreads = 128;
constexpr int kFed = static_cast<int>(CellFlag::fed), kExecuted = static_cast<int>(CellFlag::executed),
              kPath0 = static_cast<int>(CellFlag::path0);

struct SenderFlags {
  const int32_t* flag[3];
  int count;
};

__global__ void route_senders_kernel(SenderFlags senders, int32_t* flags) {
  if (global_index() > 0) return;
  int32_t fed = 0;
  for (int i = 0; i < senders.count; ++i) fed |= *senders.flag[i];
  for (int i = 0; i < kCellFlags; ++i) flags[i] = 0;
  flags[kFed] = fed;
}

// One thread: a batch has a handful of gates, and their sum must not depend on an order.
__global__ void route_gates_kernel(const float* gates, int batch, int slots, int32_t* flags, float* factors) {
  if (global_index() > 0) return;
  float total = 0.0f;
  for (int i = 0; i < batch * slots; ++i) total += gates[i];
  const bool fed = flags == nullptr || flags[kFed] != 0;
  const bool executed = flags == nullptr || (fed && total >= kClosedBelow);
  bool open[3] = {};
  for (int n = 0; n < batch; ++n) {
    const float* g = gates + n * slots;
    float* f = factors + n * (1 + slots);
    float sum = 0.0f;
    for (int s = 0; s < slots; ++s) {
      sum += g[s];
      open[s] = open[s] || g[s] > 0.0f;
      f[1 + s] = executed ? g[s] : 0.0f;
    }
    f[0] = fed && (!executed || sum < kClosedBelow) ? 1.0f : 0.0f;
  }
  if (flags == nullptr) return;
  flags[kExecuted] = executed;
  for (int s = 0; s < slots; ++s) flags[kPath0 + s] = executed && open[s];
}

__global__ void route_gates_backward_kernel(const float* dfactors, float* dgates, int count, int slots) {
  const int64_t i = global_index();
  if (i < count) dgates[i] = dfactors[i / slots * (1 + slots) + 1 + i % slots];
}

// A thread a sample.
__global__ void expected_cost_kernel(const float* gates, const int32_t* first, const float* body, const float* path,
                                     float* e, int batch, int columns, int cells) {
  const int64_t n = global_index();
  if (n >= batch) return;
  const float* g = gates + n * columns;
  float sum = 0.0f;
  for (int cell = 0; cell < cells; ++cell) {
    float largest = 0.0f;
    for (int t = first[cell]; t < first[cell + 1]; ++t) {
      largest = t == first[cell] || g[t] > largest ? g[t] : largest;
      sum += g[t] * path[t];
    }
    sum += largest * body[cell];
  }
  e[n] = sum;
}

// A thread a cell of a sample.
__global__ void expected_cost_backward_kernel(const float* de, const float* gates, const int32_t* first,
                                              const float* body, const float* path, float* dgates, int batch,
                                              int columns, int cells) {
  const int64_t i = global_index();
  if (i >= int64_t{batch} * cells) return;
  const int64_t n = i / cells;
  const int cell = static_cast<int>(i - n * cells);
  const float* g = gates + n * columns;
  int largest = first[cell];
  for (int t = first[cell]; t < first[cell + 1]; ++t)
    if (g[t] > g[largest]) largest = t;
  for (int t = first[cell]; t < first[cell + 1]; ++t)
    dgates[n * columns + t] = de[n] * path[t] + (t == largest ? de[n] * body[cell] : 0.0f);
}

const LaunchConfig kOneThread{.grid = 1, .block = 1, .barrier_free = true};
}  // namespace

void route_senders(const std::vector<Sender>& senders, Tensor& flags) {
  SenderFlags table{};
  for (const Sender& s : senders) table.flag[table.count++] = s.flags.data<int32_t>() + static_cast<int>(s.flag);
  launch(flags.device(), route_senders_kernel, kOneThread, table, flags.data<int32_t>());
}

void route_gates(const Tensor& gates, Tensor* flags, Tensor& factors) {
  launch(gates.device(), route_gates_kernel, kOneThread, gates.data<float>(), gates.dim(0), gates.dim(1),
         flags == nullptr ? nullptr : flags->data<int32_t>(), factors.data<float>());
}

void route_gates_backward(const Tensor& dfactors, Tensor& dgates) {
  const int64_t count = dgates.numel();
  launch(dgates.device(), route_gates_backward_kernel,
         {.grid = blocks_for(count, kThreads), .block = kThreads, .barrier_free = true}, dfactors.data<float>(),
         dgates.data<float>(), count, dgates.dim(1));
}

void expected_cost(const Tensor& gates, const RoutingCosts& costs, Tensor& e) {
  launch(gates.device(), expected_cost_kernel,
         {.grid = blocks_for(gates.dim(0), kThreads), .block = kThreads, .barrier_free = true}, gates.data<float>(),
         costs.first.data<int32_t>(), costs.body.data<float>(), costs.path.data<float>(), e.data<float>(), gates.dim(0),
         gates.dim(1), costs.body.dim(0));
}

void expected_cost_backward(const Tensor& de, const Tensor& gates, const RoutingCosts& costs, Tensor& dgates) {
  launch(gates.device(), expected_cost_backward_kernel,
         {.grid = blocks_for(gates.dim(0) * costs.body.dim(0), kThreads), .block = kThreads, .barrier_free = true},
         de.data<float>(), gates.data<float>(), costs.first.data<int32_t>(), costs.body.data<float>(),
         costs.path.data<float>(), dgates.data<float>(), gates.dim(0), gates.dim(1), costs.body.dim(0));
}

}  // namespace segrt::kernels::cuda
