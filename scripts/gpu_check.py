#!/usr/bin/env python3
"""What a machine with a GPU says of segrt: device, unit tests, golden files, compute-sanitizer, speed beside PyTorch; one JSON.

usage: gpu_check.py [--minutes 10] [--only kernels,golden,...] [--json gpu_check.json] [--logs FOLDER] [--bundle FOLDER] [--list]

Runs in the folder that scripts/bundle.sh packs; needs Python 3.8 and its standard library. Groups run one after the other, the steps of a group
side by side. A group's share of the time that is left follows from its weight; what it does not use falls to the later ones. A step that is
still running when its group's time ends is killed; one that would begin with too little time is left out, and listed. Nothing stops later steps.

Exit status: 0 where all that ran passed, 1 where a step failed or was killed, 2 where there is no GPU or no bundle, or an argument is wrong.
"""
import argparse
import concurrent.futures
import datetime
import glob
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import sysconfig
import time

UNITS = ("core", "autograd", "nn", "models", "train")
LEAST_SHARE = 0.003  # of the time: a step that would have less is left out
TAIL_LINES = 15


class Step:
    def __init__(self, group, name, command, counts=None, environment=None, limit=None):
        self.group, self.name, self.command = group, name, command
        self.counts = counts or (lambda text: {})  # what the output says was checked
        self.environment, self.limit = environment or {}, limit
        self.status, self.seconds, self.exit, self.found, self.log, self.tail = "left out", 0.0, None, {}, None, ""
        self.reason = "no time left"

    def report(self):
        r = {"group": self.group, "name": self.name, "status": self.status, "seconds": round(self.seconds, 2)}
        if self.status == "left out":
            return {**r, "reason": self.reason}
        return {**r, "exit": self.exit, "counts": self.found, "log": self.log, "tail": self.tail, "command": " ".join(self.command)}


def doctest_counts(text):
    """Of the two lines that end a doctest program."""
    counts = {}
    for what, total, passed, failed in re.findall(r"\[doctest\] (test cases|assertions): *(\d+) \| *(\d+) passed \| *(\d+) failed", text):
        counts[what.replace(" ", "_")] = {"total": int(total), "passed": int(passed), "failed": int(failed)}
    return counts


def golden_counts(text):
    checks = [tuple(map(int, m)) for m in re.findall(r": (\d+) checks, (\d+) failed", text)]
    return {"checks": sum(c for c, _ in checks), "failed": sum(f for _, f in checks)} if checks else {}


def sanitizer_counts(text):
    errors = re.findall(r"ERROR SUMMARY: (\d+) error", text) + re.findall(r"RACECHECK SUMMARY: (\d+) hazard", text)
    return {**doctest_counts(text), **({"errors": sum(map(int, errors))} if errors else {})}


def library_path():
    """Where CUDA's libraries may be beside the system's own places: Python's packages."""
    folders = []
    for packages in {sysconfig.get_paths()["purelib"], sysconfig.get_paths()["platlib"]}:
        folders += sorted(glob.glob(os.path.join(packages, "nvidia", "*", "lib")))
    return os.pathsep.join(folders + [p for p in [os.environ.get("LD_LIBRARY_PATH", "")] if p])


class Check:
    def __init__(self, a):
        self.a, self.bundle = a, os.path.abspath(a.bundle)
        self.start = time.monotonic()
        self.deadline = self.start + 60 * a.minutes - min(5, 12 * a.minutes)  # what is kept to write the report
        self.environment = dict(os.environ, LD_LIBRARY_PATH=library_path(), SEGRT_TEST_DATA=os.path.join(self.bundle, "share", "segrt"),
                                PYTHONUNBUFFERED="1")
        self.processes, self.steps, self.device, self.bench = set(), [], None, None
        self.started = datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds")
        os.makedirs(a.logs, exist_ok=True)

    def program(self, name):
        return os.path.join(self.bundle, "bin", "tests", name)

    def golden_files(self):
        return sorted(glob.glob(os.path.join(self.bundle, "share", "segrt", "tests", "golden", "*.safetensors")))

    # The source files of a doctest program that have cases, for a process each. Those of the CPU alone say so in their names.
    def test_files(self, program):
        try:
            listed = subprocess.run([self.program(program), "-ltc", "-r=xml"], capture_output=True, text=True, timeout=20, env=self.environment)
        except (OSError, subprocess.TimeoutExpired):
            return None
        names = {os.path.basename(f) for f in re.findall(r'<TestCase [^>]*filename="([^"]+)"', listed.stdout)}
        return sorted(n for n in names if not n.endswith("_cpu_test.cpp")) or None

    def unit_steps(self, group, program):
        files = self.test_files(program)
        if files is None:  # run it whole: it says what is wrong
            return [Step(group, program, [self.program(program)], doctest_counts)]
        return [Step(group, f"{program[5:]}/{f[:-4]}", [self.program(program), f"--source-file=*/{f}"], doctest_counts) for f in files]

    def golden_steps(self, group, arguments, networks_only=False):
        files = [f for f in self.golden_files() if not (networks_only and os.path.basename(f).endswith("transforms.safetensors"))]
        return [Step(group, os.path.basename(f).split(".")[0], [self.program("segrt_golden"), "--device", "cuda", "--threads", "4", *arguments, f],
                     golden_counts) for f in files]

    # Our kernels alone: what a vendor library does within its own is not ours to check.
    def sanitizer_steps(self, tool):
        sanitizer = shutil.which("compute-sanitizer") or next((p for p in glob.glob("/usr/local/cuda*/bin/compute-sanitizer")), None)
        environment = {"SEGRT_VENDOR": "off", "SEGRT_CUDA_POOL": "0"}  # each tensor with bounds of its own
        if sanitizer is None:
            step = Step(tool, tool, [])
            step.reason = "no compute-sanitizer on this machine"
            return [step]
        files = [f for f in self.test_files("test_kernels") or [] if not f.startswith("cudnn")]
        return [Step(tool, f[:-4], [sanitizer, "--tool", tool, "--error-exitcode", "9", self.program("test_kernels"), f"--source-file=*/{f}"],
                     sanitizer_counts, environment) for f in files]

    def bench_steps(self):
        script = os.path.join(self.bundle, "bench", "gpu_vs_pytorch.py")
        self.bench_json = os.path.join(self.a.logs, "gpu_vs_pytorch.json")
        command = [sys.executable, script, "--segbench", os.path.join(self.bundle, "bin", "segbench"), "--models",
                   os.path.join(self.bundle, "share", "segrt", "models"), "--json", self.bench_json]
        return [Step("bench", "gpu_vs_pytorch", command)]

    # name -> (share of the time, steps at once, steps).
    def groups(self):
        side_by_side = max(1, min(8, (os.cpu_count() or 1) // 2))
        vectors = sorted(glob.glob(os.path.join(self.bundle, "share", "segrt", "tests", "golden", "onnx", "*.safetensors")))
        return {
            "kernels": (90, side_by_side, lambda: self.unit_steps("kernels", "test_kernels")),
            "units": (75, side_by_side, lambda: [s for u in UNITS for s in self.unit_steps("units", f"test_{u}")]),
            "op_vectors": (10, 1, lambda: [Step("op_vectors", "onnx", [self.program("segrt_op_vectors"), "--device", "cuda", *vectors])]),
            "golden": (60, min(4, side_by_side), lambda: self.golden_steps("golden", ["--precision", "f32"])),
            "golden_bf16": (30, min(4, side_by_side), lambda: self.golden_steps("golden_bf16", ["--precision", "bf16"], networks_only=True)),
            "memcheck": (60, side_by_side, lambda: self.sanitizer_steps("memcheck")),
            "racecheck": (50, side_by_side, lambda: self.sanitizer_steps("racecheck")),
            "bench": (170, 1, self.bench_steps),
            "initcheck": (20, side_by_side, lambda: self.sanitizer_steps("initcheck")),
            "synccheck": (15, side_by_side, lambda: self.sanitizer_steps("synccheck")),
        }

    def stop(self, process):
        self.processes.discard(process)
        try:
            os.killpg(process.pid, signal.SIGKILL)
        except ProcessLookupError:
            pass

    def stop_all(self):
        for process in list(self.processes):
            self.stop(process)

    def run(self, step, end):
        seconds = min(end, self.deadline) - time.monotonic()
        if not step.command or seconds < LEAST_SHARE * 60 * self.a.minutes:
            return
        seconds = min(seconds, step.limit or seconds)
        step.log = f"{step.group}.{step.name.replace('/', '.')}.log"
        path = os.path.join(self.a.logs, step.log)
        began = time.monotonic()
        with open(path, "wb") as log:
            try:
                # A session of its own, so that what it starts ends with it.
                process = subprocess.Popen(step.command, stdout=log, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL, start_new_session=True,
                                           env={**self.environment, **step.environment})
            except OSError as e:
                step.status, step.exit = "failed", 127
                step.tail = str(e)
                return
            self.processes.add(process)
            try:
                step.exit = process.wait(seconds)
                step.status = "passed" if step.exit == 0 else "failed"
            except subprocess.TimeoutExpired:
                step.status = "timed out"
            finally:
                self.stop(process)
        step.seconds = time.monotonic() - began
        with open(path, errors="replace") as log:
            text = log.read()
        step.found = step.counts(text)
        step.tail = "\n".join(text.splitlines()[-TAIL_LINES:])[-2000:]
        # A filter that matches nothing is no test.
        if step.status == "passed" and step.found.get("test_cases", {}).get("passed") == 0:
            step.status, step.tail = "failed", "no test case ran\n" + step.tail

    def run_group(self, name, steps, at_once, end):
        if name == "bench":
            minutes = max(0.1, (min(end, self.deadline) - time.monotonic() - 5) / 60)
            steps[0].command += ["--minutes", f"{minutes:.2f}"]
        environment = {"OMP_NUM_THREADS": str(max(1, (os.cpu_count() or 1) // at_once))} if at_once > 1 else {}
        for step in steps:
            step.environment = {**environment, **step.environment}
        began = time.monotonic()
        with concurrent.futures.ThreadPoolExecutor(at_once) as pool:
            for done in concurrent.futures.as_completed([pool.submit(self.run, s, end) for s in steps]):
                done.result()
        if name == "bench" and os.path.exists(self.bench_json):
            with open(self.bench_json) as f:
                self.bench = json.load(f)
        states = [s.status for s in steps]
        counted = ", ".join(f"{states.count(k)} {k}" for k in ("passed", "failed", "timed out", "left out") if k in states)
        print(f"{name}: {counted}, {time.monotonic() - began:.1f} s", flush=True)
        for s in steps:
            if s.status in ("failed", "timed out"):
                print(f"  {s.name}: {s.status}" + (f" with status {s.exit}" if s.exit is not None else "") + f"; {s.log or s.tail}", flush=True)
        if all(s.status == "left out" for s in steps) and steps:
            print(f"  {steps[0].reason}", flush=True)

    def report(self, error=None):
        steps = [s.report() for s in self.steps]
        count = {k: sum(s["status"] == k for s in steps) for k in ("passed", "failed", "timed out", "left out")}
        ok = error is None and count["passed"] > 0 and count["failed"] + count["timed out"] == 0
        report = {"ok": ok, "started": self.started, "minutes": self.a.minutes, "only": self.a.only, "seconds": round(time.monotonic() - self.start, 1),
                  "error": error, "device": self.device, "count": count, "left_out": [f"{s['group']}/{s['name']}" for s in steps if s["status"] == "left out"],
                  "steps": steps, "bench": self.bench}
        with open(self.a.json + ".part", "w") as f:
            json.dump(report, f, indent=1)
        os.replace(self.a.json + ".part", self.a.json)
        return report

    # What is wrong with the GPU, or None.
    def probe(self):
        try:
            result = subprocess.run([sys.executable, os.path.join(self.bundle, "bench", "gpu_probe.py")], capture_output=True, text=True,
                                    timeout=max(5, min(30, 30 * self.a.minutes)), env=self.environment)
            self.device = json.loads(result.stdout)
        except (OSError, subprocess.TimeoutExpired, ValueError) as e:
            return f"the GPU could not be looked at: {e}"
        return self.device.get("error")

    def main(self):
        groups = self.groups()
        chosen = [g for g in groups if self.a.only is None or g in self.a.only]
        if not os.path.exists(self.program("test_kernels")):
            error = f"{self.bundle} is no bundle: it has no bin/tests/test_kernels"
        else:
            error = self.probe()
        if error:
            self.report(error)
            print(f"gpu_check: {error}", file=sys.stderr)
            return 2
        print(f"{self.device['gpus'][0]['name']}, driver {self.device.get('driver')}, CUDA runtime {self.device.get('cuda_runtime')}, cuDNN "
              f"{self.device.get('cudnn')}, cuBLAS {self.device.get('cublas')}; {self.a.minutes:g} minutes for {', '.join(chosen)}", flush=True)
        plan = [(g, *groups[g][:2], groups[g][2]()) for g in chosen]
        self.steps = [s for *_, steps in plan for s in steps]
        for i, (name, weight, at_once, steps) in enumerate(plan):
            left = max(0.0, self.deadline - time.monotonic())
            share = left * weight / sum(w for _, w, *_ in plan[i:])
            self.run_group(name, steps, at_once, time.monotonic() + share)
            self.report()
        r = self.report()
        print(f"{r['count']['passed']} steps passed, {r['count']['failed']} failed, {r['count']['timed out']} timed out, {r['count']['left out']} left out, "
              f"{r['seconds']} s; {self.a.json}")
        if r["left_out"]:
            print("left out: " + ", ".join(r["left_out"]))
        return 0 if r["ok"] else 1


def main():
    home = os.path.dirname(os.path.abspath(__file__))
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--bundle", default=home, help="the unpacked bundle")
    p.add_argument("--minutes", type=float, default=10, help="for all of it; never overrun")
    p.add_argument("--only", help="groups, separated by commas")
    p.add_argument("--json", default="gpu_check.json")
    p.add_argument("--logs", default="gpu_check_logs", help="a folder for the output of each step")
    p.add_argument("--list", action="store_true", help="print the groups and stop")
    a = p.parse_args()
    if not a.minutes > 0:
        p.error("--minutes: expected a number > 0")
    a.only = a.only.split(",") if a.only else None
    check = Check(a)
    unknown = [g for g in a.only or [] if g not in check.groups()]
    if unknown:
        p.error(f"--only: no group {', '.join(unknown)}; there are {', '.join(check.groups())}")
    if a.list:
        print("\n".join(check.groups()))
        return 0
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    try:
        return check.main()
    finally:
        check.stop_all()


if __name__ == "__main__":
    sys.exit(main())
