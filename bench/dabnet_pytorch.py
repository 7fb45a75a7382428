"""DABNet in PyTorch, for side-by-side benchmarks. The module itself is `dabnet.py` of the twins' folder
(peer_folder.py)."""
import torch
from torch.nn.utils.fusion import fuse_conv_bn_eval

import peer_folder  # noqa: F401
import dabnet

NAMES = {name.lower(): name for name in dabnet.VARIANTS}


def build(network):
    return dabnet.build(NAMES[network])


def optimizer(network, model):
    if network == "dabnet_e":
        return torch.optim.Adam(model.parameters(), 1e-3, betas=(0.5, 0.999))
    return torch.optim.SGD(model.parameters(), 0.025, momentum=0.9, weight_decay=5e-4)


def train_step(model, optimizer_, image, label):
    optimizer_.zero_grad(set_to_none=True)
    dabnet.loss(model, image, label).backward()
    optimizer_.step()


# Convolution and norm by class name, where one follows the other alone.
PAIRS = {"ConvBnRelu": [("conv", "bn")],
         "BasicBlock": [("conv1", "bn1"), ("conv2", "bn2")],
         "DepthwiseSeparable": [("conv_dw", "bn1"), ("conv_pw", "bn2")],
         "InvertedResidual": [("conv_pw", "bn1"), ("conv_dw", "bn2"), ("conv_pwl", "bn3")],
         "SIM": [("h2l_0", "bnl_0"), ("h2h_0", "bnh_0")],
         "EfficientNetB1": [("conv_stem", "bn1")]}


def fold_norms(model):
    """Every norm behind a single convolution becomes part of it, for inference; returns the model in evaluation mode."""
    model.eval()
    for module in list(model.modules()):
        for conv, norm in PAIRS.get(type(module).__name__, []):
            setattr(module, conv, fuse_conv_bn_eval(getattr(module, conv), getattr(module, norm)))
            setattr(module, norm, torch.nn.Identity())
        if isinstance(module, torch.nn.Sequential):
            for i in range(len(module) - 1):
                if isinstance(module[i], torch.nn.Conv2d) and isinstance(module[i + 1], torch.nn.BatchNorm2d):
                    module[i], module[i + 1] = fuse_conv_bn_eval(module[i], module[i + 1]), torch.nn.Identity()
    return model
