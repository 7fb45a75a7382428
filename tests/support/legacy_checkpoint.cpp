#include "tests/support/legacy_checkpoint.h"

#include <algorithm>
#include <cstring>
#include <fstream>
#include <stdexcept>
#include <vector>

namespace segrt::test {
namespace {
template <typename T>
std::string little_endian(T value) {
  std::string bytes(sizeof value, '\0');
  std::memcpy(bytes.data(), &value, sizeof value);
  return bytes;
}

// One pickle under construction; each call appends the opcodes that push one value.
class Pickle {
 public:
  explicit Pickle(bool python2 = false) : bytes_("\x80\x02"), python2_(python2) {}
  Pickle& op(std::string_view code) {
    bytes_ += code;
    return *this;
  }
  Pickle& text(std::string_view s) {
    if (python2_ && s.size() < 256) return op("U").op(std::string(1, static_cast<char>(s.size()))).op(s);
    return op("X").op(little_endian(static_cast<uint32_t>(s.size()))).op(s);
  }
  Pickle& integer(int64_t v) {
    if (v >= 0 && v < 256) return op("K").op(std::string(1, static_cast<char>(v)));
    if (v >= INT32_MIN && v <= INT32_MAX) return op("J").op(little_endian(static_cast<int32_t>(v)));
    return op("\x8a\x08").op(little_endian(v));
  }
  Pickle& integers(std::span<const int64_t> values) {
    op("(");
    for (const int64_t v : values) integer(v);
    return op("t");
  }
  Pickle& global(std::string_view module, std::string_view name) {
    return op("c").op(module).op("\n").op(name).op("\n");
  }
  std::string done() { return bytes_ + "."; }

 private:
  std::string bytes_;
  bool python2_;
};

std::string key_of(size_t index) { return std::to_string(94100000000000 + 64 * static_cast<int64_t>(index)); }

void push_tensor(Pickle& p, const NamedTensor& t, size_t index, const LegacyStyle& style) {
  const bool is_float = t.tensor.dtype() == DType::f32;
  if (!is_float && t.tensor.dtype() != DType::i64) throw std::runtime_error("legacy checkpoint: " + describe(t.tensor));
  const bool parameter = style.parameters && is_float && t.name.find("running_") == std::string::npos;
  if (parameter) p.global("torch.nn.parameter", "Parameter");
  p.global("torch._utils", "_rebuild_tensor").op("((");
  p.text("storage").global("torch", is_float ? "FloatStorage" : "LongStorage");
  p.text(key_of(index)).text(style.location).integer(t.tensor.numel()).op("NtQ").integer(0);
  const std::vector<int64_t> shape(t.tensor.shape().dims().begin(), t.tensor.shape().dims().end());
  std::vector<int64_t> strides(shape.size(), 1);
  for (size_t i = shape.size(); i-- > 1;) strides[i - 1] = strides[i] * shape[i];
  p.integers(shape).integers(strides).op("tR");
  if (parameter) p.op("\x85R(\x88\x89").global("collections", "OrderedDict").op(")Rtb");
}

std::string dictionary(std::span<const NamedTensor> tensors, const LegacyStyle& style) {
  Pickle p(style.python2);
  p.global("collections", "OrderedDict").op(style.python2 ? "](" : ")R(");
  for (size_t i = 0; i < tensors.size(); ++i) {
    if (style.python2) p.op("](");
    p.text(tensors[i].name);
    push_tensor(p, tensors[i], i, style);
    if (style.python2) p.op("e");
  }
  return p.op(style.python2 ? "e\x85R" : "u").done();
}
}  // namespace

void write_legacy_checkpoint(const std::string& path, std::span<const NamedTensor> tensors, const LegacyStyle& style) {
  using namespace std::string_literals;
  std::ofstream out(path, std::ios::binary);
  out << Pickle().op("\x8a\x0a\x6c\xfc\x9c\x46\xf9\x20\x6a\xa8\x50\x19"s).done();
  out << Pickle().integer(1001).done();
  out << Pickle().op("}(").text("protocol_version").integer(1001).text("little_endian").op("\x88").op("u").done();
  out << dictionary(tensors, style);
  Pickle keys;
  keys.op("](");
  for (size_t i = 0; i < tensors.size(); ++i) keys.text(key_of(i));
  out << keys.op("e").done();
  for (const NamedTensor& t : tensors) {
    out << little_endian(t.tensor.numel());
    out.write(static_cast<const char*>(t.tensor.raw()), static_cast<std::streamsize>(t.tensor.nbytes()));
  }
  if (!out.flush()) throw std::runtime_error("cannot write " + path);
}

}  // namespace segrt::test
