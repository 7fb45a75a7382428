#include "kernels/vendor/choice_file.h"

#include <cctype>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>

#include "core/atomic_file.h"
#include "core/error.h"

namespace segrt::kernels::vendor {
namespace {
namespace fs = std::filesystem;
constexpr int kFormat = 2;

std::string file_name(const std::string& gpu, const std::string& library) {
  std::string name = library + "-";
  for (const char c : gpu) name += std::isalnum(static_cast<unsigned char>(c)) ? c : '_';
  return name + ".json";
}
}  // namespace

std::string ChoiceFile::default_path(const std::string& gpu, const std::string& library) {
  const std::string name = file_name(gpu, library);
  if (const char* folder = std::getenv("SEGRT_CACHE"); folder != nullptr)
    return *folder == '\0' ? "" : (fs::path(folder) / name).string();
  const char* home = std::getenv("HOME");
  return home == nullptr || *home == '\0' ? "" : (fs::path(home) / ".cache" / "segrt" / name).string();
}

ChoiceFile::ChoiceFile(std::string path, std::string gpu, std::string library)
    : path_(std::move(path)), gpu_(std::move(gpu)), library_(std::move(library)) {
  choices_ = read();
}

std::map<std::string, Choice> ChoiceFile::read() {
  std::map<std::string, Choice> choices;
  std::error_code none;
  if (path_.empty() || !fs::exists(path_, none)) return choices;
  try {
    std::ifstream in(path_);
    if (!in) throw FileError("cannot be read");
    const nlohmann::json file = nlohmann::json::parse(in);
    if (file.at("format").get<int>() != kFormat) throw FileError("has another format");
    if (file.at("gpu").get<std::string>() != gpu_ || file.at("library").get<std::string>() != library_)
      throw FileError("is of another GPU or library");
    for (const auto& [problem, entry] : file.at("choices").items())
      choices[problem] = {entry.at("engine").get<std::string>(), entry.at("plan").get<std::string>(),
                          entry.at("plan_ms").get<double>(), entry.at("own_ms").get<double>()};
    return choices;
  } catch (const std::exception& e) {  // nlohmann's or ours
    warning_ = path_ + ": ignored: " + e.what();
  }
  return {};
}

const Choice* ChoiceFile::find(const std::string& problem) const {
  const auto found = choices_.find(problem);
  return found == choices_.end() ? nullptr : &found->second;
}

void ChoiceFile::put(const std::string& problem, const Choice& choice) {
  choices_[problem] = choice;
  if (path_.empty()) return;
  // Ours win. Two processes that write at once lose an entry at worst, which is then measured again.
  for (auto& [key, theirs] : read()) choices_.try_emplace(key, std::move(theirs));
  try {
    fs::create_directories(fs::path(path_).parent_path());
    write();
  } catch (const std::exception& e) {  // FileError or filesystem_error: a cache that cannot be kept stops nobody
    warning_ = path_ + ": not kept: " + e.what();
  }
}

void ChoiceFile::forget(const std::string& problem) { choices_.erase(problem); }

void ChoiceFile::write() const {
  nlohmann::json choices = nlohmann::json::object();
  for (const auto& [problem, c] : choices_)
    choices[problem] = {{"engine", c.engine}, {"plan", c.plan}, {"plan_ms", c.plan_ms}, {"own_ms", c.own_ms}};
  const nlohmann::json file = {
      {"format", kFormat}, {"gpu", gpu_}, {"library", library_}, {"choices", std::move(choices)}};
  AtomicFile out(path_);
  out.write(file.dump(1));
  out.commit();
}

std::string ChoiceFile::take_warning() { return std::exchange(warning_, {}); }

}  // namespace segrt::kernels::vendor
