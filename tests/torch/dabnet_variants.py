"""DABNet variants without a published golden file, against the PyTorch twin: dabnet_variants.py SEGRT_GOLDEN SHARED FOLDER.

Exit code 77, a skipped test, without the twin (SHARED/peer/dabnet.py).
"""
import os
import subprocess
import sys

segrt_golden, shared, folder = sys.argv[1:]
if not os.path.exists(os.path.join(shared, "peer", "dabnet.py")):
    print("no PyTorch twin in", shared)
    sys.exit(77)

# One of each spatial path, small and at awkward sizes; channels alone and means alone in the small copies.
VARIANTS = (("FCN", (4, 72, 104), 11), ("baseline", (4, 61, 83), 11), ("PCE0", (4, 72, 88), 19), ("Channel", (4, 64, 128), 19),
            ("Spatial", (4, 64, 64), 11))
failed = []
for variant, size, classes in VARIANTS:
    path = os.path.join(folder, variant + ".safetensors")
    generator = os.path.join(os.path.dirname(os.path.abspath(__file__)), "dabnet_golden.py")
    subprocess.run([sys.executable, generator, shared, "DABNet_" + variant, path, "--size", *map(str, size),
                    "--classes", str(classes)], check=True, stderr=subprocess.DEVNULL)
    if subprocess.run([segrt_golden, path]).returncode != 0:
        failed.append(variant)
print("failed:", ", ".join(failed) or "none")
sys.exit(bool(failed))
