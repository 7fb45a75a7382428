#include "tests/support/source_dir.h"

#include <cstdlib>

namespace segrt::test {

std::string source_dir() {
  const char* elsewhere = std::getenv("SEGRT_TEST_DATA");
  return elsewhere != nullptr ? elsewhere : SEGRT_SOURCE_DIR;
}

}  // namespace segrt::test
