// segmodel convert IN OUT: weights from one file format to another.
#pragma once

#include <CLI/CLI.hpp>
#include <functional>

namespace segrt::apps {

// Adds the command to `app`. What it returns does the work once the command line is parsed. It throws FileError, and
// ArgumentError for an OUT whose name says no format.
std::function<int()> add_convert(CLI::App& app);

}  // namespace segrt::apps
