#include "core/config_keys.h"

#include <algorithm>
#include <numeric>
#include <utility>
#include <vector>

namespace segrt {
namespace {
// "train" of "train.lr", "" of "seed".
std::string_view parent_of(std::string_view key) {
  const size_t dot = key.rfind('.');
  return dot == std::string_view::npos ? std::string_view{} : key.substr(0, dot);
}
std::string_view last_of(std::string_view key) { return key.substr(key.rfind('.') + 1); }  // npos + 1 is 0
}  // namespace

bool ConfigKeys::has_under(std::string_view table) const {
  const std::string prefix = std::string(table) + ".";
  const auto it = asked_.lower_bound(prefix);
  return it != asked_.end() && it->starts_with(prefix);
}

std::string ConfigKeys::suggestion(std::string_view unknown) const {
  // Tables count as well: [trian] is nearest to train.
  std::set<std::string_view> candidates;
  for (const std::string_view key : asked_)
    for (std::string_view k = key; !k.empty(); k = parent_of(k)) candidates.insert(k);

  std::pair<size_t, size_t> best{std::max<size_t>(3, unknown.size() / 3 + 1), 0};  // an exclusive limit
  std::string_view nearest;
  std::vector<std::string_view> beside;
  for (const std::string_view key : candidates) {
    if (parent_of(key) == parent_of(unknown)) beside.push_back(key);
    const size_t distance = edit_distance(unknown, key);
    // The right name in the wrong table is the next most likely mistake after a wrong letter.
    const std::pair score{last_of(key) == last_of(unknown) ? std::min<size_t>(distance, 2) : distance, distance};
    if (score < best) {
      best = score;
      nearest = key;
    }
  }
  if (!nearest.empty()) return "; did you mean " + std::string(nearest) + "?";
  constexpr size_t kMaxListed = 12;
  if (beside.empty() || beside.size() > kMaxListed) return "";
  std::string list;
  for (const std::string_view key : beside) list += (list.empty() ? "" : ", ") + std::string(key);
  return "; known beside it: " + list;
}

size_t edit_distance(std::string_view a, std::string_view b) {
  std::vector<size_t> row(b.size() + 1);  // row[j]: distance from the first i characters of a to the first j of b
  std::iota(row.begin(), row.end(), size_t{0});
  for (size_t i = 1; i <= a.size(); ++i) {
    size_t diagonal = std::exchange(row[0], i);
    for (size_t j = 1; j <= b.size(); ++j) {
      const size_t substituted = diagonal + (a[i - 1] != b[j - 1] ? 1 : 0);
      diagonal = row[j];
      row[j] = std::min({substituted, row[j] + 1, row[j - 1] + 1});
    }
  }
  return row[b.size()];
}

}  // namespace segrt
