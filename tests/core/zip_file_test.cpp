#include "core/zip_file.h"

#include <doctest/doctest.h>

#include "core/error.h"
#include "core/mapped_file.h"
#include "core/torch_checkpoint.h"
#include "core/zip_writer.h"
#include "tests/core/message_of.h"
#include "tests/core/temporary_folder.h"
#include "tests/core/torch_files.h"

using namespace segrt;
using test::Zip;

namespace {
std::span<const std::byte> span_of(const std::string& s) { return std::as_bytes(std::span(s)); }

std::string refusal(const std::string& bytes) {
  return message_of<FileError>([&] { ZipFile("z.zip", span_of(bytes)); });
}
std::string refusal_of_checkpoint(const Zip& zip) {
  const std::string bytes = zip.bytes();
  return message_of<FileError>([&] { TorchCheckpoint("z.pth", span_of(bytes), true); });
}
bool says(const std::string& message, const std::string& text) {
  CAPTURE(message);
  return message.starts_with("z.") && message.find(text) != std::string::npos;
}
Zip two_records() { return {{{"a", "first"}, {"b/c", "the second"}}}; }
}  // namespace

TEST_CASE("zip: records by name, with a comment and in any order") {
  Zip zip = two_records();
  zip.comment = "PK\5\6 in a comment is no end";
  const std::string bytes = zip.bytes();
  const ZipFile file("z.zip", span_of(bytes));
  REQUIRE(file.records().size() == 2);
  const ZipRecord* record = file.find("b/c");
  REQUIRE(record != nullptr);
  CHECK(std::string(reinterpret_cast<const char*>(record->data.data()), record->data.size()) == "the second");
  CHECK(file.find("absent") == nullptr);
  CHECK(ZipFile("z.zip", span_of(Zip{}.bytes())).records().empty());
  CHECK(crc32_of(span_of("123456789")) == 0xcbf43926);  // the check value of the standard
}

TEST_CASE("zip: what the writer writes comes back") {
  const TemporaryFolder folder;
  for (const uint64_t from64 : {uint64_t{0xffffffff}, uint64_t{0}}) {
    AtomicFile file(folder / "w.zip");
    ZipWriter writer(file, from64);
    writer.add("one.png", span_of("first"));
    writer.add("a/two.png", span_of(""));
    writer.finish();
    file.commit();
    const MappedFile mapping(folder / "w.zip");
    const ZipFile zip(folder / "w.zip", mapping.bytes());
    REQUIRE(zip.records().size() == 2);
    CHECK(zip.records()[0].name == "one.png");
    CHECK(std::string(reinterpret_cast<const char*>(zip.records()[0].data.data()), 5) == "first");
    CHECK(zip.find("a/two.png")->data.empty());
  }
}

TEST_CASE("zip: what does not hold together is refused") {
  const auto changed = [](auto change) {
    Zip zip = two_records();
    change(zip);
    return refusal(zip.bytes());
  };
  CHECK(says(changed([](Zip& z) { z.records[1].flags = 8, z.records[1].crc_change = 1; }),
             "record \"b/c\" is damaged: its CRC-32"));
  CHECK(says(changed([](Zip& z) { z.records[1].method = 8; }), "\"b/c\" is compressed (method 8)"));
  CHECK(says(changed([](Zip& z) { z.records[0].flags = 1; }), "\"a\" is encrypted"));
  CHECK(says(changed([](Zip& z) { z.records[1].name = "a"; }), "\"a\" is there twice"));
  CHECK(says(changed([](Zip& z) { z.records[1].size_change = 1000; }), "differs from the directory"));
  CHECK(says(changed([](Zip& z) { z.records[1].offset_change = 1000; }), "\"b/c\" has no header"));
  CHECK(says(changed([](Zip& z) { z.records[1].offset_change = 1; }), "\"b/c\" has no header"));
  CHECK(says(changed([](Zip& z) { z.records[1].local_name = "x/y"; }), "differs from the directory"));
  CHECK(says(changed([](Zip& z) { z.count_change = 1; }), "does not fit the file"));
  CHECK(says(changed([](Zip& z) { z.count_change = 0xffff; }), "do not fill it"));
  CHECK(says(changed([](Zip& z) { z.count_change = 1000; }), "does not fit the file"));
  CHECK(says(changed([](Zip& z) { z.offset_change = 1; }), "z.zip: "));
  CHECK(says(changed([](Zip& z) { z.offset_change = 0x7fffffff; }), "does not fit the file"));
  CHECK(says(changed([](Zip& z) { z.disk = 1; }), "several parts"));
  // Bytes before the archive, as in a program that unpacks itself.
  CHECK(says(refusal("#!/bin/sh\n" + two_records().bytes()), "z.zip: "));
  CHECK(says(refusal(two_records().bytes() + "x"), "no end-of-central-directory"));
}

TEST_CASE("zip: sizes that follow the data are taken from the directory, and must stay in the file") {
  Zip zip = two_records();
  for (Zip::Record& r : zip.records) r.flags = 8;
  CHECK(refusal(zip.bytes()).empty());
  zip.records[1].size_change = 1000;
  CHECK(says(refusal(zip.bytes()), "beyond the records' part of the file"));
  zip.records[1].size_change = 0;
  zip.records[0].size_change = 10;  // into the second
  CHECK(says(refusal(zip.bytes()), "overlap"));
}

TEST_CASE("zip: a 64-bit field that is too short or out of bounds") {
  Zip zip = two_records();
  zip.records[0].flags = 8;
  zip.records[0].size_change = 0xffffffff - 5;
  CHECK(says(refusal(zip.bytes()), "beyond the records' part"));
  const auto field = [](uint64_t size, uint64_t stored) {
    return test::le(uint16_t{1}) + test::le(uint16_t{16}) + test::le(size) + test::le(stored);
  };
  zip.records[0].extra = field(5, 5);
  CHECK(refusal(zip.bytes()).empty());
  zip.records[0].extra = field(~uint64_t{0}, ~uint64_t{0});
  CHECK(says(refusal(zip.bytes()), "beyond the records' part"));
  zip.records[0].extra = test::le(uint16_t{1}) + test::le(uint16_t{8}) + test::le(uint64_t{5});
  CHECK(says(refusal(zip.bytes()), "short 64-bit field"));
  zip.records[0].extra = test::le(uint16_t{1}) + test::le(uint16_t{99});
  CHECK(says(refusal(zip.bytes()), "damaged extra field"));
}

TEST_CASE("zip: PyTorch's archive around its records") {
  CHECK(refusal_of_checkpoint(Zip::of({})).empty());
  Zip big = Zip::of({});
  big.records.push_back({"a/byteorder", "big"});
  CHECK(says(refusal_of_checkpoint(big), "byte order is \"big\""));
  big.records.back().data = "little";
  CHECK(refusal_of_checkpoint(big).empty());
  CHECK(says(refusal_of_checkpoint(two_records()), "it has no <folder>/data.pkl"));
  Zip twice = Zip::of({});
  twice.records.push_back({"b/data.pkl", test::pickle("}")});
  CHECK(says(refusal_of_checkpoint(twice), "one object was expected"));
  Zip missing = Zip::of({});
  missing.records.erase(missing.records.begin() + 1);
  CHECK(says(refusal_of_checkpoint(missing), "storage \"k\" has no record"));
  CHECK(says(refusal_of_checkpoint(Zip::of({}, 5)), "6 elements of 4 bytes, but its record has 20 bytes"));
  Zip trailing = Zip::of({});
  trailing.records[0].data += "x";
  CHECK(says(refusal_of_checkpoint(trailing), "1 bytes follow its end"));
}
