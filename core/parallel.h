// Loops over CPU threads (OpenMP, the runtime that oneDNN uses as well, so that the two share one pool).
// Work is handed out in chunks on demand: static splits collapse when a neighbour takes a core.
#pragma once

#include <algorithm>
#include <cstdint>
#include <exception>

#if defined(_OPENMP)
#include <omp.h>
#endif

namespace segrt {

void set_threads(int count);  // 0: one per available core. For main() and tests; oneDNN follows.
int threads();                // threads that a parallel loop would use now

// f(begin, end) over disjoint ranges that cover [0, count), each of at least `grain` indices but for the last.
// The ranges depend on `count` and `grain` alone, never on the number of threads. An exception of f is rethrown here.
template <typename F>
void parallel_ranges(int64_t count, int64_t grain, const F& f) {
  if (count <= 0) return;
  constexpr int64_t kMaxRanges = 256;
  const int64_t step = std::max({grain, (count + kMaxRanges - 1) / kMaxRanges, int64_t{1}});
  const int64_t ranges = (count + step - 1) / step;
#if defined(_OPENMP)
  if (ranges > 1 && omp_get_max_threads() > 1 && !omp_in_parallel()) {
    std::exception_ptr error;
#pragma omp parallel for schedule(dynamic, 1)
    for (int64_t i = 0; i < ranges; ++i) {
      try {
        f(i * step, std::min(count, (i + 1) * step));
      } catch (...) {
#pragma omp critical(segrt_parallel_error)
        error = std::current_exception();
      }
    }
    if (error) std::rethrow_exception(error);
    return;
  }
#endif
  for (int64_t i = 0; i < ranges; ++i) f(i * step, std::min(count, (i + 1) * step));
}

// f(i) for i in [0, count), in any order. `grain` indices at least go to one thread at a time.
template <typename F>
void parallel_for(int64_t count, int64_t grain, const F& f) {
  parallel_ranges(count, grain, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) f(i);
  });
}
template <typename F>
void parallel_for(int64_t count, const F& f) {
  parallel_for(count, 1, f);
}

}  // namespace segrt
