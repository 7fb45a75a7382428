#!/usr/bin/env python3
"""How much of the gradients' messages a training step hides behind its backward pass, from the trace of segtrain --profile with several processes.

usage: scripts/overlap.py TRACE.json

A line a step: the backward pass; the messages of gradients in all, and what of them ran inside it; the rest of the step's waiting (sum_gradients: what was
still under way when the backward pass was over). Exits with 1 where no message started and ended inside a backward pass.
"""
import json
import sys


def main():
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    with open(sys.argv[1], encoding="utf-8") as f:
        events = json.load(f)["traceEvents"]
    tracks = {e["tid"]: e["args"]["name"] for e in events if e["name"] == "thread_name"}
    spans = [(e["name"], tracks[e["tid"]], e["ts"] / 1e3, (e["ts"] + e["dur"]) / 1e3, e["args"]) for e in events if e["ph"] == "X"]
    passes = [(start, end) for name, _, start, end, _ in spans if name == "backward_pass"]
    waits = [(start, end) for name, _, start, end, _ in spans if name == "sum_gradients"]
    messages = [(start, end, args["bytes"]) for name, track, start, end, args in spans if track == "gradients" and name.startswith("bucket")]
    norms = [end - start for _, track, start, end, _ in spans if track == "norms and losses"]
    hidden = False
    for k, (start, end) in enumerate(passes):
        following = passes[k + 1][0] if k + 1 < len(passes) else float("inf")
        own = [m for m in messages if start <= m[0] < following]
        inside = [m for m in own if m[1] <= end]
        hidden = hidden or bool(inside)
        total = sum(e - s for s, e, _ in own)
        within = sum(max(0.0, min(e, end) - s) for s, e, _ in own if s < end)
        waited = sum(e - s for s, e in waits if start <= s < following)
        print(f"step {k + 1}: backward pass {end - start:.1f} ms; {len(own)} messages of {sum(b for _, _, b in own) / 2**20:.1f} MiB, {total:.1f} ms, "
              f"of which {within:.1f} ms inside it ({len(inside)} whole); then waited {waited:.1f} ms")
    print(f"norms and losses: {len(norms)} messages, {sum(norms):.1f} ms in all, for {len(passes)} steps")
    if not hidden:
        sys.exit("no message of gradients started and ended inside a backward pass")


if __name__ == "__main__":
    main()
