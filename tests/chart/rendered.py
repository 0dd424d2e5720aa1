"""rendered.py CHART FILE: what helm has rendered is sound, and the chart's values and their schema name the same keys."""

import json
import sys
from pathlib import Path

import yaml

chart, rendered = Path(sys.argv[1]), sys.argv[2]
wrong = []


def compare(path, values, schema):
    """Every value must be in the schema with a description, and every key of the schema among the values."""
    schema = {**definitions.get(schema.get("$ref", "").rsplit("/", 1)[-1], {}), **schema}
    if not schema.get("description"):
        wrong.append(f"the schema does not describe {path}")
    if "properties" not in schema:
        return
    if schema.get("additionalProperties") is not False:
        wrong.append(f"the schema is open at {path}")
    if not isinstance(values, dict):
        return
    # `claims` of resources and `global` are Kubernetes' and Helm's own, with no default.
    for key in set(schema["properties"]) ^ set(values) - {"claims", "global"}:
        if key not in ("claims", "global"):
            wrong.append(f"{path}.{key} is not in both values.yaml and values.schema.json")
    for key in set(schema["properties"]) & set(values):
        compare(f"{path}.{key}", values[key], schema["properties"][key])


full = json.loads((chart / "values.schema.json").read_text())
definitions = full["$defs"]
compare("values", yaml.safe_load((chart / "values.yaml").read_text()), {**full, "description": "all"})


def pods(documents):
    for document in documents:
        if document["kind"] in ("Deployment", "DaemonSet"):
            yield document, document["spec"]["template"]["spec"]


def check_pod(document, pod):
    name = document["metadata"]["name"]
    labels = document["spec"]["template"]["metadata"]["labels"]
    selector = document["spec"]["selector"]["matchLabels"]
    if not selector.items() <= labels.items():
        wrong.append(f"{name}: its selector does not match its pods")
    if any(pod.get(key) for key in ("hostNetwork", "hostPID", "hostIPC")):
        wrong.append(f"{name}: has a namespace of the node's")
    volumes = {volume["name"] for volume in pod["volumes"]}
    mounted = set()
    for container in pod["containers"]:
        where = f"{name}/{container['name']}"
        context = container["securityContext"]
        mounted |= {mount["name"] for mount in container["volumeMounts"]}
        if not context.get("readOnlyRootFilesystem"):
            wrong.append(f"{where}: may write to its root")
        if context.get("privileged") and where.split("/")[1] != "tarn":
            wrong.append(f"{where}: is privileged")
        if not context.get("privileged") and context.get("capabilities") != {"drop": ["ALL"]}:
            wrong.append(f"{where}: keeps capabilities")
        if not all(container["resources"].get(key) for key in ("requests", "limits")):
            wrong.append(f"{where}: has no requests or limits")
        if ":" not in container["image"] or container["image"].endswith(":latest"):
            wrong.append(f"{where}: {container['image']} is not pinned")
        at = [mount["mountPath"] for mount in container["volumeMounts"]]
        if len(at) != len(set(at)):
            wrong.append(f"{where}: two mounts at one path")
    if volumes != mounted:
        wrong.append(f"{name}: volumes and mounts differ: {volumes ^ mounted}")


documents = [document for document in yaml.safe_load_all(Path(rendered).read_text()) if document]
names = [(it["kind"], it["metadata"].get("namespace"), it["metadata"]["name"]) for it in documents]
wrong += [f"{name} is there twice" for name in set(names) if names.count(name) > 1]
for document, pod in pods(documents):
    check_pod(document, pod)

# Rights are named one by one, and secrets are nobody's.
for role in (it for it in documents if it["kind"] in ("Role", "ClusterRole")):
    for rule in role["rules"]:
        said = [*rule["apiGroups"], *rule["resources"], *rule["verbs"]]
        if "*" in said or "secrets" in said:
            wrong.append(f"{role['metadata']['name']}: {rule} is too much")
        if "nodes" in rule["resources"] and set(rule["verbs"]) > {"get", "list", "watch"}:
            wrong.append(f"{role['metadata']['name']}: writes nodes")

# Each binding leads to a role and an account that are there.
there = {(kind, name) for kind, _, name in names}
for binding in (it for it in documents if it["kind"].endswith("RoleBinding")):
    ends = [binding["roleRef"], *binding["subjects"]]
    wrong += [f"no {end['kind']} {end['name']}" for end in ends if (end["kind"], end["name"]) not in there]
for binding in (it for it in documents if it["kind"] == "ValidatingAdmissionPolicyBinding"):
    if ("ValidatingAdmissionPolicy", binding["spec"]["policyName"]) not in there:
        wrong.append(f"no policy for {binding['metadata']['name']}")

print("\n".join(wrong))
sys.exit(bool(wrong))
