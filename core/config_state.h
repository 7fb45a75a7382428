// What all views of one configuration share. Internal to core.
#pragma once

#include <map>
#include <string>

#include "core/config.h"
#include "core/config_keys.h"
#include "core/config_tree.h"

namespace segrt {

struct Config::State {
  std::string name;
  ConfigNode root;
  ConfigKeys keys;                              // what accessors asked for
  std::map<std::string, ConfigNode> fallbacks;  // used where the file has no value, by full key
};

}  // namespace segrt
