// The commands of segdata. Each function adds some to the command line.
#pragma once

#include <CLI/CLI.hpp>
#include <functional>
#include <vector>

namespace segrt::apps {

struct Command {
  CLI::App* parser;          // of its arguments
  std::function<int()> run;  // called when it was given; returns the exit code
};

void add_converters(CLI::App& app, std::vector<Command>& commands);  // cityscapes, camvid, coco_stuff10k, ...164k
void add_info(CLI::App& app, std::vector<Command>& commands);        // info and stats
void add_check(CLI::App& app, std::vector<Command>& commands);
void add_cache(CLI::App& app, std::vector<Command>& commands);

}  // namespace segrt::apps
