// A classifier's layers as a backbone that is run stage by stage, so that a network may put its own layers between.
#pragma once

#include <array>
#include <functional>
#include <string>
#include <string_view>

#include "nn/module.h"

namespace segrt::models {

class Trunk : public nn::Module {
 public:
  // Told the name ("layer1") and value of intermediate maps.
  using Tap = std::function<void(std::string_view name, const Var& value)>;

  virtual Var stem(const Var& image, const Tap& tap) const = 0;  // [N,H,W,3] -> [N,H/2,W/2,channels()[0]]
  // n = 1..4: [N,H/2^n,W/2^n,channels()[n-1]] -> [N,H/2^(n+1),W/2^(n+1),channels()[n]]; odd sides are rounded up.
  virtual Var stage(int n, const Var& x, const Tap& tap) const = 0;
  virtual std::array<int, 5> channels() const = 0;

  // Whether a tensor of the published ImageNet checkpoint belongs to the classifier alone. All others have the names
  // of this module's own.
  virtual bool ignores_pretrained(const std::string& file_name) const = 0;
};

}  // namespace segrt::models
