// Files that no program wrote by accident.
#include <doctest/doctest.h>

#include <array>
#include <set>
#include <string>

#include "core/error.h"
#include "core/torch_checkpoint.h"
#include "tests/core/message_of.h"
#include "tests/core/temporary_folder.h"
#include "tests/core/torch_files.h"
#include "tests/support/source_dir.h"

using namespace segrt;
using test::global;
using test::integer;
using test::pickle;
using test::Stream;
using test::TensorText;
using test::text;

namespace {
std::string refusal(const std::string& file) {
  return message_of<FileError>([&] { TorchCheckpoint("f.pth", std::as_bytes(std::span(file)), true); });
}
std::string refusal_of_object(const std::string& opcodes) {
  Stream stream;
  stream.object = pickle(opcodes);
  return refusal(stream.bytes());
}
std::string refusal_of(const TensorText& tensor) { return refusal(Stream::of(tensor).bytes()); }

void check_says(const std::string& message, const std::string& what) {
  CAPTURE(message);
  CAPTURE(what);
  CHECK(message.starts_with("f.pth: "));
  CHECK(message.find(what) != std::string::npos);
  CHECK(message.size() < 600);
}

// Every tensor's name, shape and bytes.
std::string contents(const std::string& file) {
  const TorchCheckpoint checkpoint("f.pth", std::as_bytes(std::span(file)), true);
  std::string all = checkpoint.metadata().at("scalars");
  std::vector<std::byte> buffer;
  for (size_t i = 0; i < checkpoint.entries().size(); ++i) {
    const WeightEntry& e = checkpoint.entries()[i];
    all += "\n" + e.name + " " + e.dtype;
    for (const int64_t extent : e.shape) all += " " + std::to_string(extent);
    const auto values = checkpoint.values(i, buffer);
    all.append(reinterpret_cast<const char*>(values.data()), values.size());
  }
  return all;
}
std::string golden(const char* name) {
  return file_bytes(test::source_dir() + "/tests/golden/checkpoints/" + name);
}
}  // namespace

TEST_CASE("hostile checkpoints: the well-formed ones that the others are made from") {
  CHECK(refusal(Stream{}.bytes()).empty());
  CHECK(refusal_of({}).empty());
  CHECK(refusal_of({.sizes = {}, .strides = {}}).empty());
  CHECK(refusal_of({.offset = 6, .sizes = {0, 3}}).empty());
  CHECK(refusal_of({.sizes = {4, 3}, .strides = {1, 1}}).empty());
  CHECK(refusal_of({.offset = 5, .sizes = {1, 1}, .strides = {int64_t{1} << 62, int64_t{1} << 62}}).empty());
  CHECK(refusal_of_object("}(" + text("n") + "I4294967296\n" + text("m") + integer(-5) + "u").empty());
}

TEST_CASE("hostile checkpoints: names that run code, in every way to say them") {
  const std::array<std::array<std::string, 2>, 16> names{{{"os", "system"},
                                                          {"posix", "system"},
                                                          {"subprocess", "Popen"},
                                                          {"builtins", "eval"},
                                                          {"builtins", "getattr"},
                                                          {"__builtin__", "exec"},
                                                          {"builtins", "OrderedDict"},
                                                          {"collections", "OrderedDict.__init__"},
                                                          {"collections", "Counter"},
                                                          {"torch", "load"},
                                                          {"torch", "FloatStorage2"},
                                                          {"torch", "ComplexFloatStorage"},
                                                          {"torch.nn.modules.linear", "Linear"},
                                                          {"torch._utils", "_rebuild_from_type_v2"},
                                                          {"numpy.core.multiarray", "fromfile"},
                                                          {"functools", "partial"}}};
  for (const auto& [module, name] : names) {
    CAPTURE(module + "." + name);
    const std::string said = "asks for \"" + module + "." + name + "\"";
    check_says(refusal_of_object(global(module, name)), said);
    check_says(refusal_of_object(global(module, name) + "(" + text("touch PICKLE_SIDE_EFFECT") + "tR"), said);
    check_says(refusal_of_object(text(module) + text(name) + "\x93"), said);
    check_says(refusal(Stream{.machine = pickle(global(module, name))}.bytes()), said);
    check_says(refusal(test::Zip{{{"a/data.pkl", pickle(global(module, name))}}}.bytes()), said);
  }
  check_says(refusal_of_object("c" + std::string(100'000, 'x') + "\ny\n"), "asks for");
  check_says(refusal_of_object("cos\nsys\x01\x1b[2Jtem\n"), "\\u001b");
}

TEST_CASE("hostile checkpoints: every opcode that is not needed") {
  const std::string needed(
      "(.N\x88\x89IJKM\x8a\x8bGTUX\x8c\x8d"
      "BC\x8e\x96])}\x8f"
      "aesu\x90\x91t\x85\x86\x87"
      "c\x93R\x81"
      "bQ\x80\x95hjqr\x94");
  REQUIRE(std::set<char>(needed.begin(), needed.end()).size() == 48);
  for (int code = 0; code < 256; ++code) {
    if (needed.find(static_cast<char>(code)) != std::string::npos) continue;
    CAPTURE(code);
    check_says(refusal_of_object(std::string(1, static_cast<char>(code)) + "N"), "has no place in a checkpoint");
  }
}

TEST_CASE("hostile checkpoints: opcodes in the wrong place") {
  const std::array<std::array<std::string, 2>, 23> cases{{
      {"", "STOP with 0 values"},
      {"NN", "STOP with 2 values"},
      {"(N", "STOP with 1 values"},
      {"a", "the stack is empty"},
      {"N(a", "the stack is empty"},
      {"]K\1(K\2u", "SETITEMS to an integer"},
      {"t", "there is no mark"},
      {"}K\1a", "APPEND to a dict"},
      {")K\1a", "APPEND to a tuple"},
      {"](K\1K\2u", "SETITEMS to a list"},
      {"}(K\1u", "SETITEMS with 1 values"},
      {"h\5", "memo number 5 was never stored"},
      {"Nq\5h\4", "memo number 4 was never stored"},
      {"Nr\xff\xff\xff\xff", "memo number 4294967295"},
      {"]N"
       "b",
       "BUILD on a list"},
      {"}N"
       "b",
       "BUILD on a dict"},
      {"NN\x93", "STACK_GLOBAL of None and None"},
      {text("f") + ")R", "a call of a text"},
      {global("collections", "OrderedDict") + "NR", "with None"},
      {global("collections", "OrderedDict") + "K\1\x85R", "something else than a list of pairs"},
      {global("collections", "OrderedDict") + "]K\1a\x85R", "something else than pairs"},
      {global("torch", "FloatStorage") + ")R", "torch.FloatStorage cannot be called"},
      {global("torch._utils", "_rebuild_tensor_v2") + "(NNNNNNt\x81", "torch._utils._rebuild_tensor_v2 with 6"},
  }};
  for (const auto& [opcodes, what] : cases) check_says(refusal_of_object(opcodes), what);
  check_says(refusal_of_object(global("torch.nn.parameter", "Parameter") + "N\x85R"), "or with the wrong ones");
  check_says(refusal_of_object(global("torch._utils", "_rebuild_tensor") + "(NNNNtR"), "a tensor of None");
  check_says(refusal_of_object("NQ"), "a persistent id that is no tuple");
  check_says(refusal_of_object("(" + text("module") + text("x") + "tQ"), "a persistent id of kind \"module\"");
  check_says(refusal_of_object("\x80\x06N"), "pickle protocol 6");
  check_says(refusal_of_object("I12x\n"), "INT with \"12x\"");
  check_says(refusal_of_object("I99999999999999999999\n"), "INT with");
}

TEST_CASE("hostile checkpoints: counts beyond the file") {
  for (const char* opcode : {"X", "T", "B"})
    check_says(refusal_of_object(opcode + std::string("\xff\xff\xff\xff")), "the file ends");
  for (const char* opcode : {"\x8d", "\x8e", "\x96"})
    check_says(refusal_of_object(opcode + std::string(8, '\xff')), "the file ends");
  check_says(refusal_of_object("\x95" + std::string(8, '\xff')), "a frame of");
  check_says(refusal_of_object("\x8b\xff\xff\xff\xff"), "oversize: an integer");
  check_says(refusal_of_object("\x8b" + test::le(uint32_t{5000}) + std::string(5000, '\1')), "oversize: an integer");
  CHECK(refusal_of_object("}" + text("n") + "\x8a\x40" + std::string(64, '\x77') + "s").empty());
}

TEST_CASE("hostile checkpoints: depth, circles and bombs") {
  const size_t deep = 100'000;
  CHECK(refusal_of_object(std::string(deep, ']') + std::string(deep - 1, 'a')).empty());
  std::string tuples = "N";
  for (size_t i = 0; i < deep; ++i) tuples += std::string("\x85q\0", 3);
  CHECK(refusal_of_object(tuples).empty());
  check_says(refusal_of_object("N" + std::string(deep, '\x85')), "oversize");  // no writer does without the memo
  check_says(refusal_of_object("]q" + std::string(1, '\0') + "h" + std::string(1, '\0') + "a"), "contains itself");
  const std::string self = "}r" + test::le(uint32_t{0}) + text("x") + "]j" + test::le(uint32_t{0}) + "as";
  check_says(refusal_of_object(self), "contains itself");

  // Tuples of the one before, twice: 2^60 leaves in 300 bytes.
  const auto doubled = [](const std::string& leaf, int times) {
    std::string opcodes = leaf;
    for (int i = 0; i < times; ++i)
      opcodes += "r" + test::le(static_cast<uint32_t>(i)) + "j" + test::le(static_cast<uint32_t>(i)) + "\x86";
    return opcodes;
  };
  check_says(refusal_of_object(doubled("N", 60)), "oversize");
  Stream stream = Stream::of({});
  stream.object = pickle(doubled(TensorText{}.opcodes(), 60));
  check_says(refusal(stream.bytes()), "oversize");
  // Lists copied into dicts over and over.
  std::string copies = "](";
  for (int i = 0; i < 1000; ++i) copies += "NN\x86";
  copies += "er" + test::le(uint32_t{0}) + "\x85r" + test::le(uint32_t{1}) + "](";
  for (int i = 0; i < 1000; ++i) copies += global("collections", "OrderedDict") + "j" + test::le(uint32_t{1}) + "R";
  check_says(refusal_of_object(copies + "e"), "oversize");
  // One tensor, or one long text, in a list over and over.
  const auto listed = [](const std::string& item, int times) {
    std::string opcodes = "](" + item + "r" + test::le(uint32_t{0});
    for (int i = 0; i < times; ++i) opcodes += std::string("h\0", 2);
    return opcodes + "e";
  };
  stream.object = pickle(listed(TensorText{}.opcodes(), 100'000));
  check_says(refusal(stream.bytes()), "oversize: it lists its tensors out of proportion");
  check_says(refusal_of_object(listed(text(std::string(100'000, 't')), 10'000)), "oversize: its numbers and texts");
  // One long key on the way to many tensors.
  stream.object = "}" + text(std::string(100'000, 'k')) + "](" + TensorText{}.opcodes() + "r" + test::le(uint32_t{0});
  for (int i = 0; i < 2'000; ++i) stream.object += "j" + test::le(uint32_t{0});
  stream.object = pickle(stream.object + "es");
  check_says(refusal(stream.bytes()), "oversize: the paths");
}

TEST_CASE("hostile checkpoints: tensors beyond their storage") {
  const int64_t huge = int64_t{1} << 62;
  check_says(refusal_of({.offset = 1}), "needs element 6 of a storage of 6");
  check_says(refusal_of({.offset = -1}), "at offset -1");
  check_says(refusal_of({.offset = std::numeric_limits<int64_t>::max()}), "overflows");
  check_says(refusal_of({.offset = 6, .sizes = {}, .strides = {}}), "needs element 6");
  check_says(refusal_of({.sizes = {2, 4}}), "needs element 6");
  check_says(refusal_of({.strides = {4, 1}}), "needs element 6");
  check_says(refusal_of({.offset = 5, .strides = {-3, 1}}), "stride -3 in dimension 0");
  check_says(refusal_of({.sizes = {2, -3}}), "size -3");
  check_says(refusal_of({.sizes = {2}}), "1 sizes and 2 strides");
  check_says(refusal_of({.sizes = std::vector<int64_t>(65, 1), .strides = std::vector<int64_t>(65, 1)}), "65 sizes");
  check_says(refusal_of({.sizes = {huge, huge}}), "overflows");
  check_says(refusal_of({.sizes = {huge, huge, 0}, .strides = {0, 0, 0}}), "overflows");
  check_says(refusal_of({.sizes = {3, 3}, .strides = {huge, huge}}), "overflows");
  // Elements that all are one: legal, and larger than any memory.
  check_says(refusal_of({.sizes = {1'000'000, 1'000'000}, .strides = {0, 0}}), "oversize");
  check_says(refusal_of({.sizes = {huge}, .strides = {0}}), "oversize");
  CHECK(refusal_of({.sizes = {100, 100}, .strides = {0, 0}}).empty());
}

TEST_CASE("hostile checkpoints: storages") {
  const auto view = [](int64_t offset, int64_t count) {
    return "(" + text("v") + integer(offset) + integer(count) + "t";
  };
  CHECK(refusal_of({.sizes = {2}, .strides = {1}, .view = view(4, 2)}).empty());
  check_says(refusal_of({.sizes = {3}, .strides = {1}, .view = view(4, 2)}), "needs element 2 of a storage of 2");
  check_says(refusal_of({.view = view(4, 3)}), "a view of 3 elements at 4 of a storage of 6");
  check_says(refusal_of({.view = view(-1, 3)}), "a view of 3 elements at -1");
  check_says(refusal_of({.view = view(std::numeric_limits<int64_t>::max(), 3)}), "a view of 3");
  check_says(refusal_of({.view = "K\1"}), "with a damaged view");
  check_says(refusal_of({.count = -1}), "without a number of elements");
  check_says(refusal_of({.count = std::numeric_limits<int64_t>::max()}), "oversize: a storage");
  check_says(refusal_of({.count = int64_t{1} << 60}), "has 6 elements, expected 1152921504606846976");
  check_says(refusal(Stream::of({}, 5).bytes()), "has 5 elements, expected 6");

  Stream stream = Stream::of({});
  const std::string data = stream.data;
  stream.data += "x";
  check_says(refusal(stream.bytes()), "1 bytes follow the last storage");
  stream.data = data.substr(0, 20);
  check_says(refusal(stream.bytes()), "takes 24 bytes where the file has 12 left");
  stream.data = data + data;
  stream.keys = pickle("](" + text("k") + text("k") + "e");
  check_says(refusal(stream.bytes()), "storage \"k\" is there twice");
  stream.keys = pickle("](" + text("k") + text("z") + "e");
  check_says(refusal(stream.bytes()), "storage \"z\" belongs to no tensor");
  stream.keys = pickle("]");
  check_says(refusal(stream.bytes()), "storage \"k\" is not in the file's list");
  stream.keys = pickle("K\1");
  check_says(refusal(stream.bytes()), "the list of its storages is an integer");

  TensorText other;
  other.type = "LongStorage";
  stream.object = pickle("](" + TensorText{}.opcodes() + other.opcodes() + "e");
  check_says(refusal(stream.bytes()), "storage \"k\" is 6 LongStorage here and 6 FloatStorage elsewhere");
  stream.object = pickle("}(" + text("w") + TensorText{}.opcodes() + text("w") + TensorText{}.opcodes() + "u");
  stream.keys = pickle("](" + text("k") + "e");
  stream.data = data;
  check_says(refusal(stream.bytes()), "two tensors are called \"w\"");
}

TEST_CASE("hostile checkpoints: heads of streams") {
  check_says(refusal(Stream{.magic = pickle("K\1")}.bytes()), "does not begin with PyTorch's magic number");
  check_says(refusal(Stream{.version = pickle("M\xea\x03")}.bytes()), "version 1002");
  check_says(refusal(Stream{.machine = pickle("}" + text("little_endian") + "\x89s")}.bytes()), "big-endian");
  check_says(refusal(Stream{.machine = pickle("}")}.bytes()), "big-endian");
  check_says(refusal(""), "the file ends");
}

TEST_CASE("hostile checkpoints: a file cut at any byte is refused") {
  for (const char* name :
       {"zip_shared_storage.pth", "legacy_basic.pth", "legacy_protocol4.pth", "legacy_2017_py2_parameters.pth"}) {
    const std::string file = golden(name);
    CAPTURE(name);
    REQUIRE(file.size() > 1000);
    CHECK(refusal(file).empty());
    for (size_t size = 0; size < file.size(); ++size) {
      CAPTURE(size);
      CHECK(refusal(file.substr(0, size)).starts_with("f.pth: "));
    }
  }
}

TEST_CASE("hostile checkpoints: a flipped bit in an archive is refused or changes nothing") {
  for (const char* name : {"zip_shared_storage.pth", "zip_torch2_records.pth"}) {
    const std::string file = golden(name), expected = contents(file);
    CAPTURE(name);
    size_t refused = 0;
    for (size_t i = 0; i < file.size(); ++i) {
      std::string damaged = file;
      damaged[i] = static_cast<char>(damaged[i] ^ (1 << i % 8));
      CAPTURE(i);
      if (!refusal(damaged).empty())
        ++refused;
      else
        CHECK(contents(damaged) == expected);
    }
    CHECK(refused > file.size() / 3);
  }
}

TEST_CASE("hostile checkpoints: a flipped bit in a stream, which has no checksum, is refused or read") {
  for (const char* name : {"legacy_basic.pth", "legacy_storage_views.pth", "legacy_benign_objects.pth"}) {
    const std::string file = golden(name);
    CAPTURE(name);
    size_t refused = 0;
    for (size_t i = 0; i < file.size(); ++i)
      for (int bit = 0; bit < 8; bit += 3) {
        std::string damaged = file;
        damaged[i] = static_cast<char>(damaged[i] ^ (1 << bit));
        const std::string message = refusal(damaged);  // neither a crash nor another kind of exception
        CHECK((message.empty() || message.starts_with("f.pth: ")));
        refused += message.empty() ? 0 : 1;
      }
    CHECK(refused > 100);
  }
}
