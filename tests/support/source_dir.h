// Where the files lie that tests read: the source tree, or SEGRT_TEST_DATA where that is not at hand (a bundle on
// another machine).
#pragma once

#include <string>

namespace segrt::test {

std::string source_dir();

}  // namespace segrt::test
