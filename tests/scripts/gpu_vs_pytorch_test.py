#!/usr/bin/env python3
"""bench/gpu_vs_pytorch.py with a made-up segbench and without PyTorch: figures, verdicts, failures, deadline.

usage: gpu_vs_pytorch_test.py REPOSITORY
"""
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
import unittest

REPOSITORY = sys.argv.pop(1)
SEGBENCH = """#!/bin/sh
while [ "$1" != --mode ]; do shift; done
mode=$2
while [ "$1" != --json ]; do shift; done
%s
echo '{"median_ms": 2.5, "device_description": "cuda:0 (NVIDIA H200)", "all_ms": [2.5]}' >"$2"
"""
TORCH = """import os, sys, time
raise ImportError("none here")
"""


class GpuVsPytorch(unittest.TestCase):
    def setUp(self):
        self.folder = tempfile.mkdtemp(prefix="gpu_vs_pytorch_")
        self.addCleanup(shutil.rmtree, self.folder)
        with open(os.path.join(self.folder, "torch.py"), "w") as f:  # hides a PyTorch that this machine may have
            f.write(TORCH)

    def run_bench(self, body, *arguments):
        segbench, out = os.path.join(self.folder, "segbench"), os.path.join(self.folder, "out.json")
        with open(segbench, "w") as f:
            f.write(SEGBENCH % body)
        os.chmod(segbench, 0o755)
        start = time.monotonic()
        self.result = subprocess.run([sys.executable, os.path.join(REPOSITORY, "bench", "gpu_vs_pytorch.py"), "--segbench", segbench, "--json", out, *arguments],
                                     capture_output=True, text=True, env=dict(os.environ, PYTHONPATH=self.folder))
        self.seconds = time.monotonic() - start
        with open(out) as f:
            report = json.load(f)
        self.cases = {(c["network"], c["mode"]): c for c in report["cases"]}
        return report

    def test_times_are_judged_by_the_targets_of_the_gpu(self):
        report = self.run_bench("")
        self.assertEqual(self.result.returncode, 0, self.result.stderr)
        self.assertIn("NVIDIA H200", report["gpu"])
        self.assertIn("no PyTorch", report["pytorch"])
        verdict = self.cases["drn_d_22", "forward"]["verdict"]
        self.assertEqual((verdict["floor_ms"], verdict["must_ms"], verdict["goal_ms"]), (1.45, 2.6, 1.9))
        self.assertEqual((verdict["meets_must"], verdict["meets_goal"], round(verdict["percent_of_floor"])), (True, False, 58))
        self.assertEqual(self.cases["dynamic_a", "train"]["verdict"], {"required_over_compiled": 1.4})  # no target of its own
        self.assertEqual(self.cases["drn_d_22", "train"]["verdict"]["required_over_compiled"], 1.15)
        self.assertNotIn("all_ms", self.cases["drn_d_22", "train"]["results"]["segrt"])

    def test_other_sizes_have_no_targets(self):
        self.run_bench("", "--input", "1x64x128", "--only", "drn_d_22")
        self.assertEqual(self.cases["drn_d_22", "forward"]["verdict"], {"required_over_compiled": 1.5})

    def test_segrt_that_fails_is_a_failure(self):
        self.run_bench('[ $mode = train ] && { echo "segbench: error: out of memory" >&2; exit 1; }', "--only", "drn_d_22")
        self.assertEqual(self.result.returncode, 1)
        self.assertEqual(self.cases["drn_d_22", "train"]["results"]["segrt"], {"error": "segbench: error: out of memory"})
        self.assertEqual(self.cases["drn_d_22", "forward"]["results"]["segrt"]["median_ms"], 2.5)

    def test_the_deadline_holds(self):
        self.run_bench("sleep 100", "--minutes", "0.1", "--timeout", "3")
        self.assertLess(self.seconds, 12)  # with the start of Python on a busy machine
        errors = [c["results"]["segrt"]["error"] for c in self.cases.values()]
        self.assertIn("took longer than 3 s", errors)
        self.assertIn("left out: no time", errors)


if __name__ == "__main__":
    unittest.main()
