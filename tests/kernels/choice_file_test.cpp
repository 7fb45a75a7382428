// The file that keeps which plan was fastest: it must never stop anybody, whatever is in it.
#include <doctest/doctest.h>

#include <cstdlib>
#include <optional>
#include <string>

#include "kernels/vendor/choice_file.h"
#include "kernels/vendor_mode.h"
#include "tests/core/temporary_folder.h"
#include "tests/support/tensors.h"

namespace segrt::kernels::vendor {
namespace {
constexpr const char *kGpu = "NVIDIA H100 80GB HBM3", *kLibrary = "cudnn-91900";

// Sets a variable of the environment, or removes it; puts it back at the end.
class Environment {
 public:
  Environment(const char* name, const char* value) : name_(name) {
    if (const char* old = std::getenv(name)) old_ = old;
    set(value);
  }
  ~Environment() { set(old_ ? old_->c_str() : nullptr); }
  Environment(const Environment&) = delete;
  Environment& operator=(const Environment&) = delete;

 private:
  void set(const char* value) { value ? ::setenv(name_, value, 1) : ::unsetenv(name_); }
  const char* name_;
  std::optional<std::string> old_;
};
}  // namespace

TEST_CASE("choice file: what is put is found again, by another process, too") {
  const TemporaryFolder folder;
  const std::string path = folder / "deep/er/plans.json";
  ChoiceFile first(path, kGpu, kLibrary), second(path, kGpu, kLibrary);
  CHECK(first.find("a") == nullptr);
  first.put("a", {"engine 62, TILE_SIZE 5", "{\"plan\": \"\\u00e4 \\\"quoted\\\"\"}", 0.25, 0.5});
  second.put("b", {"", "", 0.75, 0.5});  // has not seen "a"
  CHECK(first.take_warning() == "");
  CHECK(second.take_warning() == "");
  const ChoiceFile third(path, kGpu, kLibrary);
  REQUIRE(third.find("a") != nullptr);
  CHECK(third.find("a")->engine == "engine 62, TILE_SIZE 5");
  CHECK(third.find("a")->plan == "{\"plan\": \"\\u00e4 \\\"quoted\\\"\"}");
  CHECK(third.find("a")->plan_ms == 0.25);
  CHECK(third.find("a")->own_ms == 0.5);
  REQUIRE(third.find("b") != nullptr);
  CHECK(third.find("b")->engine == "");
  first.put("a", {"engine 1", "{}", 0.125, 0.5});
  CHECK(ChoiceFile(path, kGpu, kLibrary).find("a")->engine == "engine 1");
  CHECK(ChoiceFile(path, kGpu, kLibrary).find("b") != nullptr);
}

TEST_CASE("choice file: damaged or foreign files count as empty, are named, and are replaced") {
  const TemporaryFolder folder;
  const std::string path = folder / "plans.json";
  ChoiceFile(path, kGpu, kLibrary).put("a", {"engine 1", "{}", 1, 2});
  const std::string good = file_bytes(path);
  const std::string damaged[] = {"",
                                 "{",
                                 "[]",
                                 "null",
                                 good.substr(0, good.size() / 2),
                                 "{\"format\": 1}",
                                 std::string("\0\xff\xfe", 3),
                                 "{\"format\": 1, \"gpu\": \"\", \"library\": \"\"}",
                                 "{\"format\": 2, \"gpu\": \"NVIDIA H100 80GB HBM3\", \"library\": \"cudnn-91900\", "
                                 "\"choices\": {\"a\": {\"engine\": 3}}}"};
  for (const std::string& bytes : damaged) {
    CAPTURE(bytes);
    write_file_bytes(path, bytes);
    ChoiceFile file(path, kGpu, kLibrary);
    CHECK(file.find("a") == nullptr);
    CHECK(file.take_warning().starts_with(path + ": ignored: "));
    CHECK(file.take_warning() == "");
    file.put("b", {"engine 2", "{}", 1, 2});
    CHECK(ChoiceFile(path, kGpu, kLibrary).find("b") != nullptr);
  }
  write_file_bytes(path, good);
  CHECK(ChoiceFile(path, kGpu, kLibrary).find("a") != nullptr);
  for (ChoiceFile other : {ChoiceFile(path, "NVIDIA A100", kLibrary), ChoiceFile(path, kGpu, "cudnn-91901")}) {
    CHECK(other.find("a") == nullptr);
    CHECK(other.take_warning() == path + ": ignored: is of another GPU or library");
  }
}

TEST_CASE("choice file: one that cannot be written is a warning, and the choice holds") {
  const TemporaryFolder folder;
  write_file_bytes(folder / "file", "not a folder");
  ChoiceFile file(folder / "file/plans.json", kGpu, kLibrary);
  file.put("a", {"engine 1", "{}", 1, 2});
  CHECK(file.take_warning().starts_with(folder / "file/plans.json: not kept: "));
  CHECK(file.find("a") != nullptr);
  ChoiceFile nowhere("", kGpu, kLibrary);
  nowhere.put("a", {"engine 1", "{}", 1, 2});
  CHECK(nowhere.take_warning() == "");
  CHECK(nowhere.find("a") != nullptr);
  nowhere.forget("a");
  CHECK(nowhere.find("a") == nullptr);
}

TEST_CASE("choice file: where it lies") {
  const Environment home("HOME", "/home/someone");
  {
    const Environment cache("SEGRT_CACHE", nullptr);
    CHECK(ChoiceFile::default_path(kGpu, kLibrary) ==
          "/home/someone/.cache/segrt/cudnn-91900-NVIDIA_H100_80GB_HBM3.json");
    const Environment homeless("HOME", nullptr);
    CHECK(ChoiceFile::default_path(kGpu, kLibrary) == "");
  }
  {
    const Environment cache("SEGRT_CACHE", "/scratch/cache");
    CHECK(ChoiceFile::default_path("a/../b", "cublaslt-1") == "/scratch/cache/cublaslt-1-a____b.json");
  }
  const Environment cache("SEGRT_CACHE", "");
  CHECK(ChoiceFile::default_path(kGpu, kLibrary) == "");
}

TEST_CASE("SEGRT_VENDOR switches vendor libraries off") {
  {
    const Environment vendor("SEGRT_VENDOR", nullptr);
    CHECK(VendorMode().enabled);
  }
  {
    const Environment vendor("SEGRT_VENDOR", "off");
    CHECK(!VendorMode().enabled);
  }
  const Environment vendor("SEGRT_VENDOR", "0");
  CHECK(test::error_of([] { VendorMode(); }) == "SEGRT_VENDOR: expected on or off, got \"0\"");
}

}  // namespace segrt::kernels::vendor
