#!/usr/bin/env python3
"""Prints as JSON which GPU, driver and CUDA libraries programs find here; {"error": ...} and status 1 where there is no GPU.

Asks the libraries themselves, those that a program started with the same LD_LIBRARY_PATH would load.
"""
import ctypes
import json
import os
import shutil
import subprocess
import sys


def call(library, function, convert):
    """convert(value) of `library`'s function(int*), None where there is no such library."""
    try:
        value = ctypes.c_int(0)
        status = getattr(ctypes.CDLL(library), function)(ctypes.byref(value))
        return convert(value.value) if status == 0 else None
    except (OSError, AttributeError):
        return None


def returned(library, function, convert):
    try:
        f = getattr(ctypes.CDLL(library), function)
        f.restype = ctypes.c_size_t
        return convert(f())
    except (OSError, AttributeError):
        return None


def cuda_version(v):
    return f"{v // 1000}.{v % 1000 // 10}"


def gpus():
    try:
        cuda = ctypes.CDLL("libcuda.so.1")
    except OSError as e:
        raise SystemExit(f"no GPU: no CUDA driver here ({e})")
    status = cuda.cuInit(0)
    count = ctypes.c_int(0)
    if status != 0 or cuda.cuDeviceGetCount(ctypes.byref(count)) != 0 or count.value == 0:
        raise SystemExit(f"no GPU: the CUDA driver finds none (status {status})")
    found = []
    for i in range(count.value):
        device, name, nbytes = ctypes.c_int(), ctypes.create_string_buffer(256), ctypes.c_size_t()
        cuda.cuDeviceGet(ctypes.byref(device), i)
        cuda.cuDeviceGetName(name, 256, device)
        cuda.cuDeviceTotalMem_v2(ctypes.byref(nbytes), device)
        values = []
        for attribute in (75, 76, 16, 38):  # compute capability major and minor, multiprocessors, L2 bytes
            value = ctypes.c_int()
            cuda.cuDeviceGetAttribute(ctypes.byref(value), attribute, device)
            values.append(value.value)
        found.append({"name": name.value.decode(), "compute_capability": f"{values[0]}.{values[1]}", "multiprocessors": values[2],
                      "l2_bytes": values[3], "memory_bytes": nbytes.value})
    return found


def nvidia_smi():
    fields = "driver_version,clocks.sm,clocks.max.sm,clocks.mem,temperature.gpu,power.draw,clocks_throttle_reasons.active"
    if not shutil.which("nvidia-smi"):
        return None
    try:
        result = subprocess.run(["nvidia-smi", f"--query-gpu={fields}", "--format=csv,noheader"], capture_output=True, text=True, timeout=10)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return dict(zip(fields.split(","), (v.strip() for v in result.stdout.splitlines()[0].split(",")))) if result.returncode == 0 and result.stdout else None


def main():
    try:
        report = {"gpus": gpus()}
    except SystemExit as e:
        print(json.dumps({"error": str(e)}))
        return 1
    smi = nvidia_smi()
    report.update({
        "driver": smi["driver_version"] if smi else None,
        "cuda_driver": call("libcuda.so.1", "cuDriverGetVersion", cuda_version),
        "cuda_runtime": call("libcudart.so.13", "cudaRuntimeGetVersion", cuda_version),
        "cudnn": returned("libcudnn.so.9", "cudnnGetVersion", lambda v: f"{v // 10000}.{v // 100 % 100}.{v % 100}"),
        "cublas": returned("libcublasLt.so.13", "cublasLtGetVersion", lambda v: f"{v // 10000}.{v // 100 % 100}.{v % 100}"),
        "nvidia_smi": smi,
        "cpu_cores": os.cpu_count(),
        "python": sys.version.split()[0],
    })
    print(json.dumps(report))
    return 0


if __name__ == "__main__":
    sys.exit(main())
