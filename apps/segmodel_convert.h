// segmodel convert IN OUT: weights from one file format to another.
#pragma once

#include <CLI/CLI.hpp>
#include <string>

namespace segrt::apps {

struct ConvertArguments {
  std::string in, out;
  bool all = false;
};
CLI::App& add_convert_command(CLI::App& app, ConvertArguments& arguments);

// Throws FileError, and ArgumentError for an OUT whose name says no format.
int convert(const ConvertArguments& arguments);

}  // namespace segrt::apps
