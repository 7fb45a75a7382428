#!/usr/bin/env python3
"""How efficient data-parallel training of a network would be on 8 to 1024 GPUs: an estimate from one GPU's step time and an alpha-beta model of the links.

usage: bench/scaling_estimate.py SEGMODEL CONFIG --step-ms MS [options]
       e.g. bench/scaling_estimate.py build/release/apps/segmodel models/dabnet_r_p2.toml --step-ms 60 --norm-messages 42 --plot docs/images/scaling_estimate.png

--step-ms is the time of a training step of one GPU at the batch that each GPU keeps (weak scaling), measured: segbench --mode train.

Messages: gradients in flat buckets, ring all-reduce; synchronised batch norms one message forward (2C+1 floats) and one backward (2C) each, tree all-reduce;
batched (train.sync_bn_batched, the default) as many of both as --norm-messages says: docs/scale_out.md counts them for each network.
A message of n bytes among P GPUs in nodes of G:
  ring   2 (P-1) alpha + 2 (P-1)/P n beta     with the slowest link's alpha and beta; within a node alone NVLink's
  tree   2 log2(P) alpha + 2 n beta            for the small ones
Gradients can hide behind the backward pass from when their layers are done; batch norms' messages cannot: the next layer waits for them.
What is assumed and not measured: all of alpha and beta, the share of the backward pass in a step (2/3), and that communication takes no SMs from computation.
"""
import argparse
import json
import math
import re
import subprocess

LINKS = {"nvlink": (3e-6, 1 / 360e9), "infiniband": (6e-6, 1 / 45e9)}  # seconds a message and a byte, of one GPU: NVLink 4, one NDR 400 port


def read_state(segmodel, config, sets):
    """(bytes of each trained tensor in order, channels of each batch norm)"""
    command = [segmodel, "state", config] + [x for s in sets for x in ("--set", s)]
    lines = subprocess.run(command, check=True, capture_output=True, text=True).stdout.splitlines()
    gradients, norms = [], []
    for line in lines:
        name, _, shape, *buffer = line.split()
        sizes = [int(x) for x in re.findall(r"\d+", shape)]
        if not buffer:
            gradients.append(4 * math.prod(sizes))
        elif name.endswith(".running_mean"):
            norms.append(sizes[0])
    return gradients, norms


def buckets_of(gradients, limit):
    """Bytes of each bucket in the order in which the backward pass fills them, and the share of the parameters that is done then."""
    buckets, open_bytes, done, total = [], 0, 0, sum(gradients)
    for g in reversed(gradients):
        open_bytes += g
        done += g
        if open_bytes >= limit:
            buckets.append((open_bytes, done / total))
            open_bytes = 0
    if open_bytes:
        buckets.append((open_bytes, 1.0))
    return buckets


def link(gpus, per_node):
    return LINKS["nvlink"] if gpus <= per_node else LINKS["infiniband"]


def ring(n, gpus, per_node):
    alpha, beta = link(gpus, per_node)
    return 0 if gpus == 1 else 2 * (gpus - 1) * alpha + 2 * (gpus - 1) / gpus * n * beta


def tree(n, gpus, per_node):
    if gpus == 1:
        return 0
    inside, outside = min(gpus, per_node), max(1, gpus // per_node)
    time = 2 * math.log2(inside) * LINKS["nvlink"][0] + 2 * n * LINKS["nvlink"][1]
    return time + (2 * math.log2(outside) * LINKS["infiniband"][0] + 2 * n * LINKS["infiniband"][1] if outside > 1 else 0)


def large(n, gpus, per_node):
    """The faster algorithm, as NCCL chooses."""
    return min(ring(n, gpus, per_node), tree(n, gpus, per_node))


def norm_seconds(norms, messages, gpus, per_node):
    """`messages` forward and as many backward, which share the numbers of all norms evenly."""
    forward, backward = 4 * sum(2 * c + 1 for c in norms), 4 * sum(2 * c for c in norms)
    return messages * (tree(forward / messages, gpus, per_node) + tree(backward / messages, gpus, per_node))


def step_seconds(a, gradients, norms, gpus, overlap, batched):
    compute = a.step_ms / 1e3
    norm_time = norm_seconds(norms, a.norm_messages if batched else len(norms), gpus, a.per_node) if norms else 0
    buckets = buckets_of(gradients, a.bucket_mb * 2**20 if overlap else float("inf"))
    if not overlap:
        return compute + norm_time + sum(large(n, gpus, a.per_node) for n, _ in buckets)
    backward_start, backward = compute / 3 + norm_time / 2, 2 * compute / 3 + norm_time / 2
    end = 0
    for n, done in buckets:  # each waits for its gradients and for the bucket before it
        end = max(end, backward_start + done * backward) + large(n, gpus, a.per_node)
    return max(end, compute + norm_time)


CASES = [("no overlap", False, False), ("overlap", True, False), ("no overlap, batched norms", False, True), ("overlap, batched norms", True, True)]


def plot(path, name, rows):
    import matplotlib
    matplotlib.use("Agg")
    import matplotlib.pyplot as plt
    figure, axes = plt.subplots(figsize=(6, 4))
    for case, _, _ in CASES:
        axes.plot([r["gpus"] for r in rows], [100 * r[case] for r in rows], marker="o", label=case)
    axes.set(xscale="log", xlabel="GPUs", ylabel="efficiency, %", ylim=(0, 102), title=f"{name}: estimate, not measured")
    axes.set_xscale("log", base=2)
    axes.grid(True)
    axes.legend()
    figure.tight_layout()
    figure.savefig(path, dpi=110)


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("segmodel")
    p.add_argument("config")
    p.add_argument("--set", action="append", default=[], help="as segmodel's")
    p.add_argument("--step-ms", type=float, required=True)
    p.add_argument("--bucket-mb", type=float, default=16)
    p.add_argument("--per-node", type=int, default=8)
    p.add_argument("--norm-messages", type=int, required=True, help="of batched norms forward, and as many backward: the table of docs/scale_out.md")
    p.add_argument("--json")
    p.add_argument("--plot")
    a = p.parse_args()
    gradients, norms = read_state(a.segmodel, a.config, a.set)
    if not 0 <= a.norm_messages <= len(norms) or (norms and a.norm_messages == 0):
        p.error(f"--norm-messages: expected 1 to {len(norms)}, the batch norms of {a.config}, got {a.norm_messages}")
    sizes = [n for n, _ in buckets_of(gradients, a.bucket_mb * 2**20)]
    print(f"{a.config}: {sum(gradients) / 2**20:.1f} MiB of gradients in {len(sizes)} buckets, {len(norms)} batch norms of {sum(norms)} channels, batched in {a.norm_messages} messages each way; step {a.step_ms} ms on one GPU")
    rows = []
    print("| GPUs | " + " | ".join(case for case, _, _ in CASES) + " |\n|---" + "|---" * len(CASES) + "|")
    for gpus in (8, 16, 32, 64, 128, 256, 512, 1024):
        row = {"gpus": gpus}
        for case, overlap, batched in CASES:
            row[case] = a.step_ms / 1e3 / step_seconds(a, gradients, norms, gpus, overlap, batched)
        rows.append(row)
        print(f"| {gpus} | " + " | ".join(f"{100 * row[case]:.1f} %" for case, _, _ in CASES) + " |")
    if a.json:
        with open(a.json, "w", encoding="utf-8") as f:
            json.dump({"config": a.config, "step_ms": a.step_ms, "gradient_bytes": sum(gradients), "bucket_bytes": sizes, "norm_channels": norms, "norm_messages": a.norm_messages, "links": LINKS, "rows": rows}, f, indent=1)
    if a.plot:
        plot(a.plot, a.config, rows)


if __name__ == "__main__":
    main()
