"""example.py FILE: an example is complete: its claims, classes and steps are there, and its scripts are shell."""

import re
import subprocess
import sys
from pathlib import Path

import yaml

path = Path(sys.argv[1])
text = path.read_text()
documents = list(yaml.safe_load_all(text))
commands = re.findall(r"^#   \$ (.*)$", text, re.MULTILINE)
wrong = []


def named(kind, of=documents):
    return {it["metadata"]["name"] for it in of if it.get("kind") == kind}


classes = named("StorageClass", yaml.safe_load_all((path.parent / "classes.yaml").read_text()))
pods = [it for it in documents if it.get("kind") in ("Pod", "StatefulSet")]
claims = [it["spec"] for it in documents if it.get("kind") == "PersistentVolumeClaim"]

for pod in pods:
    spec = pod["spec"] if pod["kind"] == "Pod" else pod["spec"]["template"]["spec"]
    claims += [it["spec"] for it in pod["spec"].get("volumeClaimTemplates", [])]
    for volume in spec.get("volumes", []):
        if "ephemeral" in volume:
            claims.append(volume["ephemeral"]["volumeClaimTemplate"]["spec"])
        elif volume["persistentVolumeClaim"]["claimName"] not in named("PersistentVolumeClaim"):
            wrong.append(f"{pod['metadata']['name']} uses a claim that is not here")
    for container in spec["containers"]:
        script = container["args"][0]
        parsed = subprocess.run(["sh", "-n"], input=script, text=True, capture_output=True, check=False)
        wrong += [f"{pod['metadata']['name']}: {parsed.stderr}"] if parsed.returncode else []
wrong += [f"no class {it['storageClassName']}" for it in claims if it["storageClassName"] not in classes]

if pods:
    steps = {it["metadata"].get("labels", {}).get("step") for it in documents} - {None}
    applied = set(re.findall(r"-l step=(\S+)", "\n".join(commands)))
    if steps != applied:
        wrong.append(f"steps {steps ^ applied} are not both labels and commands")
    if not any(it.startswith("kubectl wait") or it.startswith("kubectl rollout status") for it in commands):
        wrong.append("nothing says when it is right")
    if not commands[-1].startswith(f"kubectl delete -f {path.name}"):
        wrong.append("the last command does not clean up")
    waited = set(re.findall(r"kubectl wait \S+ pod/(\S+)", "\n".join(commands)))
    if not waited <= named("Pod"):
        wrong.append(f"waits for {waited - named('Pod')}, which is not here")

print("\n".join(wrong))
sys.exit(bool(wrong))
