"""An AWS account on paper for boto3: answers API calls from facts.

Nothing of ParallelCluster is replaced. botocore offers handlers that run instead
of the network ("before-call"); ours look the answer up in `Account.facts`, whose
form is that of the validator cases. What the facts do not name does not exist.
"""

import datetime
import os
import time
import types
import urllib.error
import urllib.request
from io import BytesIO

import boto3
import botocore.session

NUMBER = "111122223333"
HANG = 12  # seconds; longer than the tool waits for a script
AWS_POLICIES = {
    f"arn:aws:iam::aws:policy/{name}"
    for name in ("CloudWatchAgentServerPolicy", "AmazonS3ReadOnlyAccess", "AmazonS3FullAccess", "AmazonSSMManagedInstanceCore")
}
THEN = datetime.datetime(2026, 1, 1, tzinfo=datetime.timezone.utc)


class No(Exception):
    """AWS's answer is an error."""

    def __init__(self, code, message="", status=400):
        super().__init__(message)
        self.answer = {"Error": {"Code": code, "Message": message or code}, "ResponseMetadata": {"HTTPStatusCode": status}}
        self.status = status


def has(facts, key, name, code, status=400):
    """The fact of that name, or AWS's error."""
    known = facts.get(key) or {}
    if name not in known:
        raise No(code, f"{name} does not exist", status)
    fact = known[name] if isinstance(known, dict) else {}
    if isinstance(fact, dict) and "error" in fact:
        raise No(fact["error"]["code"], fact["error"].get("message", ""), status)
    return fact or {}


class Account:
    """All operations that ParallelCluster calls while it validates and synthesises."""

    def __init__(self, version):
        self.facts = {}
        self.version = version  # what the official AMIs are for
        self.unknown = set()  # operations that nobody has written here
        self.stored = {}  # what was put into S3, by key
        self.stack = {}  # the last CreateStack

    # CloudFormation, STS, IAM ------------------------------------------------

    def cloudformation_DescribeStacks(self, p):
        name = p.get("StackName")
        if name not in (self.facts.get("stacks") or []):
            raise No("ValidationError", f"Stack with id {name} does not exist")
        return {"Stacks": [{"StackName": name, "StackStatus": "CREATE_COMPLETE", "CreationTime": THEN, "Tags": []}]}

    def cloudformation_CreateStack(self, p):
        self.stack = p
        return {"StackId": f"arn:aws:cloudformation:us-east-1:{NUMBER}:stack/{p['StackName']}/1"}

    def sts_GetCallerIdentity(self, p):
        return {"Account": NUMBER, "Arn": f"arn:aws:iam::{NUMBER}:user/peer", "UserId": "AIDAPEER"}

    def iam_GetRole(self, p):
        name = p["RoleName"]
        if name.startswith("PClusterBuildImageCleanupRole"):  # the build-image command looks after its own role
            return {"Role": {"RoleName": name, "Arn": f"arn:aws:iam::{NUMBER}:role/{name}", "Tags": [
                {"Key": "parallelcluster:build-image-cleanup-role-revision", "Value": "1000"}]}}
        has(self.facts, "iam_roles", name, "NoSuchEntity", 404)
        return {"Role": {"RoleName": name, "Arn": f"arn:aws:iam::{NUMBER}:role/{name}"}}

    def iam_GetInstanceProfile(self, p):
        name = p["InstanceProfileName"]
        has(self.facts, "iam_instance_profiles", name, "NoSuchEntity", 404)
        role = {"RoleName": name, "Arn": f"arn:aws:iam::{NUMBER}:role/{name}"}
        return {"InstanceProfile": {"InstanceProfileName": name, "Arn": f"arn:aws:iam::{NUMBER}:instance-profile/{name}", "Roles": [role]}}

    def iam_GetPolicy(self, p):
        arn = p["PolicyArn"]
        if arn not in AWS_POLICIES:
            has(self.facts, "iam_policies", arn, "NoSuchEntity", 404)
        return {"Policy": {"Arn": arn}}

    def iam_AttachRolePolicy(self, p):
        return {}

    iam_PutRolePolicy = iam_TagRole = iam_CreateRole = iam_AttachRolePolicy

    # EC2 ---------------------------------------------------------------------

    def instance_type(self, name):
        """An instance type as EC2 describes it."""
        f = self.facts["instance_types"][name]
        cards = f.get("network_cards", 1)
        out = {
            "InstanceType": name,
            "SupportedUsageClasses": list(f.get("usage_classes", ["on-demand", "spot"])),
            "ProcessorInfo": {"SupportedArchitectures": f.get("arch", ["x86_64"])},
            "VCpuInfo": {"DefaultVCpus": f["vcpus"], "DefaultCores": f["cores"], "DefaultThreadsPerCore": f.get("threads_per_core", 2)},
            "MemoryInfo": {"SizeInMiB": f.get("memory_mib")},
            "EbsInfo": {"EbsOptimizedSupport": f.get("ebs_optimized", "default")},
            "InstanceStorageSupported": f.get("instance_storage", False),
            "PlacementGroupInfo": {"SupportedStrategies": f.get("placement_strategies", ["cluster", "partition", "spread"])},
            "NetworkInfo": {
                "MaximumNetworkCards": cards,
                "EfaSupported": f.get("efa", False),
                "NetworkCards": [{"NetworkCardIndex": i, "MaximumNetworkInterfaces": 15} for i in range(cards)],
            },
        }
        if f.get("efa"):
            out["NetworkInfo"]["EfaInfo"] = {"MaximumEfaInterfaces": cards}
        if f.get("memory_mib", 0) is None:
            del out["MemoryInfo"]
        if f.get("gpus"):
            out["GpuInfo"] = {"Gpus": [{"Manufacturer": g["manufacturer"], "Count": g["count"]} for g in f["gpus"]]}
        if f.get("accelerators"):
            out["InferenceAcceleratorInfo"] = {
                "Accelerators": [{"Manufacturer": g["manufacturer"], "Count": g["count"]} for g in f["accelerators"]]
            }
        return out

    def ec2_DescribeInstanceTypes(self, p):
        names = p.get("InstanceTypes") or list(self.facts["instance_types"])
        for name in names:
            if name not in self.facts["instance_types"]:
                raise No("InvalidInstanceType", f"The following supplied instance types do not exist: [{name}]")
        return {"InstanceTypes": [self.instance_type(n) for n in names]}

    def ec2_DescribeInstanceTypeOfferings(self, p):
        wanted = filters(p).get("instance-type")
        every = sorted({s["az"] for s in self.facts["subnets"].values()})
        out = []
        for name, f in self.facts["instance_types"].items():
            if f.get("offered", True) and (wanted is None or name in wanted):
                places = f.get("azs", every) if p.get("LocationType") == "availability-zone" else ["region"]
                out += [{"InstanceType": name, "Location": z} for z in places]
        return {"InstanceTypeOfferings": out}

    def image(self, name):
        f = self.facts["images"][name]
        return {
            "ImageId": name,
            "Name": self.to_installed(f.get("name", name)),
            "Description": f.get("description", ""),
            "State": f.get("state", "available"),
            "Architecture": f.get("arch", "x86_64"),
            "CreationDate": "2026-01-01T00:00:00.000Z",
            "Tags": [{"Key": k, "Value": self.to_installed(v)} for k, v in (f.get("tags") or {}).items()],
            "BlockDeviceMappings": [{"DeviceName": "/dev/xvda", "Ebs": {"VolumeSize": f.get("volume_size", 40), "SnapshotId": "snap-0"}}],
        }

    def to_installed(self, text):
        """The facts' AMIs of the release that the cases describe are AMIs of this one."""
        return text.replace("3.12.0", self.version)

    def ec2_DescribeImages(self, p):
        images = [self.image(i) for i in self.facts["images"]]
        if p.get("ImageIds"):
            for i in p["ImageIds"]:
                if i not in self.facts["images"]:
                    raise No("InvalidAMIID.NotFound", f"The image id '[{i}]' does not exist")
            return {"Images": [i for i in images if i["ImageId"] in p["ImageIds"]]}
        out = []
        for i in images:
            fact = self.facts["images"][i["ImageId"]]
            if not fact.get("official") and "amazon" in (p.get("Owners") or []):
                continue
            tags = {t["Key"]: t["Value"] for t in i["Tags"]}
            if fact.get("pcluster_image_id"):
                tags["parallelcluster:image_id"] = fact["pcluster_image_id"]
            if all(self.matches(i, tags, k, v) for k, v in filters(p).items()):
                out.append(i)
        for name in self.facts.get("pcluster_images") or []:
            if filters(p).get("tag:parallelcluster:image_id") == [name]:
                out.append(dict(images[0], ImageId="ami-own", Tags=[{"Key": "parallelcluster:image_id", "Value": name}]))
        return {"Images": out}

    @staticmethod
    def matches(image, tags, key, values):
        if key.startswith("tag:"):
            return tags.get(key[4:]) in values
        have = {"name": image["Name"], "state": image["State"]}.get(key)
        return have is None or any(have.startswith(v[:-1]) if v.endswith("*") else have == v for v in values)

    def ec2_DescribeKeyPairs(self, p):
        name = p["KeyNames"][0]
        if name not in self.facts["key_pairs"]:
            raise No("InvalidKeyPair.NotFound", f"The key pair '{name}' does not exist")
        return {"KeyPairs": [{"KeyName": name, "KeyType": self.facts["key_pairs"][name]}]}

    def ec2_DescribeSubnets(self, p):
        out = []
        for i in p["SubnetIds"]:
            f = has(self.facts, "subnets", i, "InvalidSubnetID.NotFound")
            out.append({"SubnetId": i, "AvailabilityZone": f["az"], "VpcId": f["vpc"], "CidrBlock": f["cidr"],
                        "MapPublicIpOnLaunch": f.get("public_ip_on_launch", False), "AvailableIpAddressCount": 200})
        return {"Subnets": out}

    def ec2_DescribeVpcAttribute(self, p):
        f = self.facts["vpcs"].get(p["VpcId"], {})
        which = {"enableDnsSupport": ("EnableDnsSupport", "dns_support"), "enableDnsHostnames": ("EnableDnsHostnames", "dns_hostnames")}
        member, key = which[p["Attribute"]]
        return {"VpcId": p["VpcId"], member: {"Value": f.get(key, True)}}

    def ec2_DescribeSecurityGroups(self, p):
        out = []
        for i in p["GroupIds"]:
            f = has(self.facts, "security_groups", i, "InvalidGroup.NotFound")
            out.append({"GroupId": i, "VpcId": f.get("vpc", "vpc-1"), "IpPermissions": rules(f.get("inbound")),
                        "IpPermissionsEgress": rules(f.get("outbound"))})
        return {"SecurityGroups": out}

    def ec2_DescribeAddresses(self, p):
        ip = p["PublicIps"][0]
        has(self.facts, "elastic_ips", ip, "InvalidAddress.NotFound")
        return {"Addresses": [{"PublicIp": ip, "AllocationId": "eipalloc-" + ip}]}

    def ec2_DescribePlacementGroups(self, p):
        name = p["GroupNames"][0]
        has(self.facts, "placement_groups", name, "InvalidPlacementGroup.Unknown")
        return {"PlacementGroups": [{"GroupName": name, "Strategy": "cluster", "State": "available"}]}

    def ec2_DescribeCapacityReservations(self, p):
        out = []
        for i in p.get("CapacityReservationIds") or list(self.facts["capacity_reservations"]):
            f = has(self.facts, "capacity_reservations", i, "InvalidCapacityReservationId.NotFound")
            r = {
                "CapacityReservationId": i,
                "CapacityReservationArn": f"arn:aws:ec2:us-east-1:{NUMBER}:capacity-reservation/{i}",
                "InstanceType": f["instance_type"],
                "InstancePlatform": f.get("platform", "Linux/UNIX"),
                "AvailabilityZone": f.get("az", "us-east-1a"),
                "TotalInstanceCount": f.get("total", 0),
                "AvailableInstanceCount": f.get("total", 0),
                "State": f.get("state", "active"),
                "Tags": [],
            }
            if f.get("reservation_type"):
                r["ReservationType"] = f["reservation_type"]
            if f.get("requested_quantity"):
                r["Tags"].append({"Key": "aws:ec2capacityreservation:incrementalRequestedQuantity", "Value": str(f["requested_quantity"])})
            if f.get("placement_group_arn"):
                r["PlacementGroupArn"] = f["placement_group_arn"]
            out.append(r)
        return {"CapacityReservations": out}

    def ec2_DescribeCapacityBlockStatus(self, p):
        return {"CapacityBlockStatuses": []}

    def ec2_DescribeLaunchTemplateVersions(self, p):
        raise No("InvalidLaunchTemplateId.NotFound", f"{p.get('LaunchTemplateId')} does not exist")

    def ec2_DescribeVolumes(self, p):
        i = p["VolumeIds"][0]
        f = has(self.facts, "volumes", i, "InvalidVolume.NotFound")
        return {"Volumes": [{"VolumeId": i, "State": f.get("state", "available"), "AvailabilityZone": f.get("az", "us-east-1a"),
                             "Attachments": [{"InstanceId": a} for a in f.get("attached_to", [])]}]}

    def ec2_DescribeSnapshots(self, p):
        i = p["SnapshotIds"][0]
        f = has(self.facts, "snapshots", i, "InvalidSnapshot.NotFound")
        return {"Snapshots": [{"SnapshotId": i, "VolumeSize": f.get("size", 40), "State": f.get("state", "completed")}]}

    def ec2_DescribeNetworkInterfaces(self, p):
        out = []
        for i in p.get("NetworkInterfaceIds") or []:
            f = has(self.facts, "network_interfaces", i, "InvalidNetworkInterfaceID.NotFound")
            out.append({"NetworkInterfaceId": i, "VpcId": f.get("vpc", "vpc-1"), "Groups": [{"GroupId": g} for g in f.get("groups", [])]})
        return {"NetworkInterfaces": out}

    def ec2_DescribeInstances(self, p):
        return {"Reservations": []}

    def ec2_DescribeRouteTables(self, p):
        public = any(s.get("public_ip_on_launch") for s in self.facts["subnets"].values())
        return {"RouteTables": [{"RouteTableId": "rtb-1", "Routes": [{"GatewayId": "igw-1" if public else "local"}]}]}

    def ec2_RunInstances(self, p):
        refusal = (self.facts.get("run_instances") or {}).get(p.get("InstanceType"))
        if refusal:
            raise No(refusal["code"], refusal["message"])
        raise No("DryRunOperation", "Request would have succeeded, but DryRun flag is set.", 412)

    # Storage -----------------------------------------------------------------

    def efs_DescribeFileSystems(self, p):
        i = p["FileSystemId"]
        f = has(self.facts, "efs_file_systems", i, "FileSystemNotFound", 404)
        fs = {"FileSystemId": i}
        if f.get("one_zone"):
            fs["AvailabilityZoneName"] = f["one_zone"] if isinstance(f["one_zone"], str) else "us-east-1a"
        return {"FileSystems": [fs]}

    def efs_DescribeMountTargets(self, p):
        f = has(self.facts, "efs_file_systems", p["FileSystemId"], "FileSystemNotFound", 404)
        return {"MountTargets": [{"MountTargetId": t["id"], "SubnetId": t["subnet"]} for t in f.get("mount_targets", [])]}

    def efs_DescribeMountTargetSecurityGroups(self, p):
        for f in self.facts["efs_file_systems"].values():
            for t in f.get("mount_targets", []):
                if t["id"] == p["MountTargetId"]:
                    return {"SecurityGroups": t.get("security_groups", [])}
        raise No("MountTargetNotFound")

    def efs_DescribeAccessPoints(self, p):
        i = p["AccessPointId"]
        f = has(self.facts, "efs_access_points", i, "AccessPointNotFound", 404)
        return {"AccessPoints": [{"AccessPointId": i, "FileSystemId": f.get("file_system", "")}]}

    def storage(self, i, f, key, kind):
        kind = f.get("type", kind)
        out = {key: i, key.replace("Id", "Type"): kind, "VpcId": f.get("vpc", "vpc-1"), "SubnetIds": f.get("subnets", ["subnet-11111111"]),
               "DNSName": f"{i}.fsx.us-east-1.amazonaws.com"}
        if kind == "LUSTRE":
            out["LustreConfiguration"] = {"MountName": "fsx"}
        if "network_interfaces" in f:
            out["NetworkInterfaceIds"] = f["network_interfaces"]
        return out

    def fsx_DescribeFileSystems(self, p):
        facts = {i: has(self.facts, "fsx_file_systems", i, "FileSystemNotFound", 404) for i in p["FileSystemIds"]}
        return {"FileSystems": [self.storage(i, f, "FileSystemId", "LUSTRE") for i, f in facts.items()]}

    def fsx_DescribeFileCaches(self, p):
        facts = {i: has(self.facts, "file_caches", i, "FileCacheNotFound", 404) for i in p["FileCacheIds"]}
        return {"FileCaches": [self.storage(i, f, "FileCacheId", "LUSTRE") for i, f in facts.items()]}

    def fsx_DescribeVolumes(self, p):
        out = []
        for i in p["VolumeIds"]:
            fs = has(self.facts, "fsx_volumes", i, "VolumeNotFound", 404)
            out.append({"VolumeId": i, "FileSystemId": fs, "OpenZFSConfiguration": {"VolumePath": "/fsx"},
                        "OntapConfiguration": {"JunctionPath": "/vol", "StorageVirtualMachineId": "svm-1"}})
        return {"Volumes": out}

    def fsx_DescribeStorageVirtualMachines(self, p):
        return {"StorageVirtualMachines": [{"StorageVirtualMachineId": i, "FileSystemId": "fs-ontap",
                                            "Endpoints": {"Nfs": {"DNSName": f"{i}.fs.fsx.us-east-1.amazonaws.com"}}}
                                           for i in p["StorageVirtualMachineIds"]]}

    def fsx_DescribeBackups(self, p):
        has(self.facts, "fsx_backups", p["BackupIds"][0], "BackupNotFound", 404)
        return {"Backups": [{"BackupId": p["BackupIds"][0]}]}

    # S3 ----------------------------------------------------------------------

    def bucket(self, p):
        return has(self.facts, "s3_buckets", p["Bucket"], "NoSuchBucket", 404)

    def s3_HeadBucket(self, p):
        if p["Bucket"].startswith("parallelcluster-"):  # the tool's own
            return {}
        f = (self.facts.get("s3_buckets") or {}).get(p["Bucket"])
        if f is None:
            raise No("404", "Not Found", 404)
        if "error" in f:
            raise No(f["error"]["code"], f["error"].get("message", ""), 403)
        return {}

    def s3_GetBucketVersioning(self, p):
        versioning = self.bucket(p).get("versioning")
        return {"Status": versioning} if versioning else {}

    def s3_GetBucketLocation(self, p):
        region = self.bucket(p).get("region", "us-east-1")
        return {"LocationConstraint": None if region == "us-east-1" else region}

    def s3_HeadObject(self, p):
        if p["Bucket"].startswith("parallelcluster-"):
            return {}
        if f'{p["Bucket"]}/{p["Key"]}' not in (self.facts.get("s3_objects") or []):
            raise No("404", "Not Found", 404)
        return {}

    def s3_PutObject(self, p):
        body = p.get("Body", b"")
        self.stored[p["Key"]] = body.read() if hasattr(body, "read") else body
        return {"VersionId": "1"}

    def s3_ListObjectVersions(self, p):  # asked for when a creation fails, to tidy up
        return {}

    s3_ListObjects = s3_ListObjectsV2 = s3_ListObjectVersions

    def s3_GetObject(self, p):
        if p["Key"] in self.stored:
            return {"Body": BytesIO(self.stored[p["Key"]]), "VersionId": "1"}
        if p["Key"].endswith("/.bootstrapped"):  # the tool's own bucket is set up
            return {"Body": BytesIO(b'{"bootstrapped_features": ["basic", "export-logs"]}'), "VersionId": "1"}
        raise No("NoSuchKey", "The specified key does not exist.", 404)

    # The rest ----------------------------------------------------------------

    def kms_DescribeKey(self, p):
        has(self.facts, "kms_keys", p["KeyId"], "NotFoundException")
        return {"KeyMetadata": {"KeyId": p["KeyId"]}}

    def route53_GetHostedZone(self, p):
        f = has(self.facts, "hosted_zones", p["Id"], "NoSuchHostedZone", 404)
        return {"HostedZone": {"Id": p["Id"], "Name": f.get("domain", "cluster.internal."), "Config": {"PrivateZone": f.get("private", True)}},
                "VPCs": [{"VPCId": v} for v in f.get("vpcs", [])]}

    def resource_groups_ListGroupResources(self, p):
        f = has(self.facts, "resource_groups", p["Group"], "NotFoundException", 404)
        return {"Resources": [{"Identifier": {"ResourceType": "AWS::EC2::CapacityReservation",
                                              "ResourceArn": f"arn:aws:ec2:us-east-1:{NUMBER}:capacity-reservation/{r}"}}
                              for r in f.get("reservations", [])]}

    def resource_groups_GetGroupConfiguration(self, p):
        f = has(self.facts, "resource_groups", p["Group"], "NotFoundException", 404)
        kind = "AWS::EC2::CapacityReservationPool" if f.get("capacity_reservation_pool") else "AWS::ResourceGroups::Generic"
        return {"GroupConfiguration": {"Configuration": [{"Type": kind}, {"Type": "AWS::ResourceGroups::Generic"}]}}

    def secretsmanager_DescribeSecret(self, p):
        has(self.facts, "secrets", p["SecretId"], "ResourceNotFoundException")
        return {"ARN": p["SecretId"]}

    def secretsmanager_GetSecretValue(self, p):
        f = has(self.facts, "secrets", p["SecretId"], "ResourceNotFoundException")
        return {"ARN": p["SecretId"], "SecretString": f.get("value", "")}

    def ssm_GetParameter(self, p):
        has(self.facts, "ssm_parameters", p["Name"], "ParameterNotFound")
        return {"Parameter": {"Name": p["Name"]}}

    def batch_CreateComputeEnvironment(self, p):
        types_ = self.facts.get("batch_instance_types")
        raise No("ClientException", "Error executing request, Exception : Instance type can only be one of [%s]" % ", ".join(types_)
                 if types_ else "Error")

    def imagebuilder_GetImage(self, p):
        ami = has(self.facts, "imagebuilder_images", p["imageBuildVersionArn"], "ResourceNotFoundException", 404)
        return {"image": {"outputResources": {"amis": [{"image": ami}]}}}

    # ------------------------------------------------------------------------

    def answer(self, service, operation, params):
        method = getattr(self, f"{service.replace('-', '_')}_{operation}", None)
        if method is None:
            self.unknown.add(f"{service}:{operation}")
            raise No("UnknownOperation", f"the account on paper does not have {service}:{operation}")
        return method(params)

    def url(self, url, *_, **__):
        """The web: what the facts name under https."""
        address = url if isinstance(url, str) else url.full_url
        status = (self.facts.get("https") or {}).get(address)
        if status == "hang":
            time.sleep(HANG)
        if status is None:
            if not address.startswith(("http://", "https://")):
                raise ValueError(f"unknown url type: {address!r}")
            raise urllib.error.URLError("[Errno -2] Name or service not known")
        if status != 200:
            raise urllib.error.HTTPError(address, status, "no", {}, None)
        return BytesIO(b"")


def filters(p):
    return {f["Name"]: f["Values"] for f in p.get("Filters") or []}


def rules(facts):
    out = []
    for r in facts or []:
        rule = {"IpProtocol": r["protocol"], "IpRanges": [{"CidrIp": c} for c in r.get("cidrs", [])],
                "UserIdGroupPairs": [{"GroupId": g} for g in r.get("groups", [])],
                "PrefixListIds": [{"PrefixListId": i} for i in r.get("prefix_lists", [])]}
        if "ports" in r:
            rule["FromPort"], rule["ToPort"] = r["ports"]
        out.append(rule)
    return out


def install(account):
    """Makes every boto3 client of this process ask the account on paper."""
    os.environ.update(AWS_ACCESS_KEY_ID="AKIAPEER", AWS_SECRET_ACCESS_KEY="peer", AWS_EC2_METADATA_DISABLED="true",
                      AWS_CONFIG_FILE=os.path.join(os.path.dirname(__file__), "aws-config"), AWS_SHARED_CREDENTIALS_FILE=os.devnull)
    session = botocore.session.get_session()

    def remember(params, context, **_):
        context["peer_params"] = params

    def call(event_name, model, context, **_):
        try:
            answer = account.answer(model.service_model.service_name, model.name, context.get("peer_params", {}))
        except No as e:
            return types.SimpleNamespace(status_code=e.status, raw=None), e.answer
        return types.SimpleNamespace(status_code=200, raw=None), dict(answer, ResponseMetadata={"HTTPStatusCode": 200})

    session.register("provide-client-params.*.*", remember)
    session.register("before-call.*.*", call)
    boto3.setup_default_session(botocore_session=session)
    urllib.request.urlopen = account.url

    # ParallelCluster makes a session for each line that it logs, only to learn the region.
    make, made = boto3.session.Session, {}

    def session_of(*args, **kwargs):
        if args or kwargs:
            return make(*args, **kwargs)
        region = os.environ.get("AWS_DEFAULT_REGION")
        if region not in made:
            made[region] = make()
        return made[region]

    boto3.session.Session = boto3.Session = session_of
