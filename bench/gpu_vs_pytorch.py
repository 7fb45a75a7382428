#!/usr/bin/env python3
"""Networks on one GPU, side by side with PyTorch: same network, batch, size and precision, one run, medians; writes one JSON.

usage: gpu_vs_pytorch.py --segbench bin/segbench --models share/segrt/models [--minutes 5] [--only drn_d_22] [--json gpu_vs_pytorch.json]

Contenders: segrt; PyTorch eager, torch.compile, and eager replayed from a CUDA graph, all channels_last under bf16 autocast with cudnn.benchmark. What
fails is recorded with its reason. A case that would begin after --minutes is left out and listed. Times are CUDA events around single runs after warm-up.
"""
import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time

HERE = os.path.dirname(os.path.abspath(__file__))
CASES = [  # network, mode, NxHxW
    ("drn_d_22", "forward", "1x1024x2048"), ("drn_d_22", "train", "8x896x896"),
    ("dynamic_a", "forward", "1x1024x2048"), ("dynamic_a", "train", "8x768x768"),
    ("drn_d_105", "forward", "1x1024x2048"), ("drn_d_105", "train", "8x896x896"),
    ("dynamic_raw_l16", "forward", "1x1024x2048"), ("dynamic_raw_l16", "train", "8x768x768"),
]


def twin(network, device, training):
    """(module, step(image, label)): the same network in PyTorch, channels_last."""
    import torch
    family = __import__("dynamic_pytorch" if network.startswith("dynamic") else "drn_pytorch")
    model = family.build(network).to(device=device, memory_format=torch.channels_last)
    model.train(training)
    optimizer = family.optimizer(model) if training else None

    def step(image, label):
        if network.startswith("dynamic"):
            return family.train_step(model, optimizer, image, label)
        optimizer.zero_grad(set_to_none=True)
        family.loss(model, image, label).backward()
        optimizer.step()

    return model, step


def worker(a):
    """Times one PyTorch contender in this process and prints JSON."""
    sys.path.insert(0, HERE)
    import torch
    torch.manual_seed(1)
    torch.backends.cudnn.benchmark = True
    device = torch.device(a.device)
    n, h, w = map(int, a.input.split("x"))
    model, step = twin(a.network, device, a.mode == "train")
    image = torch.randn(n, 3, h, w, device=device).to(memory_format=torch.channels_last)
    label = torch.randint(0, 19, (n, h, w), device=device)
    if a.contender == "compile":
        model.compile()

    def run():
        with torch.autocast(device.type, torch.bfloat16):
            if a.mode == "train":
                return step(image, label)
            with torch.inference_mode():
                output = model(image)
                return (output if isinstance(output, torch.Tensor) else output[0]).argmax(1)

    for _ in range(a.warmup):
        run()
    if a.contender == "graph":
        side = torch.cuda.Stream()
        side.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(side):
            run()
        torch.cuda.current_stream().wait_stream(side)
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            run()
        timed = graph.replay
    else:
        timed = run
    cuda = device.type == "cuda"
    times = []
    for _ in range(a.repeat):
        if cuda:
            begin, end = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
            begin.record()
            timed()
            end.record()
            end.synchronize()
            times.append(begin.elapsed_time(end))
        else:
            start = time.perf_counter()
            timed()
            times.append(1000 * (time.perf_counter() - start))
    times.sort()
    print(json.dumps({"median_ms": statistics.median(times), "min_ms": times[0], "p95_ms": times[int(0.95 * (len(times) - 1))],
                      "peak_bytes": torch.cuda.max_memory_allocated() if cuda else None, "version": torch.__version__}))


def attempt(command, timeout):
    """The JSON that the command's last line is, or {"error": ...}."""
    try:
        result = subprocess.run(command, capture_output=True, text=True, timeout=timeout)
    except subprocess.TimeoutExpired:
        return {"error": f"took longer than {timeout} s"}
    if result.returncode != 0:
        return {"error": (result.stderr.strip().splitlines() or ["no message"])[-1][:500]}
    return json.loads(result.stdout.strip().splitlines()[-1])


def segrt(a, network, mode, size):
    with tempfile.NamedTemporaryFile(suffix=".json") as out:
        command = [os.path.abspath(a.segbench), os.path.join(a.models, network + ".toml"), "--device", a.device, "--mode", mode, "--input", size,
                   "--precision", "bf16", "--repeat", str(a.repeat), "--warmup", str(a.warmup), "--json", out.name]
        try:
            result = subprocess.run(command, capture_output=True, text=True, timeout=a.timeout)
        except subprocess.TimeoutExpired:
            return {"error": f"took longer than {a.timeout} s"}
        if result.returncode != 0:
            return {"error": result.stderr.strip()[-500:]}
        figures = json.load(open(out.name))
        figures.pop("all_ms", None)
        return figures


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--segbench", default=os.path.join(HERE, "..", "build", "release", "apps", "segbench"))
    p.add_argument("--models", default=os.path.join(HERE, "..", "models"))
    p.add_argument("--only", action="append", help="this network alone; repeatable")
    p.add_argument("--input", help="NxHxW in place of every case's own")
    p.add_argument("--device", default="cuda")
    p.add_argument("--minutes", type=float, default=5)
    p.add_argument("--timeout", type=float, default=120, help="seconds for one contender")
    p.add_argument("--repeat", type=int, default=50)
    p.add_argument("--warmup", type=int, default=10)
    p.add_argument("--json")
    p.add_argument("--worker", action="store_true", help=argparse.SUPPRESS)
    for option in ("--network", "--mode", "--contender"):
        p.add_argument(option, help=argparse.SUPPRESS)
    a = p.parse_args()
    if a.worker:
        return worker(a)

    contenders = ["eager", "graph", "compile"] if a.device.startswith("cuda") else ["eager", "compile"]
    report, start = {"device": a.device, "repeat": a.repeat, "warmup": a.warmup, "cases": [], "left_out": []}, time.time()
    for network, mode, size in CASES:
        if a.only and network not in a.only:
            continue
        size = a.input or size
        if time.time() - start > 60 * a.minutes:
            report["left_out"].append([network, mode, size])
            continue
        results = {"segrt": segrt(a, network, mode, size)}
        for contender in contenders:
            results["pytorch " + contender] = attempt(
                [sys.executable, os.path.abspath(__file__), "--worker", "--network", network, "--mode", mode, "--input", size, "--device", a.device,
                 "--contender", contender, "--repeat", str(a.repeat), "--warmup", str(a.warmup)], a.timeout)
        peers = [r["median_ms"] for name, r in results.items() if name != "segrt" and "median_ms" in r]
        own = results["segrt"].get("median_ms")
        speedup = min(peers) / own if peers and own else None
        report["cases"].append({"network": network, "mode": mode, "input": size, "precision": "bf16", "results": results,
                                "speedup_over_fastest_pytorch": speedup})
        shown = "  ".join(f"{name} {r['median_ms']:.2f} ms" if "median_ms" in r else f"{name} failed: {r['error']}" for name, r in results.items())
        print(f"{network} {mode} {size}: {shown}" + (f"  {speedup:.2f}x the fastest PyTorch" if speedup else ""), flush=True)
        if a.json:  # after every case: a run that is cut off loses nothing
            json.dump(report, open(a.json, "w"), indent=1)
    for case in report["left_out"]:
        print("left out for lack of time:", *case)


if __name__ == "__main__":
    main()
