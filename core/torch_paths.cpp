#include "core/torch_paths.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <nlohmann/json.hpp>

#include "core/error.h"
#include "core/weight_file.h"

namespace segrt {
namespace {
using nlohmann::json;

constexpr size_t kMaxScalarBytes = size_t{64} << 20;  // a safetensors header, where they go, has at most 100 MB

// Base 10 of a little-endian two's complement number, by repeated division by 1e9.
std::string decimal(std::string_view bytes) {
  std::vector<uint32_t> digits(bytes.size() / 4 + 1, 0);
  const bool negative = (static_cast<uint8_t>(bytes.back()) & 0x80) != 0;
  for (size_t i = 0; i < digits.size() * 4; ++i) {
    const uint32_t byte = i < bytes.size() ? static_cast<uint8_t>(bytes[i]) : (negative ? 0xff : 0);
    digits[i / 4] |= byte << (i % 4 * 8);
  }
  if (negative) {  // -x = ~x + 1
    uint64_t carry = 1;
    for (uint32_t& d : digits) {
      carry += static_cast<uint32_t>(~d);
      d = static_cast<uint32_t>(carry);
      carry >>= 32;
    }
  }
  std::string text;
  while (!digits.empty()) {
    uint64_t rest = 0;
    for (size_t i = digits.size(); i-- > 0;) {
      rest = rest << 32 | digits[i];
      digits[i] = static_cast<uint32_t>(rest / 1'000'000'000);
      rest %= 1'000'000'000;
    }
    while (!digits.empty() && digits.back() == 0) digits.pop_back();
    text = digits.empty() ? std::to_string(rest) + text : fmt::format("{:09}", rest) + text;
  }
  return (negative ? "-" : "") + text;
}

std::string real_text(double value) {
  if (std::isnan(value)) return "nan";
  if (std::isinf(value)) return value < 0 ? "-inf" : "inf";
  return json(value).dump();
}

enum class Leaves { tensors, scalars };
using Found = std::function<void(const std::string& path, const PickleValue& value)>;

// Walks with a stack of its own.
class PathWalker {
 public:
  PathWalker(const std::string& file, const TorchContents& contents, Leaves which, const Found& found)
      : file_(file),
        objects_(contents.objects),
        which_(which),
        found_(found),
        open_(objects_.container_count(), false),
        visits_left_(16 * contents.pickle_bytes + 1024),
        path_bytes_left_(32 * contents.pickle_bytes + (size_t{1} << 20)) {}

  void walk(const PickleValue& top) {
    visit(top);
    while (!frames_.empty()) {
      Frame& frame = frames_.back();
      path_.resize(frame.path_length);
      if (frame.next == PickleObjects::kNone) {
        open_[frame.value.index()] = false;
        frames_.pop_back();
        continue;
      }
      const PickleObjects::Cell& cell = objects_.cell(frame.next);
      frame.next = cell.next;
      if (frame.value.kind != PickleKind::dict) {
        const uint32_t position = frame.position++;
        if (is_wanted(cell.value))
          step(std::to_string(position), cell.value);
        else
          visited();
        continue;
      }
      const PickleObjects::Cell& value = objects_.cell(cell.next);
      frame.next = value.next;
      if (is_wanted(value.value))
        step(key_text(cell.value), value.value);
      else
        visited();
    }
  }

 private:
  struct Frame {
    PickleValue value;
    uint32_t next, position;
    size_t path_length;
  };
  [[noreturn]] void fail(const std::string& what) const { throw FileError(file_ + ": " + what); }

  bool is_leaf(const PickleValue& v) const {
    if (v.kind == PickleKind::tensor) return which_ == Leaves::tensors;
    return which_ == Leaves::scalars && v.kind <= PickleKind::text;
  }
  bool is_wanted(const PickleValue& v) const { return v.is_container() || is_leaf(v); }

  void visited() {
    if (visits_left_-- == 0) fail("oversize: its parts are shared so often that it unfolds out of proportion");
  }
  void spend(size_t bytes) {
    if (bytes > path_bytes_left_) fail("oversize: the paths to its parts are out of proportion to it");
    path_bytes_left_ -= bytes;
  }
  void step(const std::string& key, const PickleValue& value) {
    spend(key.size() + 1);
    if (frames_.size() > 1) path_ += '/';
    path_ += key;
    visit(value);
  }
  void visit(const PickleValue& value) {
    visited();
    if (value.is_container()) {
      if (open_[value.index()]) fail("holds an object that contains itself, at " + shown_text(path_));
      open_[value.index()] = true;
      frames_.push_back({value, objects_.container(value).first, 0, path_.size()});
    } else if (is_leaf(value)) {
      spend(path_.size());
      found_(path_, value);
    }
  }
  std::string key_text(const PickleValue& key) const {
    switch (key.kind) {
      case PickleKind::text:
      case PickleKind::bytes: return std::string(objects_.text(key));
      case PickleKind::integer: return std::to_string(key.bits);
      case PickleKind::boolean: return key.bits != 0 ? "True" : "False";
      case PickleKind::long_integer: return decimal(objects_.text(key));
      case PickleKind::real: return real_text(key.real());
      default: return "<" + std::string(to_string(key.kind)) + ">";
    }
  }

  const std::string& file_;
  const PickleObjects& objects_;
  Leaves which_;
  const Found& found_;
  std::vector<bool> open_;  // containers on the way to the current one
  size_t visits_left_, path_bytes_left_;
  std::vector<Frame> frames_ = {};
  std::string path_;
};

std::string value_json(const PickleObjects& objects, const PickleValue& v) {
  const auto text = [](const std::string& s) { return json(s).dump(-1, ' ', true, json::error_handler_t::replace); };
  switch (v.kind) {
    case PickleKind::boolean: return v.bits != 0 ? "true" : "false";
    case PickleKind::integer: return std::to_string(v.bits);
    case PickleKind::long_integer: return text(decimal(objects.text(v)));
    case PickleKind::real: return std::isfinite(v.real()) ? real_text(v.real()) : text(real_text(v.real()));
    case PickleKind::text: return text(std::string(objects.text(v)));
    default: return "null";
  }
}
}  // namespace

void each_tensor(const std::string& file, const TorchContents& contents,
                 const std::function<void(const std::string& path, const PickleObjects::Tensor& tensor)>& found) {
  size_t left = contents.pickle_bytes / 16 + 1024;  // one takes 60 bytes or more, and its second name at least 16
  PathWalker(file, contents, Leaves::tensors, [&](const std::string& path, const PickleValue& value) {
    if (left-- == 0) throw FileError(file + ": oversize: it lists its tensors out of proportion to its size");
    found(path, contents.objects.tensors[value.index()]);
  }).walk(contents.top);
}

std::string scalars_json(const std::string& file, const TorchContents& contents) {
  const size_t limit = std::min(32 * contents.pickle_bytes + (size_t{1} << 20), kMaxScalarBytes);
  std::string text = "{";
  PathWalker(file, contents, Leaves::scalars, [&](const std::string& path, const PickleValue& value) {
    if (text.size() + path.size() + value.length > limit)
      throw FileError(fmt::format("{}: oversize: its numbers and texts take more than {} bytes", file, limit));
    text += (text.size() > 1 ? ", " : "") + json(path).dump(-1, ' ', true, json::error_handler_t::replace) + ": " +
            value_json(contents.objects, value);
  }).walk(contents.top);
  return text + "}";
}

}  // namespace segrt
