// How far float32 strays on a network: what its results do when every parameter moves by one unit in the last place.
// Deep networks amplify rounding (ReLUs flip, training steps diverge) by factors that differ from file to file, so a
// fixed tolerance is too tight for one and too loose for another.
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "models/model.h"

namespace segrt::golden {

using Results = std::map<std::string, std::vector<double>>;
using BuildNetwork = std::function<std::unique_ptr<models::Model>()>;  // in the file's state

double median_relative_error(const std::vector<double>& got, const std::vector<double>& expected);

class Sensitivity {
 public:
  using Compute = std::function<Results(models::Model&)>;
  // `exact`: what `compute` gave on the network as it is. All three are referred to.
  Sensitivity(const BuildNetwork& build, const Compute& compute, const Results& exact)
      : build_(build), compute_(compute), exact_(exact) {}

  // The error that result `name` is allowed against `expected`: `stated` where that is enough. Where not, ten times the
  // largest deviation among three networks, each parameter of which is its neighbour above or below at random, within
  // `stated` and `most`.
  // Measured as the largest error, relative beyond 1, where neither is NaN;
  double max_error(const std::string& name, const std::vector<double>& expected, double stated, double most);
  // as relative L2 error of the list as a whole;
  double relative_l2(const std::string& name, const std::vector<double>& expected, double stated, double most);
  // as the largest error of an entry, relative to it and `floor` together.
  double entries(const std::string& name, const std::vector<double>& expected, double floor, double stated,
                 double most);

  // as the median of the entries' relative errors.
  double median(const std::string& name, const std::vector<double>& expected, double stated, double most);

 private:
  using Error = std::function<double(const std::vector<double>&, const std::vector<double>&)>;
  double allowed(const std::string& name, const std::vector<double>& expected, double stated, double most,
                 const Error& error);

  const BuildNetwork& build_;
  const Compute& compute_;
  const Results& exact_;
  std::vector<Results> moved_;  // empty until they are needed
};

}  // namespace segrt::golden
