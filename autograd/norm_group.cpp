#include "autograd/norm_group.h"

#include <algorithm>
#include <memory>
#include <optional>
#include <utility>

#include "autograd/conv.h"
#include "autograd/conv_backward.h"
#include "autograd/norm_parts.h"
#include "core/op_scope.h"

namespace segrt::autograd {
namespace {
// What a group keeps for its backward pass.
struct Member {
  NormBackward norm;
  std::optional<ConvBackward> conv;
  Tensor dy;  // once it has arrived
  Shape shape;
};
struct Group {
  std::vector<Member> members;
  Communicator* processes = nullptr;
  bool told = false;  // the node that they hang on
};

bool share_messages(const std::vector<NormInput>& inputs) {
  const NormInput& first = inputs.front();
  return inputs.size() > 1 && !first.x.device().op_observer &&
         std::all_of(inputs.begin(), inputs.end(), [&](const NormInput& i) {
           return i.state.synchronized() && i.state.processes == first.state.processes;
         });
}

Var one(const NormInput& i) {
  return i.w.defined() ? conv_batch_norm(i.x, i.w, i.geometry, i.weight, i.bias, i.state, i.residual, i.relu)
                       : batch_norm(i.x, i.weight, i.bias, i.state, i.residual, i.relu);
}

// What is normalised, and this process's statistics of it.
std::pair<Tensor, NormMessage> begin(const NormInput& i) {
  if (!i.w.defined()) {
    require_positions(i.x.shape());
    return {i.x.value(),
            norm_message(norm_positions(i.x.shape()), i.weight.value(), i.state,
                         [&](Tensor& mean, Tensor& var) { kernels::batch_norm_statistics(i.x.value(), mean, var); })};
  }
  Tensor z =
      Tensor::empty(kernels::conv2d_output_shape(i.x.shape(), i.w.shape(), i.geometry), i.x.dtype(), i.x.device());
  require_positions(z.shape());
  NormMessage message =
      norm_message(norm_positions(z.shape()), i.weight.value(), i.state, [&](Tensor& mean, Tensor& var) {
        kernels::conv2d_forward_statistics(i.x.value(), i.w.value(), i.geometry, z, mean, var);
      });
  return {z, std::move(message)};
}

Grads group_backward(Group& group) {
  std::vector<NormBackward::Sums> sums;
  std::vector<Tensor> messages;
  for (Member& m : group.members) {
    // An output that took no part in the loss.
    if (!m.dy.defined()) m.dy = Tensor::zeros(m.shape, m.norm.x.dtype(), m.norm.x.device());
    sums.push_back(m.norm.reduce(m.dy));
    if (sums.back().message.defined()) messages.push_back(sums.back().message);
  }
  group.processes->all_reduce(messages);
  Grads grads;
  for (size_t k = 0; k < group.members.size(); ++k) {
    const Member m = std::exchange(group.members[k], {});  // released when done with
    const auto [dz, dweight, dbias, dresidual] = m.norm.apply(m.dy, sums[k]);
    ConvBackward::Result conv;
    if (m.conv && dz.defined()) conv = (*m.conv)(dz);
    grads.insert(grads.end(), {m.conv ? conv.dx : dz, conv.dw, dweight, dbias, dresidual});
  }
  return grads;
}
}  // namespace

std::vector<Var> batch_norms(const std::vector<NormInput>& inputs) {
  std::vector<Var> outputs;
  if (inputs.empty()) return outputs;
  if (!share_messages(inputs)) {
    for (const NormInput& i : inputs) outputs.push_back(one(i));
    return outputs;
  }
  Device& device = inputs.front().x.device();
  const FunctionScope scope("batch_norms", device);
  std::vector<Tensor> maps;
  std::vector<NormMessage> messages;
  std::vector<Communicator::Gathered> gathered;
  for (const NormInput& i : inputs) {
    auto [z, message] = begin(i);
    gathered.push_back({message.own, message.all});
    maps.push_back(std::move(z));
    messages.push_back(std::move(message));
  }
  const auto group = std::make_shared<Group>();
  group->processes = inputs.front().state.processes;
  group->processes->all_gather(gathered);
  std::vector<Var> read;
  std::vector<Tensor> ys;
  for (size_t k = 0; k < inputs.size(); ++k) {
    const NormInput& i = inputs[k];
    const NormStatistics s = combined_statistics(messages[k], i.weight.value(), i.state);
    Member member;
    ys.push_back(apply_norm(maps[k], s, i.weight, i.bias, i.state, i.residual, i.relu,
                            i.x.needs_grad() || i.w.needs_grad(), member.norm));
    member.shape = ys.back().shape();
    if (i.w.defined()) member.conv.emplace(i.x, i.w, i.geometry);
    group->members.push_back(std::move(member));
    read.insert(read.end(), {i.x, i.w, i.weight, i.bias, i.residual});
  }
  // The tape's operators have one output. All outputs hang on a node whose value is nothing: their backward passes
  // leave their gradients for that of the node, which comes when all of them have.
  const Tensor nothing = Tensor::empty({1}, DType::f32, device);
  const Var node =
      record("batch_norms", read, nothing, [group](const Tensor&) -> Grads { return group_backward(*group); });
  for (size_t k = 0; k < inputs.size(); ++k)
    outputs.push_back(record("batch_norm", {node}, ys[k], [group, k, nothing](const Tensor& dy) -> Grads {
      group->members[k].dy = dy;
      return {std::exchange(group->told, true) ? Tensor() : nothing};
    }));
  return outputs;
}

}  // namespace segrt::autograd
