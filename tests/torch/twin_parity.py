#!/usr/bin/env python3
"""Published networks without a golden file of their authors' code, against the PyTorch twins.

usage: tests/torch/twin_parity.py SEGRT_GOLDEN SHARED [FOLDER] [--quick | --only WORDS] [--json bench/results/twin_parity.json]

Makes the file of each network with dabnet_golden.py or dgmn2_golden.py, one at a time (the largest takes 11 GB), runs SEGRT_GOLDEN on it and
collects the results in the form of `segrt_golden --json`, to which --json adds: rows of other networks stay as they are. --quick: some small
ones, among them such as no one has published scores of. Status 1 when a check fails, 77 without the twins (SHARED/peer). Needs torch.
"""
import argparse
import json
import os
import subprocess
import sys
import tempfile

HERE = os.path.dirname(os.path.abspath(__file__))
# (family, network, options of its golden file). Sides are what the patch size asks for.
CASES = [("dabnet", f"DABNet_R_P{p}", ["--size", *size.split()])
         for p, size in ((1, "4 64 96"), (4, "4 128 128"), (8, "4 256 256"), (16, "2 512 512"))]
CASES += [("dabnet", f"DABNet_{variant}", ["--size", *size.split()])
          for variant, size in (("baseline", "4 61 83"), ("Image", "4 66 90"), ("PCE", "4 64 128"), ("Channel", "4 64 128"),
                                ("Spatial", "4 64 64"))]
CASES += [("dgmn2", f"{head}_dgmn2_{size}", ["--size", *image.split()])
          for size in ("small", "medium", "large")
          for head, image in (("fpn", "64 96"), ("setr_naive", "40 72"), ("setr_pup", "33 49"), ("setr_mla", "72 104"))]
CASES += [("dgmn2", f"dgmn2_{size}", []) for size in ("small", "medium", "large")]
QUICK = [("dabnet", f"DABNet_{variant}", options.split())
         for variant, options in (("FCN", "--size 4 72 104 --classes 11"), ("baseline", "--size 4 61 83 --classes 11"),
                                  ("PCE0", "--size 4 72 88"), ("Channel", "--size 4 64 128"), ("Spatial", "--size 4 64 64 --classes 11"))]
QUICK += [("dgmn2", "fpn_dgmn2_tiny", ["--size", "40", "72"])]


def results(path):
    if not path or not os.path.exists(path):
        return []
    with open(path, encoding="utf-8") as f:
        return json.load(f)


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("segrt_golden")
    p.add_argument("shared")
    p.add_argument("folder", nargs="?", help="for the files; a temporary one")
    p.add_argument("--only", help="networks whose name contains this")
    p.add_argument("--quick", action="store_true")
    p.add_argument("--json")
    a = p.parse_intermixed_args()
    if not os.path.isdir(os.path.join(a.shared, "peer")):
        print("no PyTorch twins in", a.shared)
        sys.exit(77)
    failed = []
    for family, name, options in QUICK if a.quick else CASES:
        if a.only and a.only not in name:
            continue
        with tempfile.TemporaryDirectory(dir=a.folder) as folder:
            made, report = os.path.join(folder, name + ".safetensors"), os.path.join(folder, "report.json")
            subprocess.run([sys.executable, os.path.join(HERE, family + "_golden.py"), a.shared, name, made, *options], check=True)
            if subprocess.run([a.segrt_golden, "--json", report, made]).returncode != 0:
                failed.append(name)
            new = results(report)
        if a.json:
            known = {r["model"]: r for r in results(a.json)} | {r["model"]: r for r in new}
            with open(a.json, "w", encoding="utf-8") as f:
                json.dump(sorted(known.values(), key=lambda r: r["model"]), f, indent=1)
                f.write("\n")
    print("failed:", ", ".join(failed) or "none")
    sys.exit(bool(failed))


if __name__ == "__main__":
    main()
