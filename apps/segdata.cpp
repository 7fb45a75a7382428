// segdata: prepares data sets (cityscapes, camvid, coco_stuff10k, coco_stuff164k), looks at them (info, stats, check)
// and decodes them once for all (cache).
#include "apps/command_line.h"
#include "apps/segdata/commands.h"
#include "core/parallel.h"

int main(int argc, char** argv) {
  using namespace segrt;
  CLI::App app("Prepares datasets and looks at them.", "segdata");
  app.require_subcommand(1);
  std::vector<apps::Command> commands;
  apps::add_converters(app, commands);
  apps::add_info(app, commands);
  apps::add_check(app, commands);
  apps::add_cache(app, commands);
  int threads = 0;
  for (const apps::Command& command : commands)
    command.parser->add_option("--threads", threads, "CPU threads; 0: all cores")
        ->capture_default_str()
        ->check(CLI::Range(0, 1024));
  return apps::run_program(app, argc, argv, [&] {
    set_threads(threads);
    for (const apps::Command& command : commands)
      if (command.parser->parsed()) return command.run();
    return 0;
  });
}
