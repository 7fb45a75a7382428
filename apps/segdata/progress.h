// How far a command has come.
#pragma once

#include <cstdint>
#include <functional>
#include <string>

namespace segrt::apps {

// A line on a terminal, "train [#########...........] 1200/2975  41.3/s  0:43 left", that is overwritten in place a few
// times a second and gone at the end; null where stderr is no terminal. Called from one thread at a time.
std::function<void(int64_t done, int64_t total)> progress_bar(const std::string& what);

}  // namespace segrt::apps
