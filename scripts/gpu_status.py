#!/usr/bin/env python3
"""Which CUDA kernels there are, which tests run them on the emulator, and which GPU has passed those tests.

usage: scripts/gpu_status.py            writes the tables of docs/gpu_status.md anew
       scripts/gpu_status.py --check    status 1 where a kernel or file is missing there, or one is listed that is no more

Kernels are the __global__ functions under kernels/cuda. Their tests are those that call the functions of the kernel's file by name (operators are
called the same in every layer), else the functions of what calls it. What a GPU passed is read from bench/results/gpu_check_*.json (scripts/gpu_check.py).
"""
import collections
import functools
import glob
import json
import os
import re
import sys

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
DOC = os.path.join(ROOT, "docs", "gpu_status.md")
BEGIN, END = "<!-- made by scripts/gpu_status.py: begin -->", "<!-- made by scripts/gpu_status.py: end -->"
VENDOR = re.compile(r"cudnn|cublas|nccl|library_handles")  # what emulated builds have not
KERNEL = re.compile(r"__global__\s+void\s+(?:__launch_bounds__\s*\((?:[^()]|\([^()]*\))*\)\s*)?(\w+)\s*\(")


@functools.lru_cache(maxsize=None)
def text(path):
    with open(os.path.join(ROOT, path), encoding="utf-8") as f:
        return re.sub(r"//[^\n]*|/\*.*?\*/", "", f.read(), flags=re.S)


def files(*patterns):
    found = [p for pattern in patterns for p in glob.glob(os.path.join(ROOT, pattern), recursive=True)]
    return sorted(os.path.relpath(p, ROOT) for p in found)


def kernels():
    """[(file, kernel)]"""
    return [(f, name) for f in files("kernels/cuda/*.cu", "kernels/cuda/*.cuh") for name in KERNEL.findall(text(f))]


def other_files():
    return files("core/cuda/*.cpp", "core/upload_ring.cpp", "kernels/device_graph.cpp", "kernels/vendor/cu*.cpp", "kernels/vendor/*/*.cpp", "core/nccl/*.cpp")


@functools.lru_cache(maxsize=None)
def includers():
    """header -> the files that include it"""
    users = collections.defaultdict(set)
    for f in files("core/**/*.*", "kernels/**/*.*", "autograd/*.*", "nn/*.*", "models/*.*", "train/*.*", "tests/*/*_test.cpp", "tests/emulator/planted_bugs.cpp"):
        if f.endswith((".h", ".cuh", ".cpp", ".cu")):
            for header in re.findall(r'#include "([^"]+)"', text(f)):
                users[header].add(f)
    return users


def is_test(f):
    return f.startswith("tests/") and f.endswith("_test.cpp")


def named(tests):
    return tuple(sorted(t[len("tests/"):-len(".cpp")] for t in tests))


@functools.lru_cache(maxsize=None)
def declared(header):
    """Functions that a header declares."""
    if not os.path.exists(os.path.join(ROOT, header)):
        return frozenset()
    return frozenset(re.findall(r"^(?:[\w:<>,&*]+ )+&?\*?(\w+)\(", text(header), re.M))


@functools.lru_cache(maxsize=None)
def functions(f):
    """What a file offers to others: of a kernel file, the functions it defines that a header of kernels/cuda declares; else what its own header does."""
    if not f.endswith(".cu"):
        return declared(f if f.endswith((".h", ".cuh")) else f[:-len(".cpp")] + ".h")
    defined = set(re.findall(r"^(?:[\w:<>,&*]+ )+&?\*?(\w+)\(", text(f), re.M))
    return frozenset(defined & {name for h in files("kernels/cuda/*.h") for name in declared(h)})


def calls(f, names):
    return any(re.search(rf"\b{name}(?:<[^;()]*>)?\(", text(f)) for name in names)


@functools.lru_cache(maxsize=None)
def kernel_tests(f):
    """["kernels/conv_test"]: tests that call what the file offers, else those of what calls it."""
    if f.endswith(".cuh"):  # a part of those that include it
        return tuple(sorted({t for user in includers()[f] if user.endswith((".cu", ".cuh")) for t in kernel_tests(user)}))
    for folder in ("tests/kernels", "tests/*"):
        tests = [t for t in files(f"{folder}/*_test.cpp") if not t.endswith("_cpu_test.cpp")]
        seen, level = set(), {f}
        while level:
            seen |= level
            names = frozenset(n for g in level for n in functions(g))
            found = [t for t in tests if calls(t, names)]
            if found:
                return named(found)
            level = {g for g in files("kernels/*.cpp", "kernels/cuda/*.cu", "kernels/vendor/*.cpp") if calls(g, names)} - seen
    return ()


@functools.lru_cache(maxsize=None)
def tests_of(f):
    """The tests that include the file's header, else those of what includes it."""
    seen, level = set(), {f[:-len(".cpp")] + ".h"}
    while level:
        seen |= level
        users = {u for header in level for u in includers()[header]} - {f}
        tests = {u for u in users if is_test(u)}
        if tests:
            return named(tests)
        level = {u if u.endswith(".h") else u[:-len(".cpp")] + ".h" for u in users if u.endswith((".h", ".cpp"))} - seen
    return ()


def reports():
    """[(GPU, date, {test: status})], the oldest first"""
    found = []
    for path in files("bench/results/gpu_check_*.json"):
        with open(os.path.join(ROOT, path), encoding="utf-8") as f:
            report = json.load(f)
        if not (report.get("device") or {}).get("gpus"):
            continue
        steps = {s["name"]: s["status"] for s in report["steps"] if s["group"] in ("kernels", "units")}
        found.append((report["device"]["gpus"][0]["name"], report["started"][:10], steps))
    return sorted(found, key=lambda r: r[1])


def on_gpu(tests, known):
    """What the last report that knows all of these tests says of them."""
    for name, date, steps in reversed(known):
        states = {steps[t] for t in tests if t in steps and steps[t] != "left out"}
        if states:
            return f"{name}, {date}" + ("" if states == {"passed"} else ": **failed**")
    return "not yet"


def table():
    known = reports()
    lines = ["| kernel | file | tests, on the emulator | on a GPU |", "|---|---|---|---|"]
    for f, kernel in kernels():
        tests = kernel_tests(f)
        lines.append(f"| `{kernel}` | {f[len('kernels/cuda/'):]} | {', '.join(tests) or '**none**'} | {on_gpu(tests, known)} |")
    lines += ["", "| other CUDA code | tests | on a GPU |", "|---|---|---|"]
    for f in other_files():
        tests = tests_of(f)
        emulated = "" if not VENDOR.search(f) else " (not in emulated builds)"
        lines.append(f"| {f} | {', '.join(tests) or '**none**'}{emulated} | {on_gpu(tests, known)} |")
    return "\n".join(lines)


def parts():
    with open(DOC, encoding="utf-8") as f:
        doc = f.read()
    if doc.count(BEGIN) != 1 or doc.count(END) != 1:
        sys.exit(f"{DOC}: expected the lines {BEGIN} and {END} once each")
    before, rest = doc.split(BEGIN)
    inside, after = rest.split(END)
    return before, inside, after


def check():
    _, inside, _ = parts()
    listed = {(f"kernels/cuda/{f}", k) for k, f in re.findall(r"^\| `(\w+)` \| (\S+) \|", inside, re.M)}
    listed |= {(f, None) for f in re.findall(r"^\| ((?:core|kernels)/\S+\.cpp) \|", inside, re.M)}
    there = set(kernels()) | {(f, None) for f in other_files()}
    wrong = [f"{k or f} of {f} is not listed" for f, k in sorted(there - listed, key=str)]
    wrong += [f"{k or f} of {f} is listed and is no more" for f, k in sorted(listed - there, key=str)]
    for line in wrong:
        print(f"docs/gpu_status.md: {line}", file=sys.stderr)
    if wrong:
        print("run scripts/gpu_status.py", file=sys.stderr)
        return 1
    print(f"docs/gpu_status.md lists all {len(kernels())} kernels and {len(other_files())} other files")
    return 0


def main():
    if sys.argv[1:] == ["--check"]:
        return check()
    if sys.argv[1:]:
        sys.exit(__doc__)
    before, _, after = parts()
    with open(DOC, "w", encoding="utf-8") as f:
        f.write(before + BEGIN + "\n" + table() + "\n" + END + after)
    return check()


if __name__ == "__main__":
    sys.exit(main())
