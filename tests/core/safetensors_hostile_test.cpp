#include <doctest/doctest.h>

#include <algorithm>
#include <set>
#include <string>
#include <vector>

#include "core/error.h"
#include "core/random.h"
#include "core/safetensors.h"
#include "tests/core/message_of.h"

using namespace segrt;

namespace {
std::string with_length(uint64_t length, const std::string& rest) {
  std::string bytes(8, '\0');
  for (size_t i = 0; i < 8; ++i) bytes[i] = static_cast<char>(length >> (8 * i));
  return bytes + rest;
}
std::string file_of(const std::string& header, size_t data_bytes) {
  return with_length(header.size(), header + std::string(data_bytes, 'x'));
}
SafetensorsHeader parse(const std::string& bytes) {
  return parse_safetensors(std::as_bytes(std::span(bytes)), "f.safetensors");
}

// `tensor` is what the message must name, `reason` what it must say.
void check_refused(const std::string& bytes, const std::string& tensor, const std::string& reason) {
  CAPTURE(bytes.substr(0, 300));
  const std::string message = message_of<FileError>([&] { parse(bytes); });
  CAPTURE(message);
  CHECK(message.starts_with("f.safetensors: "));
  if (!tensor.empty()) CHECK(message.find("\"" + tensor + "\"") != std::string::npos);
  CHECK(message.find(reason) != std::string::npos);
  CHECK(message.size() < 600);
}
std::string tensor(const std::string& name, const std::string& dtype, const std::string& shape,
                   const std::string& range) {
  return "\"" + name + "\":{\"dtype\":\"" + dtype + "\",\"shape\":" + shape + ",\"data_offsets\":" + range + "}";
}
}  // namespace

TEST_CASE("safetensors: awkward files that the format allows") {
  CHECK(parse(file_of("{}", 0)).entries.empty());
  CHECK(parse(file_of("{}      \n", 0)).entries.empty());
  CHECK(parse(file_of(R"({"__metadata__":{}})", 0)).metadata.empty());
  CHECK(parse(file_of("{" + tensor("", "F32", "[]", "[0,4]") + "}", 4)).entries.at(0).name.empty());
  // Not in the order of their data; empty tensors at both ends and between.
  const auto header =
      parse(file_of("{" + tensor("b", "U8", "[3]", "[2,5]") + "," + tensor("a", "F16", "[1]", "[0,2]") + "," +
                        tensor("e", "I64", "[0,7]", "[5,5]") + "," + tensor("d", "I64", "[0]", "[0,0]") + "," +
                        tensor("c", "F32", "[2,0]", "[2,2]") + ",\"__metadata__\":{\"k\":\"v\"}}",
                    5));
  CHECK(header.entries.size() == 5);
  CHECK(header.entries[0].name == "b");
  CHECK(header.position.at("c") == 4);
  CHECK(header.metadata.at("k") == "v");
  CHECK(header.entries[1].end - header.entries[1].begin == 2);
  CHECK(parse(file_of(R"({"x":{"data_offsets":[0,1],"shape":[1],"dtype":"U8"}})", 1)).entries.size() == 1);
  CHECK(parse(file_of(R"({"\u00e9":{"data_offsets":[0,0],"shape":[0],"dtype":"U8"}})", 0)).position.contains("é"));
}

TEST_CASE("safetensors: header length") {
  check_refused("", "", "0 bytes are too few");
  check_refused("1234567", "", "7 bytes are too few");
  check_refused(with_length(0, ""), "", "does not start with '{'");
  check_refused(with_length(3, "{}"), "", "the header has 3 bytes, the file after its length 2");
  check_refused(with_length(100'000'001, "{}"), "", "the limit is 100000000");
  check_refused(with_length(~uint64_t{0}, "{}"), "", "the limit is");
  check_refused(with_length(uint64_t{1} << 63, "{}"), "", "the limit is");
  check_refused("{\"a\": 1, \"not\": \"a safetensors file\"}", "", "not a safetensors file");
  check_refused(with_length(1, "{}"), "", "not JSON");
}

TEST_CASE("safetensors: JSON") {
  for (const char* text :
       {"{", "{]", "{\"a\"}", "{\"a\":}", "{\"a\":1,}", "{} {}", "{},", "{'a':{}}", "{/**/}", "{\"a"}) {
    CAPTURE(text);
    check_refused(file_of(text, 0), "", "f.safetensors: ");
  }
  check_refused(file_of("[]", 0), "", "does not start with '{'");
  check_refused(file_of(" {}", 0), "", "does not start with '{'");
  check_refused(file_of("\xef\xbb\xbf{}", 0), "", "does not start with '{'");
  check_refused(file_of(std::string("{}\0 {", 5), 0), "", "zero byte");
  check_refused(file_of("{\"\xff\":{}}", 0), "", "not JSON");
  check_refused(file_of("{\"\xc0\xaf\":{}}", 0), "", "not JSON");
  check_refused(file_of("{\"\xed\xa0\x80\":{}}", 0), "", "not JSON");
  check_refused(file_of(R"({"\ud800":{}})", 0), "", "not JSON");
  check_refused(file_of(R"({"__metadata__":{"a":")"
                        "\x80"
                        R"("}})",
                        0),
                "", "not JSON");
  check_refused(file_of("{\"a\":" + std::string(2000000, '['), 0), "a", "got a list");
  std::string deep = "{";
  for (int i = 0; i < 200000; ++i) deep += "\"a\":{";
  check_refused(file_of(deep, 0), "a", "unknown field");
  check_refused(file_of(R"({"a":{"dtype":"U8","shape":[[1]],"data_offsets":[0,1]}})", 1), "a", "got a list");
  check_refused(file_of(R"({"a":{"dtype":"U8","shape":[{}],"data_offsets":[0,1]}})", 1), "a", "got an object");
  check_refused(file_of("{\"" + std::string(1000000, 'n') + "\":3}", 0), "", "expected an object");
}

TEST_CASE("safetensors: repeated keys") {
  const std::string a = tensor("a", "U8", "[1]", "[0,1]");
  check_refused(file_of("{" + a + "," + a + "}", 1), "a", "is there twice");
  check_refused(file_of("{" + a + "," + tensor("\\u0061", "U8", "[0]", "[1,1]") + "}", 1), "a", "is there twice");
  check_refused(file_of(R"({"__metadata__":{},"__metadata__":{}})", 0), "", "__metadata__: is there twice");
  check_refused(file_of(R"({"__metadata__":{"k":"1","k":"1"}})", 0), "", "__metadata__: \"k\" is there twice");
  check_refused(file_of(R"({"a":{"dtype":"U8","dtype":"U8","shape":[1],"data_offsets":[0,1]}})", 1), "a",
                "field dtype is there twice");
  check_refused(file_of(R"({"a":{"dtype":"U8","shape":[1],"shape":[1],"data_offsets":[0,1]}})", 1), "a",
                "field shape is there twice");
  check_refused(file_of(R"({"a":{"dtype":"U8","shape":[1],"data_offsets":[0,1],"data_offsets":[0,1]}})", 1), "a",
                "field data_offsets is there twice");
}

TEST_CASE("safetensors: fields") {
  check_refused(file_of(R"({"a":{}})", 0), "a", "field dtype is missing");
  check_refused(file_of(R"({"a":{"dtype":"U8","data_offsets":[0,1]}})", 1), "a", "field shape is missing");
  check_refused(file_of(R"({"a":{"dtype":"U8","shape":[1]}})", 1), "a", "field data_offsets is missing");
  check_refused(file_of(R"({"a":{"dtype":"U8","shape":[1],"data_offsets":[0,1],"stride":[1]}})", 1), "a",
                "unknown field \"stride\"");
  check_refused(file_of("{" + tensor("a", "F31", "[1]", "[0,1]") + "}", 1), "a", "unknown dtype \"F31\"");
  check_refused(file_of("{" + tensor("a", "f32", "[1]", "[0,4]") + "}", 4), "a", "unknown dtype \"f32\"");
  check_refused(file_of(R"({"a":{"dtype":8,"shape":[1],"data_offsets":[0,1]}})", 1), "a",
                "expected a dtype name, got 8");
  check_refused(file_of(R"({"a":{"dtype":"U8","shape":1,"data_offsets":[0,1]}})", 1), "a",
                "expected a list of extents");
  check_refused(file_of(R"({"a":{"dtype":"U8","shape":null,"data_offsets":[0,1]}})", 1), "a", "got null");
  check_refused(file_of(R"({"a":{"dtype":"U8","shape":["1"],"data_offsets":[0,1]}})", 1), "a", "got \"1\"");
  check_refused(file_of(R"({"a":{"dtype":"U8","shape":[true],"data_offsets":[0,1]}})", 1), "a", "got true");
  check_refused(file_of(R"({"a":{"dtype":"U8","shape":[1],"data_offsets":{}}})", 1), "a", "got an object");
  check_refused(file_of(R"({"a":[]})", 0), "a", "got a list");
  check_refused(file_of(R"({"a":"b"})", 0), "a", "got \"b\"");
  for (const char* metadata : {"3", "null", "\"x\"", "[]", "{\"k\":1}", "{\"k\":null}", "{\"k\":{}}", "{\"k\":[]}",
                               "{\"k\":true}", "{\"k\":1.5}"})
    check_refused(file_of(std::string("{\"__metadata__\":") + metadata + "}", 0), "", "__metadata__: expected ");
}

TEST_CASE("safetensors: numbers") {
  for (const char* extent : {"-1", "1.0", "1e0", "-0", "99999999999999999999", "9223372036854775808", "1e999"}) {
    check_refused(file_of("{" + tensor("a", "U8", std::string("[") + extent + "]", "[0,1]") + "}", 1), "", "");
    CHECK_THROWS_AS(parse(file_of("{" + tensor("a", "U8", std::string("[") + extent + "]", "[0,1]") + "}", 1)),
                    FileError);
    CHECK_THROWS_AS(parse(file_of("{" + tensor("a", "U8", "[1]", std::string("[0,") + extent + "]") + "}", 1)),
                    FileError);
  }
  const std::string ones = "[1" + std::string(",1") + "]";
  std::string many = "[1";
  for (int i = 0; i < 64; ++i) many += ",1";
  check_refused(file_of("{" + tensor("a", "U8", many + "]", "[0,1]") + "}", 1), "a", "more than 64 dimensions");
  check_refused(file_of("{" + tensor("a", "U8", ones, "[0]") + "}", 1), "a", "data_offsets has 1 numbers");
  check_refused(file_of("{" + tensor("a", "U8", ones, "[]") + "}", 1), "a", "data_offsets has 0 numbers");
  check_refused(file_of("{" + tensor("a", "U8", ones, "[0,1,1]") + "}", 1), "a", "more than 2 numbers");
}

TEST_CASE("safetensors: sizes and ranges") {
  auto one = [](const char* dtype, const char* shape, const char* range, size_t data) {
    return file_of("{" + tensor("a", dtype, shape, range) + "}", data);
  };
  check_refused(one("F32", "[2]", "[0,4]", 4), "a", "F32 [2] takes 8 bytes, data_offsets give 4");
  check_refused(one("F32", "[1]", "[0,8]", 8), "a", "takes 4 bytes");
  check_refused(one("F32", "[0]", "[0,4]", 4), "a", "takes 0 bytes");
  check_refused(one("F4", "[3]", "[0,1]", 1), "a", "takes 1.5 bytes");
  check_refused(one("F32", "[4294967296,4294967296]", "[0,0]", 0), "a", "overflows");
  check_refused(one("F64", "[2305843009213693952]", "[0,0]", 0), "a", "overflows");
  check_refused(one("U8", "[9223372036854775807,9223372036854775807]", "[0,1]", 1), "a", "overflows");
  check_refused(one("F32", "[4611686018427387904,4,0]", "[0,0]", 0), "a", "overflows");
  check_refused(one("U8", "[1]", "[1,0]", 1), "a", "is no range");
  check_refused(one("U8", "[1]", "[18446744073709551615,0]", 1), "a", "is no range");
  check_refused(one("U8", "[1]", "[18446744073709551614,18446744073709551615]", 1), "a", "");
  check_refused(one("U8", "[2]", "[0,2]", 1), "a", "leave the file, which has 1 bytes of data");
  check_refused(one("U8", "[1]", "[1,2]", 1), "a", "leave the file");
  check_refused(one("U8", "[1]", "[1,2]", 2), "a", "1 bytes before tensor");
  check_refused(one("U8", "[1]", "[0,1]", 3), "", "the last 2 bytes belong to no tensor");
  check_refused(file_of("{}", 1), "", "the last 1 bytes belong to no tensor");
  auto two = [](const char* range, size_t data) {
    const std::string extent = std::to_string(range[3] - range[1]);
    return file_of("{" + tensor("a", "U8", "[4]", "[0,4]") + "," + tensor("b", "U8", "[" + extent + "]", range) + "}",
                   data);
  };
  check_refused(two("[0,4]", 4), "b", "overlaps");
  check_refused(two("[3,7]", 7), "b", "overlaps");
  check_refused(two("[1,2]", 4), "b", "overlaps");
  check_refused(two("[2,2]", 4), "b", "overlaps");
  check_refused(two("[5,7]", 7), "b", "1 bytes before");
  CHECK(parse(two("[4,7]", 7)).entries.size() == 2);
}

namespace {
// What a parsed header promises, checked another way: every data byte is marked by exactly one tensor.
bool covers_exactly(const SafetensorsHeader& header, size_t data_begin, size_t file_size) {
  std::vector<int> marks(file_size, 0);
  std::fill(marks.begin(), marks.begin() + static_cast<std::ptrdiff_t>(data_begin), 1);
  std::set<std::string> names;
  for (const SafetensorsEntry& e : header.entries) {
    if (e.begin > e.end || e.end > file_size || !names.insert(e.name).second) return false;
    for (size_t i = e.begin; i < e.end; ++i) ++marks[i];
  }
  return std::all_of(marks.begin(), marks.end(), [](int m) { return m == 1; });
}

std::string mutated(std::string bytes, Rng& rng) {
  static constexpr std::string_view kPieces[] = {"{",  "}",  "[", "]",   ",",    "\"",         ":",          "0",
                                                 "-1", "1e", "9", "\\u", "\xff", "4294967296", "U8",         "F4",
                                                 "[]", "{}", " ", "a",   "b",    "null",       "\"dtype\":", "\\"};
  const int64_t edits = rng.integer(1, 4);
  for (int64_t i = 0; i < edits; ++i) {
    const auto at = static_cast<size_t>(rng.integer(0, static_cast<int64_t>(bytes.size()) - 1));
    const auto length = static_cast<size_t>(rng.integer(1, 12));
    switch (rng.integer(0, 4)) {
      case 0: bytes[at] = static_cast<char>(rng.integer(0, 255)); break;
      case 1: bytes.erase(at, length); break;
      case 2: bytes.insert(at, kPieces[rng.integer(0, std::ssize(kPieces) - 1)]); break;
      case 3:
        bytes.insert(at, bytes.substr(static_cast<size_t>(rng.integer(0, static_cast<int64_t>(at))), length));
        break;
      default: bytes[at] = static_cast<char>('0' + rng.integer(0, 9)); break;
    }
    if (bytes.size() < 9) return bytes;
  }
  // Mostly keep the length field true, so that the mutations reach the parser behind it.
  if (rng.uniform() < 0.8 && bytes.size() > 8) {
    const size_t end = bytes.rfind('}');
    if (end != std::string::npos && end >= 8) return with_length(end + 1 - 8, bytes.substr(8));
  }
  return bytes;
}
}  // namespace

TEST_CASE("safetensors: mutated files are refused or hold what they promise") {
  const std::string seeds[] = {
      file_of("{" + tensor("a", "F32", "[2,3]", "[0,24]") + "," + tensor("b", "U8", "[3]", "[24,27]") + "}", 27),
      file_of("{\"__metadata__\":{\"k\":\"v\"}," + tensor("x", "BF16", "[]", "[0,2]") + "," +
                  tensor("y", "I64", "[0]", "[2,2]") + "," + tensor("z", "F4", "[2,2]", "[2,4]") + "}",
              4),
  };
  for (const std::string& seed : seeds) REQUIRE(parse(seed).entries.size() >= 2);
  int accepted = 0, refused = 0, broken = 0;
  for (uint64_t round = 0; round < 20000; ++round) {
    Rng rng(2024, round);
    const std::string bytes = mutated(seeds[round % 2], rng);
    try {
      const SafetensorsHeader header = parse(bytes);
      ++accepted;
      uint64_t header_bytes = 0;
      for (size_t i = 8; i-- > 0;) header_bytes = header_bytes << 8 | static_cast<unsigned char>(bytes[i]);
      broken += !covers_exactly(header, 8 + static_cast<size_t>(header_bytes), bytes.size());
    } catch (const FileError&) {
      ++refused;
    }
  }
  CHECK(broken == 0);
  CHECK(accepted > 50);  // the mutations are mild enough to reach the layout checks
  CHECK(refused > 10000);
}

TEST_CASE("safetensors: a valid file cut short anywhere is refused") {
  const std::string whole =
      file_of("{" + tensor("a", "F32", "[2,3]", "[0,24]") + "," + tensor("b", "U8", "[3]", "[24,27]") + "}", 27);
  for (size_t length = 0; length < whole.size(); ++length) {
    CAPTURE(length);
    CHECK_THROWS_AS(parse(whole.substr(0, length)), FileError);
  }
}
