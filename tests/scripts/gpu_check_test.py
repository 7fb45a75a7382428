#!/usr/bin/env python3
"""scripts/gpu_check.py on made-up bundles, whose programs pass, fail and hang: its JSON, deadline and exit status. Needs no GPU.

usage: gpu_check_test.py REPOSITORY
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
GPU = {"gpus": [{"name": "Made-up GPU", "memory_bytes": 1}], "driver": "1.2", "cuda_runtime": "13.0", "cudnn": "9.19.0", "cublas": "13.1.0"}
UNIT = """#!/bin/sh
case "$*" in
  *-ltc*) for f in a b c_cpu; do echo "<TestCase name=\\"x\\" filename=\\"tests/t/${f}_test.cpp\\" line=\\"3\\"/>"; done; exit 0;;
esac
%s
echo "[doctest] test cases:  3 |  %d passed |  %d failed | 0 skipped"
echo "[doctest] assertions: 12 | 12 passed |  0 failed |"
exit %d
"""


class Bundle:
    def __init__(self):
        self.folder = tempfile.mkdtemp(prefix="gpu_check_")
        shutil.copy(os.path.join(REPOSITORY, "scripts", "gpu_check.py"), self.folder)
        shutil.copy(os.path.join(REPOSITORY, "scripts", "gpu_check.sh"), self.folder)
        self.probe(GPU)
        for name in ("kernels", "core", "autograd", "nn", "models", "train"):
            self.unit(name)
        for program in ("segrt_golden", "segrt_op_vectors"):
            self.program(f"bin/tests/{program}", "#!/bin/sh\necho \"$@\"\necho '  passed: 31 checks, 0 failed, 1.0 s on cuda:0'\n")
        for name in ("drn", "drn_transforms"):
            self.program(f"share/segrt/tests/golden/{name}.safetensors", "")
        # Writes the figures as it is told to, and says how long it was given.
        self.program("bench/gpu_vs_pytorch.py", """import json, sys
a = sys.argv
json.dump({"cases": [1], "minutes": float(a[a.index("--minutes") + 1])}, open(a[a.index("--json") + 1], "w"))
""")
        self.program("tools/compute-sanitizer", "#!/bin/sh\nwhile [ $# -gt 0 ] && [ \"${1#--}\" != \"$1\" ]; do case $1 in --tool|--error-exitcode) shift;; esac; shift; done\n"
                     "[ \"$SEGRT_VENDOR\" = off ] || exit 3\n\"$@\"\necho '========= ERROR SUMMARY: 0 errors'\n")

    def path(self, name):
        return os.path.join(self.folder, name)

    def program(self, name, text):
        os.makedirs(os.path.dirname(self.path(name)), exist_ok=True)
        with open(self.path(name), "w") as f:
            f.write(text)
        os.chmod(self.path(name), 0o755)

    def probe(self, report, status=0):
        self.program("bench/gpu_probe.py", f"import sys\nprint('''{json.dumps(report)}''')\nsys.exit({status})\n")

    def unit(self, name, body="", passed=3, failed=0, status=0):
        self.program(f"bin/tests/test_{name}", UNIT % (body, passed, failed, status))

    def run(self, *arguments, tools=True):
        environment = dict(os.environ, PATH=(self.path("tools") + os.pathsep if tools else "") + os.environ["PATH"])
        start = time.monotonic()
        result = subprocess.run(["bash", self.path("gpu_check.sh"), "--json", self.path("out.json"), "--logs", self.path("logs"), *arguments],
                                capture_output=True, text=True, env=environment, cwd="/")
        self.seconds = time.monotonic() - start
        self.output = result.stdout + result.stderr
        try:
            with open(self.path("out.json")) as f:
                self.json = json.load(f)
        except FileNotFoundError:
            self.json = None
        return result.returncode

    def steps(self, group):
        return {s["name"]: s for s in self.json["steps"] if s["group"] == group}


class GpuCheck(unittest.TestCase):
    def setUp(self):
        self.bundle = Bundle()
        self.addCleanup(shutil.rmtree, self.bundle.folder)

    def test_all_pass(self):
        b = self.bundle
        self.assertEqual(b.run("--minutes", "1"), 0, b.output)
        self.assertTrue(b.json["ok"])
        self.assertEqual(b.json["device"], GPU)
        self.assertEqual(b.json["left_out"], [])
        self.assertEqual({s["status"] for s in b.json["steps"]}, {"passed"})
        self.assertEqual(set(b.steps("kernels")), {"kernels/a_test", "kernels/b_test"})  # c_cpu is no business of a GPU
        self.assertEqual(b.steps("kernels")["kernels/a_test"]["counts"]["assertions"], {"total": 12, "passed": 12, "failed": 0})
        self.assertEqual(len(b.steps("units")), 10)
        self.assertEqual(b.steps("golden")["drn"]["counts"], {"checks": 31, "failed": 0})
        self.assertIn("--precision f32", b.steps("golden")["drn"]["tail"])
        self.assertEqual(set(b.steps("golden_bf16")), {"drn"})  # transforms have no precision
        for tool in ("memcheck", "racecheck", "initcheck", "synccheck"):
            self.assertEqual(b.steps(tool)["a_test"]["counts"]["errors"], 0)
        self.assertEqual(b.json["bench"]["cases"], [1])
        self.assertGreater(b.json["bench"]["minutes"], 0.3)

    def test_a_failure_is_told_and_stops_nothing(self):
        b = self.bundle
        b.unit("nn", body="echo the sum is wrong", passed=2, failed=1, status=1)
        self.assertEqual(b.run("--minutes", "1"), 1)
        self.assertFalse(b.json["ok"])
        step = b.steps("units")["nn/a_test"]
        self.assertEqual((step["status"], step["exit"]), ("failed", 1))
        self.assertIn("the sum is wrong", step["tail"])
        self.assertEqual(b.json["count"]["failed"], 2)
        self.assertEqual(b.steps("bench")["gpu_vs_pytorch"]["status"], "passed")

    def test_what_hangs_is_killed_within_the_deadline(self):
        b = self.bundle
        pid = b.path("pid")
        b.unit("kernels", body=f"sleep 300 & echo $! > {pid}; wait")
        self.assertEqual(b.run("--minutes", "0.2"), 1)
        self.assertLess(b.seconds, 12)
        self.assertEqual(b.steps("kernels")["kernels/a_test"]["status"], "timed out")
        self.assertEqual({s["status"] for s in b.steps("units").values()}, {"passed"})
        with open(pid) as f:  # with what it started
            pid = f.read().strip()
        try:
            with open(f"/proc/{pid}/stat") as f:
                self.assertEqual(f.read().split()[2], "Z")
        except FileNotFoundError:
            pass

    def test_what_has_no_time_left_is_listed(self):
        b = self.bundle
        b.unit("kernels", body="sleep 300")
        self.assertEqual(b.run("--minutes", "0.1", "--only", "kernels,initcheck"), 1)
        self.assertLess(b.seconds, 6)
        self.assertEqual(b.json["count"]["left out"] + b.json["count"]["timed out"], len(b.json["steps"]))
        self.assertEqual(len(b.json["left_out"]), b.json["count"]["left out"])

    def test_pieces(self):
        b = self.bundle
        self.assertEqual(b.run("--only", "golden,bench"), 0)
        self.assertEqual({s["group"] for s in b.json["steps"]}, {"golden", "bench"})
        self.assertEqual(b.run("--only", "golden,speed"), 2)
        self.assertIn("no group speed", b.output)
        self.assertEqual(b.run("--minutes", "0"), 2)

    def test_without_compute_sanitizer(self):
        b = self.bundle
        shutil.rmtree(b.path("tools"))
        if b.run("--only", "golden,memcheck", tools=False) == 0 and b.json["left_out"]:
            self.assertIn("no compute-sanitizer", b.steps("memcheck")["memcheck"]["reason"])
            self.assertEqual(b.json["left_out"], ["memcheck/memcheck"])

    def test_no_gpu(self):
        b = self.bundle
        b.probe({"error": "no GPU: the CUDA driver finds none"}, status=1)
        self.assertEqual(b.run(), 2)
        self.assertLess(b.seconds, 3)
        self.assertIn("no GPU: the CUDA driver finds none", b.output)
        self.assertEqual((b.json["ok"], b.json["error"], b.json["steps"]), (False, "no GPU: the CUDA driver finds none", []))

    def test_no_bundle(self):
        b = self.bundle
        shutil.rmtree(b.path("bin"))
        self.assertEqual(b.run(), 2)
        self.assertIn("is no bundle", b.output)

    def test_a_filter_that_matches_nothing_is_no_test(self):
        b = self.bundle
        b.unit("core", passed=0)
        self.assertEqual(b.run("--only", "units"), 1)
        self.assertIn("no test case ran", b.steps("units")["core/a_test"]["tail"])

    def test_a_program_that_cannot_start_fails(self):
        b = self.bundle
        os.remove(b.path("bin/tests/segrt_golden"))
        self.assertEqual(b.run("--only", "golden"), 1)
        self.assertEqual(b.steps("golden")["drn"]["status"], "failed")


if __name__ == "__main__":
    unittest.main()
