#include "kernels/broadcast.h"

namespace segrt::kernels {
namespace {
int64_t extent_at(const Shape& part, const Shape& full, int i) {
  const int at = i - (full.rank() - part.rank());
  return at < 0 ? 1 : part[at];
}
}  // namespace

bool broadcasts_to(const Shape& part, const Shape& full) {
  if (part.rank() > full.rank()) return false;
  for (int i = 0; i < full.rank(); ++i)
    if (const int64_t extent = extent_at(part, full, i); extent != 1 && extent != full[i]) return false;
  return true;
}

Runs runs_of(const Shape& part, const Shape& full) {
  Runs runs;
  for (int i = 0; i < full.rank(); ++i) {
    if (full[i] == 1) continue;
    const bool kept = extent_at(part, full, i) == full[i];
    if (runs.count > 0 && runs.run[static_cast<size_t>(runs.count - 1)].kept == kept)
      runs.run[static_cast<size_t>(runs.count - 1)].extent *= full[i];
    else
      runs.run[static_cast<size_t>(runs.count++)] = {full[i], kept};
  }
  return runs;
}

}  // namespace segrt::kernels
