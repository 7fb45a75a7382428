#include "core/safetensors.h"

#include <doctest/doctest.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/stat.h>

#include <cstring>

#include "core/atomic_file.h"
#include "core/error.h"
#include "tests/core/message_of.h"
#include "tests/core/temporary_folder.h"
#include "tests/support/tensors.h"

using namespace segrt;

namespace {
std::string length_prefix(uint64_t length) {
  std::string bytes(8, '\0');
  for (size_t i = 0; i < 8; ++i) bytes[i] = static_cast<char>(length >> (8 * i));
  return bytes;
}

std::vector<NamedTensor> some_tensors(Device& device) {
  return {{"b.weight", Tensor::from<float>({2, 3}, std::vector<float>{1, -2, 3, 4, 5, 6.5f}, device)},
          {"a", Tensor::from<uint8_t>({3}, std::vector<uint8_t>{7, 8, 9}, device)},
          {"scalar", Tensor::from<double>({}, std::vector{-1e-300}, device)},
          {"none", Tensor::empty({4, 0, 2}, DType::i64, device)},
          {"steps", Tensor::from<int64_t>({1}, std::vector{int64_t{-5}}, device)},
          {"ids", Tensor::from<int32_t>({2, 1}, std::vector<int32_t>{-1, 2147483647}, device)},
          {"half", Tensor::from<f16>({2}, std::vector{f16(1.5f), f16(-0.0f)}, device)},
          {"brain", Tensor::from<bf16>({1, 1, 1, 1, 1, 2}, std::vector{bf16(3.0f), bf16(1e30f)}, device)}};
}

// Limits the size of files that this process may write: a full disk, without one.
class FileSizeLimit {
 public:
  explicit FileSizeLimit(rlim_t bytes) : handler_(::signal(SIGXFSZ, SIG_IGN)) {
    ::getrlimit(RLIMIT_FSIZE, &before_);
    const rlimit limit{bytes, before_.rlim_max};
    ::setrlimit(RLIMIT_FSIZE, &limit);
  }
  FileSizeLimit(const FileSizeLimit&) = delete;
  FileSizeLimit& operator=(const FileSizeLimit&) = delete;
  ~FileSizeLimit() {
    ::setrlimit(RLIMIT_FSIZE, &before_);
    ::signal(SIGXFSZ, handler_);
  }

 private:
  sighandler_t handler_;
  rlimit before_{};
};
}  // namespace

TEST_CASE("safetensors: the bytes of a small file are those that the specification gives") {
  const TemporaryFolder folder;
  const auto device = Device::create("cpu");
  const std::vector<NamedTensor> tensors{{"w", Tensor::from<float>({1, 2}, std::vector{1.0f, -2.0f}, *device)},
                                         {"é\"", Tensor::from<uint8_t>({1}, std::vector<uint8_t>{200}, *device)}};
  write_safetensors(folder / "x", tensors, {{"format", "pt"}});
  std::string header = R"({"__metadata__":{"format":"pt"},"w":{"dtype":"F32","shape":[1,2],"data_offsets":[0,8]},)"
                       "\"é\\\"\""
                       R"(:{"dtype":"U8","shape":[1],"data_offsets":[8,9]}})";
  while (header.size() % 8 != 0) header += ' ';
  const std::string data("\x00\x00\x80\x3f\x00\x00\x00\xc0\xc8", 9);
  CHECK(file_bytes(folder / "x") == length_prefix(header.size()) + header + data);
}

TEST_CASE("safetensors: every dtype comes back, from every device, in order") {
  const TemporaryFolder folder;
  const std::map<std::string, std::string> metadata{{"config", "a = \"b\"\n"}, {"", "empty key"}, {"é", "\x01"}};
  for (auto& device : test::test_devices()) {
    CAPTURE(device->name());
    const std::vector<NamedTensor> tensors = some_tensors(*device);
    write_safetensors(folder / "x.safetensors", tensors, metadata);
    CHECK(folder.file_count() == 1);
    const SafetensorsFile file(folder / "x.safetensors");
    CHECK(file.path() == folder / "x.safetensors");
    CHECK(file.metadata() == metadata);
    REQUIRE(file.entries().size() == tensors.size());
    CHECK(file.entries()[0].begin % 8 == 0);
    for (size_t i = 0; i < tensors.size(); ++i) {
      const auto& [name, written] = tensors[i];
      CAPTURE(name);
      CHECK(file.entries()[i].name == name);
      CHECK(file.entries()[i].dtype == safetensors_name(written.dtype()));
      CHECK(file.contains(name));
      CHECK(file.bytes(name).size() == written.nbytes());
      const Tensor read = file.read(name, *device);
      CHECK(read.shape() == written.shape());
      CHECK(read.dtype() == written.dtype());
      CHECK(test::to_doubles(read) == test::to_doubles(written));
    }
  }
}

TEST_CASE("safetensors: views are written as what they show, the meta device reads shapes") {
  const TemporaryFolder folder;
  const auto device = Device::create("cpu"), meta = Device::create("meta");
  const Tensor rows = Tensor::from<float>({3, 2}, std::vector<float>{1, 2, 3, 4, 5, 6}, *device);
  write_safetensors(folder / "x", std::vector<NamedTensor>{{"t", rows.slice(1, 1)}});
  const SafetensorsFile file(folder / "x");
  CHECK(file.metadata().empty());
  CHECK(file.read("t", *device).to_vector<float>() == std::vector<float>{3, 4});
  CHECK(file.read("t", *meta).shape() == Shape{1, 2});
  CHECK_FALSE(file.contains("T"));
  CHECK(message_of<FileError>([&] { file.read("T", *device); }) == (folder / "x") + ": has no tensor \"T\"");
  CHECK_THROWS_AS(file.bytes("x"), FileError);
}

TEST_CASE("safetensors: no tensors at all is a file") {
  const TemporaryFolder folder;
  write_safetensors(folder / "x", {}, {{"a", "b"}});
  CHECK(SafetensorsFile(folder / "x").entries().empty());
  CHECK(SafetensorsFile(folder / "x").metadata().at("a") == "b");
}

TEST_CASE("safetensors: dtypes and ranks that the runtime lacks are listed, and refused on reading") {
  const TemporaryFolder folder;
  const auto device = Device::create("cpu");
  const std::string header = R"({"mask":{"dtype":"BOOL","shape":[2],"data_offsets":[0,2]},)"
                             R"("small":{"dtype":"I16","shape":[1],"data_offsets":[2,4]},)"
                             R"("nibbles":{"dtype":"F4","shape":[4],"data_offsets":[4,6]},)"
                             R"("deep":{"dtype":"U8","shape":[1,1,1,1,1,1,2],"data_offsets":[6,8]}})";
  write_file_bytes(folder / "x",
                   length_prefix(header.size()) + header + std::string("\x01\x00\x34\x12\x55\x66\x07\x08", 8));
  const SafetensorsFile file(folder / "x");
  REQUIRE(file.entries().size() == 4);
  CHECK(file.entries()[0].dtype == "BOOL");
  CHECK(file.entries()[3].shape == std::vector<int64_t>{1, 1, 1, 1, 1, 1, 2});
  CHECK(file.bytes("small")[1] == std::byte{0x12});
  CHECK(message_of<FileError>([&] { file.read("mask", *device); }) ==
        (folder / "x") + ": tensor \"mask\" is BOOL; only F32, BF16, F16, F64, I64, I32 and U8 can be read");
  CHECK_THROWS_AS(file.read("small", *device), FileError);
  CHECK(message_of<FileError>([&] { file.read("deep", *device); }).find("7 dimensions") != std::string::npos);
}

TEST_CASE("safetensors: tensors that cannot be written are refused before the file is touched") {
  const TemporaryFolder folder;
  const auto device = Device::create("cpu"), meta = Device::create("meta");
  const Tensor t = Tensor::zeros({2}, DType::f32, *device);
  write_file_bytes(folder / "x", "old");
  const std::vector<std::vector<NamedTensor>> refused{{{"a", t}, {"a", t}},
                                                      {{"__metadata__", t}},
                                                      {{"a", Tensor()}},
                                                      {{"a", Tensor::zeros({2}, DType::f32, *meta)}},
                                                      {{"a\xff", t}}};
  for (const auto& tensors : refused) CHECK_THROWS_AS(write_safetensors(folder / "x", tensors), ArgumentError);
  CHECK_THROWS_AS(write_safetensors(folder / "x", {}, {{"k", "\xc3"}}), ArgumentError);
  CHECK(file_bytes(folder / "x") == "old");
  CHECK(folder.file_count() == 1);
}

TEST_CASE("safetensors: a failed write names the file, keeps the old one and leaves nothing behind") {
  const TemporaryFolder folder;
  const auto device = Device::create("cpu");
  const std::vector<NamedTensor> tensors{{"big", Tensor::zeros({1 << 20}, DType::f32, *device)}};
  auto refused = [&](const std::string& path, const std::string& reason) {
    CAPTURE(path);
    const std::string message = message_of<FileError>([&] { write_safetensors(path, tensors); });
    CHECK(message.starts_with(path + ": "));
    CHECK(message.find(reason) != std::string::npos);
  };
  write_safetensors(folder / "x", some_tensors(*device));
  const std::string old = file_bytes(folder / "x");
  {
    const FileSizeLimit limit(1 << 16);
    refused(folder / "x", "File too large");
    refused(folder / "y", "File too large");
  }
  CHECK(file_bytes(folder / "x") == old);
  CHECK(folder.file_count() == 1);
  refused(folder / "absent/x", "No such file or directory");
  refused((folder / "x") + "/y", "Not a directory");
  refused(folder.path(), "is a folder");
  CHECK(folder.file_count() == 1);
  write_safetensors(folder / "x", tensors);  // and now it works
  CHECK(SafetensorsFile(folder / "x").bytes("big").size() == 4 << 20);
}

TEST_CASE("safetensors: an open file keeps its contents when it is replaced") {
  const TemporaryFolder folder;
  const auto device = Device::create("cpu");
  auto write = [&](float value) {
    write_safetensors(folder / "x",
                      std::vector<NamedTensor>{{"t", Tensor::from<float>({1}, std::vector{value}, *device)}});
  };
  write(1);
  SafetensorsFile first(folder / "x");
  write(2);
  CHECK(first.read("t", *device).item() == 1);
  SafetensorsFile second(folder / "x");
  CHECK(second.read("t", *device).item() == 2);
  first = std::move(second);
  CHECK(first.read("t", *device).item() == 2);
}

TEST_CASE("safetensors: what is no file is an error") {
  const TemporaryFolder folder;
  CHECK(message_of<FileError>([&] { SafetensorsFile(folder / "absent"); }) ==
        (folder / "absent") + ": cannot open: No such file or directory");
  CHECK(message_of<FileError>([&] { SafetensorsFile(folder.path()); }) ==
        folder.path() + ": is a folder, expected a file");
  write_file_bytes(folder / "empty", "");
  CHECK(message_of<FileError>([&] { SafetensorsFile(folder / "empty"); }).starts_with(folder / "empty"));
  REQUIRE(::mkfifo((folder / "pipe").c_str(), 0600) == 0);
  CHECK_THROWS_AS(SafetensorsFile(folder / "pipe"), FileError);  // and does not wait for a writer
}

TEST_CASE("atomic file: nothing appears without commit, writers do not disturb each other") {
  const TemporaryFolder folder;
  {
    AtomicFile abandoned(folder / "x");
    abandoned.write("half");
    CHECK_FALSE(std::filesystem::exists(folder / "x"));
  }
  CHECK(folder.file_count() == 0);
  AtomicFile a(folder / "x"), b(folder / "x");
  a.write("first");
  b.write("second");
  b.write("");
  b.commit();
  CHECK(file_bytes(folder / "x") == "second");
  a.commit();
  CHECK(file_bytes(folder / "x") == "first");
  CHECK(folder.file_count() == 1);
  struct stat info {};
  const mode_t mask = ::umask(0);
  ::umask(mask);
  REQUIRE(::stat((folder / "x").c_str(), &info) == 0);
  CHECK((info.st_mode & 0777) == (0666 & ~mask));  // as any other new file, not private to the writer
}
