#!/usr/bin/env python3
"""What the budget loss of Dynamic Routing buys: the quickstart network trained with and without it, in one table.

usage: bench/dynamic_budget.py [--bin build/release/apps] [--output runs/dynamic_budget] [--json bench/results/NAME.json] [segtrain options...]

Both runs have the same seed, data and number of steps; only model.budget_weight differs. Needs nothing but Python's standard library.
"""
import argparse
import json
import os
import subprocess
import time

HERE = os.path.dirname(os.path.abspath(__file__))
CONFIG = os.path.join(HERE, "..", "models", "dynamic_quickstart.toml")


def run(a, name, options, extra):
    """Trains and evaluates (multi-scale, mirrored) one network; returns segeval's figures and the times."""
    folder = os.path.join(a.output, name)
    scores = os.path.join(a.output, name + ".json")
    start = time.time()
    subprocess.run([os.path.join(a.bin, "segtrain"), CONFIG, "-o", folder, *options, *extra], check=True)
    trained = time.time()
    device = extra[extra.index("--device"):][:2] if "--device" in extra else []
    subprocess.run([os.path.join(a.bin, "segeval"), folder, "--ms", "--flip", "--json", scores,
                    "--routing", os.path.join(a.output, name + "_routing.png"), *device], check=True)
    result = json.load(open(scores))
    del result["checkpoint"]  # a path of this machine
    result["train_seconds"], result["eval_seconds"] = trained - start, time.time() - trained
    return result


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--bin", default=os.path.join(HERE, "..", "build", "release", "apps"))
    p.add_argument("--output", default="runs/dynamic_budget")
    p.add_argument("--json")
    a, extra = p.parse_known_args()
    os.makedirs(a.output, exist_ok=True)
    runs = {"without": run(a, "without", ["--set", "model.budget_weight=0"], extra), "with": run(a, "with", [], extra)}

    print(f"\n{'budget':<8} {'mIoU %':>7} {'aAcc %':>7} {'real GFLOPs: mean':>18} {'min':>7} {'max':>7} {'executed GMACs':>15} {'minutes':>8}")
    for name, r in runs.items():
        real, executed = r["measured"]["real_gflops"], r["measured"]["executed_gmacs"]
        minutes = (r["train_seconds"] + r["eval_seconds"]) / 60
        print(f"{name:<8} {100 * r['miou']:>7.2f} {100 * r['aacc']:>7.2f} {real['mean']:>18.4f} {real['min']:>7.4f} {real['max']:>7.4f} "
              f"{executed['mean']:>15.4f} {minutes:>8.1f}")
    saved = 1 - runs["with"]["measured"]["real_gflops"]["mean"] / runs["without"]["measured"]["real_gflops"]["mean"]
    print(f"The budget saves {100 * saved:.1f} % of the real GFLOPs for {100 * (runs['without']['miou'] - runs['with']['miou']):.2f} points of mIoU.")
    if a.json:
        os.makedirs(os.path.dirname(os.path.abspath(a.json)), exist_ok=True)
        json.dump({"config": "models/dynamic_quickstart.toml", "options": extra, "saved_share": saved, "runs": runs}, open(a.json, "w"), indent=1)


if __name__ == "__main__":
    main()
