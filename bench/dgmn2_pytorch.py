"""DGMN2 in PyTorch, for side-by-side benchmarks. The module itself is `dgmn2.py` of the twins' folder (peer_folder.py)."""
import re

import torch
from torch.nn.utils.fusion import fuse_conv_bn_eval

import peer_folder  # noqa: F401
import dgmn2


def build(network):
    """dgmn2_tiny_fpn -> the twin's fpn_dgmn2_tiny."""
    size, head = re.fullmatch(r"dgmn2_([a-z]+)_([a-z_]+)", network).groups()
    return dgmn2.build(f"{head}_dgmn2_{size}")


def optimizer(model):
    return torch.optim.AdamW(model.parameters(), 1e-4, weight_decay=1e-4)


def train_step(model, optimizer_, image, label):
    optimizer_.zero_grad(set_to_none=True)
    dgmn2.loss(model, image, label).backward()
    optimizer_.step()


# Convolution and norm by class name, where one follows the other alone.
PAIRS = {"PatchStem": [("conv1", "norm1"), ("conv2", "norm2"), ("conv3", "norm3")],
         "PatchEmbed": [("conv", "norm")],
         "PUPHead": [(f"conv_{i}", f"syncbn_fc_{i}") for i in range(3)]}


def fold_norms(model):
    """Every norm behind a single convolution becomes part of it, for inference; returns the model in evaluation mode."""
    model.eval()
    for module in list(model.modules()):
        for conv, norm in PAIRS.get(type(module).__name__, []):
            setattr(module, conv, fuse_conv_bn_eval(getattr(module, conv), getattr(module, norm)))
            setattr(module, norm, torch.nn.Identity())
        if type(module).__name__ == "ConvModule" and module.bn is not None:
            module.conv, module.bn = fuse_conv_bn_eval(module.conv, module.bn), torch.nn.Identity()
        if isinstance(module, torch.nn.Sequential):
            for i in range(len(module) - 1):
                if isinstance(module[i], torch.nn.Conv2d) and isinstance(module[i + 1], torch.nn.BatchNorm2d):
                    module[i], module[i + 1] = fuse_conv_bn_eval(module[i], module[i + 1]), torch.nn.Identity()
    return model
