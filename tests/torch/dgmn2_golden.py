"""A golden file of a DGMN2 network and size that has none:

    dgmn2_golden.py SHARED MODEL OUT [--size H W]

SHARED holds the PyTorch twin (peer/dgmn2.py) and the formulas of weights and inputs (golden/golden.py); MODEL is a name
of the twin's, as setr_pup_dgmn2_large, or dgmn2_small for the classifier, which takes 224x224 alone. The layout is that
of the published files. Maps, losses and gradients are those of a float64 run, so that they test formulas to rounding;
`fp32_noise` says how far float32 runs of PyTorch stray from it on this very network: the farthest of three, which
differ in the order of their sums alone (channels first, channels last, and without oneDNN).
"""
import argparse
import contextlib
import os
import sys

import numpy as np
import torch
from torch import nn

parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
parser.add_argument("shared")
parser.add_argument("model")
parser.add_argument("out")
parser.add_argument("--size", type=int, nargs=2, default=(64, 96), metavar=("H", "W"))
parser.add_argument("--threads", type=int, default=1)
args = parser.parse_args()
sys.path[:0] = [os.path.join(args.shared, folder) for folder in ("peer", "golden")]
import dgmn2  # noqa: E402
import golden  # noqa: E402

CLASSIFIER = args.model.startswith("dgmn2_")
HEAD, SIZE = args.model.rsplit("dgmn2_", 1)
HEAD = HEAD.rstrip("_")
HEIGHT, WIDTH = (224, 224) if CLASSIFIER else args.size
CLASSES, MOST = (1000, 4096) if CLASSIFIER else (19, 4096)
INPUT = f"dgmn2.{args.model}"
# What SETR-Naive and SETR-MLA resize their logits to, whatever the size of the image.
OPTIONS = {} if CLASSIFIER else {"dropout": 0.0, **({"img_size": max(HEIGHT, WIDTH)} if HEAD in ("setr_naive", "setr_mla") else {})}
RATES = [1e-6] * 3 if CLASSIFIER else [1e-4 * (1 - step / 40000) ** 0.9 for step in range(3)]
ORDERS = ("channels_first", "channels_last", "without_onednn")


def fill(key, shape):
    """The formula of the published files: matrices of blocks are halved."""
    value = golden.fill(key, shape)
    of_block = any(f"block{stage}." in key for stage in range(1, 5))
    return torch.from_numpy(np.ascontiguousarray(value * np.float32(0.5) if of_block and value.ndim >= 2 else value))


class Network:
    def __init__(self, dtype, stats=None, order="channels_first"):
        self.model = dgmn2.build(args.model, **OPTIONS)
        self.model.load_state_dict({k: fill(k, v.shape) for k, v in self.model.state_dict().items()} | (stats or {}))
        self.dtype = dtype
        self.layout = torch.channels_last if order == "channels_last" else torch.contiguous_format
        self.model.to(dtype).to(memory_format=self.layout)
        self.sums = torch.backends.mkldnn.flags(enabled=False) if order == "without_onednn" else contextlib.nullcontext()

    def image(self, count):
        return torch.from_numpy(golden.image(INPUT, count, HEIGHT, WIDTH)).to(self.dtype).contiguous(memory_format=self.layout)


def calibrated():
    """Running statistics of one training pass with momentum 1."""
    network = Network(torch.float64)
    for module in network.model.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.momentum = 1.0
    with torch.no_grad():
        network.model.train()(network.image(1))
    return {k: v.float() for k, v in network.model.named_buffers() if "running" in k}


def watched(model):
    """(row, module) of the maps that a file holds."""
    core = model if CLASSIFIER else model.backbone
    for stage in range(1, 5):
        yield f"feat.patch_embed{stage}", getattr(core, f"patch_embed{stage}")
        blocks = getattr(core, f"block{stage}")
        yield f"feat.block{stage}.0.attn", blocks[0].attn
        yield f"feat.block{stage}.last", blocks[-1]
    if HEAD == "fpn":
        for i, branch in enumerate(model.decode_head.scale_heads):
            yield f"feat.scale_heads.{i}", branch
    if HEAD == "setr_pup":
        for i in range(3):
            yield f"feat.syncbn_fc_{i}", getattr(model.decode_head, f"syncbn_fc_{i}")
    if HEAD == "setr_mla":
        for i in range(2, 6):
            yield f"feat.mlahead.head{i}", getattr(model.decode_head.mlahead, f"head{i}")


def inference(network):
    model, maps = network.model.eval(), {}

    def keep(row):  # the next ReLU may work in place
        return lambda module, inputs, output: maps.__setitem__(row, output.detach().clone())

    hooks = [module.register_forward_hook(keep(row)) for row, module in watched(model)]
    if CLASSIFIER:
        hooks.append(model.head.register_forward_pre_hook(
            lambda module, inputs: maps.__setitem__("feat.pooled", inputs[0].detach()[:, :, None, None].clone())))
    else:
        hooks.append(model.backbone.register_forward_hook(
            lambda module, inputs, outputs: maps.update({f"feat.backbone.{i}": v.clone() for i, v in enumerate(outputs)})))
        if HEAD == "fpn":
            hooks.append(model.neck.register_forward_hook(
                lambda module, inputs, outputs: maps.update({f"feat.neck.{i}": v.clone() for i, v in enumerate(outputs)})))
    with torch.no_grad(), network.sums:
        maps["logits"] = model(network.image(1))
    for hook in hooks:
        hook.remove()
    return maps


def batch(network):
    image = network.image(2)
    if not CLASSIFIER:
        return image, torch.from_numpy(golden.labels(INPUT, 2, HEIGHT, WIDTH, CLASSES).copy())
    target = torch.full((2, CLASSES), 0.1 / CLASSES, dtype=network.dtype)
    target[torch.arange(2), [123, 907]] += 0.9
    return 0.7 * image + 0.3 * image.flip(0), 0.7 * target + 0.3 * target.flip(0)


def training(network):
    """Losses before and after each of three steps, and the gradient norms of the first."""
    model = network.model.train()
    image, label = batch(network)
    decayed = lambda name, p: 1e-4 if not CLASSIFIER else 0.0 if p.dim() == 1 or name.endswith(".bias") else 0.05
    optimizer = torch.optim.AdamW([{"params": [p], "weight_decay": decayed(k, p)} for k, p in model.named_parameters()],
                                  lr=1.0, betas=(0.9, 0.999), eps=1e-8)
    losses, norms = [], None
    with network.sums:
        for step in range(4):
            with torch.set_grad_enabled(step < 3):
                value = dgmn2.loss(model, image, label)
            losses.append(value.item())
            if step == 3:
                break
            optimizer.zero_grad(set_to_none=True)
            value.backward()
            if step == 0:
                norms = np.array([p.grad.double().norm().item() for p in model.parameters()])
            for group in optimizer.param_groups:
                group["lr"] = RATES[step]
            optimizer.step()
    return losses, norms


def noise(stats, exact_logits, exact_losses, exact_norms):
    figures = {"logits_max_rel": 0.0, "loss_rel": 0.0, "loss_traj_rel": 0.0, "grad_norm_rel_over_big": 0.0}
    trajectory = np.zeros(4)
    big = exact_norms > 1e-4 * exact_norms.max()
    for order in ORDERS:
        logits = inference(Network(torch.float32, stats, order))["logits"].double()
        losses, norms = training(Network(torch.float32, stats, order))
        error = np.abs(np.array(losses) / exact_losses - 1)
        trajectory = np.maximum(trajectory, error)
        for key, value in (("logits_max_rel", ((logits - exact_logits).abs().max() / exact_logits.abs().max()).item()),
                           ("loss_rel", error[0]), ("loss_traj_rel", error.max()),
                           ("grad_norm_rel_over_big", (np.abs(norms - exact_norms)[big] / exact_norms[big]).max())):
            figures[key] = max(figures[key], float(value))
    return figures | {"loss_traj": trajectory.tolist()}


def main():
    torch.set_num_threads(args.threads)
    stats = calibrated()
    tensors = {"state." + k: v.numpy() for k, v in stats.items()}
    maps = inference(Network(torch.float64, stats))
    strides = {row: max(1, v.numel() // MOST) if row.startswith("feat.") else 1 for row, v in maps.items()}
    for row, value in maps.items():
        tensors[row] = value.flatten()[::strides[row]].numpy().astype(np.float32)
    losses, norms = training(Network(torch.float64, stats))
    tensors |= {"loss": np.array(losses[:1], np.float32), "loss_traj": np.array(losses, np.float32), "grad_norm": norms.astype(np.float32)}
    model = Network(torch.float32).model
    golden.save(args.out, tensors, {
        "family": "dgmn2", "model": f"DGMN2-{SIZE} ImageNet classifier" if CLASSIFIER else f"DGMN2-{SIZE} + {HEAD}",
        "input": {"name": INPUT, "eval_shape": [1, 3, HEIGHT, WIDTH], "train_shape": [2, 3, HEIGHT, WIDTH]},
        "img_size": OPTIONS.get("img_size"), "num_classes": CLASSES, "ignore_index": None if CLASSIFIER else 255,
        "params": sum(p.numel() for p in model.parameters()), "param_order": [k for k, _ in model.named_parameters()],
        "state_shapes": [[k, list(v.shape)] for k, v in model.state_dict().items()], "strides": strides,
        "shapes": {row: list(v.shape) for row, v in maps.items()},
        "optimizer": {"type": "AdamW", "betas": [0.9, 0.999], "eps": 1e-8, "lr": RATES,
                      "weight_decay": "0.05; 0 for 1-d parameters and *.bias" if CLASSIFIER else "1e-4 on every parameter"},
        "loss_traj_float64": losses, "fp32_noise": noise(stats, maps["logits"].double(), np.array(losses), norms),
        "torch": torch.__version__})


main()
