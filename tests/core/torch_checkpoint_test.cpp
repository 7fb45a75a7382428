#include "core/torch_checkpoint.h"

#include <doctest/doctest.h>

#include <algorithm>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>

#include "core/error.h"
#include "core/open_weights.h"
#include "core/safetensors.h"
#include "tests/core/message_of.h"
#include "tests/core/temporary_folder.h"
#include "tests/support/source_dir.h"

using namespace segrt;

namespace {
const std::string kFolder = test::source_dir() + "/tests/golden/checkpoints/";

nlohmann::json manifest() {
  std::ifstream in(kFolder + "manifest.json");
  return nlohmann::json::parse(in);
}

std::string bytes_of(const WeightFile& file, size_t index) {
  std::vector<std::byte> buffer;
  const std::span<const std::byte> values = file.values(index, buffer);
  return {reinterpret_cast<const char*>(values.data()), values.size()};
}

// Names, order, types, shapes and every bit. NaN payloads and signs of zero count.
void check_equal(const WeightFile& got, const WeightFile& expected) {
  REQUIRE(got.entries().size() == expected.entries().size());
  for (size_t i = 0; i < got.entries().size(); ++i) {
    const WeightEntry &g = got.entries()[i], &e = expected.entries()[i];
    CAPTURE(e.name);
    CHECK(g.name == e.name);
    CHECK(g.dtype == e.dtype);
    CHECK(g.shape == e.shape);
    CHECK(bytes_of(got, i) == bytes_of(expected, i));
  }
}
}  // namespace

TEST_CASE("torch checkpoints: every reference file is read to the last bit, or refused") {
  int loaded = 0, refused = 0;
  for (const nlohmann::json& row : manifest()) {
    const std::string name = row.at("file"), path = kFolder + name;
    CAPTURE(name);
    if (row.at("expect") == "load") {
      const SafetensorsFile expected(kFolder + row.at("expected").get<std::string>());
      const auto file = open_weight_file(path, true);
      check_equal(*file, expected);
      CHECK(file->metadata().at("scalars") == expected.metadata().at("scalars"));
      const WeightNames names = weight_names(*file);
      CHECK(names.root == row.at("weights_root"));
      CHECK(names.prefix == row.at("key_prefix"));
      ++loaded;
    } else {
      REQUIRE(row.at("expect") == "reject");
      const std::string message = message_of<FileError>([&] { open_weights(path); });
      CHECK(message.starts_with(path + ": "));
      ++refused;
    }
  }
  CHECK(loaded == 27);
  CHECK(refused == 4);
}

TEST_CASE("torch checkpoints: a refusal says why, and runs nothing") {
  const auto message = [](const char* name) { return message_of<FileError>([&] { open_weights(kFolder + name); }); };
  CHECK(message("reject_os_system.pth").find("\"os.system\"") != std::string::npos);
  CHECK(!std::filesystem::exists("PICKLE_SIDE_EFFECT"));
  CHECK(message("reject_truncated_zip.pth").find("no end-of-central-directory") != std::string::npos);
  CHECK(message("reject_truncated_legacy.pth").find("takes 20 bytes where the file has 10 left") != std::string::npos);
  CHECK(message("reject_html.pth").find("is no weight file") != std::string::npos);
}

TEST_CASE("torch checkpoints: the weights alone, under the model's names") {
  for (const nlohmann::json& row : manifest()) {
    if (row.at("expect") != "load") continue;
    const std::string root = row.at("weights_root"), prefix = row.at("key_prefix");
    CAPTURE(row.at("file").get<std::string>());
    const SafetensorsFile expected(kFolder + row.at("expected").get<std::string>());
    const auto weights = open_weights(kFolder + row.at("file").get<std::string>());
    const std::string skipped = (root.empty() ? "" : root + "/") + prefix;
    size_t count = 0;
    for (size_t i = 0; i < expected.entries().size(); ++i) {
      const std::string& name = expected.entries()[i].name;
      if (!name.starts_with(skipped)) continue;
      ++count;
      REQUIRE(weights->contains(name.substr(skipped.size())));
      const auto& entry = weights->entry(name.substr(skipped.size()));
      CHECK(entry.shape == expected.entries()[i].shape);
      const auto index = static_cast<size_t>(&entry - weights->entries().data());
      CHECK(bytes_of(*weights, index) == bytes_of(expected, i));
    }
    CHECK(weights->entries().size() == count);
  }
}

TEST_CASE("torch checkpoints: as tensors of the runtime") {
  const auto cpu = Device::create("cpu");
  const TorchCheckpoint file(kFolder + "zip_dtypes.pth");
  const Tensor narrow = file.read("t.int8", *cpu);
  CHECK(narrow.dtype() == DType::i32);
  CHECK(narrow.shape() == Shape{3, 5});
  CHECK(message_of<FileError>([&] { file.read("t.bool", *cpu); }).find("is BOOL") != std::string::npos);
  CHECK(message_of<FileError>([&] { file.read("absent", *cpu); }).find("has no tensor \"absent\"") !=
        std::string::npos);
}

TEST_CASE("torch checkpoints: written and read back bit for bit, with 32 and 64-bit archives") {
  const TemporaryFolder folder;
  for (const nlohmann::json& row : manifest()) {
    if (row.at("expect") != "load") continue;
    const SafetensorsFile source(kFolder + row.at("expected").get<std::string>());
    CAPTURE(source.path());
    for (const uint64_t zip64_from : {uint64_t{0xffffffff}, uint64_t{1000}, uint64_t{0}}) {
      CAPTURE(zip64_from);
      write_torch_checkpoint(folder / "w.pth", source, zip64_from);
      const TorchCheckpoint back(folder / "w.pth");
      check_equal(back, source);
      write_safetensors(folder / "w.safetensors", back, source.metadata());
      CHECK(file_bytes(folder / "w.safetensors").size() >= 8);
      check_equal(SafetensorsFile(folder / "w.safetensors"), source);
    }
  }
  CHECK(folder.file_count() == 2);
}

TEST_CASE("torch checkpoints: records are written where a program can map them") {
  const TemporaryFolder folder;
  const SafetensorsFile source(kFolder + "zip_nested.safetensors");
  write_torch_checkpoint(folder / "w.pth", source);
  const std::string file = file_bytes(folder / "w.pth");
  for (size_t i = 0; i < source.entries().size(); ++i) {
    const std::string values = bytes_of(source, i);
    const size_t at = file.find("archive/data/" + std::to_string(i) + "FB");
    REQUIRE(at != std::string::npos);
    const size_t begin = (at + 64) / 64 * 64;
    CHECK((file.substr(begin, values.size()) == values || file.substr(begin + 64, values.size()) == values));
  }
}

TEST_CASE("torch checkpoints: what the format has no type for is not written, and the old file stays") {
  const TemporaryFolder folder;
  const std::string header = R"({"x":{"dtype":"F8_E4M3","shape":[2],"data_offsets":[0,2]}})";
  std::string bytes(8, '\0');
  bytes[0] = static_cast<char>(header.size());
  write_file_bytes(folder / "x.safetensors", bytes + header + "ab");
  write_file_bytes(folder / "w.pth", "old");
  const SafetensorsFile source(folder / "x.safetensors");
  CHECK(message_of<FileError>([&] { write_torch_checkpoint(folder / "w.pth", source); }).find("F8_E4M3") !=
        std::string::npos);
  CHECK(file_bytes(folder / "w.pth") == "old");
}

TEST_CASE("weight files: formats are told by content, not by name") {
  const TemporaryFolder folder;
  const auto copy = [&](const char* from, const char* to) { std::filesystem::copy_file(kFolder + from, folder / to); };
  copy("zip_basic.pth", "a.safetensors");
  copy("legacy_basic.pth", "b.bin");
  copy("zip_basic.safetensors", "c.pth");
  CHECK(weight_format(folder / "a.safetensors") == WeightFormat::torch_zip);
  CHECK(weight_format(folder / "b.bin") == WeightFormat::torch_stream);
  CHECK(weight_format(folder / "c.pth") == WeightFormat::safetensors);
  for (const char* name : {"a.safetensors", "b.bin", "c.pth"})
    check_equal(*open_weights(folder / name), SafetensorsFile(kFolder + "zip_basic.safetensors"));
  // A safetensors header of 640 bytes begins like a pickle of protocol 2.
  const std::string header = "{}" + std::string(638, ' ');
  write_file_bytes(folder / "d", std::string("\x80\x02\0\0\0\0\0\0", 8) + header);
  CHECK(weight_format(folder / "d") == WeightFormat::safetensors);
  write_file_bytes(folder / "e", "");
  CHECK(message_of<FileError>([&] { open_weights(folder / "e"); }) == folder / "e" + ": is empty");
  CHECK(message_of<FileError>([&] { open_weights(folder / "absent"); }).find("cannot open") != std::string::npos);
}
