#!/usr/bin/env python3
"""The same training in each precision, from the same seed: losses and final mIoU side by side; writes one JSON.

    bench/precision_parity.py --bin build/release/apps --json bench/results/precision_parity_cpu.json
"""
import argparse
import json
import os
import platform
import subprocess
import tempfile
import time

# A short run of the configuration: small scenes, enough steps for the loss to fall well below its start.
SHORTENED = ["data.height=128", "data.width=256", "data.crop=[128,128]", "data.train_size=400", "data.val_size=20", "train.batch=2",
             "train.log_every=10", "train.max_minutes=0"]


def train(a, precision, folder):
    out = os.path.join(folder, precision)
    settings = SHORTENED + [f"train.iterations={a.steps}", f"train.precision={precision}", "train.schedule_per=iteration"] + a.set
    command = [os.path.join(a.bin, "segtrain"), a.without_epochs, "--device", a.device, "--threads", str(a.threads), "-o", out]
    for setting in settings:
        command += ["--set", setting]
    start = time.time()
    subprocess.run(command, check=True)
    lines = [json.loads(line) for line in open(os.path.join(out, "log.jsonl"))]
    steps = [line for line in lines if line["kind"] == "train"]
    result = {"precision": precision, "seconds": round(time.time() - start, 1), "steps": [s["step"] for s in steps],
              "loss": [s["loss"] for s in steps], "miou": [line["miou"] for line in lines if line["kind"] == "val"][-1]}
    if "loss_scale" in steps[-1]:
        result["loss_scale"] = steps[-1]["loss_scale"]
        result["skipped_steps"] = steps[-1]["skipped_steps"]
    return result


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--bin", default="build/release/apps", help="folder of segtrain")
    p.add_argument("--config", default="models/dynamic_quickstart.toml")
    p.add_argument("--device", default="cpu")
    p.add_argument("--threads", type=int, default=0)
    p.add_argument("--steps", type=int, default=100)
    p.add_argument("--precisions", nargs="+", default=["f32", "bf16", "f16"])
    p.add_argument("--set", action="append", default=[], help="a further setting for every run, e.g. train.optimizer=adamw")
    p.add_argument("--json", help="file to write")
    a = p.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        # The run is given in iterations, which excludes epochs.
        a.without_epochs = os.path.join(folder, os.path.basename(a.config))
        with open(a.config) as source, open(a.without_epochs, "w") as target:
            target.writelines(line for line in source if not line.startswith("epochs"))
        runs = [train(a, precision, folder) for precision in a.precisions]
    reference = runs[0]
    print(f"{'steps':>8}" + "".join(f"{r['precision']:>10}" for r in runs))
    for i, step in enumerate(reference["steps"]):
        print(f"{step:8}" + "".join(f"{r['loss'][i]:10.4f}" for r in runs))
    print(f"{'mIoU':>8}" + "".join(f"{r['miou']:10.4f}" for r in runs))
    if a.json:
        with open(a.json, "w") as out:
            json.dump({"config": a.config, "settings": SHORTENED + a.set, "iterations": a.steps, "device": a.device,
                       "threads": a.threads, "machine": platform.machine(), "load_average": os.getloadavg(),
                       "runs": runs}, out, indent=1)
            out.write("\n")


if __name__ == "__main__":
    main()
