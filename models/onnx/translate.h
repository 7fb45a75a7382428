// From the operators of a forward pass, in the order in which they ran, to nodes of an ONNX graph. Maps change from
// [N,H,W,C] to ONNX's [N,C,H,W]; what a routing network keeps of its gates, [N,S], becomes [N,S,1,1].
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <utility>

#include "core/op_event.h"
#include "models/onnx/graph.h"

namespace segrt::onnx_export {

class Translator {
 public:
  // Storages from `first_new` on were made by the pass itself: one that no operator reported is an error rather than a
  // constant.
  Translator(Graph& graph, uint64_t first_new) : graph_(graph), first_new_(first_new) {}

  void bind(const Tensor& tensor, const std::string& name) { names_[key(tensor)] = name; }
  // The node or constant that holds `tensor`. Throws ArgumentError for one that nobody made.
  std::string name(const Tensor& tensor);
  // One operator. Throws ArgumentError for one that has no counterpart here.
  void add(const OpEvent& event);
  static bool knows(const std::string& op) { return operators().contains(op); }

 private:
  using Key = std::pair<uint64_t, int>;  // storage and rank: a reshape shares the former
  using Operator = void (Translator::*)(const OpEvent&);
  struct Flags {
    std::string fed, executed;  // [1,1,1,1], 0 or 1
  };
  static Key key(const Tensor& t) { return {t.storage_id(), t.rank()}; }
  static const std::map<std::string, Operator>& operators();

  void conv2d(const OpEvent& e);
  void conv_transpose2d(const OpEvent& e);
  void linear(const OpEvent& e);
  void batch_norm(const OpEvent& e);
  void max_pool2d(const OpEvent& e);
  void avg_pool2d(const OpEvent& e);
  void global_avg_pool(const OpEvent& e);
  void resize(const OpEvent& e);
  void unary(const OpEvent& e);
  void binary(const OpEvent& e);
  void scale(const OpEvent& e);
  void reshape(const OpEvent& e);
  void concat_channels(const OpEvent& e);
  void channel_gate(const OpEvent& e);
  void space_to_depth(const OpEvent& e);
  void patch_means(const OpEvent& e);
  void softmax(const OpEvent& e);
  void copy(const OpEvent& e);
  void gate(const OpEvent& e);
  void route_senders(const OpEvent& e);
  void route_gates(const OpEvent& e);
  void gated_sum(const OpEvent& e);

  std::string weight(const Tensor& w);  // [O,kh,kw,I] -> [O,I,kh,kw]
  std::string scalar(float value);      // [1,1,1,1]
  std::string finished(const OpEvent& e, std::string y, size_t residual);
  Flags& flags_of(const Tensor& flags);
  std::string column(const std::string& factors, int64_t index);

  Graph& graph_;
  uint64_t first_new_;
  std::map<Key, std::string> names_;
  std::map<uint64_t, Flags> flags_;
  std::map<float, std::string> scalars_;
  std::map<std::pair<std::string, int64_t>, std::string> columns_;
};

// [N,H,W,C] -> [N,C,H,W]; other ranks as they are.
std::vector<int64_t> onnx_shape(const Shape& shape);

}  // namespace segrt::onnx_export
