// The rule by which a library's plan or our own kernel is chosen, on plans and times that are made up.
#include "kernels/vendor/choice.h"

#include <doctest/doctest.h>

#include <algorithm>
#include <vector>

namespace segrt::kernels::vendor {
namespace {
struct MadeUpPlan {
  int number = 0;
  bool has_text = true;
};
std::string text_of(const MadeUpPlan& plan) {
  if (!plan.has_text) throw VendorError("made up");
  return "plan " + std::to_string(plan.number);
}

// Plans 0, 1, 2...; the library says of a negative time that it cannot do it after all.
struct Library {
  double own_ms;
  std::vector<double> plan_ms;
  std::vector<int> compiled = {};
  bool texts = true;
  std::vector<int> measured = {};

  Candidates<MadeUpPlan> candidates() const {
    return [this](const Consider<MadeUpPlan>& consider) {
      for (int i = 0; i < static_cast<int>(plan_ms.size()); ++i) {
        const bool slow = std::find(compiled.begin(), compiled.end(), i) != compiled.end();
        if (!consider({{i, texts}, "engine " + std::to_string(i), slow})) return;
      }
    };
  }
  Chosen<MadeUpPlan> fastest() {
    return fastest_of<MadeUpPlan>(candidates(), [&](const MadeUpPlan* plan, double) {
      if (plan == nullptr) return own_ms;
      measured.push_back(plan->number);
      const double ms = plan_ms[static_cast<size_t>(plan->number)];
      if (ms < 0) throw VendorError("made up");
      return ms;
    });
  }
};
}  // namespace

TEST_CASE("choice: the fastest wins, and is kept as text") {
  Library library{.own_ms = 5, .plan_ms = {4, 3, 1, 2}};
  const Chosen<MadeUpPlan> chosen = library.fastest();
  REQUIRE(chosen.plan.has_value());
  CHECK(chosen.plan->number == 2);
  CHECK(chosen.choice.engine == "engine 2");
  CHECK(chosen.choice.plan == "plan 2");
  CHECK(chosen.choice.plan_ms == 1);
  CHECK(chosen.choice.own_ms == 5);
}

TEST_CASE("choice: our own kernel, where it is as fast or nothing else works") {
  for (const std::vector<double>& times : {std::vector<double>{4, 3, 1, 2}, {-1, -1}, {}}) {
    Library library{.own_ms = 1, .plan_ms = times};
    const Chosen<MadeUpPlan> chosen = library.fastest();
    CHECK(!chosen.plan.has_value());
    CHECK(chosen.choice.engine == "");
    CHECK(chosen.choice.plan == "");
    CHECK(chosen.choice.plan_ms == (times.size() == 4 ? 1 : 0));
    CHECK(chosen.choice.own_ms == 1);
  }
}

TEST_CASE("choice: ten plans are timed, three compiled ones, and refused ones do not count") {
  Library many{.own_ms = 5, .plan_ms = std::vector<double>(20, 4)};
  many.fastest();
  CHECK(many.measured.size() == 10);
  Library slow{.own_ms = 5, .plan_ms = std::vector<double>(20, 4), .compiled = {1, 2, 4, 5}};
  slow.fastest();
  CHECK(slow.measured == std::vector<int>{0, 1, 2, 3, 4});
  Library failing{.own_ms = 5, .plan_ms = std::vector<double>(20, -1)};
  failing.fastest();
  CHECK(failing.measured.size() == 20);
}

TEST_CASE("choice: a plan without text is chosen all the same") {
  Library library{.own_ms = 5, .plan_ms = {2}, .texts = false};
  const Chosen<MadeUpPlan> chosen = library.fastest();
  CHECK(chosen.plan.has_value());
  CHECK(chosen.choice.plan == "");
}

TEST_CASE("choice: without a clock, the first") {
  const Library library{.own_ms = 0, .plan_ms = {9, 1}};
  const Chosen<MadeUpPlan> first = first_of<MadeUpPlan>(library.candidates());
  REQUIRE(first.plan.has_value());
  CHECK(first.plan->number == 0);
  CHECK(first.choice.engine == "engine 0");
  CHECK(first.choice.own_ms == 0);
  CHECK(!first_of<MadeUpPlan>(Library{.own_ms = 0, .plan_ms = {}}.candidates()).plan.has_value());
}

TEST_CASE("choice: an error that is not the library's ends it") {
  Library library{.own_ms = 5, .plan_ms = {1}};
  CHECK_THROWS_AS(fastest_of<MadeUpPlan>(library.candidates(),
                                         [](const MadeUpPlan* plan, double) -> double {
                                           if (plan != nullptr) throw DeviceError("out of memory");
                                           return 1;
                                         }),
                  DeviceError);
}

}  // namespace segrt::kernels::vendor
