#include "core/unpickler.h"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <cstring>

#include "core/error.h"
#include "core/weight_file.h"

namespace segrt {
namespace {
constexpr size_t kMaxObjects = size_t{1} << 22;  // a tensor takes about 30
constexpr size_t kMaxLongBytes = 64;
constexpr uint8_t kMaxProtocol = 5;

enum Opcode : uint8_t {
  kMark = '(',
  kStop = '.',
  kNone = 'N',
  kNewTrue = 0x88,
  kNewFalse = 0x89,
  kInt = 'I',
  kBinInt = 'J',
  kBinInt1 = 'K',
  kBinInt2 = 'M',
  kLong1 = 0x8a,
  kLong4 = 0x8b,
  kBinFloat = 'G',
  kBinString = 'T',
  kShortBinString = 'U',
  kBinUnicode = 'X',
  kShortBinUnicode = 0x8c,
  kBinUnicode8 = 0x8d,
  kBinBytes = 'B',
  kShortBinBytes = 'C',
  kBinBytes8 = 0x8e,
  kByteArray8 = 0x96,
  kEmptyList = ']',
  kEmptyTuple = ')',
  kEmptyDict = '}',
  kEmptySet = 0x8f,
  kAppend = 'a',
  kAppends = 'e',
  kSetItem = 's',
  kSetItems = 'u',
  kAddItems = 0x90,
  kFrozenSet = 0x91,
  kTuple = 't',
  kTuple1 = 0x85,
  kTuple2 = 0x86,
  kTuple3 = 0x87,
  kGlobal = 'c',
  kStackGlobal = 0x93,
  kReduce = 'R',
  kNewObj = 0x81,
  kBuild = 'b',
  kBinPersId = 'Q',
  kProto = 0x80,
  kFrame = 0x95,
  kBinGet = 'h',
  kLongBinGet = 'j',
  kBinPut = 'q',
  kLongBinPut = 'r',
  kMemoize = 0x94
};
}  // namespace

PickleValue Unpickler::load(size_t& position) {
  position_ = begin_ = position;
  stack_.clear();
  memo_.clear();
  marks_.clear();
  for (;;) {
    opcode_at_ = position_;
    const auto opcode = number<uint8_t>();
    if (opcode == kStop) break;
    if (!constant(opcode) && !container(opcode) && !object(opcode) && !memo(opcode))
      fail(fmt::format("opcode 0x{:02x} has no place in a checkpoint", opcode));
    check_size();
  }
  if (stack_.size() != 1 || !marks_.empty()) fail(fmt::format("STOP with {} values on the stack", stack_.size()));
  position = position_;
  return stack_.back();
}

void Unpickler::fail(const std::string& what) const {
  throw FileError(fmt::format("{}: byte {}: {}", where_, opcode_at_, what));
}

// What Python writes takes more than a byte an object; more of them from fewer bytes is a bomb.
void Unpickler::check_size() const {
  const size_t limit = std::min(kMaxObjects, bytes_.size() + 1024);
  if (objects_.size() > limit || stack_.size() > limit) fail(fmt::format("oversize: more than {} objects", limit));
}

bool Unpickler::constant(uint8_t opcode) {
  switch (opcode) {
    case kNone: push({}); break;
    case kNewTrue: push_integer(PickleKind::boolean, 1); break;
    case kNewFalse: push_integer(PickleKind::boolean, 0); break;
    case kInt: integer_line(); break;
    case kBinInt: push_integer(PickleKind::integer, number<int32_t>()); break;
    case kBinInt1: push_integer(PickleKind::integer, number<uint8_t>()); break;
    case kBinInt2: push_integer(PickleKind::integer, number<uint16_t>()); break;
    case kLong1: long_integer(number<uint8_t>()); break;
    case kLong4: long_integer(number<uint32_t>()); break;  // a negative length is a huge one here, and refused
    case kBinFloat: push_integer(PickleKind::real, static_cast<int64_t>(__builtin_bswap64(number<uint64_t>()))); break;
    // Python 2's str is bytes, and what its programs used for names and texts.
    case kBinString: text_of(PickleKind::text, number<uint32_t>()); break;
    case kShortBinString: text_of(PickleKind::text, number<uint8_t>()); break;
    case kBinUnicode: text_of(PickleKind::text, number<uint32_t>()); break;
    case kShortBinUnicode: text_of(PickleKind::text, number<uint8_t>()); break;
    case kBinUnicode8: text_of(PickleKind::text, number<uint64_t>()); break;
    case kBinBytes: text_of(PickleKind::bytes, number<uint32_t>()); break;
    case kShortBinBytes: text_of(PickleKind::bytes, number<uint8_t>()); break;
    case kBinBytes8:
    case kByteArray8: text_of(PickleKind::bytes, number<uint64_t>()); break;
    default: return false;
  }
  return true;
}

bool Unpickler::container(uint8_t opcode) {
  switch (opcode) {
    case kMark: marks_.push_back(stack_.size()); break;
    case kEmptyList: push(objects_.new_container(PickleKind::list)); break;
    case kEmptyDict: push(objects_.new_container(PickleKind::dict)); break;
    case kEmptyTuple: push(tuple_of({})); break;
    case kEmptySet: push({.kind = PickleKind::inert}); break;
    case kTuple: push(tuple_of(pop_to_mark())); break;
    case kTuple1:
    case kTuple2:
    case kTuple3: {
      std::vector<PickleValue> items(opcode - kTuple1 + size_t{1});
      for (size_t i = items.size(); i-- > 0;) items[i] = pop();
      push(tuple_of(items));
      break;
    }
    case kAppend: {
      const PickleValue item = pop();
      objects_.append(top("APPEND", PickleKind::list), item);
      break;
    }
    case kAppends: {
      const std::vector<PickleValue> items = pop_to_mark();
      const PickleValue list = top("APPENDS", PickleKind::list);
      for (const PickleValue& item : items) objects_.append(list, item);
      break;
    }
    case kSetItem: {
      const PickleValue value = pop(), key = pop();
      set_items(std::array{key, value});
      break;
    }
    case kSetItems: set_items(pop_to_mark()); break;
    case kAddItems:  // a set's items are of no use here
      pop_to_mark();
      top("ADDITEMS", PickleKind::inert);
      break;
    case kFrozenSet:
      pop_to_mark();
      push({.kind = PickleKind::inert});
      break;
    default: return false;
  }
  return true;
}

bool Unpickler::object(uint8_t opcode) {
  switch (opcode) {
    case kGlobal: {
      const std::string_view module = line();
      push_name(module, line());
      break;
    }
    case kStackGlobal: {
      const PickleValue name = pop(), module = pop();
      if (name.kind != PickleKind::text || module.kind != PickleKind::text)
        fail(fmt::format("STACK_GLOBAL of {} and {}", to_string(module.kind), to_string(name.kind)));
      push_name(objects_.text(module), objects_.text(name));
      break;
    }
    case kReduce:
    case kNewObj: {
      const PickleValue arguments = pop(), callee = pop();
      push(call(callee, arguments, opcode == kNewObj));
      break;
    }
    case kBuild:
      pop();  // the state: hooks, metadata, attributes of inert objects
      set_state(pop());
      break;
    case kBinPersId: push(storage_of(pop())); break;
    default: return false;
  }
  return true;
}

bool Unpickler::memo(uint8_t opcode) {
  switch (opcode) {
    case kProto:
      if (const auto version = number<uint8_t>(); version > kMaxProtocol)
        fail(fmt::format("pickle protocol {}; up to {} can be read", version, kMaxProtocol));
      break;
    case kFrame:
      if (const auto length = number<uint64_t>(); length > bytes_.size() - position_)
        fail(fmt::format("a frame of {} bytes where {} are left", length, bytes_.size() - position_));
      break;
    case kBinGet: get(number<uint8_t>()); break;
    case kLongBinGet: get(number<uint32_t>()); break;
    case kBinPut: put(number<uint8_t>()); break;
    case kLongBinPut: put(number<uint32_t>()); break;
    case kMemoize: put(memo_.size()); break;
    default: return false;
  }
  return true;
}

std::span<const std::byte> Unpickler::take(uint64_t count) {
  if (count > bytes_.size() - position_)
    fail(fmt::format("the file ends: {} bytes needed, {} left", count, bytes_.size() - position_));
  const auto taken = bytes_.subspan(position_, static_cast<size_t>(count));
  position_ += static_cast<size_t>(count);
  return taken;
}

template <typename T>
T Unpickler::number() {
  T value;
  std::memcpy(&value, take(sizeof value).data(), sizeof value);
  return value;
}

std::string_view Unpickler::line() {
  const std::string_view rest(reinterpret_cast<const char*>(bytes_.data()) + position_, bytes_.size() - position_);
  const size_t end = rest.find('\n');
  if (end == std::string_view::npos) fail("the file ends within a line");
  position_ += end + 1;
  return rest.substr(0, end);
}

void Unpickler::text_of(PickleKind kind, uint64_t length) {
  const auto offset = static_cast<int64_t>(position_);
  take(length);
  if (length > ~uint32_t{0}) fail(fmt::format("oversize: a text of {} bytes", length));
  push({.kind = kind, .length = static_cast<uint32_t>(length), .bits = offset});
}

void Unpickler::long_integer(uint64_t length) {
  const auto offset = static_cast<int64_t>(position_);
  if (length > kMaxLongBytes) fail(fmt::format("oversize: an integer of {} bytes", length));
  const std::span<const std::byte> digits = take(length);
  if (length > sizeof(int64_t)) {
    push({.kind = PickleKind::long_integer, .length = static_cast<uint32_t>(length), .bits = offset});
    return;
  }
  const bool negative = length > 0 && (digits.back() & std::byte{0x80}) != std::byte{0};
  int64_t value = negative ? -1 : 0;
  if (length > 0) std::memcpy(&value, digits.data(), digits.size());
  push_integer(PickleKind::integer, value);
}

// Python 2 writes an int beyond 32 bits as decimal text.
void Unpickler::integer_line() {
  const std::string_view text = line();
  int64_t value = 0;
  const auto [end, error] = std::from_chars(text.begin(), text.end(), value);
  if (error != std::errc() || end != text.end()) fail("INT with " + shown_text(text));
  push_integer(PickleKind::integer, value);
}

void Unpickler::push(const PickleValue& value) { stack_.push_back(value); }

void Unpickler::push_name(std::string_view module, std::string_view name) {
  const std::optional<size_t> number = find_pickle_name(module, name);
  if (!number)
    fail(fmt::format("the pickle asks for {}, which no checkpoint of weights needs; refused",
                     shown_text(std::string(module.substr(0, 100)) + "." + std::string(name.substr(0, 100)))));
  push_integer(PickleKind::name, static_cast<int64_t>(*number));
}

PickleValue Unpickler::pop() {
  if (stack_.size() <= (marks_.empty() ? 0 : marks_.back())) fail("the stack is empty");
  const PickleValue value = stack_.back();
  stack_.pop_back();
  return value;
}

std::vector<PickleValue> Unpickler::pop_to_mark() {
  if (marks_.empty()) fail("there is no mark");
  const auto begin = stack_.begin() + static_cast<std::ptrdiff_t>(marks_.back());
  std::vector<PickleValue> items(begin, stack_.end());
  stack_.erase(begin, stack_.end());
  marks_.pop_back();
  return items;
}

PickleValue& Unpickler::top(const char* opcode, PickleKind kind) {
  if (stack_.size() <= (marks_.empty() ? 0 : marks_.back())) fail("the stack is empty");
  if (stack_.back().kind != kind)
    fail(fmt::format("{} to {}, expected {}", opcode, to_string(stack_.back().kind), to_string(kind)));
  return stack_.back();
}

void Unpickler::put(uint64_t index) {
  if (stack_.size() <= (marks_.empty() ? 0 : marks_.back())) fail("the stack is empty");
  // Every writer numbers its memo without gaps, so a number never passes the count of bytes so far.
  if (index > position_ - begin_) fail(fmt::format("oversize: memo number {}", index));
  if (index >= memo_.size()) memo_.resize(static_cast<size_t>(index) + 1, {.kind = PickleKind::absent});
  memo_[static_cast<size_t>(index)] = stack_.back();
}

void Unpickler::get(uint64_t index) {
  const bool known = index < memo_.size() && memo_[static_cast<size_t>(index)].kind != PickleKind::absent;
  if (!known) fail(fmt::format("memo number {} was never stored", index));
  push(memo_[static_cast<size_t>(index)]);
}

PickleValue Unpickler::tuple_of(std::span<const PickleValue> items) {
  const PickleValue tuple = objects_.new_container(PickleKind::tuple);
  for (const PickleValue& item : items) objects_.append(tuple, item);
  return tuple;
}

void Unpickler::set_items(std::span<const PickleValue> items) {
  const PickleValue dict = top("SETITEMS", PickleKind::dict);
  if (items.size() % 2 != 0) fail(fmt::format("SETITEMS with {} values, which are no pairs", items.size()));
  for (const PickleValue& item : items) objects_.append(dict, item);
}

}  // namespace segrt
