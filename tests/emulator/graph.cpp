#include "graph.h"

#include <fmt/format.h>

#include <algorithm>
#include <unordered_map>

#include "emulator/thread.h"
#include "launch.h"
#include "runtime.h"

namespace segrt::emulator {
namespace {

std::vector<Condition*> conditions_of(const Graph& graph) {
  std::vector<Condition*> all;
  for (const auto& node : graph.nodes) {
    if (!node->body) continue;
    all.push_back(&runtime().conditions.at(node->condition));
    const std::vector<Condition*> inner = conditions_of(*node->body);
    all.insert(all.end(), inner.begin(), inner.end());
  }
  return all;
}

void run_nodes(const Graph& graph, Random& random) {
  std::unordered_map<const GraphNode*, std::vector<const GraphNode*>> next;
  std::unordered_map<const GraphNode*, size_t> waits_for;
  std::vector<const GraphNode*> ready;
  for (const auto& node : graph.nodes) {
    waits_for[node.get()] = node->after.size();
    for (const GraphNode* before : node->after) next[before].push_back(node.get());
    if (node->after.empty()) ready.push_back(node.get());
  }
  while (!ready.empty()) {
    std::swap(ready[random.below(static_cast<uint32_t>(ready.size()))], ready.back());
    const GraphNode* node = ready.back();
    ready.pop_back();
    if (!node->body)
      node->run();
    else if (runtime().conditions.at(node->condition).value != 0)
      run_nodes(*node->body, random);
    for (const GraphNode* after : next[node])
      if (--waits_for[after] == 0) ready.push_back(after);
  }
}

}  // namespace

GraphNode& Graph::add(std::vector<const GraphNode*> after) {
  nodes.push_back(std::make_unique<GraphNode>());
  nodes.back()->after = std::move(after);
  return *nodes.back();
}

bool Graph::contains(const GraphNode* node) const {
  return std::any_of(nodes.begin(), nodes.end(), [node](const auto& n) { return n.get() == node; });
}

void run_graph(const Graph& graph, Random& random) {
  const std::vector<Condition*> conditions = conditions_of(graph);
  const auto launched = [&conditions](bool on) {
    for (Condition* c : conditions) c->launched = on;
  };
  for (Condition* c : conditions)
    if (c->assigned_at_launch) c->value = c->initial;
  launched(true);
  try {
    run_nodes(graph, random);
  } catch (...) {
    launched(false);
    throw;
  }
  launched(false);
}

void set_condition(uint64_t handle, unsigned value, const Site& site) {
  this_thread();  // inside a kernel
  const auto found = runtime().conditions.find(handle);
  if (found == runtime().conditions.end()) fail("set_graph_condition: no such handle", site);
  Condition& condition = found->second;
  if (!condition.launched) fail("set_graph_condition: the kernel does not run in a graph with this condition", site);
  if (condition.set_by == running_launch->number + 1)
    fail("set_graph_condition: two threads of a kernel set the same condition", site);
  condition.set_by = running_launch->number + 1;
  condition.value = value;
}

}  // namespace segrt::emulator
