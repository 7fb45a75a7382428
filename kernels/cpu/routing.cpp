#include "kernels/cpu/routing.h"

#include "kernels/dispatch.h"

namespace segrt::kernels::cpu {
namespace {
// f32 or f64: what gates are.
template <typename F>
void dispatch_gates(DType dtype, F&& f) {
  if (dtype == DType::f64)
    f.template operator()<double>();
  else
    f.template operator()<float>();
}

constexpr int kFed = static_cast<int>(CellFlag::fed), kExecuted = static_cast<int>(CellFlag::executed),
              kPath0 = static_cast<int>(CellFlag::path0);
}  // namespace

void route_senders(const std::vector<Sender>& senders, Tensor& flags) {
  auto* f = flags.data<int32_t>();
  int32_t fed = 0;
  for (const Sender& s : senders) fed |= s.flags.data<int32_t>()[static_cast<int>(s.flag)];
  for (int i = 0; i < kCellFlags; ++i) f[i] = 0;
  f[kFed] = fed;
}

void route_gates(const Tensor& gates, Tensor* flags, Tensor& factors) {
  const int64_t batch = gates.dim(0), slots = gates.dim(1);
  dispatch_gates(gates.dtype(), [&]<typename T>() {
    const T* g = gates.data<T>();
    T* f = factors.data<T>();
    T total = 0;
    for (int64_t i = 0; i < gates.numel(); ++i) total += g[i];
    const bool fed = flags == nullptr || flags->data<int32_t>()[kFed] != 0;
    const bool executed = flags == nullptr || (fed && total >= T(kClosedBelow));
    for (int64_t n = 0; n < batch; ++n) {
      T sum = 0;
      for (int64_t s = 0; s < slots; ++s) {
        sum += g[n * slots + s];
        f[n * (1 + slots) + 1 + s] = executed ? g[n * slots + s] : T(0);
      }
      f[n * (1 + slots)] = fed && (!executed || sum < T(kClosedBelow)) ? T(1) : T(0);
    }
    if (flags == nullptr) return;
    auto* flag = flags->data<int32_t>();
    flag[kExecuted] = executed;
    for (int64_t s = 0; s < slots; ++s) {
      bool open = false;
      for (int64_t n = 0; n < batch; ++n) open = open || g[n * slots + s] > 0;
      flag[kPath0 + s] = executed && open;
    }
  });
}

void route_gates_backward(const Tensor& dfactors, Tensor& dgates) {
  const int64_t batch = dgates.dim(0), slots = dgates.dim(1);
  dispatch_gates(dgates.dtype(), [&]<typename T>() {
    const T* df = dfactors.data<T>();
    T* dg = dgates.data<T>();
    for (int64_t n = 0; n < batch; ++n)
      for (int64_t s = 0; s < slots; ++s) dg[n * slots + s] = df[n * (1 + slots) + 1 + s];
  });
}

void expected_cost(const Tensor& gates, const RoutingCosts& costs, Tensor& e) {
  const int64_t batch = gates.dim(0), columns = gates.dim(1), cells = costs.body.dim(0);
  const int32_t* first = costs.first.data<int32_t>();
  dispatch_gates(gates.dtype(), [&]<typename T>() {
    const T *body = costs.body.data<T>(), *path = costs.path.data<T>();
    for (int64_t n = 0; n < batch; ++n) {
      const T* g = gates.data<T>() + n * columns;
      T sum = 0;
      for (int64_t cell = 0; cell < cells; ++cell) {
        T largest = 0;
        for (int32_t t = first[cell]; t < first[cell + 1]; ++t) {
          largest = t == first[cell] || g[t] > largest ? g[t] : largest;
          sum += g[t] * path[t];
        }
        sum += largest * body[cell];
      }
      e.data<T>()[n] = sum;
    }
  });
}

void expected_cost_backward(const Tensor& de, const Tensor& gates, const RoutingCosts& costs, Tensor& dgates) {
  const int64_t batch = gates.dim(0), columns = gates.dim(1), cells = costs.body.dim(0);
  const int32_t* first = costs.first.data<int32_t>();
  dispatch_gates(gates.dtype(), [&]<typename T>() {
    const T *body = costs.body.data<T>(), *path = costs.path.data<T>();
    for (int64_t n = 0; n < batch; ++n) {
      const T* g = gates.data<T>() + n * columns;
      T* dg = dgates.data<T>() + n * columns;
      const T d = de.data<T>()[n];
      for (int64_t cell = 0; cell < cells; ++cell) {
        int32_t largest = first[cell];
        for (int32_t t = first[cell]; t < first[cell + 1]; ++t) {
          if (g[t] > g[largest]) largest = t;
          dg[t] = d * path[t];
        }
        if (first[cell] < first[cell + 1]) dg[largest] += d * body[cell];
      }
    }
  });
}

}  // namespace segrt::kernels::cpu
