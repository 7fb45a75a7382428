// segmodel export-onnx CHECKPOINT OUT.onnx
#pragma once

#include <functional>

#include "apps/command_line.h"

namespace segrt::apps {

// Adds the command to `app`. What it returns does the work once the command line is parsed.
std::function<int()> add_export_onnx(CLI::App& app);

}  // namespace segrt::apps
