// Where the files lie that tests read: the source tree, or SEGRT_TEST_DATA where that is not at hand (a bundle on
// another machine).
#pragma once

#include <cstdlib>
#include <string>

namespace segrt::test {

inline std::string source_dir() {
  const char* elsewhere = std::getenv("SEGRT_TEST_DATA");
  return elsewhere != nullptr ? elsewhere : SEGRT_SOURCE_DIR;
}

}  // namespace segrt::test
