// A stack machine for the pickles of PyTorch checkpoints (protocols 2 to 5, as Python 2 and 3 write them). It makes
// tensors, containers and numbers, and runs nothing: a name outside core/pickle_names.h or an opcode outside the list
// in unpickler.cpp ends it. What the opcodes mean: Python's Lib/pickletools.py.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "core/pickle_objects.h"

namespace segrt {

class Unpickler {
 public:
  // `bytes` holds the pickle and is what the offsets of `objects` count from; `where` begins every message. Both
  // references must outlive this.
  Unpickler(std::span<const std::byte> bytes, std::string where, PickleObjects& objects)
      : bytes_(bytes), where_(std::move(where)), objects_(objects) {}

  // Reads the pickle that starts at `position` and moves that behind it. Throws FileError, "where: byte N: what",
  // with N the offset of the opcode in `bytes`, for anything that a checkpoint has no use for. Memory stays below a
  // fixed multiple of bytes.size().
  PickleValue load(size_t& position);

 private:
  [[noreturn]] void fail(const std::string& what) const;

  // Each handles its group of opcodes and returns false for others.
  bool constant(uint8_t opcode);
  bool container(uint8_t opcode);
  bool object(uint8_t opcode);
  bool memo(uint8_t opcode);

  std::span<const std::byte> take(uint64_t count);  // the next bytes of the file
  template <typename T>
  T number();               // little-endian
  std::string_view line();  // up to a line break, which is consumed
  void text_of(PickleKind kind, uint64_t length);
  void long_integer(uint64_t length);
  void integer_line();

  void push(const PickleValue& value);
  void push_integer(PickleKind kind, int64_t value) { push({.kind = kind, .bits = value}); }
  void push_name(std::string_view module, std::string_view name);
  PickleValue pop();  // not beyond the last mark
  std::vector<PickleValue> pop_to_mark();
  PickleValue& top(const char* opcode, PickleKind kind);
  void put(uint64_t index);
  void get(uint64_t index);
  PickleValue tuple_of(std::span<const PickleValue> items);
  void set_items(std::span<const PickleValue> items);
  void check_size() const;

  // unpickler_objects.cpp: what names make when called.
  PickleValue call(const PickleValue& callee, const PickleValue& arguments, bool is_class);
  PickleValue dict_of(const PickleValue& arguments);
  PickleValue tensor_of(std::span<const PickleValue> arguments);
  void check_extents(const PickleObjects::Tensor& tensor) const;
  PickleValue storage_of(const PickleValue& id);
  uint32_t root_of(const TorchType* type, const PickleValue& key, int64_t count);
  void set_state(const PickleValue& target);

  std::span<const std::byte> bytes_;
  std::string where_;
  PickleObjects& objects_;
  size_t position_ = 0, opcode_at_ = 0, begin_ = 0;
  std::vector<PickleValue> stack_ = {}, memo_ = {};
  std::vector<size_t> marks_ = {};  // sizes of the stack
};

}  // namespace segrt
