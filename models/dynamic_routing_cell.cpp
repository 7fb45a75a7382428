#include "models/dynamic_routing_cell.h"

#include <utility>

#include "autograd/elementwise.h"
#include "autograd/pool.h"
#include "core/error.h"

namespace segrt::models {
namespace {
using autograd::RoutedTerm;
using kernels::CellFlag;
using nn::Act;

const int32_t* flag(const Tensor& flags, CellFlag which) { return flags.data<int32_t>() + static_cast<int>(which); }
bool none_closed(const Tensor& factors) {  // [N,1+S] on a CPU
  const auto closed = [&](int64_t n) {
    const int64_t at = n * factors.dim(1);
    return factors.dtype() == DType::f64 ? factors.data<double>()[at] != 0 : factors.data<float>()[at] != 0;
  };
  for (int64_t n = 0; n < factors.dim(0); ++n)
    if (closed(n)) return false;
  return true;
}
CellFlag path_flag(int slot) { return static_cast<CellFlag>(static_cast<int>(CellFlag::path0) + slot); }
}  // namespace

nn::Conv2d::Options convolution(int in, int out, int kernel, int stride, int groups) {
  return {.in = in,
          .out = out,
          .kernel = kernel,
          .stride = stride,
          .padding = kernel / 2,
          .groups = groups,
          .weight_init = nn::Conv2d::WeightInit::fan_in};
}

ConvUnit ConvUnit::make(nn::Module& parent, const std::string& name, nn::Conv2d::Options options, nn::Init& init,
                        Act act) {
  ConvUnit unit{.act = act};
  unit.conv = &parent.child<nn::Conv2d>(name, options, init);
  unit.norm = &unit.conv->child<nn::BatchNorm>("norm", {.channels = options.out}, init);
  return unit;
}

Cell::Cell(const Options& o, nn::Init& init) : options_(o) {
  const int c = o.channels;
  if (!o.gated) constant_gates_ = buffer("gate_weights_beta", init.constant({1, 1, 1, slots()}, 1));
  nn::Module& op =
      child<nn::Sequence>("cell_ops").child<nn::Sequence>("_ops").child<nn::Sequence>("0").child<nn::Sequence>("op");
  depthwise1_ = &op.child<nn::Conv2d>("0", convolution(c, c, 3, 1, c), init);
  pointwise1_ = ConvUnit::make(op, "1", convolution(c, c, 1), init);
  depthwise2_ = &op.child<nn::Conv2d>("2", convolution(c, c, 3, 1, c), init);
  pointwise2_ = ConvUnit::make(op, "3", convolution(c, c, 1), init, Act::none);
  if (o.up) up_ = ConvUnit::make(child<nn::Sequence>("res_up"), "1", convolution(c, c / 2, 1), init);
  if (o.down) down_ = ConvUnit::make(child<nn::Sequence>("res_down"), "1", convolution(c, 2 * c, 1, 2), init);
  if (!o.gated) return;
  nn::Module& gate = child<nn::Sequence>("gate_conv_beta");
  gate_ = ConvUnit::make(gate, "0", convolution(c, c / 2, 1), init);
  nn::Conv2d::Options out = convolution(c / 2, slots(), 1);
  out.bias = true;
  gate_out_ = &gate.child<nn::Conv2d>("2", out, init);
  Tensor bias = gate_out_->bias().value();
  if (!bias.device().is_meta()) bias.copy_from(init.constant({slots()}, 1.5));  // open at the start
}

// g = relu(tanh(W mean(map) + b)), [N,S]; map = relu(bn(conv(x'))), where x' is x or its bilinear quarter.
Var Cell::seen_by_gate(const Var& x) const {
  if (!options_.small_gate) return x;
  const int h = static_cast<int>(x.dim(1) / 4), w = static_cast<int>(x.dim(2) / 4);
  if (h == 0 || w == 0)
    throw ArgumentError(
        "dynamic routing: small gates need maps of at least 4x4 in every row, so images of at least "
        "128x128; a cell got " +
        to_string(x.shape()));
  return autograd::resize(x, h, w, {.scale_h = 0.25, .scale_w = 0.25});
}
Var Cell::gates(const Var& map, Tensor& logits) const {
  return autograd::gate(map, gate_out_->weight(), gate_out_->bias(), &logits);
}

// Without gates everything is open: the state's constant for each sample.
Tensor Cell::open_gates(int64_t batch) const {
  Tensor gates = Tensor::empty({batch, slots()}, DType::f32, constant_gates_.device());
  for (int64_t n = 0; n < batch; ++n) gates.slice(n, 1).copy_from(constant_gates_.reshape({1, slots()}));
  return gates;
}

// relu(sepconv(x) + x)
Var Cell::body(const Var& x, const Tensor& drop) const {
  const Var y = pointwise1_.forward_behind(*depthwise1_, x);
  if (!drop.defined()) return pointwise2_.forward_behind_add_relu(*depthwise2_, y, x);
  return with_drop(pointwise2_.forward_behind(*depthwise2_, y), x, drop);
}

Var Cell::with_drop(const Var& branch, const Var& x, const Tensor& drop) const {
  const std::vector<RoutedTerm> terms{{.x = branch, .gate = drop}, {.x = x}};
  return autograd::relu(autograd::gated_sum(terms));
}

void Cell::append_terms(const CellState& s, PathKind path, std::vector<RoutedTerm>& terms) const {
  const auto add = [&](const Var& x, int column, bool upsample) {
    if (!x.defined()) return;
    terms.push_back({.x = x, .gate = s.factors, .slot = column, .upsample2 = upsample});
  };
  if (path == PathKind::up) return add(s.up, 1 + slot(path), true);
  if (path == PathKind::down) return add(s.down, 1 + slot(path), false);
  // The raw input counts for closed samples alone. Where looking costs nothing, it is left out when there are none.
  // Not with norms over several processes: these compute the same operators in the same order, whatever their samples.
  const bool looks = options_.gated && s.factors.device().is_cpu() && !s.factors.device().op_observer &&
                     pointwise1_.norm->processes() == nullptr;
  const bool may_pass = options_.gated && !(looks && none_closed(s.factors.value()));
  if (may_pass) add(s.input, 0, false);
  add(s.body, 1, false);
}

CellState Cell::forward(const Input& in) const {
  Device& device = depthwise1_->weight().device();
  const nn::ModuleScope scope(*this, "cell", device);
  const int64_t batch = in.shape[0];
  CellState s;
  if (in.senders.empty()) {  // everything is computed
    s.input = sum_terms(in.terms, in.shape, in.dtype, device);
    if (options_.gated) {
      s.gates = gates(gate_.forward(seen_by_gate(s.input)), s.logits);
      s.factors = autograd::route_gates(s.gates);
    } else {
      s.gates = open_gates(batch);
    }
    s.body = body(s.input, in.drop);
    if (options_.up) s.up = up_.forward(s.body);
    if (options_.down) s.down = down_.forward(s.body);
    return s;
  }
  s.flags = Tensor::empty({kernels::kCellFlags}, DType::i32, device);
  autograd::route_senders(in.senders, s.flags);
  Tensor g = Tensor::zeros({batch, slots()}, DType::f32, device);
  device.run_if(flag(s.flags, CellFlag::fed), [&] {
    s.input = sum_terms(in.terms, in.shape, in.dtype, device);
    g.copy_from(gates(gate_.forward(seen_by_gate(s.input)), s.logits).value());
  });
  s.gates = g;
  s.factors = autograd::route_gates(s.gates, &s.flags);
  device.run_if(flag(s.flags, CellFlag::executed), [&] {
    s.body = body(s.input, {});
    if (options_.up) device.run_if(flag(s.flags, path_flag(slot(PathKind::up))), [&] { s.up = up_.forward(s.body); });
    if (options_.down)
      device.run_if(flag(s.flags, path_flag(slot(PathKind::down))), [&] { s.down = down_.forward(s.body); });
  });
  return s;
}

std::vector<CellState> Cell::forward_together(const std::vector<const Cell*>& cells, const std::vector<Input>& inputs) {
  Device& device = cells.front()->depthwise1_->weight().device();
  const size_t count = cells.size();
  std::vector<CellState> states(count);
  // In every step the cells' norms, whose results come in the order of the parts.
  std::vector<nn::NormPart> parts;
  std::vector<Var> maps;
  size_t next = 0;
  const auto normalise = [&] {
    maps = nn::norms_together(parts);
    parts.clear();
    next = 0;
  };
  for (size_t k = 0; k < count; ++k) {
    const Cell& c = *cells[k];
    CellState& s = states[k];
    const nn::ModuleScope scope(c, "cell", device);
    s.input = sum_terms(inputs[k].terms, inputs[k].shape, inputs[k].dtype, device);
    if (c.options_.gated) parts.push_back(c.gate_.part(c.seen_by_gate(s.input)));
    parts.push_back(c.pointwise1_.part(c.depthwise1_->forward(s.input)));
  }
  normalise();
  for (size_t k = 0; k < count; ++k) {
    const Cell& c = *cells[k];
    CellState& s = states[k];
    const nn::ModuleScope scope(c, "cell", device);
    if (c.options_.gated) {
      s.gates = c.gates(maps[next++], s.logits);
      s.factors = autograd::route_gates(s.gates);
    } else {
      s.gates = c.open_gates(inputs[k].shape[0]);
    }
    const bool drops = inputs[k].drop.defined();  // between norm and sum
    parts.push_back({c.pointwise2_.conv, *c.pointwise2_.norm, c.depthwise2_->forward(maps[next++]),
                     drops ? Act::none : Act::relu, drops ? Var() : s.input});
  }
  normalise();
  for (size_t k = 0; k < count; ++k) {
    const Cell& c = *cells[k];
    CellState& s = states[k];
    const nn::ModuleScope scope(c, "cell", device);
    s.body = inputs[k].drop.defined() ? c.with_drop(maps[k], s.input, inputs[k].drop) : maps[k];
    if (c.options_.up) parts.push_back(c.up_.part(s.body));
    if (c.options_.down) parts.push_back(c.down_.part(s.body));
  }
  normalise();
  for (size_t k = 0; k < count; ++k) {
    if (cells[k]->options_.up) states[k].up = maps[next++];
    if (cells[k]->options_.down) states[k].down = maps[next++];
  }
  return states;
}

Var sum_terms(const std::vector<RoutedTerm>& terms, const Shape& shape, DType dtype, Device& device) {
  if (terms.empty()) return Tensor::zeros(shape, dtype, device);
  if (terms.size() == 1 && !terms[0].gate.defined() && !terms[0].upsample2) return terms[0].x;
  return autograd::gated_sum(terms);
}

}  // namespace segrt::models
