"""dashboards.py ROOT: dashboard and alerts use metrics that exist, and docs/metrics.md lists the alerts."""

import json
import re
import sys
from pathlib import Path

import yaml

root = Path(sys.argv[1])
page = (root / "docs/metrics.md").read_text()
known = set(re.findall(r"`(tarn_\w+)`", page))
dashboard = json.loads((root / "deploy/dashboards/tarn.json").read_text())
rules = [it for group in yaml.safe_load((root / "deploy/dashboards/rules.yaml").read_text())["groups"] for it in group["rules"]]
wrong = []

expressions = [target["expr"] for panel in dashboard["panels"] for target in panel.get("targets", [])]
expressions += [variable.get("definition", "") for variable in dashboard["templating"]["list"]]
expressions += [rule["expr"] for rule in rules]
for expression in expressions:
    for metric in re.findall(r"tarn_\w+", expression):
        if metric not in known and re.sub("_(count|bucket|sum)$", "", metric) not in known:
            wrong.append(f"{metric} is not in docs/metrics.md")
wrong += [f"docs/metrics.md lacks {rule['alert']}" for rule in rules if f"`{rule['alert']}`" not in page]
wrong += [f"{rule['alert']} does not say what to do" for rule in rules if not rule["annotations"].get("description")]
numbers = [panel["id"] for panel in dashboard["panels"]]
wrong += ["two panels have one number"] if len(numbers) != len(set(numbers)) else []

print("\n".join(wrong))
sys.exit(bool(wrong))
