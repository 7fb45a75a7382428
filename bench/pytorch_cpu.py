#!/usr/bin/env python3
"""A network on the CPU, side by side with PyTorch: same threads, same sizes, interleaved runs, medians.

usage: bench/pytorch_cpu.py [--network drn_d_22] --segbench build/release/apps/segbench [--threads 2] [--rounds 5] [--json bench/results/NAME.json]

Needs a current PyTorch from PyPI in a virtual environment (Debian's links a slow BLAS and is no fair peer). A round runs segrt, PyTorch NCHW,
PyTorch channels_last and, in inference, channels_last with the norms folded into the convolutions, one process each, in turn; the figure of a contender is the median of its rounds' medians. Peak memory is the peak
resident size of the process during the timed runs.
"""
import argparse
import json
import os
import platform
import resource
import statistics
import subprocess
import sys
import tempfile
import time

HERE = os.path.dirname(os.path.abspath(__file__))
CASES = {  # name, mode, NxHxW, precision
    "drn_d_22": [("forward f32", "forward", "1x512x1024", "f32"),
                 ("train f32", "train", "2x256x512", "f32"),
                 ("forward bf16", "forward", "1x512x1024", "bf16")],
    "dynamic_a": [("forward f32", "forward", "1x512x1024", "f32"),
                  ("train f32", "train", "2x256x256", "f32"),
                  ("forward bf16", "forward", "1x512x1024", "bf16")],
}
CASES["dynamic_raw_l16"] = CASES["dynamic_a"]
CASES["dabnet_r_p2"] = CASES["dabnet_e"] = CASES["dynamic_a"]
CASES["dgmn2_tiny_fpn"] = CASES["dgmn2_tiny_setr_naive"] = [
    ("forward f32", "forward", "1x512x512", "f32"), ("train f32", "train", "1x512x512", "f32"),
    ("forward bf16", "forward", "1x512x512", "bf16")]


def peer(network):
    """The network and one training step of it in PyTorch: (module, fold_norms, step(image, label))."""
    if network.startswith("dabnet"):
        import dabnet_pytorch as dabnet
        model = dabnet.build(network)
        optimizer = dabnet.optimizer(network, model)
        return model, dabnet.fold_norms, lambda image, label: dabnet.train_step(model, optimizer, image, label)
    if network.startswith("dgmn2"):
        import dgmn2_pytorch as dgmn2
        model = dgmn2.build(network)
        optimizer = dgmn2.optimizer(model)
        return model, dgmn2.fold_norms, lambda image, label: dgmn2.train_step(model, optimizer, image, label)
    if network.startswith("dynamic"):
        import dynamic_pytorch as dynamic
        model = dynamic.build(network)
        optimizer = dynamic.optimizer(model)
        return model, dynamic.fold_norms, lambda image, label: dynamic.train_step(model, optimizer, image, label)
    import drn_pytorch as drn
    model = drn.build(network)
    optimizer = drn.optimizer(model)

    def step(image, label):
        optimizer.zero_grad(set_to_none=True)
        drn.loss(model, image, label).backward()
        optimizer.step()

    return model, None, step


def worker(a):
    """Times one PyTorch case in this process and prints JSON."""
    sys.path.insert(0, HERE)
    import torch

    torch.set_num_threads(a.threads)
    torch.manual_seed(1)
    n, h, w = map(int, a.input.split("x"))
    layout = torch.contiguous_format if a.layout == "contiguous" else torch.channels_last
    dtype = torch.bfloat16 if a.precision == "bf16" else torch.float32
    model, fold_norms, step = peer(a.network)
    if a.layout == "folded":
        fold_norms(model)
    model.to(memory_format=layout)
    image = torch.randn(n, 3, h, w).to(memory_format=layout)
    if a.mode == "forward":
        model.eval().to(dtype)
        image = image.to(dtype)

        def run():
            with torch.inference_mode():
                output = model(image)
                (output if isinstance(output, torch.Tensor) else output[0]).argmax(1)
    else:
        model.train()
        label = torch.randint(0, 19, (n, h, w))

        def run():
            step(image, label)

    for _ in range(a.warmup):
        run()
    times = []
    for _ in range(a.repeat):
        start = time.perf_counter()
        run()
        times.append(1000 * (time.perf_counter() - start))
    print(json.dumps({"median_ms": statistics.median(times), "min_ms": min(times),
                      "rss_bytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024, "version": torch.__version__}))


def timed(command):
    return subprocess.run(command, check=True, capture_output=True, text=True, cwd=os.path.join(HERE, "..")).stdout


def segrt(a, mode, size, precision):
    with tempfile.NamedTemporaryFile(suffix=".json") as out:
        timed([os.path.abspath(a.segbench), os.path.join("models", a.network + ".toml"), "--device", "cpu", "--mode", mode, "--input", size,
               "--precision", precision, "--threads", str(a.threads), "--repeat", str(a.repeat), "--warmup", str(a.warmup), "--json", out.name])
        return json.load(open(out.name))


def pytorch(a, mode, size, precision, layout):
    return json.loads(timed([sys.executable, os.path.abspath(__file__), "--worker", "--network", a.network, "--mode", mode, "--input", size, "--precision", precision,
                             "--layout", layout, "--threads", str(a.threads), "--repeat", str(a.repeat), "--warmup", str(a.warmup)]))


def machine():
    model = next((line.split(":")[1].strip() for line in open("/proc/cpuinfo") if line.startswith("model name")), "?")
    flags = next((line for line in open("/proc/cpuinfo") if line.startswith("flags")), "")
    return {"cpu": model, "cores": os.cpu_count(), "avx512": "avx512f" in flags, "amx_bf16": "amx_bf16" in flags, "system": platform.platform()}


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--network", default="drn_d_22", choices=sorted(CASES))
    p.add_argument("--segbench", default=os.path.join(HERE, "..", "build", "release", "apps", "segbench"))
    p.add_argument("--threads", type=int, default=os.cpu_count())
    p.add_argument("--rounds", type=int, default=5)
    p.add_argument("--repeat", type=int, default=3)
    p.add_argument("--warmup", type=int, default=1)
    p.add_argument("--json")
    p.add_argument("--worker", action="store_true", help=argparse.SUPPRESS)
    p.add_argument("--mode", help=argparse.SUPPRESS)
    p.add_argument("--input", help=argparse.SUPPRESS)
    p.add_argument("--precision", help=argparse.SUPPRESS)
    p.add_argument("--layout", help=argparse.SUPPRESS)
    a = p.parse_args()
    if a.worker:
        return worker(a)

    report = {"machine": machine(), "network": a.network, "threads": a.threads, "rounds": a.rounds, "repeat": a.repeat, "cases": []}
    print(report["machine"], f"{a.network}, {a.threads} threads, {a.rounds} rounds of {a.repeat} runs")
    for name, mode, size, precision in CASES[a.network]:
        layouts = {"pytorch NCHW": "contiguous", "pytorch channels_last": "channels_last", "pytorch folded": "folded"}
        if mode == "train" or a.network.startswith("drn"):  # its twin cannot fold
            del layouts["pytorch folded"]
        results = {name: [] for name in ["segrt", *layouts]}
        loads = []
        for _ in range(a.rounds):
            loads.append(os.getloadavg()[0])
            results["segrt"].append(segrt(a, mode, size, precision))
            for contender, layout in layouts.items():
                results[contender].append(pytorch(a, mode, size, precision, layout))
        median = {k: statistics.median(r["median_ms"] for r in v) for k, v in results.items()}
        memory = {k: max(r["rss_bytes"] for r in v) for k, v in results.items()}
        fastest = min(median[contender] for contender in layouts)
        report["cases"].append({"name": name, "mode": mode, "input": size, "precision": precision, "median_ms": median, "peak_rss_bytes": memory,
                                "speedup_over_fastest_pytorch": fastest / median["segrt"], "load_average": loads,
                                "pytorch": results["pytorch NCHW"][0]["version"], "runs": results})
        print(f"{name:<14} {size:<11} " + "  ".join(f"{k} {v:8.1f} ms {memory[k] / 2**20:7.0f} MiB" for k, v in median.items()) +
              f"  speed-up {fastest / median['segrt']:.2f}x  load {max(loads):.1f}", flush=True)
    if a.json:
        os.makedirs(os.path.dirname(os.path.abspath(a.json)), exist_ok=True)
        json.dump(report, open(a.json, "w"), indent=1)


if __name__ == "__main__":
    main()
