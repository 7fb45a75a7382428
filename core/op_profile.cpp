#include "core/op_profile.h"

#include <exception>
#include <utility>

namespace segrt {

OpProfile::OpProfile(Device& device, std::vector<ProfiledCommunicator> communicators)
    : device_(device), communicators_(std::move(communicators)), clock_(device) {
  device_.synchronize();  // what has been queued before is not part of it
  clock_.mark();          // the origin
  for (const ProfiledCommunicator& c : communicators_) c.communicator->start_recording();
  device_.state<ScopeStack>().add(*this);
}

OpProfile::~OpProfile() {
  if (!listening_) return;
  device_.state<ScopeStack>().remove(*this);
  if (std::uncaught_exceptions() > 0) return;  // what is under way may never end
  for (const ProfiledCommunicator& c : communicators_) c.communicator->stop_recording();
}

void OpProfile::enter(const Scope& scope) {
  ProfileSpan span{.kind = scope.kind(),
                   .name = std::string(scope.name()),
                   .module = std::string(scope.module()),
                   .backward = scope.backward(),
                   .output = {},
                   .work = scope.work(),
                   .depth = static_cast<int>(open_.size())};
  if (const Tensor* y = scope.output()) span.output = std::string(to_string(y->dtype())) + " " + to_string(y->shape());
  span.inner = scope.kind() == Scope::Kind::op && !open_.empty() && spans_[open_.back()].kind == Scope::Kind::op;
  open_.push_back(spans_.size());
  spans_.push_back(std::move(span));
  marks_.push_back({clock_.mark(), 0});
}

void OpProfile::leave(const Scope&) noexcept {
  if (open_.empty()) return;  // entered before the profile began
  try {
    marks_[open_.back()].end = clock_.mark();
  } catch (const std::exception&) {
    marks_[open_.back()].end = 0;  // the device has failed, and says so elsewhere
  }
  open_.pop_back();
}

void OpProfile::stop() {
  if (!listening_) return;
  device_.state<ScopeStack>().remove(*this);
  listening_ = false;
  device_.synchronize();
  for (const ProfiledCommunicator& c : communicators_)
    communication_.push_back({c.name, c.communicator->stop_recording()});
  for (size_t i = 0; i < spans_.size(); ++i) {
    spans_[i].start_ms = clock_.ms(0, marks_[i].start);
    spans_[i].end_ms = marks_[i].end == 0 ? spans_[i].start_ms : clock_.ms(0, marks_[i].end);
  }
}

}  // namespace segrt
