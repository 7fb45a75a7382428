#!/usr/bin/env python3
"""The README's table of models: published scores, parameters, multiply-adds, and what was compared with the reference.

usage: scripts/model_table.py SEGMODEL            writes the table anew
       scripts/model_table.py SEGMODEL --check    status 1 where the README has another

SEGMODEL is the program of a build; it counts parameters and multiply-adds of the configurations in models/. Published scores stand in
docs/published_results.json. Checks are those of bench/results/golden_parity.json, which `segrt_golden --json bench/results/golden_parity.json FILES` writes, or, for networks
without a file of their authors' code, of bench/results/twin_parity.json, which tests/torch/twin_parity.py writes.
"""
import json
import os
import re
import subprocess
import sys

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
README = os.path.join(ROOT, "README.md")
BEGIN, END = "<!-- made by scripts/model_table.py: begin -->", "<!-- made by scripts/model_table.py: end -->"


def load(path):
    with open(os.path.join(ROOT, path), encoding="utf-8") as f:
        return json.load(f)


def counts(segmodel, row):
    """Parameters and multiply-adds of one image."""
    command = [segmodel, "summary", f"models/{row['config']}.toml", "--totals", "--input", row.get("input", "1x1024x2048")]
    if "model" in row:
        command += ["--set", f"model.name={row['model']}"]
    out = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True).stdout
    return [int(re.search(rf"^{what}\s+(\d+)", out, re.M).group(1)) for what in ("parameters", "multiply-adds")]


def parity(row, published, twin):
    """What golden files of this network said."""
    for results, suffix in ((published, ""), (twin, ", twin")):
        files = [r for r in results if r["model"] == row.get("golden")]
        if files:
            checks, failed = sum(r["checks"] for r in files), sum(r["failed"] for r in files)
            return (f"{checks} checks" if failed == 0 else f"{failed} of {checks} checks fail") + suffix
    return "counts"


def table(segmodel):
    results = [load(f"bench/results/{name}_parity.json") for name in ("golden", "twin")]
    lines, group = [], None
    for row in load("docs/published_results.json"):
        if (row["family"], row["metric"]) != group:
            group = row["family"], row["metric"]
            lines += ["", f"**{row['family']}**: {row['metric']}", "", "| network | published | parameters | GMACs | image | compared |", "|---|---|---|---|---|---|"]
        parameters, macs = counts(segmodel, row)
        name = f"[`{row['config']}`](models/{row['config']}.toml)" + (f", `model.name={row['model']}`" if "model" in row else "")
        image = row.get("input", "1x1024x2048").removeprefix("1x")
        lines.append(f"| {name} | {row['published']} | {parameters / 1e6:.2f} M | {macs / 1e9:.2f} | {image} | {parity(row, *results)} |")
    return "\n".join(lines[1:]) + "\n"


def main():
    if len(sys.argv) not in (2, 3) or sys.argv[2:] not in ([], ["--check"]):
        sys.exit(__doc__)
    with open(README, encoding="utf-8") as f:
        readme = f.read()
    before, rest = readme.split(BEGIN)
    after = rest.split(END)[1]
    wanted = f"{before}{BEGIN}\n{table(os.path.abspath(sys.argv[1]))}{END}{after}"
    if sys.argv[2:]:
        if wanted != readme:
            sys.exit("README.md: the table of models is not what scripts/model_table.py makes; run it")
        return
    with open(README, "w", encoding="utf-8") as f:
        f.write(wanted)


if __name__ == "__main__":
    main()
