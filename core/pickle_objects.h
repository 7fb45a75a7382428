// What a pickle of a checkpoint holds: containers, numbers, texts, views of storages. All of it lives in flat tables
// and refers to each other by index, so nothing here recurses, however a file nests or closes a circle, and an opcode
// costs a few tens of bytes at most.
#pragma once

#include <array>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <map>
#include <span>
#include <string_view>
#include <vector>

#include "core/pickle_names.h"

namespace segrt {

enum class PickleKind : uint8_t {
  none,
  boolean,
  integer,
  long_integer,  // more than 64 bits, little-endian two's complement
  real,
  text,
  bytes,
  list,
  tuple,
  dict,
  name,  // one of core/pickle_names.h
  storage,
  tensor,
  inert,
  absent  // a gap in the memo
};
std::string_view to_string(PickleKind kind);

// 16 bytes. text, bytes and long_integer stay in the file: `bits` is their offset there. Containers, storages and
// tensors: an index into PickleObjects.
struct PickleValue {
  PickleKind kind = PickleKind::none;
  uint32_t length = 0;  // text, bytes, long_integer: bytes
  int64_t bits = 0;     // boolean, integer: the value; real: its bit pattern

  double real() const { return std::bit_cast<double>(bits); }
  size_t index() const { return static_cast<size_t>(bits); }
  bool is_container() const {
    return kind == PickleKind::list || kind == PickleKind::tuple || kind == PickleKind::dict;
  }
};

class PickleObjects {
 public:
  static constexpr uint32_t kNone = ~uint32_t{0};

  // `file`: what offsets count from; must outlive this.
  explicit PickleObjects(std::span<const std::byte> file) : file_(file) {}

  struct Cell {
    PickleValue value;
    uint32_t next = kNone;
  };
  struct Container {
    uint32_t first = kNone, last = kNone, count = 0;  // cells; a dict's alternate between keys and values
    bool takes_state = false;                         // made from a class, so that BUILD may follow
  };
  // A run of elements in the file, and a window into it (a storage that is a view, in legacy streams).
  struct Root {
    const TorchType* type;
    std::string_view key;
    int64_t count;                         // elements
    std::span<const std::byte> data = {};  // set by the reader of the archive
    bool has_data = false;
  };
  struct Storage {
    uint32_t root;
    int64_t offset, count;  // elements of the root
  };
  // Checked against its storage when made; the tuples cannot change any more.
  struct Tensor {
    uint32_t storage;
    uint32_t sizes, strides;  // containers
    int64_t offset;
    bool is_parameter = false;
  };

  std::string_view text(const PickleValue& v) const {
    return {reinterpret_cast<const char*>(file_.data()) + v.bits, v.length};
  }
  PickleValue new_container(PickleKind kind);
  void append(const PickleValue& container, const PickleValue& item);
  Container& container(const PickleValue& v) { return containers_[v.index()]; }
  const Container& container(const PickleValue& v) const { return containers_[v.index()]; }
  const Container& container(uint32_t index) const { return containers_[index]; }
  size_t container_count() const { return containers_.size(); }
  const Cell& cell(uint32_t index) const { return cells_[index]; }

  // The items of a container; at most `limit` of them.
  std::vector<PickleValue> items(const Container& c, size_t limit) const;
  // Integers of a checked tuple.
  std::vector<int64_t> extents(uint32_t container) const;

  std::vector<Root> roots = {};
  std::map<std::string_view, uint32_t> root_of_key = {};
  std::deque<Storage> storages = {};
  std::deque<Tensor> tensors = {};

  // Objects of all kinds together: what an oversize pickle is measured by.
  size_t size() const { return cells_.size() + containers_.size() + storages.size() + tensors.size(); }

 private:
  std::span<const std::byte> file_;
  std::deque<Cell> cells_ = {};
  std::deque<Container> containers_ = {};
};

}  // namespace segrt
