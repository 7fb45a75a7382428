// The table from a model's name to its family.
#include <algorithm>

#include "models/dabnet.h"
#include "models/dgmn2.h"
#include "models/drn.h"
#include "models/dynamic_routing.h"
#include "models/model.h"

namespace segrt::models {
namespace {
using Builder = std::unique_ptr<Model> (*)(const std::string& name, Task task, int classes, const Config& options,
                                           nn::Init& init);
struct Family {
  std::vector<std::string> (*names)();
  Builder build;
};
constexpr Family kFamilies[] = {
    {dabnet_names, build_dabnet},
    {dgmn2_names, build_dgmn2},
    {drn_names, build_drn},
    {dynamic_routing_names, build_dynamic_routing},
};
}  // namespace

std::vector<std::string> known_models() {
  std::vector<std::string> names;
  for (const Family& family : kFamilies)
    for (std::string& name : family.names()) names.push_back(std::move(name));
  return names;
}

Task task_of(const Config& table) {
  const std::string task = table.choice("task", {"segmentation", "classification"}, {.fallback = "segmentation"});
  return task == "segmentation" ? Task::segmentation : Task::classification;
}

std::unique_ptr<Model> build(const Config& table, nn::Init& init) {
  const std::string name = table.choice("name", known_models());
  const Task task = task_of(table);
  const int classes = table.integer32("classes", {.min = 1, .max = task == Task::segmentation ? 255 : 1 << 20});
  for (const Family& family : kFamilies) {
    const std::vector<std::string> names = family.names();
    if (std::find(names.begin(), names.end(), name) != names.end())
      return family.build(name, task, classes, table, init);
  }
  throw table.error("name", "a known model", name);
}

}  // namespace segrt::models
