// Constants that g++ 12 gets wrong with 32-byte moves: equal leading 8-byte words, then zeros.
#include <doctest/doctest.h>

#include <cstddef>
#include <cstdint>
#include <vector>

namespace {
// Out of line, so that the constants are really stored.
[[gnu::noinline]] std::vector<int64_t> integers() { return {1, 1, 0, 0}; }
[[gnu::noinline]] std::vector<double> numbers() { return {0.5, 0.5, 0, 0}; }
[[gnu::noinline]] std::vector<int32_t> words() { return {1, 1, 1, 1, 0, 0, 0, 0}; }
[[gnu::noinline]] std::vector<int64_t> three() { return {2, 2, 2, 0}; }

template <typename T>
bool equals(const std::vector<T>& got, const std::vector<int>& quarters) {
  if (got.size() != quarters.size()) return false;
  for (std::size_t i = 0; i < got.size(); ++i)
    if (static_cast<double>(got[i]) * 4 != quarters[i]) return false;
  return true;
}
}  // namespace

TEST_CASE("constants of 32 bytes are stored as written") {
  std::vector<int> quarters(4, 0);  // filled at run time: an expected constant would be wrong in the same way
  for (std::size_t i = 0; i < 2; ++i) quarters[i] = 4;
  CHECK(equals(integers(), quarters));
  for (std::size_t i = 0; i < 2; ++i) quarters[i] = 2;
  CHECK(equals(numbers(), quarters));
  for (std::size_t i = 0; i < 3; ++i) quarters[i] = 8;
  CHECK(equals(three(), quarters));
  std::vector<int> eight(8, 0);
  for (std::size_t i = 0; i < 4; ++i) eight[i] = 4;
  CHECK(equals(words(), eight));
}
