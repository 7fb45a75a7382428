// Layers with parameters. Names of parameters and buffers are PyTorch's, so that published checkpoints load by name.
// Activations are [N,H,W,C] in the compute dtype; parameters are f32 and are cast where the activation is narrower.
#pragma once

#include <array>
#include <vector>

#include "autograd/layer_norm.h"
#include "autograd/norm.h"
#include "kernels/conv.h"
#include "nn/module.h"

namespace segrt::nn {

enum class Act : uint8_t { none, relu, silu };

// weight [out,kernel,kernel,in/groups], bias [out]. Weight: normal (He et al. 2015), std sqrt(2 / (kernel^2 * out))
// (fan out) or sqrt(2 / (kernel^2 * in/groups)) (fan in), or of weight_std where that is set; or uniform in
// +-1/sqrt(fan in), PyTorch's default. Bias: zeros, or uniform in +-1/sqrt(fan in).
class Conv2d final : public Module {
 public:
  enum class WeightInit : uint8_t { fan_out, fan_in, uniform };
  enum class BiasInit : uint8_t { zeros, uniform };
  struct Options {
    int in, out, kernel = 3, stride = 1, padding = 0, dilation = 1, groups = 1;
    bool bias = false;
    BiasInit bias_init = BiasInit::zeros;
    WeightInit weight_init = WeightInit::fan_out;
    double weight_std = 0;
  };
  Conv2d(const Options& o, Init& init);
  // [N,H,W,in] -> [N,P,Q,out], plus `residual` of that shape where it is defined.
  Var forward(const Var& x, const Var& residual = {}) const;

  const Options& options() const { return options_; }
  const kernels::ConvGeometry& geometry() const { return geometry_; }
  const Var& weight() const { return weight_; }
  const Var& bias() const { return bias_; }  // undefined without bias

 private:
  friend Var conv_bn(const Conv2d&, const class BatchNorm&, const Var&, Act, const Var&);
  friend Var conv_pair_bn(const Conv2d&, const Var&, const Conv2d&, const Var&, const class BatchNorm&, Act);
  friend Var concat_conv_bn(const std::vector<struct ConvBnPart>&);
  friend Var separable_conv_bn(const Conv2d&, const Conv2d&, const class BatchNorm&, const Var&, Act, const Var&);
  // For inference: weight (times the batch norm's scale) in the activation's dtype, and the bias that goes with it.
  struct Folded {
    std::array<uint64_t, 11> key{};  // identities and versions of what it was made from
    Tensor weight, bias;
  };
  enum class Fold : uint8_t { scale_and_shift, scale };  // scale: without the norm's shift, which another adds
  const Folded& folded(const BatchNorm* bn, DType dtype, Fold fold = Fold::scale_and_shift) const;
  // One kernel over folded weights.
  Tensor fused(const Folded& f, const Var& x, const Var& residual, Act act) const;
  void report(const Tensor& y, int64_t extra_parameters) const;

  Options options_;
  kernels::ConvGeometry geometry_;
  Var& weight_;
  Var no_bias_;
  Var& bias_;
  mutable Folded folded_;
};

// weight, bias, running_mean, running_var [channels]; num_batches_tracked [] i64. Normalises by batch statistics in
// training mode.
class BatchNorm final : public Module {
 public:
  struct Options {
    int channels;
    double eps = 1e-5, momentum = 0.1;
    bool zero_weight = false;  // weight starts at 0, else 1
  };
  BatchNorm(const Options& o, Init& init);
  Var forward(const Var& x, Act act = Act::none, const Var& residual = {}) const;

  const Options& options() const { return options_; }
  const Var& weight() const { return weight_; }
  const Var& bias() const { return bias_; }
  const Tensor& running_mean() const { return running_mean_; }
  const Tensor& running_var() const { return running_var_; }
  const Tensor& batches() const { return batches_; }  // i64 []: training passes so far
  // Statistics over several processes (autograd/norm.h); nullptr: of this one. They must outlive the layer's use.
  Communicator* processes() const { return processes_; }
  struct Synchronization {
    bool mean_weight_gradient = false;  // autograd::BatchNormState
    bool shares_messages = true;        // with other norms, where a network has several at once (nn/norm_group.h)
  };
  void synchronize(Communicator* processes, const Synchronization& s) {
    processes_ = processes;
    mean_weight_gradient_ = s.mean_weight_gradient;
    shares_messages_ = s.shares_messages;
  }
  // The share of a batch in the running statistics; 1 makes them those of the last batch.
  void set_momentum(double momentum) { options_.momentum = momentum; }

 private:
  friend Var conv_bn(const Conv2d&, const BatchNorm&, const Var&, Act, const Var&);
  friend bool shares_messages(const BatchNorm&);
  friend std::vector<Var> norms_together(const std::vector<struct NormPart>&);
  autograd::BatchNormState state() const;
  void count_batch() const;  // in training

  Options options_;
  Var& weight_;
  Var& bias_;
  Tensor& running_mean_;
  Tensor& running_var_;
  Tensor& batches_;
  Communicator* processes_ = nullptr;
  bool mean_weight_gradient_ = false, shares_messages_ = true;
};

// BatchNorm::synchronize for every batch norm in a network.
void synchronize_batch_norms(Module& network, Communicator* processes, const BatchNorm::Synchronization& s = {});

// act(bn(conv(x)) + residual). In inference the norm is folded into the convolution's weights and all of it is one
// kernel; in training the convolution may compute the norm's statistics (autograd::conv_batch_norm).
Var conv_bn(const Conv2d& conv, const BatchNorm& bn, const Var& x, Act act, const Var& residual = {});
// concat_channels of the conv_bn of every part. In inference each convolution writes its channels of the result, which
// nobody then copies (kernels::conv2d_forward_slice).
struct ConvBnPart {
  const Conv2d& conv;
  const BatchNorm& bn;
  Var x;
  Act act;
};
Var concat_conv_bn(const std::vector<ConvBnPart>& parts);
// act(bn(a(x) + b(z))). In inference the norm is folded into both convolutions, and the second adds to the first.
Var conv_pair_bn(const Conv2d& a, const Var& x, const Conv2d& b, const Var& z, const BatchNorm& bn, Act act);
// act(bn(pointwise(depthwise(x))) + residual), depthwise 3x3 without bias or dilation. In inference one kernel where
// kernels/separable.h has it.
Var separable_conv_bn(const Conv2d& depthwise, const Conv2d& pointwise, const BatchNorm& bn, const Var& x, Act act,
                      const Var& residual = {});

// weight, bias [channels]: 1 and 0. Normalises over the last dimension.
class LayerNorm final : public Module {
 public:
  struct Options {
    int channels;
    double eps = 1e-5;
  };
  LayerNorm(const Options& o, Init& init);
  Var forward(const Var& x) const;
  // x + branch and the norm of that, in one pass; x + branch must take part in the loss.
  autograd::SumAndNorm forward(const Var& x, const Var& branch) const;

 private:
  void report(const Var& y) const;

  Options options_;
  Var& weight_;
  Var& bias_;
};

// y = x weight^T + bias. weight [out,in]: uniform in +-1/sqrt(in), bias likewise; or, where weight_std is set, the
// weight normal with that std, cut off at +-2 (not at two std: at 2 itself), and the bias 0.
class Linear final : public Module {
 public:
  struct Options {
    int in, out;
    bool bias = true;
    double weight_std = 0;
  };
  Linear(const Options& o, Init& init);
  Var forward(const Var& x) const;  // [...,in] -> [...,out]

 private:
  friend Var mlp(const Linear&, const Linear&, const Var&);
  void report(const Tensor& y) const;

  Options options_;
  Var& weight_;
  Var no_bias_;
  Var& bias_;
};

// second(gelu(first(x))), GELU exact: autograd::mlp.
Var mlp(const Linear& first, const Linear& second, const Var& x);

}  // namespace segrt::nn
