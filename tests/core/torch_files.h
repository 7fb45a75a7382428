// PyTorch's checkpoint formats by hand, so that a test can get any byte of them wrong.
#pragma once

#include <zlib.h>

#include <cstdint>
#include <string>
#include <vector>

namespace segrt::test {

template <typename T>
std::string le(T value) {
  return {reinterpret_cast<const char*>(&value), sizeof value};
}

// Pickle texts: BINUNICODE, and a protocol 2 pickle.
inline std::string text(const std::string& s) { return "X" + le(static_cast<uint32_t>(s.size())) + s; }
inline std::string integer(int64_t v) { return "\x8a\x08" + le(v); }
inline std::string pickle(const std::string& opcodes) { return std::string("\x80\x02") + opcodes + "."; }
inline std::string global(const std::string& module, const std::string& name) {
  return "c" + module + "\n" + name + "\n";
}

// A tensor of storage `key`; sizes and strides.
struct TensorText {
  std::string type = "FloatStorage", key = "k";
  int64_t count = 6, offset = 0;
  std::vector<int64_t> sizes{2, 3}, strides{3, 1};
  std::string view = "N";  // "" in archives

  std::string storage() const {
    return "(" + text("storage") + global("torch", type) + text(key) + text("cpu") + integer(count) + view + "tQ";
  }
  std::string opcodes() const {
    std::string s = global("torch._utils", "_rebuild_tensor_v2") + "(" + storage() + integer(offset) + "(";
    for (const int64_t v : sizes) s += integer(v);
    s += "t(";
    for (const int64_t v : strides) s += integer(v);
    return s + "t\x89" + global("collections", "OrderedDict") + ")RtR";
  }
};
// {"w": tensor}
inline std::string dict_of(const TensorText& t) { return "}" + text("w") + t.opcodes() + "s"; }

struct Stream {
  std::string magic = pickle("\x8a\x0a\x6c\xfc\x9c\x46\xf9\x20\x6a\xa8\x50\x19");
  std::string version = pickle("M\xe9\x03");
  std::string machine = pickle("}" + text("little_endian") + "\x88s");
  std::string object = pickle("}");
  std::string keys = pickle("]");
  std::string data = {};
  std::string bytes() const { return magic + version + machine + object + keys + data; }

  // {"w": tensor} with its storage of `count` floats 0, 1, 2, ...
  static Stream of(const TensorText& t, int64_t count = 6) {
    Stream s;
    s.object = pickle(dict_of(t));
    s.keys = pickle("](" + text(t.key) + "e");
    s.data = le(count);
    for (int64_t i = 0; i < count; ++i) s.data += le(static_cast<float>(i));
    return s;
  }
};

struct Zip {
  struct Record {
    std::string name, data;
    uint16_t flags = 0, method = 0;
    uint32_t crc_change = 0, size_change = 0, offset_change = 0;  // added to what the directory says
    std::string extra = {};                                       // in the directory
    std::string local_name = {};                                  // default: name
  };
  std::vector<Record> records;
  std::string comment = {};
  uint16_t count_change = 0, disk = 0;
  uint32_t offset_change = 0;

  std::string bytes() const {
    std::string file, directory;
    for (const Record& r : records) {
      const auto crc = static_cast<uint32_t>(
          crc32(0, reinterpret_cast<const Bytef*>(r.data.data()), static_cast<uInt>(r.data.size())));
      const auto size = static_cast<uint32_t>(r.data.size()), offset = static_cast<uint32_t>(file.size());
      const std::string& local = r.local_name.empty() ? r.name : r.local_name;
      const std::string common = le(r.flags) + le(r.method) + le(uint32_t{0});
      file += "PK\3\4" + le(uint16_t{20}) + common + le(crc) + le(size) + le(size) +
              le(static_cast<uint16_t>(local.size())) + le(uint16_t{0}) + local + r.data;
      directory += "PK\1\2" + le(uint16_t{20}) + le(uint16_t{20}) + common + le(crc + r.crc_change) +
                   le(size + r.size_change) + le(size + r.size_change) + le(static_cast<uint16_t>(r.name.size())) +
                   le(static_cast<uint16_t>(r.extra.size())) + std::string(10, '\0') + le(offset + r.offset_change) +
                   r.name + r.extra;
    }
    const auto begin = static_cast<uint32_t>(file.size()), size = static_cast<uint32_t>(directory.size());
    const auto count = static_cast<uint16_t>(records.size() + count_change);
    return file + directory + "PK\5\6" + le(disk) + le(disk) + le(count) + le(count) + le(size) +
           le(begin + offset_change) + le(static_cast<uint16_t>(comment.size())) + comment;
  }

  // {"w": tensor} with its storage of `count` floats 0, 1, 2, ...
  static Zip of(TensorText t, int64_t count = 6) {
    t.view.clear();
    std::string data;
    for (int64_t i = 0; i < count; ++i) data += le(static_cast<float>(i));
    return {{{"a/data.pkl", pickle(dict_of(t))}, {"a/data/" + t.key, data}, {"a/version", "3\n"}}};
  }
};

}  // namespace segrt::test
