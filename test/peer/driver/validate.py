"""Runs the real ParallelCluster on many files in one process.

Standard input: JSON {"facts": [...], "items": [{"id", "text", "facts", "args",
"kind"}, ...]}, where an item's facts are an index; standard output: for each item a
JSON line {"id", "outcome", "message", "findings", "seconds"}.
The files go to the functions that serve the commands, as a dry run, so that what
is compared is the tool's own answer.
"""

import json
import logging
import os
import sys
import time

import account as paper
import yaml

os.environ.update(AWS_DEFAULT_REGION="us-east-1", JSII_DEPRECATED="quiet", JSII_SILENCE_WARNING_END_OF_LIFE_NODE_VERSION="1")
# The regions are asked of the web before anything else; out of reach, the tool has a list of its own.
from pcluster import utils  # noqa: E402

account = paper.Account(utils.get_installed_version())
paper.install(account)

from pcluster.api.controllers import cluster_operations_controller as clusters  # noqa: E402
from pcluster.api.controllers import image_operations_controller as images  # noqa: E402
from pcluster.api.errors import ParallelClusterApiException  # noqa: E402
from pcluster.api.errors import exception_message  # noqa: E402
from pcluster.aws.aws_api import AWSApi  # noqa: E402
from pcluster.aws.common import Cache  # noqa: E402
from pcluster.models.cluster import Cluster  # noqa: E402
from pcluster.schemas.cluster_schema import ClusterSchema  # noqa: E402
from pcluster.templates.import_cdk import import_cdk  # noqa: E402
from pcluster.validators import s3_validators  # noqa: E402
from pcluster.validators.common import ValidatorContext, get_async_timed_validator_type_for  # noqa: E402

s3_validators.urlopen = account.url


def quiet_node():
    """The check for Node.js starts a process for each file; once is enough."""
    for module in (clusters, images):
        module.assert_valid_node_js = lambda: None


def forget():
    """Drops what the tool remembers of the account of the file before; its clients stay, they are slow to make."""
    Cache.clear_all()
    for client in list(vars(AWSApi.instance()).values()):
        for name, value in list(getattr(client, "__dict__", {}).items()):
            if isinstance(value, dict) and (name.endswith("cache") or name == "additional_instance_types_data"):
                setattr(client, name, {})
    for validator in (s3_validators.UrlValidator, get_async_timed_validator_type_for(s3_validators.UrlValidator)):
        for cell in validator._validate_async.__closure__ or ():
            forget_answers(cell.cell_contents)


def forget_answers(value, depth=3):
    """Empties the dictionary in which a decorated function keeps its answers."""
    if isinstance(value, dict):
        value.clear()
    elif depth:
        for cell in getattr(value, "__closure__", None) or ():
            forget_answers(cell.cell_contents, depth - 1)


def entries(found):
    return [{"level": e["level"], "validator": e["type"], "message": e["message"]} for e in found or []]


def request(item):
    """One dry run; returns the body of the answer and its HTTP status."""
    args = item.get("args") or {}
    common = {"region": args.get("region"), "suppress_validators": args.get("suppress"),
              "validation_failure_level": args.get("failure_level"), "dryrun": args.get("dryrun", True)}
    try:
        if item.get("kind") == "image":
            return images.build_image({"imageId": args.get("image_id", "myimage"), "imageConfiguration": item["text"]}, **common), 200
        body = {"clusterName": args.get("cluster_name", "mycluster"), "clusterConfiguration": item["text"]}
        return clusters.create_cluster(body, **common), 200
    except ParallelClusterApiException as e:
        content = json.loads(json.dumps(exception_message(e), default=lambda o: o.to_dict() if hasattr(o, "to_dict") else str(o)))
        return content, e.code


def update(item):
    """The validation of an update, which knows the running cluster."""
    args = item["args"]
    from pcluster.models.common import parse_config

    config = ClusterSchema(cluster_name=args.get("cluster_name", "mycluster")).load(parse_config(item["text"]))
    config.managed_head_node_security_group = args.get("managed_head_node_sg")
    config.managed_compute_security_group = args.get("managed_compute_sg")
    found = config.validate(set(), ValidatorContext(head_node_instance_id=args.get("head_node_instance_id"), during_update=True))
    return [{"level": str(f.level), "validator": f.validator_type, "message": f.message} for f in found]


def judge(item):
    account.facts = item["facts"]
    os.environ["AWS_DEFAULT_REGION"] = "us-east-1"
    forget()
    if (item.get("args") or {}).get("operation") == "update":
        found = update(item)
        refused = any(f["level"] == "ERROR" for f in found)
        return {"outcome": "refused" if refused else "accepted", "message": "", "findings": found}
    body, status = request(item)
    if status == 412 and item.get("kind") == "image" and "failure_level" not in (item.get("args") or {}):
        # The dry run of an image keeps its warnings to itself; refusing them brings them out.
        body, _ = request(dict(item, args=dict(item.get("args") or {}, failure_level="INFO")))
    body = camel(body)
    found = entries(body.get("configurationValidationErrors") or body.get("validationMessages"))
    message = body.get("message", "")
    if status == 412:
        outcome = "accepted"
    elif body.get("configurationValidationErrors"):
        outcome = "refused"
    else:
        outcome = "aborted"
    answer = {"outcome": outcome, "status": status, "message": message, "findings": found}
    if outcome == "accepted" and item.get("create"):
        answer["stack"] = create(item)
    return answer


def create(item):
    """Lets the tool create the cluster or image, and returns what it would have sent to AWS."""
    account.stored, account.stack = {}, {}
    body, status = request(dict(item, args=dict(item.get("args") or {}, dryrun=False)))
    if not account.stack:
        raise RuntimeError(f"no stack: {status} {body}")
    stack = dict(account.stack)
    if "TemplateBody" in stack:
        root = stack.pop("TemplateBody")
    else:
        url = stack.pop("TemplateURL").split("?")[0]
        root = next(v for k, v in account.stored.items() if url.endswith("/" + k))
    nested = {k: load(v) for k, v in account.stored.items() if "/assets/" in k or k.endswith(".template.json")}
    return {"root": load(root), "nested": nested, "tags": stack.get("Tags"), "objects": sorted(account.stored)}


def load(template):
    return yaml.safe_load(template.decode() if isinstance(template, bytes) else template)


def camel(body):
    """Keys as the commands print them, whatever form the exception has them in."""
    if isinstance(body, list):
        return [camel(b) for b in body]
    if not isinstance(body, dict):
        return body
    return {"".join(w if i == 0 else w.title() for i, w in enumerate(k.split("_"))) if "_" in k else k: camel(v) for k, v in body.items()}


def main():
    logging.disable(logging.CRITICAL)
    quiet_node()
    work = json.load(sys.stdin)
    if any(item.get("create") for item in work["items"]):
        import_cdk()  # the tool does it in a thread, which jsii does not stand when there are two
    for item in work["items"]:
        item["facts"] = work["facts"][item["facts"]]
        start = time.perf_counter()
        try:
            answer = judge(item)
        except Exception as e:  # the tool itself broke
            answer = {"outcome": "crashed", "message": f"{type(e).__name__}: {e}", "findings": []}
        answer.update(id=item["id"], seconds=round(time.perf_counter() - start, 4))
        print(json.dumps(answer), flush=True)
    if account.unknown:
        sys.exit("the account on paper lacks " + ", ".join(sorted(account.unknown)))


if __name__ == "__main__":
    main()
