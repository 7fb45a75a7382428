#include "kernels/vendor/onednn_conv.h"

#include <array>
#include <map>
#include <vector>

#include "core/parallel.h"
#include "kernels/cpu/packed_weights.h"
#include "kernels/vendor/onednn.h"

namespace segrt::kernels::vendor {
namespace {
using Desc = dnnl::memory::desc;
using Dims = dnnl::memory::dims;

enum class Pass : int64_t { forward, backward_input, backward_weight };
enum class Residual : int64_t { none, in_place, separate };

// What decides a primitive. Thread count included: oneDNN plans its work split when it makes a primitive.
struct Problem {
  Pass pass;
  DType dtype, weight_dtype;
  Shape x, w, y;
  ConvGeometry g;
  bool bias = false, relu = false, silu = false;
  Residual residual = Residual::none;

  using Key = std::array<int64_t, 28>;
  Key key() const {
    return {static_cast<int64_t>(pass),
            static_cast<int64_t>(dtype),
            static_cast<int64_t>(weight_dtype),
            x[0],
            x[1],
            x[2],
            x[3],
            w[0],
            w[1],
            w[2],
            w[3],
            y[1],
            y[2],
            g.stride_h,
            g.stride_w,
            g.pad_top,
            g.pad_left,
            g.pad_bottom,
            g.pad_right,
            g.dilation_h,
            g.dilation_w,
            g.groups,
            bias,
            int64_t{relu} + 2 * int64_t{silu},
            static_cast<int64_t>(residual),
            threads(),
            0,
            0};
  }
};

struct Kernel {
  dnnl::primitive primitive;  // empty: oneDNN has none
  Desc x, y, bias, plain_weights, weights, scratchpad;
  uint64_t weights_layout = 0;
};

// [N,H,W,C] is N, C, H, W to oneDNN, with strides.
Desc activation_desc(const Shape& s, DType dtype) {
  return {{s[0], s[3], s[1], s[2]}, onednn_type(dtype), dnnl::memory::format_tag::nhwc};
}

// [O,kh,kw,C/groups] is (groups, O/groups,) C/groups, kh, kw.
Dims weight_dims(const Shape& w, int groups) {
  if (groups == 1) return {w[0], w[3], w[1], w[2]};
  return {groups, w[0] / groups, w[3], w[1], w[2]};
}

Desc plain_weight_desc(const Shape& w, int groups, DType dtype) {
  const int64_t row = w[2] * w[3], filter = w[1] * row;
  Dims strides{filter, 1, row, w[3]};
  if (groups > 1) strides.insert(strides.begin(), w[0] / groups * filter);
  return {weight_dims(w, groups), onednn_type(dtype), strides};
}

Desc any_weight_desc(const Shape& w, int groups, DType dtype) {
  return {weight_dims(w, groups), onednn_type(dtype), dnnl::memory::format_tag::any};
}

dnnl::primitive_attr attributes(const Problem& p, const Desc& y) {
  dnnl::primitive_attr attr = with_user_scratchpad();
  dnnl::post_ops ops;
  if (p.residual == Residual::in_place) ops.append_sum(1.0f);
  if (p.residual == Residual::separate) ops.append_binary(dnnl::algorithm::binary_add, y);
  if (p.relu) ops.append_eltwise(1.0f, dnnl::algorithm::eltwise_relu, 0.0f, 0.0f);
  if (p.silu) ops.append_eltwise(1.0f, dnnl::algorithm::eltwise_swish, 1.0f, 0.0f);
  attr.set_post_ops(ops);
  return attr;
}

class Convolutions {
 public:
  explicit Convolutions(Device& device)
      : onednn_(device.state<OneDnn>()), packed_(device.state<cpu::PackedWeights>()) {}

  const Kernel& find(const Problem& p) {
    const Problem::Key key = p.key();
    if (const auto it = kernels_.find(key); it != kernels_.end()) return it->second;
    // Whole-image evaluation of a data set of many sizes meets many problems; code of the old ones is let go.
    if (kernels_.size() >= kLimit) kernels_.clear();
    return kernels_[key] = checked("convolution", [&] { return make(p); });
  }

  dnnl::memory packed(const Tensor& w, const Kernel& k, Tensor& holder) {
    if (k.weights == k.plain_weights) return onednn_.memory(k.weights, w);
    // Layouts of this cache are even, so that others may number theirs odd.
    holder = packed_.get(w, 2 * k.weights_layout, k.weights.get_size(), [&](const Tensor& bytes) {
      reorder(onednn_.memory(k.plain_weights, w), onednn_.memory(k.weights, bytes));
    });
    return onednn_.memory(k.weights, holder);
  }

  void reorder(dnnl::memory from, dnnl::memory to) {
    checked("reorder", [&] { dnnl::reorder(from, to).execute(onednn_.stream, from, to); });
    onednn_.stream.wait();
  }

  void run(const Kernel& k, Device& device, std::unordered_map<int, dnnl::memory> arguments) {
    Tensor scratchpad;
    if (k.scratchpad.get_size() > 0) {
      scratchpad = bytes_on(device, k.scratchpad.get_size());
      arguments[DNNL_ARG_SCRATCHPAD] = onednn_.memory(k.scratchpad, scratchpad);
    }
    checked("convolution", [&] { k.primitive.execute(onednn_.stream, arguments); });
    onednn_.stream.wait();
  }

  const OneDnn& onednn() const { return onednn_; }

 private:
  static constexpr size_t kLimit = 1024;

  Kernel make(const Problem& p);
  template <typename PrimitiveDesc>
  void finish(Kernel& k, const PrimitiveDesc& description, const Desc& weights);

  OneDnn& onednn_;
  cpu::PackedWeights& packed_;
  std::map<Problem::Key, Kernel> kernels_;
  std::vector<Desc> layouts_;  // of weights; the index names one
};

template <typename PrimitiveDesc>
void Convolutions::finish(Kernel& k, const PrimitiveDesc& description, const Desc& weights) {
  k.weights = weights;
  k.scratchpad = description.scratchpad_desc();
  const auto known = std::find(layouts_.begin(), layouts_.end(), weights);
  k.weights_layout = static_cast<uint64_t>(known - layouts_.begin());
  if (known == layouts_.end()) layouts_.push_back(weights);
}

// oneDNN 2.6's float32 kernels leave out a binary addition for outputs whose window lies mostly in the padding, and its
// bf16 kernels for AMX write rows past the end of y where a ReLU follows one (1x1, from 3x13 pixels on). A sum in place
// they compute right, so a residual elsewhere is first copied there.
Residual residual_of(const ConvEpilogue& epilogue, const Tensor& w, const Tensor& y) {
  if (epilogue.residual == nullptr) return Residual::none;
  const bool pointwise = w.dim(1) == 1 && w.dim(2) == 1;
  const bool right = y.dtype() == DType::f32 && pointwise;
  return right && epilogue.residual->raw() != y.raw() ? Residual::separate : Residual::in_place;
}

Kernel Convolutions::make(const Problem& p) {
  const Dims stride{p.g.stride_h, p.g.stride_w}, dilation{p.g.dilation_h - 1, p.g.dilation_w - 1};
  const Dims before{p.g.pad_top, p.g.pad_left}, after{p.g.pad_bottom, p.g.pad_right};
  const auto algorithm = dnnl::algorithm::convolution_direct;
  Kernel k;
  k.x = activation_desc(p.x, p.dtype);
  k.y = activation_desc(p.y, p.dtype);
  k.plain_weights = plain_weight_desc(p.w, p.g.groups, p.weight_dtype);
  const Desc any = any_weight_desc(p.w, p.g.groups, p.weight_dtype);
  const dnnl::engine& engine = onednn_.engine;

  using Forward = dnnl::convolution_forward;
  if (p.bias) k.bias = Desc({p.y[3]}, dnnl::memory::data_type::f32, dnnl::memory::format_tag::x);
  const Forward::desc forward = p.bias ? Forward::desc(dnnl::prop_kind::forward_inference, algorithm, k.x, any, k.bias,
                                                       k.y, stride, dilation, before, after)
                                       : Forward::desc(dnnl::prop_kind::forward_inference, algorithm, k.x, any, k.y,
                                                       stride, dilation, before, after);
  const Forward::primitive_desc forward_pd(forward, attributes(p, k.y), engine, true);
  if (!forward_pd) return k;
  if (p.pass == Pass::forward) {
    finish(k, forward_pd, forward_pd.weights_desc());
    k.primitive = Forward(forward_pd);
  } else if (p.pass == Pass::backward_input) {
    using Backward = dnnl::convolution_backward_data;
    const Backward::desc backward(algorithm, k.x, any, k.y, stride, dilation, before, after);
    const Backward::primitive_desc pd(backward, with_user_scratchpad(), engine, forward_pd, true);
    if (!pd) return k;
    finish(k, pd, pd.weights_desc());
    k.primitive = Backward(pd);
  } else {
    using Backward = dnnl::convolution_backward_weights;
    const Backward::desc backward(algorithm, k.x, any, k.y, stride, dilation, before, after);
    const Backward::primitive_desc pd(backward, with_user_scratchpad(), engine, forward_pd, true);
    if (!pd) return k;
    finish(k, pd, pd.diff_weights_desc());
    k.primitive = Backward(pd);
  }
  return k;
}
}  // namespace

bool onednn_conv2d_forward(const Tensor& x, const Tensor& w, const ConvEpilogue& epilogue, const ConvGeometry& g,
                           Tensor& y) {
  Convolutions& convolutions = x.device().state<Convolutions>();
  const Residual residual = residual_of(epilogue, w, y);
  const Kernel& k = convolutions.find({Pass::forward, x.dtype(), w.dtype(), x.shape(), w.shape(), y.shape(), g,
                                       epilogue.bias != nullptr, epilogue.relu, epilogue.silu, residual});
  if (!k.primitive) return false;
  if (residual == Residual::in_place && epilogue.residual->raw() != y.raw()) y.copy_from(*epilogue.residual);
  const OneDnn& onednn = convolutions.onednn();
  Tensor holder;
  std::unordered_map<int, dnnl::memory> arguments{{DNNL_ARG_SRC, onednn.memory(k.x, x)},
                                                  {DNNL_ARG_WEIGHTS, convolutions.packed(w, k, holder)},
                                                  {DNNL_ARG_DST, onednn.memory(k.y, y)}};
  if (epilogue.bias != nullptr) arguments[DNNL_ARG_BIAS] = onednn.memory(k.bias, *epilogue.bias);
  if (residual == Residual::separate)
    arguments[DNNL_ARG_ATTR_MULTIPLE_POST_OP(0) | DNNL_ARG_SRC_1] = onednn.memory(k.y, *epilogue.residual);
  convolutions.run(k, x.device(), std::move(arguments));
  return true;
}

bool onednn_conv2d_backward_input(const Tensor& dy, const Tensor& w, const ConvGeometry& g, Tensor& dx) {
  Convolutions& convolutions = dy.device().state<Convolutions>();
  const Kernel& k =
      convolutions.find({Pass::backward_input, dy.dtype(), w.dtype(), dx.shape(), w.shape(), dy.shape(), g});
  if (!k.primitive) return false;
  const OneDnn& onednn = convolutions.onednn();
  Tensor holder;
  convolutions.run(k, dy.device(),
                   {{DNNL_ARG_DIFF_DST, onednn.memory(k.y, dy)},
                    {DNNL_ARG_WEIGHTS, convolutions.packed(w, k, holder)},
                    {DNNL_ARG_DIFF_SRC, onednn.memory(k.x, dx)}});
  return true;
}

bool onednn_conv2d_backward_weight(const Tensor& x, const Tensor& dy, const ConvGeometry& g, Tensor& dw) {
  Convolutions& convolutions = x.device().state<Convolutions>();
  const Kernel& k =
      convolutions.find({Pass::backward_weight, x.dtype(), dw.dtype(), x.shape(), dw.shape(), dy.shape(), g});
  if (!k.primitive) return false;
  const OneDnn& onednn = convolutions.onednn();
  const bool plain = k.weights == k.plain_weights;
  const Tensor target = plain ? dw : bytes_on(x.device(), k.weights.get_size());
  convolutions.run(k, x.device(),
                   {{DNNL_ARG_SRC, onednn.memory(k.x, x)},
                    {DNNL_ARG_DIFF_DST, onednn.memory(k.y, dy)},
                    {DNNL_ARG_DIFF_WEIGHTS, onednn.memory(k.weights, target)}});
  if (!plain) convolutions.reorder(onednn.memory(k.weights, target), onednn.memory(k.plain_weights, dw));
  return true;
}

bool onednn_has_amx_bf16() { return dnnl::get_effective_cpu_isa() >= dnnl::cpu_isa::avx512_core_amx; }

}  // namespace segrt::kernels::vendor
