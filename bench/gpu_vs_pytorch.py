#!/usr/bin/env python3
"""Networks on one GPU beside PyTorch: same network, batch, size and GPU, one run, medians after warm-up; writes one JSON.

usage: gpu_vs_pytorch.py --segbench bin/segbench --models share/segrt/models [--minutes 5] [--only drn_d_22] [--json gpu_vs_pytorch.json]

segrt computes in bf16 with f32 master weights, as PyTorch does under autocast. The networks of PyTorch's side are drn_pytorch.py and
dynamic_pytorch.py beside this file. Its contenders:
  compile          torch.compile, channels_last, bf16 autocast
  compile graphs   the same with mode="reduce-overhead": CUDA graphs
  compile folded   inference alone: weights in bf16, norms folded into the convolutions where the network has that, reduce-overhead
  graph            eager, captured into a CUDA graph by hand
  eager            channels_last, bf16 autocast, cudnn.benchmark
  eager nchw       the same in PyTorch's own layout

First segrt is timed in every case, then the contenders one after the other over all cases, so that little time leaves the important ones.
torch.compile runs ahead of the timing, a few cases side by side and at most --compile-seconds each; the timed process finds its results in
PyTorch's cache. A contender that fails, takes longer than --timeout or would begin after --minutes is recorded with the reason.

Times are judged by what the hardware allows (floor) and by the targets derived from it (must, goal), for the GPUs that have them, and by
segrt's required speed-up over compiled PyTorch. Exit status 1 where segrt itself could not be timed; a missed target is reported alone.
"""
import argparse
import concurrent.futures
import json
import os
import re
import signal
import statistics
import subprocess
import sys
import tempfile
import time

HERE = os.path.dirname(os.path.abspath(__file__))
CASES = [  # network, mode, NxHxW
    ("drn_d_22", "train", "8x896x896"), ("drn_d_22", "forward", "1x1024x2048"),
    ("dynamic_a", "train", "8x768x768"), ("dynamic_a", "forward", "1x1024x2048"),
    ("dynamic_raw_l16", "train", "8x768x768"), ("dynamic_raw_l16", "forward", "1x1024x2048"),
    ("drn_d_105", "train", "8x896x896"), ("drn_d_105", "forward", "1x1024x2048"),
]
TARGETS = {  # ms: floor, must, goal
    ("drn_d_22", "forward"): {"H100": (1.51, 2.7, 2.0), "H200": (1.45, 2.6, 1.9)},
    ("drn_d_105", "forward"): {"H100": (5.9, 10.7, 7.9), "H200": (5.2, 9.4, 6.9)},
    ("dynamic_raw_l16", "forward"): {"H100": (2.8, 5.1, 3.7), "H200": (2.1, 3.8, 2.8)},
    ("drn_d_22", "train"): {"H100": (18.5, 28, 23), "H200": (16.6, 25, 21)},
    ("drn_d_105", "train"): {"H100": (82, 126, 102), "H200": (68, 104, 85)},
    ("dynamic_raw_l16", "train"): {"H100": (26, 40, 33), "H200": (18, 28, 23)},
}
CONTENDERS = {  # name -> what the worker does; the order is that of the runs
    "compile": {"compile": "default"},
    "compile graphs": {"compile": "reduce-overhead"},
    "compile folded": {"compile": "reduce-overhead", "folded": True},
    "graph": {"graph": True},
    "eager": {},
    "eager nchw": {"nchw": True},
}


def required_speedup(network, mode):
    """Over the fastest compiled PyTorch."""
    if mode == "forward":
        return 1.5
    return 1.4 if network.startswith("dynamic") else {"drn_d_105": 1.2}.get(network, 1.15)


# ---- one contender, in a process of its own


def twin(network, device, mode, options):
    """(module, run()): the same network in PyTorch, and one training step or one inference to a class map."""
    import torch
    family = __import__("dynamic_pytorch" if network.startswith("dynamic") else "drn_pytorch")
    layout = torch.contiguous_format if options.get("nchw") else torch.channels_last
    model = family.build(network)
    training = mode == "train"
    model.train(training)
    if options.get("folded"):
        if hasattr(family, "fold_norms"):
            family.fold_norms(model)
        model.to(torch.bfloat16)
    model.to(device=device, memory_format=layout)
    optimizer = family.optimizer(model) if training else None

    def step(image, label):
        with torch.autocast(device.type, torch.bfloat16, enabled=not options.get("folded")):
            if not training:
                with torch.inference_mode():
                    output = model(image)
                    return (output if isinstance(output, torch.Tensor) else output[0]).argmax(1)
            if network.startswith("dynamic"):
                return family.train_step(model, optimizer, image, label)
            optimizer.zero_grad(set_to_none=True)
            loss = family.loss(model, image, label)
        loss.backward()
        optimizer.step()
        return loss

    return model, step, layout


def captured(run):
    import torch
    side = torch.cuda.Stream()
    side.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(side):
        run()
    torch.cuda.current_stream().wait_stream(side)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        run()
    return graph.replay


def worker(a):
    """Times one PyTorch contender in this process and prints JSON."""
    sys.path.insert(0, HERE)
    import torch
    torch.manual_seed(1)
    torch.backends.cudnn.benchmark = True
    options = CONTENDERS[a.contender]
    device = torch.device(a.device)
    cuda = device.type == "cuda"
    n, h, w = map(int, a.input.split("x"))
    begin = time.perf_counter()
    model, step, layout = twin(a.network, device, a.mode, options)
    image = torch.randn(n, 3, h, w, device=device).to(memory_format=layout)
    if options.get("folded"):
        image = image.to(torch.bfloat16)
    label = torch.randint(0, 19, (n, h, w), device=device)
    if options.get("compile"):
        model.compile(mode=options["compile"])

    def run():
        if options.get("compile") and cuda:
            torch.compiler.cudagraph_mark_step_begin()
        return step(image, label)

    run()
    if cuda:
        torch.cuda.synchronize()
    first_s = time.perf_counter() - begin
    if a.warm_only:
        print(json.dumps({"first_s": first_s}))
        return
    for _ in range(a.warmup):
        run()
    timed = captured(run) if options.get("graph") else run
    times = []
    for _ in range(a.repeat):
        if cuda:
            start, end = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
            start.record()
            timed()
            end.record()
            end.synchronize()
            times.append(start.elapsed_time(end))
        else:
            start = time.perf_counter()
            timed()
            times.append(1000 * (time.perf_counter() - start))
    times.sort()
    print(json.dumps({"median_ms": statistics.median(times), "min_ms": times[0], "p95_ms": times[int(0.95 * (len(times) - 1))], "first_s": first_s,
                      "peak_bytes": torch.cuda.max_memory_allocated() if cuda else None, "version": torch.__version__,
                      "device": torch.cuda.get_device_name() if cuda else "cpu"}))


# ---- all of them


def attempt(command, seconds):
    """(status, stdout, stderr) of a command that is killed, with all it started, after `seconds`; status None then."""
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True)
    try:
        out, err = process.communicate(timeout=seconds)
        return process.returncode, out, err
    except subprocess.TimeoutExpired:
        return None, "", ""
    finally:
        try:
            os.killpg(process.pid, signal.SIGKILL)
        except ProcessLookupError:
            pass
        process.wait()


class Bench:
    def __init__(self, a):
        self.a, self.deadline = a, time.monotonic() + 60 * a.minutes
        self.report = {"device": a.device, "gpu": None, "precision": "bf16", "repeat": a.repeat, "warmup": a.warmup, "minutes": a.minutes, "compiled_ahead": {},
                       "cases": [{"network": n, "mode": m, "input": a.input or size, "results": {}}
                                 for n, m, size in CASES if not a.only or n in a.only]}

    def left(self, at_most):
        return min(at_most, self.deadline - time.monotonic())

    def run(self, name, command, seconds, parse):
        """What `parse` reads of a command's output, or {"error": ...}."""
        seconds = self.left(seconds)
        if seconds < 1:
            return {"error": "left out: no time"}
        status, out, err = attempt(command, seconds)
        if status is None:
            return {"error": f"took longer than {seconds:.0f} s"}
        if status != 0:
            lines = err.strip().splitlines() or [f"status {status}"]  # PyTorch ends with advice, after what is wrong
            named = [line for line in lines if re.match(r"[\w.]*(Error|Exception)\b", line)]
            return {"error": (named or lines)[-1][:500]}
        try:
            return parse(out)
        except (OSError, ValueError, IndexError) as e:
            return {"error": f"{name}: unreadable figures: {e}"}

    def segrt(self, case):
        with tempfile.NamedTemporaryFile(suffix=".json") as out:
            command = [os.path.abspath(self.a.segbench), os.path.join(self.a.models, case["network"] + ".toml"), "--device", self.a.device, "--mode",
                       case["mode"], "--input", case["input"], "--precision", "bf16", "--repeat", str(self.a.repeat), "--warmup", str(self.a.warmup),
                       "--json", out.name]

            def parse(_):
                with open(out.name) as f:
                    return {k: v for k, v in json.load(f).items() if k != "all_ms"}
            return self.run("segrt", command, self.a.timeout, parse)

    def pytorch(self, case, contender, *more, seconds=None):
        command = [sys.executable, os.path.abspath(__file__), "--worker", "--network", case["network"], "--mode", case["mode"], "--input", case["input"],
                   "--device", self.a.device, "--contender", contender, "--repeat", str(self.a.repeat), "--warmup", str(self.a.warmup), *more]
        return self.run(contender, command, seconds or self.a.timeout, lambda out: json.loads(out.strip().splitlines()[-1]))

    def compile_ahead(self):
        """What torch.compile generates goes into its cache, several cases side by side."""
        def one(case):
            return case, self.pytorch(case, "compile", "--warm-only", seconds=self.a.compile_seconds)
        with concurrent.futures.ThreadPoolExecutor(self.a.compile_jobs) as pool:
            for case, result in pool.map(one, self.report["cases"]):
                name = f"{case['network']} {case['mode']}"
                self.report["compiled_ahead"][name] = result
                print(f"compiled {name}: " + (f"{result['first_s']:.0f} s" if "first_s" in result else result["error"]), flush=True)

    def judge(self, case):
        """Beside the targets and the other contenders."""
        results = case["results"]
        own = results.get("segrt", {}).get("median_ms")
        peers = {k: r["median_ms"] for k, r in results.items() if k != "segrt" and "median_ms" in r}
        compiled = [v for k, v in peers.items() if k.startswith("compile")]
        gpu = next((g for g in ("H200", "H100") if g in (self.report["gpu"] or "")), None)
        target = TARGETS.get((case["network"], case["mode"]), {}).get(gpu) if not self.a.input else None
        verdict = {"required_over_compiled": required_speedup(case["network"], case["mode"])}
        if own and target:
            floor, must, goal = target
            verdict.update(floor_ms=floor, must_ms=must, goal_ms=goal, percent_of_floor=100 * floor / own, meets_must=own <= must, meets_goal=own <= goal)
        if own and peers:
            verdict.update(fastest_pytorch=min(peers, key=peers.get), over_fastest=min(peers.values()) / own)
        if own and compiled:
            verdict.update(over_compiled=min(compiled) / own, meets_required=min(compiled) / own >= verdict["required_over_compiled"])
        case["verdict"] = verdict

    def save(self):
        for case in self.report["cases"]:
            self.judge(case)
        if self.a.json:
            with open(self.a.json + ".part", "w") as f:
                json.dump(self.report, f, indent=1)
            os.replace(self.a.json + ".part", self.a.json)

    def show(self):
        print(f"\non {self.report['gpu'] or self.a.device}, bf16, medians in ms")
        for case in self.report["cases"]:
            v = case["verdict"]
            times = [f"{k} {r['median_ms']:.2f}" if "median_ms" in r else f"{k} - ({r['error']})" for k, r in case["results"].items()]
            notes = []
            if "floor_ms" in v:
                notes.append(f"floor {v['floor_ms']}, must {v['must_ms']} {'met' if v['meets_must'] else 'MISSED'}, goal {v['goal_ms']} "
                             f"{'met' if v['meets_goal'] else 'missed'}, {v['percent_of_floor']:.0f} % of the floor")
            if "over_compiled" in v:
                notes.append(f"{v['over_compiled']:.2f}x compiled PyTorch, {v['required_over_compiled']}x required "
                             f"{'met' if v['meets_required'] else 'MISSED'}")
            if "over_fastest" in v:
                notes.append(f"{v['over_fastest']:.2f}x the fastest ({v['fastest_pytorch']})")
            print(f"{case['network']} {case['mode']} {case['input']}: {', '.join(times)}\n    {'; '.join(notes) or 'nothing to compare with'}")

    def main(self):
        cases = self.report["cases"]
        for case in cases:
            case["results"]["segrt"] = r = self.segrt(case)
            if self.a.device.startswith("cuda") and "device_description" in r:
                self.report["gpu"] = r["device_description"]
            print(f"segrt {case['network']} {case['mode']}: " + (f"{r['median_ms']:.2f} ms" if "median_ms" in r else r["error"]), flush=True)
            self.save()
        if self.left(60) < 1:
            self.report["pytorch"] = "left out: no time"
            print(self.report["pytorch"])
        elif attempt([sys.executable, "-c", "import torch"], self.left(60))[0] != 0:
            self.report["pytorch"] = f"{sys.executable} has no PyTorch"
            print(self.report["pytorch"])
        else:
            cuda = self.a.device.startswith("cuda")
            chosen = [c for c in CONTENDERS if (not self.a.contenders or c in self.a.contenders) and (cuda or "graph" not in c)]
            if any(c.startswith("compile") for c in chosen):
                self.compile_ahead()
            for contender in chosen:
                for case in cases:
                    if contender == "compile folded" and case["mode"] == "train":
                        continue
                    case["results"][contender] = self.pytorch(case, contender)
                    self.save()
        self.save()
        self.show()
        return 0 if cases and all("median_ms" in c["results"]["segrt"] for c in cases) else 1


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--segbench", default=os.path.join(HERE, "..", "build", "release", "apps", "segbench"))
    p.add_argument("--models", default=os.path.join(HERE, "..", "models"))
    p.add_argument("--only", action="append", help="this network alone; repeatable")
    p.add_argument("--contenders", action="append", choices=CONTENDERS, help="this contender alone; repeatable")
    p.add_argument("--input", help="NxHxW in place of every case's own; there are no targets then")
    p.add_argument("--device", default="cuda")
    p.add_argument("--minutes", type=float, default=5, help="for all of it; never overrun")
    p.add_argument("--timeout", type=float, default=60, help="seconds for one contender in one case")
    p.add_argument("--compile-seconds", type=float, default=100, help="for torch.compile ahead of one case")
    p.add_argument("--compile-jobs", type=int, default=3, help="cases that are compiled side by side")
    p.add_argument("--repeat", type=int, default=50)
    p.add_argument("--warmup", type=int, default=10)
    p.add_argument("--json")
    for option in ("--network", "--mode", "--contender"):
        p.add_argument(option, help=argparse.SUPPRESS)
    for option in ("--worker", "--warm-only"):
        p.add_argument(option, action="store_true", help=argparse.SUPPRESS)
    a = p.parse_args()
    return worker(a) if a.worker else Bench(a).main()


if __name__ == "__main__":
    sys.exit(main())
