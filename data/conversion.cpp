#include "data/conversion.h"

#include <fmt/format.h>
#include <unistd.h>

#include <mutex>
#include <system_error>

#include "core/atomic_file.h"
#include "core/error.h"
#include "core/mapped_file.h"
#include "core/parallel.h"

namespace segrt::data {
namespace {

namespace fs = std::filesystem;

bool is_up_to_date(const fs::path& made, const fs::path& source) {
  std::error_code missing;
  const auto made_at = fs::last_write_time(made, missing);
  if (missing) return false;
  const auto source_at = fs::last_write_time(source, missing);
  return !missing && made_at >= source_at;
}

bool same_size(const fs::path& a, const fs::path& b) {
  std::error_code error;
  const auto size = fs::file_size(a, error);
  return !error && size == fs::file_size(b, error) && !error;
}

void create_folder_of(const fs::path& file) {
  std::error_code error;
  if (file.has_parent_path()) fs::create_directories(file.parent_path(), error);
  if (error) throw FileError(fmt::format("{}: cannot create its folder: {}", file.string(), error.message()));
}

// Whether the link is made; if not, a copy may be.
bool link_photo(const fs::path& source, const fs::path& made) {
  std::error_code error;
  const fs::path temporary = made.parent_path() / fmt::format(".{}.{}.part", made.filename().string(), ::getpid());
  fs::create_hard_link(fs::canonical(source, error), temporary, error);  // of the file, not of a link to it
  if (error) return false;
  fs::rename(temporary, made, error);
  std::error_code ignored;
  fs::remove(temporary, ignored);  // still there where `made` was a link to the same file
  return !error;
}

void place_photo(const fs::path& source, const fs::path& made, ImageCopy how) {
  if (!fs::exists(source)) throw FileError(source.string() + ": no such file");
  std::error_code error;
  if (fs::equivalent(source, made, error)) return;  // by name or link: there is nothing to place
  create_folder_of(made);
  if (how == ImageCopy::link && link_photo(source, made)) return;
  const MappedFile bytes(source.string());
  AtomicFile file(made.string());
  file.write(bytes.bytes());
  file.commit();
}

void write_list(const fs::path& path, const std::vector<std::string>& lines) {
  std::string text;
  for (const std::string& line : lines) text += line + '\n';
  std::error_code error;
  if (fs::file_size(path, error) == text.size() && !error && MappedFile(path.string()).text() == text) return;
  create_folder_of(path);
  AtomicFile file(path.string());
  file.write(text);
  file.commit();
}

}  // namespace

Conversion::Result Conversion::run(bool force, const Progress& progress) const {
  const auto maps = static_cast<int64_t>(label_maps.size());
  const int64_t total = maps + static_cast<int64_t>(photos.size());
  std::vector<std::string> errors(static_cast<size_t>(total));
  Result result;
  std::mutex mutex;
  int64_t done = 0;
  parallel_for(total, [&](int64_t i) {
    const bool is_map = i < maps;
    const size_t at = static_cast<size_t>(is_map ? i : i - maps);
    const fs::path& source = is_map ? label_maps[at].source : photos[at].source;
    const fs::path& made = is_map ? label_maps[at].made : photos[at].made;
    const bool skip = !force && is_up_to_date(made, source) && (is_map || same_size(made, source));
    bool written = false;
    try {
      if (!skip && is_map) write_png(made, label_maps[at].convert(source));
      if (!skip && !is_map) place_photo(source, made, image_copy);
      written = !skip;
    } catch (const std::exception& e) {
      errors[static_cast<size_t>(i)] = e.what();
    }
    const std::lock_guard lock(mutex);
    (is_map ? result.written : result.photos_placed) += written;
    (is_map ? result.up_to_date : result.photos_up_to_date) += skip;
    if (progress) progress(++done, total);
  });
  if (!list.empty()) write_list(list, list_lines);
  for (std::string& error : errors)
    if (!error.empty()) result.errors.push_back(std::move(error));
  return result;
}

void require_folder(const fs::path& folder) {
  std::error_code error;
  if (!fs::is_directory(folder, error))
    throw FileError(folder.string() + (fs::exists(folder, error) ? ": is not a folder" : ": no such folder"));
}

}  // namespace segrt::data
