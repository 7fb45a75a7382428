#include "models/onnx/graph.h"

#include <fmt/format.h>
#include <onnx/checker.h>
#include <onnx/onnx_pb.h>

#include <set>

#include "core/atomic_file.h"
#include "core/error.h"

namespace segrt::onnx_export {
namespace {
constexpr int64_t kIrVersion = 8;  // what goes with opset 17

void set_tensor_type(onnx::ValueInfoProto& value, const std::string& name, const std::vector<int64_t>& shape,
                     onnx::TensorProto_DataType element) {
  value.set_name(name);
  onnx::TypeProto_Tensor& type = *value.mutable_type()->mutable_tensor_type();
  type.set_elem_type(element);
  for (const int64_t size : shape) {
    auto& dim = *type.mutable_shape()->add_dim();
    size < 0 ? dim.set_dim_param("N") : dim.set_dim_value(size);
  }
}

template <typename T>
void set_values(onnx::TensorProto& tensor, const std::string& name, const std::vector<int64_t>& shape,
                const std::vector<T>& values, onnx::TensorProto_DataType type) {
  tensor.set_name(name);
  tensor.set_data_type(type);
  for (const int64_t size : shape) tensor.add_dims(size);
  tensor.set_raw_data(values.data(), values.size() * sizeof(T));  // little-endian, as every machine that runs this
}

// Without the nodes and constants that no output depends on (a branch whose result the network drops).
onnx::GraphProto pruned(const onnx::GraphProto& graph) {
  std::set<std::string> needed;
  for (const auto& output : graph.output()) needed.insert(output.name());
  std::vector<const onnx::NodeProto*> kept;
  for (int i = graph.node_size() - 1; i >= 0; --i) {  // nodes stand behind what they read
    const onnx::NodeProto& node = graph.node(i);
    if (!needed.contains(node.output(0))) continue;
    needed.insert(node.input().begin(), node.input().end());
    kept.push_back(&node);
  }
  onnx::GraphProto result;
  result.set_name(graph.name());
  *result.mutable_input() = graph.input();
  *result.mutable_output() = graph.output();
  for (auto node = kept.rbegin(); node != kept.rend(); ++node) *result.add_node() = **node;
  for (const auto& constant : graph.initializer())
    if (needed.contains(constant.name())) *result.add_initializer() = constant;
  return result;
}

onnx::AttributeProto& attribute(onnx::NodeProto& node, const std::string& name,
                                onnx::AttributeProto_AttributeType type) {
  onnx::AttributeProto& a = *node.add_attribute();
  a.set_name(name);
  a.set_type(type);
  return a;
}
}  // namespace

struct Graph::Proto {
  onnx::ModelProto model;
  onnx::GraphProto& graph = *model.mutable_graph();
};

Graph::Graph(const std::string& name, int opset) : proto_(std::make_unique<Proto>()) {
  proto_->model.set_ir_version(kIrVersion);
  proto_->model.set_producer_name("segrt");
  proto_->model.add_opset_import()->set_version(opset);
  proto_->graph.set_name(name);
}

Graph::~Graph() = default;

std::string Graph::numbered(const std::string& stem) { return fmt::format("{}_{}", stem, numbers_[stem]++); }

void Graph::input(const std::string& name, const std::vector<int64_t>& shape) {
  set_tensor_type(*proto_->graph.add_input(), name, shape, onnx::TensorProto::FLOAT);
}

void Graph::output(const std::string& name, const std::vector<int64_t>& shape, Type type) {
  set_tensor_type(*proto_->graph.add_output(), name, shape,
                  type == Type::int64 ? onnx::TensorProto::INT64 : onnx::TensorProto::FLOAT);
}

std::string Graph::node(const std::string& type, const std::vector<std::string>& inputs, const Attributes& attributes,
                        const std::string& output) {
  onnx::NodeProto& node = *proto_->graph.add_node();
  const std::string name = numbered(type);
  node.set_name(name);
  node.set_op_type(type);
  for (const std::string& input : inputs) node.add_input(input);
  node.add_output(output.empty() ? name : output);
  for (const auto& [key, value] : attributes.integer) attribute(node, key, onnx::AttributeProto::INT).set_i(value);
  for (const auto& [key, values] : attributes.integers) {
    onnx::AttributeProto& a = attribute(node, key, onnx::AttributeProto::INTS);
    for (const int64_t value : values) a.add_ints(value);
  }
  for (const auto& [key, value] : attributes.number) attribute(node, key, onnx::AttributeProto::FLOAT).set_f(value);
  for (const auto& [key, value] : attributes.text) attribute(node, key, onnx::AttributeProto::STRING).set_s(value);
  return node.output(0);
}

std::string Graph::constant(const std::vector<int64_t>& shape, const std::vector<float>& values,
                            const std::string& name) {
  const std::string unique = name.empty() ? numbered("constant") : name;
  set_values(*proto_->graph.add_initializer(), unique, shape, values, onnx::TensorProto::FLOAT);
  return unique;
}

std::string Graph::constant(const std::vector<int64_t>& values) {
  const std::string name = numbered("constant");
  set_values(*proto_->graph.add_initializer(), name, {static_cast<int64_t>(values.size())}, values,
             onnx::TensorProto::INT64);
  return name;
}

void Graph::metadata(const std::string& key, const std::string& value) {
  onnx::StringStringEntryProto& entry = *proto_->model.add_metadata_props();
  entry.set_key(key);
  entry.set_value(value);
}

void Graph::save(const std::string& path) {
  proto_->graph = pruned(proto_->graph);
  if (proto_->model.ByteSizeLong() > (size_t{1} << 31) - 1)
    throw Error(path + ": the model takes more than the 2 GiB that an ONNX file may");
  try {
    onnx::checker::check_model(proto_->model);
  } catch (const std::exception& e) {
    throw Error(path + ": the exported graph is not valid ONNX: " + e.what());
  }
  AtomicFile file(path);
  file.write(proto_->model.SerializeAsString());
  file.commit();
}

}  // namespace segrt::onnx_export
