// One case of an operator-vector file: an operator, its attributes, its inputs and the outputs it must give.
//
// The file is a safetensors file. Its metadata maps each case's name to a JSON object
//   {"op": "Conv", "domain": "", "opset": 22, "attrs": {...}, "inputs": ["x", "W", ""], "outputs": ["y"],
//    "from": "...", "rtol": 1e-3, "atol": 1e-7}
// and the tensors are "<case>/in<i>" and "<case>/out<i>", in ONNX layout (activations [N,C,H,W], weights [O,C,kh,kw]).
// An empty name is an optional input or output that is absent.
#pragma once

#include <string>
#include <vector>

#include "core/safetensors.h"
#include "core/tensor.h"
#include "tests/tools/segrt_op_vectors/attributes.h"

namespace segrt::op_vectors {

class Case {
 public:
  // Parses and checks the description and that every tensor it names is there. Throws Malformed. The file and the
  // device must outlive the case.
  Case(const SafetensorsFile& file, const std::string& name, const std::string& description, Device& device);

  const std::string& name() const { return name_; }
  const std::string& op() const { return op_; }
  const std::string& domain() const { return domain_; }
  int64_t opset() const { return opset_; }
  const Attributes& attributes() const { return attributes_; }
  double rtol() const { return rtol_; }
  double atol() const { return atol_; }
  Device& device() const { return device_; }

  size_t input_count() const { return inputs_.size(); }
  bool has_input(size_t i) const { return i < inputs_.size() && !inputs_[i].empty(); }
  // On the device, in ONNX layout. Throws Malformed where the case has no such input, Unsupported where the runtime has
  // no such dtype or rank.
  Tensor input(size_t i) const;
  // The same; Unsupported unless the runtime computes with the dtype on this device.
  Tensor float_input(size_t i) const;
  std::vector<int64_t> integer_input(size_t i) const;  // its values; i64 or i32
  bool flag_input(size_t i) const;                     // a BOOL scalar

  size_t output_count() const { return outputs_.size(); }
  bool wants_output(size_t i) const { return i < outputs_.size() && !outputs_[i].empty(); }
  const std::string& output_name(size_t i) const { return outputs_.at(i); }
  Tensor expected(size_t i) const;  // like input

 private:
  std::string input_key(size_t i) const;
  std::string output_key(size_t i) const;
  Tensor read(const std::string& key, const std::string& what) const;

  const SafetensorsFile& file_;
  Device& device_;
  std::string name_, op_, domain_;
  int64_t opset_ = 0;
  Attributes attributes_;
  std::vector<std::string> inputs_, outputs_;
  double rtol_ = 0, atol_ = 0;
};

}  // namespace segrt::op_vectors
