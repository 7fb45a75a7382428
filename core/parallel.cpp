#include "core/parallel.h"

#include "core/error.h"

#include <string>

namespace segrt {

void set_threads(int count) {
  if (count < 0) throw ArgumentError("threads: expected 0 (all cores) or more, got " + std::to_string(count));
#if defined(_OPENMP)
  omp_set_dynamic(0);
  omp_set_num_threads(count == 0 ? omp_get_num_procs() : count);
#endif
}

int threads() {
#if defined(_OPENMP)
  return omp_get_max_threads();
#else
  return 1;
#endif
}

}  // namespace segrt
