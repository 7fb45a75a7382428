#include "core/parallel.h"

#include <doctest/doctest.h>

#include <atomic>
#include <memory>
#include <mutex>
#include <set>
#include <stdexcept>
#include <utility>
#include <vector>

#include "core/error.h"

using namespace segrt;

namespace {
// Puts the number of threads back as it was.
struct ThreadsGuard {
  int before = threads();
  ~ThreadsGuard() { set_threads(before); }
};

std::set<std::pair<int64_t, int64_t>> ranges_of(int64_t count, int64_t grain) {
  std::mutex mutex;
  std::set<std::pair<int64_t, int64_t>> ranges;
  parallel_ranges(count, grain, [&](int64_t begin, int64_t end) {
    const std::lock_guard lock(mutex);
    CHECK(ranges.emplace(begin, end).second);
  });
  return ranges;
}
}  // namespace

TEST_CASE("parallel_for: every index exactly once, for any count, grain and number of threads") {
  const ThreadsGuard guard;
  for (const int thread_count : {1, 2, 5})
    for (const int64_t count : {0, 1, 2, 255, 256, 257, 1000, 4099})
      for (const int64_t grain : {0, 1, 7, 300, 10000}) {
        CAPTURE(thread_count);
        CAPTURE(count);
        CAPTURE(grain);
        set_threads(thread_count);
        std::vector<std::atomic<int>> visits(static_cast<size_t>(count));
        parallel_for(count, grain, [&](int64_t i) { ++visits.at(static_cast<size_t>(i)); });
        int wrong = 0;
        for (const std::atomic<int>& v : visits) wrong += v != 1;
        CHECK(wrong == 0);
      }
  int calls = 0;
  parallel_for(-3, [&](int64_t) { ++calls; });
  CHECK(calls == 0);
}

TEST_CASE("parallel_ranges: ranges depend on count and grain alone") {
  const ThreadsGuard guard;
  for (const int64_t count : {1, 100, 1000, 100003})
    for (const int64_t grain : {1, 64, 5000}) {
      CAPTURE(count);
      CAPTURE(grain);
      set_threads(1);
      const auto serial = ranges_of(count, grain);
      set_threads(4);
      CHECK(ranges_of(count, grain) == serial);
      int64_t end_before = 0;
      for (const auto& [begin, end] : serial) {
        CHECK(begin == end_before);
        CHECK((end - begin >= grain || end == count));
        end_before = end;
      }
      CHECK(end_before == count);
    }
}

TEST_CASE("parallel_for: an exception reaches the caller, and the next loop works") {
  const ThreadsGuard guard;
  for (const int thread_count : {1, 3}) {
    set_threads(thread_count);
    CHECK_THROWS_WITH_AS(parallel_for(1000,
                                      [](int64_t i) {
                                        if (i == 613) throw std::runtime_error("at 613");
                                      }),
                         "at 613", std::runtime_error);
    std::atomic<int64_t> sum = 0;
    parallel_for(100, [&](int64_t i) { sum += i; });
    CHECK(sum == 4950);
  }
}

TEST_CASE("parallel_for: nested loops run and cover everything") {
  const ThreadsGuard guard;
  set_threads(3);
  std::vector<std::atomic<int>> visits(40 * 50);
  parallel_for(40, [&](int64_t i) { parallel_for(50, [&](int64_t j) { ++visits[static_cast<size_t>(i * 50 + j)]; }); });
  int wrong = 0;
  for (const std::atomic<int>& v : visits) wrong += v != 1;
  CHECK(wrong == 0);
}

TEST_CASE("set_threads: a count, all cores, or an error") {
  const ThreadsGuard guard;
#if defined(_OPENMP)
  set_threads(3);
  CHECK(threads() == 3);
  set_threads(0);
  CHECK(threads() == omp_get_num_procs());
#endif
  CHECK(threads() >= 1);
  CHECK_THROWS_AS(set_threads(-1), ArgumentError);
}
