// Graphs: work that was captured from streams, in the order of its dependencies, to be run again and again.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <vector>

#include "random.h"

namespace segrt::emulator {

enum class Work : uint8_t { kernel, copy, fill, release };  // what streams and graphs do

struct Graph;

struct GraphNode {
  std::function<void()> run;  // of a plain node
  std::vector<const GraphNode*> after;
  uint64_t condition = 0;  // of an IF node: its handle, else 0
  std::unique_ptr<Graph> body{};
  Graph* body_handle = nullptr;  // what the program's params.conditional.phGraph_out points to
};

struct Graph {
  bool is_body = false;
  std::vector<std::unique_ptr<GraphNode>> nodes;
  std::vector<uint64_t> conditions;  // handles made for this graph

  GraphNode& add(std::vector<const GraphNode*> after);
  bool contains(const GraphNode* node) const;
};

struct GraphExec {
  std::shared_ptr<const Graph> graph;
};

// The value behind a conditional handle.
struct Condition {
  unsigned initial = 0;
  bool assigned_at_launch = false;
  unsigned value = 0;
  bool launched = false;    // while a graph that has it runs
  uint64_t set_by = 0;      // the launch that set it last, counted from 1
  const GraphNode* node{};  // whose condition it is
};

// What a stream that is being captured adds to.
struct Capture {
  Graph* graph;
  std::unique_ptr<Graph> own{};        // graph, where the capture made it
  std::vector<const GraphNode*> tail;  // the next node comes after these
  bool relaxed = false;
  bool invalidated = false;
};

// Runs the nodes once, in an order picked at random among those that the dependencies allow.
void run_graph(const Graph& graph, Random& random);

}  // namespace segrt::emulator
