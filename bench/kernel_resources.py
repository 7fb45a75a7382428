#!/usr/bin/env python3
"""What ptxas made of kernels, without a GPU: registers, stack, and the instructions of the innermost loop with tensor-core products.

    bench/kernel_resources.py build/release/kernels/CMakeFiles/segrt_kernels.dir/cuda/conv_*.cu.o

Needs cuobjdump (and nvdisasm), of the CUDA toolkit or of the Python packages nvidia-cuda-cuobjdump and nvidia-cuda-nvdisasm, on PATH.
Prints a Markdown table; exits with 1 where a kernel has a stack frame or accesses local memory: spilled registers.
"""
import collections
import re
import subprocess
import sys

COUNTED = ("HMMA", "LDSM", "LDGSTS", "STL", "LDL")


def run(*command):
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


def demangle(name):
    text = run("c++filt", name).strip()
    text = re.sub(r"segrt::|kernels::|cuda::|\(anonymous namespace\)::|^void ", "", text)
    text = re.sub(r", \(Contiguous\)[01]", "", text)
    return text.split("(")[0].replace(" >", ">")


def mnemonic(instruction):
    return re.sub(r"^@!?U?P\w+\s+", "", instruction).split()[0].split(".")[0]


def inner_loop(instructions):
    """The shortest backward branch around an HMMA."""
    best = []
    for address, text in instructions:
        target = re.search(r"BRA.*?(0x[0-9a-f]+)", text)
        if not target or int(target.group(1), 16) > address:
            continue
        body = [t for a, t in instructions if int(target.group(1), 16) <= a <= address]
        if any(t.startswith("HMMA") for t in body) and (not best or len(body) < len(best)):
            best = body
    return best


def main():
    if len(sys.argv) < 2:
        sys.exit(__doc__)
    spilled = False
    print("| kernel | registers | stack | loop | " + " | ".join(COUNTED) + " |\n|---|" + "---|" * (3 + len(COUNTED)))
    for path in sys.argv[1:]:
        usage = dict(re.findall(r"Function (\S+):\s*\n\s*(REG:.*)", run("cuobjdump", "--dump-resource-usage", path)))
        for part in re.split(r"\n\s*Function : ", run("cuobjdump", "-sass", path))[1:]:
            name = part.split("\n")[0].strip()
            instructions = [(int(a, 16), t) for a, t in re.findall(r"/\*([0-9a-f]{4,5})\*/\s+([^;]*);", part)]
            everywhere = collections.Counter(mnemonic(t) for _, t in instructions)
            loop = inner_loop(instructions)
            counts = collections.Counter(mnemonic(t) for t in loop)
            registers, stack = (re.search(key + r":(\d+)", usage[name]).group(1) for key in ("REG", "STACK"))
            for local in ("STL", "LDL"):
                counts[local] = everywhere[local]
            spilled = spilled or int(stack) > 0 or counts["STL"] + counts["LDL"] > 0
            print(f"| {demangle(name)} | {registers} | {stack} | {len(loop)} | "
                  + " | ".join(str(counts[c]) for c in COUNTED) + " |")
    sys.exit(1 if spilled else 0)


if __name__ == "__main__":
    main()
