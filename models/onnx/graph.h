// An ONNX model under construction: nodes by name, weights as initializers. github.com/onnx/onnx/blob/main/docs/IR.md
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <vector>

namespace segrt::onnx_export {

class Graph {
 public:
  // opset: of the default operator set, 17 or later where the installed library knows it.
  Graph(const std::string& name, int opset);
  ~Graph();
  Graph(const Graph&) = delete;
  Graph& operator=(const Graph&) = delete;

  // Attributes by kind; names are ONNX's.
  struct Attributes {
    std::map<std::string, int64_t> integer = {};
    std::map<std::string, std::vector<int64_t>> integers = {};
    std::map<std::string, float> number = {};
    std::map<std::string, std::string> text = {};
  };

  // Dimensions; -1 is free and called "N".
  enum class Type : uint8_t { float32, int64 };
  void input(const std::string& name, const std::vector<int64_t>& shape);
  void output(const std::string& name, const std::vector<int64_t>& shape, Type type = Type::float32);
  // A node of `type` with one output, whose name is returned: `type` and a number, or `output` if given. An empty input
  // is an optional one left out.
  std::string node(const std::string& type, const std::vector<std::string>& inputs, const Attributes& attributes,
                   const std::string& output = "");
  std::string node(const std::string& type, const std::vector<std::string>& inputs) { return node(type, inputs, {}); }
  // Constants: the name is `name`, or "constant" and a number.
  std::string constant(const std::vector<int64_t>& shape, const std::vector<float>& values,
                       const std::string& name = "");
  std::string constant(const std::vector<int64_t>& values);  // int64 of one dimension
  void metadata(const std::string& key, const std::string& value);

  // Removes what no output depends on, checks the model (onnx::checker) and writes it, atomically. Throws Error with
  // the checker's message, FileError.
  void save(const std::string& path);

 private:
  struct Proto;
  std::unique_ptr<Proto> proto_;
  std::map<std::string, int> numbers_;  // by type
  std::string numbered(const std::string& stem);
};

}  // namespace segrt::onnx_export
