"""Checkpoints between segrt and PyTorch, both ways, bit for bit: interop.py SEGMODEL FOLDER."""

import os
import subprocess
import sys
from collections import OrderedDict

import torch

segmodel, folder = sys.argv[1:]
os.chdir(folder)


def convert(*arguments):
    subprocess.run([segmodel, "convert", *arguments], check=True, stdout=subprocess.DEVNULL)


def bits(tensor):
    return tensor.contiguous().reshape(-1).view(torch.uint8) if tensor.numel() else torch.empty(0, dtype=torch.uint8)


def check_same(got, expected, what):
    assert list(got) == list(expected), what
    for name, tensor in expected.items():
        assert got[name].dtype == tensor.dtype, (what, name, got[name].dtype)
        assert got[name].shape == tensor.shape, (what, name, got[name].shape)
        assert torch.equal(bits(got[name]), bits(tensor)), (what, name)


torch.manual_seed(1)
special = torch.tensor([float("nan"), float("inf"), -float("inf"), -0.0, 1e-45, 3.4e38])
shared = torch.randn(40)
kinds = OrderedDict(
    conv=torch.randn(4, 3, 3, 3), scalar=torch.tensor(7), transposed=torch.randn(5, 6).t(), half=torch.randn(3).half(),
    empty=torch.zeros(0, 3), bytes=torch.arange(5, dtype=torch.uint8), double=torch.randn(2, dtype=torch.float64),
    int32=torch.arange(-2, 4, dtype=torch.int32), truth=torch.tensor([True, False]), special=special,
    first=shared[:20].view(4, 5), second=shared[10:], expanded=torch.randn(1, 3).expand(4, 3),
    channels_last=torch.randn(2, 3, 4, 5).contiguous(memory_format=torch.channels_last))
kinds["snow \u2603"] = torch.randn(1)
model = torch.nn.Sequential(torch.nn.Conv2d(3, 8, 3), torch.nn.BatchNorm2d(8), torch.nn.Conv2d(8, 2, 1, bias=False))
optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
model(torch.randn(2, 3, 8, 8)).sum().backward()
optimizer.step()
state = model.state_dict()
nested = {"epoch": 3, "state_dict": OrderedDict(("module." + k, v) for k, v in state.items()),
          "optimizer": optimizer.state_dict(), "best": torch.tensor(71.5)}

count = 0
for is_zip in (True, False):
    for saved, expected in ((kinds, kinds), (state, state), (nested, state)):
        torch.save(saved, "from_torch.pth", _use_new_zipfile_serialization=is_zip)
        for middle in ("middle.safetensors", "middle.pth"):
            convert("from_torch.pth", middle)
            convert(middle, "to_torch.pth")
            check_same(torch.load("to_torch.pth", weights_only=True), expected, (is_zip, middle))
            count += 1

# What bfloat16 and narrow integers become, and the other way.
torch.save({"b": special.bfloat16(), "c": torch.tensor([-128, 127], dtype=torch.int8),
            "s": torch.tensor([-32768, 32767], dtype=torch.int16)}, "narrow.pth")
convert("narrow.pth", "wide.pth")
check_same(torch.load("wide.pth", weights_only=True),
           {"b": special.bfloat16().float(), "c": torch.tensor([-128, 127], dtype=torch.int32),
            "s": torch.tensor([-32768, 32767], dtype=torch.int32)}, "widened")

loaded = torch.load("to_torch.pth", weights_only=True)
assert type(loaded) is OrderedDict
model.load_state_dict(loaded)  # strict
torch.load("to_torch.pth", weights_only=True, mmap=True)

# Every tensor of a nested checkpoint by its path.
torch.save(nested, "nested.pth")
convert("--all", "nested.pth", "all.pth")
everything = torch.load("all.pth", weights_only=True)
assert torch.equal(everything["optimizer/state/0/momentum_buffer"], nested["optimizer"]["state"][0]["momentum_buffer"])
assert "state_dict/module.0.weight" in everything and "best" in everything
print(f"torch {torch.__version__}: {count} round trips")
