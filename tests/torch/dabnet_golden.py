"""A golden file of a DABNet variant, size and number of classes that has none:

    dabnet_golden.py SHARED MODEL OUT [--size N H W] [--classes K]

SHARED holds the PyTorch twin (peer/dabnet.py) and the formulas of weights and inputs (golden/golden.py); MODEL is a
name of the twin's, as DABNet_R_P4. The layout is that of the published files, with two differences. Maps and logits are
those of a float64 run, so that they test formulas to rounding. And `fp32_noise` says how far float32 runs of PyTorch
stray from float64 on this very network: the farthest of three, which differ in the order of their sums alone (channels
first, channels last, and without oneDNN).
"""
import argparse
import contextlib
import json
import os
import sys

import numpy as np
import torch
from torch import nn

parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
parser.add_argument("shared")
parser.add_argument("model")
parser.add_argument("out")
parser.add_argument("--size", type=int, nargs=3, default=(4, 64, 96), metavar=("N", "H", "W"))
parser.add_argument("--classes", type=int, default=19)
parser.add_argument("--threads", type=int, default=1)
args = parser.parse_args()
sys.path[:0] = [os.path.join(args.shared, folder) for folder in ("peer", "golden")]
import dabnet  # noqa: E402
import golden  # noqa: E402

IGNORE, MAX_ITERS = 255, 80000
INPUT = f"dabnet.{args.model}"
IS_E = args.model == "DABNet_E"
if IS_E:
    RECIPE = {"type": "Adam", "lr": 0.001, "betas": [0.5, 0.999]}
    SCHEDULE = {"policy": "poly", "power": 0.9, "min_lr": 1e-4, "by_epoch": False}
else:
    RECIPE = {"type": "SGD", "lr": 0.025, "momentum": 0.9, "weight_decay": 5e-4}
    SCHEDULE = {"policy": "poly", "power": 0.9, "min_lr": 1e-4, "by_epoch": False, "warmup": "linear", "warmup_iters": 1000}
AFTER_3 = ["backbone.conv_head16.bn.weight", "decode_head.conv_seg.bias", "decode_head.convs.0.bn.running_mean",
           "decode_head.convs.0.bn.running_var", "auxiliary_head.0.conv_seg.bias",
           "backbone.backbone.conv_stem.weight" if IS_E else "backbone.backbone.stem.0.weight"]
ORDERS = ("channels_first", "channels_last", "without_onednn")


def learning_rate(step):
    lr = (RECIPE["lr"] - SCHEDULE["min_lr"]) * (1 - step / MAX_ITERS) ** SCHEDULE["power"] + SCHEDULE["min_lr"]
    warmup = SCHEDULE.get("warmup_iters", 0)
    return lr * (1 - (1 - step / warmup) * 0.9) if step < warmup else lr


class Network:
    """The twin with formula weights, and its input, in one precision and order of sums; `stats` are running statistics."""

    def __init__(self, dtype, stats=None, order="channels_first"):
        self.model = dabnet.build(args.model, num_classes=args.classes)
        state = {k: torch.from_numpy(golden.fill(k, v.shape)) for k, v in self.model.state_dict().items()}
        self.model.load_state_dict(state | (stats or {}))
        for module in self.model.modules():
            if isinstance(module, nn.Dropout2d):
                module.p = 0.0
        backbone = self.model.backbone
        if backbone.sims:  # the twin asks for what four cross-scale blocks need, however few there are
            backbone.multiple = backbone.multiple // 32 * 2 ** (backbone.sims + 1)
        layout = torch.channels_last if order == "channels_last" else torch.contiguous_format
        self.model.to(dtype).to(memory_format=layout)
        self.image = torch.from_numpy(golden.image(INPUT, *args.size)).to(dtype).contiguous(memory_format=layout)
        self.sums = torch.backends.mkldnn.flags(enabled=False) if order == "without_onednn" else contextlib.nullcontext()


def calibrated():
    """Running statistics of one training pass with momentum 1."""
    network = Network(torch.float64)
    for module in network.model.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.momentum = 1.0
    with torch.no_grad():
        network.model.train()(network.image, heads=True)
    return {k: v.float() for k, v in network.model.named_buffers() if "running" in k}


def inference(network):
    """name: (map, stride of the axes n, c, h, w)."""
    model, maps = network.model.eval(), {}
    trunk = ["act1", *(f"blocks.{i}" for i in range(7))] if IS_E else ["stem", *(f"layer{i}" for i in range(1, 5))]
    names = ["backbone.backbone." + k for k in trunk]
    names += ["backbone." + k for k, _ in model.backbone.named_children()
              if k.startswith(("SIM_", "sp_", "cp_", "arm", "conv_head", "ffm"))]
    keep = lambda name: lambda module, inputs, output: maps.__setitem__("feat." + name, (output.clone(), (1, 3, 2, 2)))
    hooks = [model.get_submodule(k).register_forward_hook(keep(k)) for k in names]
    with torch.no_grad(), network.sums:
        decode, *auxiliary = model(network.image, heads=True)
        for hook in hooks:
            hook.remove()
        maps["logits_lowres"] = decode, (1, 1, 1, 1)
        for i, scores in enumerate(auxiliary):
            maps[f"aux_logits.{i}"] = scores, (1, 1, 2, 1)
        maps["logits"] = dabnet.resize(decode, network.image.shape[-2:]), (1, 3, 5, 5)
        maps["probs_flip_avg"] = dabnet.predict(model, network.image, flip=True), (1, 3, 5, 5)
    return maps


def training(network):
    """Three steps of the recipe. Accuracies, losses, gradient norms of the first step, state after the third."""
    model, image = network.model.train(), network.image
    label = torch.from_numpy(golden.labels(INPUT, *args.size, args.classes, IGNORE).astype(np.int64))
    if IS_E:
        optimizer = torch.optim.Adam(model.parameters(), RECIPE["lr"], betas=RECIPE["betas"], eps=1e-8)
    else:
        optimizer = torch.optim.SGD(model.parameters(), RECIPE["lr"], momentum=RECIPE["momentum"], weight_decay=RECIPE["weight_decay"])
    run = {"losses": []}
    with network.sums:
        with torch.no_grad():
            buffers = {k: v.clone() for k, v in model.named_buffers()}
            full = [dabnet.resize(v, label.shape[-2:]) for v in model(image, heads=True)]
            model.load_state_dict(buffers, strict=False)
        run["accuracies"] = [100.0 * (v.argmax(1) == label).sum().item() / label.numel() for v in full]
        for step in range(4):
            parts = dabnet.losses(model, image, label)
            run["losses"].append(sum(parts).item())
            if step == 3:  # the running statistics have seen this fourth pass too
                break
            optimizer.zero_grad(set_to_none=True)
            sum(parts).backward()
            if step == 0:
                run["parts"] = [v.item() for v in parts]
                run["gradients"] = np.array([p.grad.double().norm().item() for p in model.parameters()])
            for group in optimizer.param_groups:
                group["lr"] = learning_rate(step)
            optimizer.step()
    run["state"] = {k: model.state_dict()[k].double().numpy() for k in AFTER_3}
    return run


def relative(got, exact):
    return float(np.linalg.norm(got - exact) / max(np.linalg.norm(exact), 1e-30))


def noise(stats, maps, exact):
    """row: the largest deviation; of a map the largest element and the relative L2, of gradients the worst and the median relative one."""
    figures = {}

    def keep(row, *deviations):
        figures[row] = np.maximum(figures.get(row, 0.0), deviations)

    for order in ORDERS:
        for row, (got, _) in inference(Network(torch.float32, stats, order)).items():
            difference = got.double() - maps[row][0]
            keep(row + ", L2", (difference.norm() / maps[row][0].norm()).item())
            if not row.startswith("feat."):
                keep(row, difference.abs().max().item())
        run = training(Network(torch.float32, stats, order))
        keep("accuracies", *(abs(a - b) for a, b in zip(run["accuracies"], exact["accuracies"])))
        keep("loss_trajectory", *(abs(a - b) / b for a, b in zip(run["losses"], exact["losses"])))
        some = exact["gradients"] >= 1e-9  # the others are zero: biases in front of batch norms
        error = np.abs(run["gradients"] - exact["gradients"])[some] / exact["gradients"][some]
        keep("grad_norm", error.max(), np.median(error))
        for key in AFTER_3:
            keep("after3." + key, relative(run["state"][key], exact["state"][key]))
    return {row: v.tolist() for row, v in figures.items()}


def main():
    torch.set_num_threads(args.threads)
    stats = calibrated()
    tensors = {"state." + k: v.numpy() for k, v in stats.items()}
    maps = inference(Network(torch.float64, stats))
    for row, (value, stride) in maps.items():
        tensors[row] = value.numpy()[tuple(slice(None, None, s) for s in stride)].astype(np.float32)
    counts = torch.bincount(maps["logits"][0].argmax(1).flatten(), minlength=args.classes)
    tensors["argmax_histogram"] = counts.numpy()
    model = Network(torch.float32, stats).model
    for suffix, dtype in (("_f64", np.float64), ("", np.float32)):
        run = training(Network(torch.float64 if suffix else torch.float32, stats))
        tensors["loss_trajectory" + suffix] = np.array(run["losses"], dtype)
        tensors["grad_norm" + suffix] = run["gradients"].astype(dtype)
        for key, value in run["state"].items():
            tensors[f"after3{suffix}.{key}"] = value.astype(dtype)
        if suffix:
            exact = run
    tensors["loss"] = np.array(exact["losses"][0], np.float32)
    tensors["loss_parts"] = np.array([v for pair in zip(exact["parts"], exact["accuracies"]) for v in pair], np.float32)
    heads = ("decode", "aux_0", "aux_1")
    golden.save(args.out, tensors, {
        "model": args.model, "input_name": INPUT, "input_shape": [args.size[0], 3, *args.size[1:]],
        "label_shape": args.size, "num_classes": args.classes, "ignore_index": IGNORE,
        "state_shapes": [[k, list(v.shape)] for k, v in model.state_dict().items()],
        "total_params": sum(p.numel() for p in model.parameters()),
        "param_order": [k for k, _ in model.named_parameters()], "strides": {k: s for k, (_, s) in maps.items()},
        "loss_part_names": [f"{head}.{part}" for head in heads for part in ("loss_ce", "acc_seg")],
        "optimizer": RECIPE, "lr": [learning_rate(step) for step in range(3)], "lr_config": SCHEDULE,
        "max_iters": MAX_ITERS, "fp32_noise": noise(stats, maps, exact), "torch": torch.__version__})


main()
