#!/usr/bin/env python3
"""Latency of the DABNet family at the published sizes: ours (median of single runs, image to class map) beside the FPS protocol of the paper.

usage: bench/dabnet_latency.py SEGBENCH [--device cpu] [--threads 2] [--repeat 9] [--json bench/results/NAME.json]

The published protocol times the network to logits at input size and takes the mean of one long loop; on a slow device that is minutes a row.
"""
import argparse
import json
import os
import subprocess
import sys
import tempfile

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from pytorch_cpu import machine  # noqa: E402

FULL, COCO, CAMVID = "1x1024x2048", "1x640x640", "1x768x960"
ROWS = [(f"dabnet_r_p{p}", FULL) for p in (1, 2, 4, 8, 16)] + [("dabnet_e", FULL), ("dabnet_r_p2_coco10k", COCO), ("dabnet_e_coco10k", COCO),
                                                               ("dabnet_r_p2_camvid", CAMVID), ("dabnet_e_camvid", CAMVID)]


def segbench(a, config, size, *options):
    with tempfile.NamedTemporaryFile(suffix=".json") as out:
        subprocess.run([a.segbench, f"models/{config}.toml", "--device", a.device, "--threads", str(a.threads), "--mode", "latency", "--input", size, "--json", out.name,
                        *options], check=True, stdout=subprocess.DEVNULL)
        return json.load(out)


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("segbench")
    p.add_argument("--device", default="cpu")
    p.add_argument("--threads", type=int, default=2)
    p.add_argument("--repeat", type=int, default=9)
    p.add_argument("--only", help="configurations whose name contains this")
    p.add_argument("--json")
    a = p.parse_args()
    report = {"machine": machine(), "device": a.device, "threads": a.threads, "rows": []}
    print("| network | image | median ms | p95 | FPS (1000 / median) | FPS by the paper's protocol |\n|---|---|---|---|---|---|")
    for config, size in ROWS:
        if a.only and a.only not in config:
            continue
        ours = segbench(a, config, size, "--repeat", str(a.repeat), "--warmup", "2")
        published = segbench(a, config, size, "--protocol", "fasterseg")
        report["rows"].append({"config": config, "input": size, "median": ours, "fasterseg": published, "load_average": os.getloadavg()[0]})
        print(f"| `{config}` | {size[2:]} | {ours['median_ms']:.1f} | {ours['p95_ms']:.1f} | {ours['fps']:.2f} | {published['fps']:.2f} |", flush=True)
    if a.json:
        with open(a.json, "w", encoding="utf-8") as f:
            json.dump(report, f, indent=1)


if __name__ == "__main__":
    main()
