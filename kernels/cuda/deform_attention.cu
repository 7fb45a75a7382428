#include "kernels/cuda/deform_attention.h"

#include "core/error.h"
#include "kernels/cuda/position_logits.h"

namespace segrt::kernels::cuda {
namespace {
[[noreturn]] void missing() { throw DeviceError("deform_attention: no CUDA kernels yet"); }
}  // namespace

void deform_attention_forward(const Tensor&, const Tensor&, const Tensor&, const Tensor&, Tensor&, Tensor*) {
  missing();
}
void deform_attention_backward(const Tensor&, const Tensor&, const Tensor&, const Tensor&, const Tensor&, Tensor&,
                               Tensor&, Tensor&) {
  missing();
}
void height_logits_forward(const Tensor&, const Tensor&, Tensor&) { missing(); }
void height_logits_backward(const Tensor&, const Tensor&, Tensor&) { missing(); }
void position_table_backward(const Tensor&, const Tensor&, PositionAxis, Tensor&) { missing(); }

}  // namespace segrt::kernels::cuda
