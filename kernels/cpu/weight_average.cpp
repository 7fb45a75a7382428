#include "kernels/cpu/weight_average.h"

#include "core/parallel.h"

namespace segrt::kernels::cpu {

void average_weights(const std::vector<AveragedTensor>& tensors, float share, const Tensor& skip) {
  if (skip.defined() && skip.data<int32_t>()[0] != 0) return;
  for (const AveragedTensor& t : tensors) {
    float* average = t.average.data<float>();
    const float* value = t.value.data<float>();
    parallel_ranges(t.average.numel(), 16384, [&](int64_t begin, int64_t end) {
      for (int64_t i = begin; i < end; ++i) average[i] += share * (value[i] - average[i]);
    });
  }
}

}  // namespace segrt::kernels::cpu
