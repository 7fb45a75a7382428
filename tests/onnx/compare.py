"""compare.py FOLDER: for every NAME.onnx, what onnxruntime computes from the `image` of NAME.safetensors against its `logits`."""
import json
import pathlib
import struct
import sys

import numpy
import onnxruntime

LARGEST_ERROR = 5e-5  # relative L2; 2.8e-5 has been seen


def read(path):
    data = path.read_bytes()
    (size,) = struct.unpack("<Q", data[:8])
    tensors = json.loads(data[8 : 8 + size])
    tensors.pop("__metadata__", None)
    return {
        name: numpy.frombuffer(data, "<f4", (t["data_offsets"][1] - t["data_offsets"][0]) // 4, 8 + size + t["data_offsets"][0]).reshape(t["shape"])
        for name, t in tensors.items()
    }


failed = 0
cases = sorted(pathlib.Path(sys.argv[1]).glob("*.onnx"))
for model in cases:
    expected = read(model.with_suffix(".safetensors"))
    session = onnxruntime.InferenceSession(str(model), providers=["CPUExecutionProvider"])
    (logits,) = session.run(["logits"], {"image": expected["image"]})
    difference = logits.reshape(expected["logits"].shape) - expected["logits"]
    error = numpy.linalg.norm(difference) / numpy.linalg.norm(expected["logits"])
    passed = error <= LARGEST_ERROR
    failed += not passed
    print(f"{model.name}: {logits.shape}, relative L2 {error:.2e}, largest difference {numpy.abs(difference).max():.2e}: {'ok' if passed else 'FAILED'}")
print(f"{len(cases) - failed} of {len(cases)} networks agree")
sys.exit(failed > 0 or not cases)
