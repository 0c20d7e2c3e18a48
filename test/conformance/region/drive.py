"""Makes AWS calls for the conformance suite, one JSON object a line on standard input.

drive.py boto3   through boto3, in this process
drive.py cli     through the AWS CLI: in this process where it is Python's (version 1), else the command `aws`

A call is {"service", "operation", "input", "key", "secret", "token", "presign"}; the answer is
{"output": …} or {"error": {"code", "message"}}. The environment says where the region is.
"""
import base64, contextlib, datetime, io, json, os, re, subprocess, sys, tempfile

import botocore.session
from botocore import xform_name
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError

ENDPOINT, REGION = os.environ["CONFORMANCE_ENDPOINT"], "us-east-1"
CLI_NAMES = {"s3": "s3api"}


def plain(value):
    """Returns a value of boto3's as JSON has it."""
    if isinstance(value, dict):
        return {k: plain(v) for k, v in value.items() if k != "ResponseMetadata" and v is not None}
    if isinstance(value, (list, tuple)):
        return [plain(v) for v in value]
    if isinstance(value, (datetime.datetime, datetime.date)):
        return value.isoformat()
    if isinstance(value, (bytes, bytearray)):
        return text(bytes(value))
    if hasattr(value, "read"):
        return text(value.read())
    return value


def text(data):
    try:
        return data.decode()
    except UnicodeDecodeError:
        return base64.b64encode(data).decode()


def content(text):
    """Returns the bytes that a text of the call stands for."""
    return base64.b64decode(text[7:]) if text.startswith("base64:") else text.encode()


def with_content(value):
    if isinstance(value, dict):
        return {k: with_content(v) for k, v in value.items()}
    return content(value) if isinstance(value, str) and value.startswith("base64:") else value


class Boto3:
    def __init__(self):
        self.clients = {}

    def client(self, call):
        who = (call["service"], call["key"], call["secret"], call.get("token") or None)
        if who not in self.clients:
            self.clients[who] = botocore.session.get_session().create_client(
                who[0], region_name=REGION, endpoint_url=ENDPOINT, aws_access_key_id=who[1], aws_secret_access_key=who[2],
                aws_session_token=who[3], config=Config(retries={"max_attempts": 0}, parameter_validation=True))
        return self.clients[who]

    def call(self, call):
        client, method = self.client(call), xform_name(call["operation"])
        if call.get("presign"):
            return {"output": {"url": client.generate_presigned_url(method, Params=call["input"], ExpiresIn=call["presign"])}}
        try:
            return {"output": plain(getattr(client, method)(**with_content(call["input"])))}
        except ClientError as e:
            return {"error": {"code": e.response["Error"]["Code"], "message": e.response["Error"].get("Message", "")}}


class CLI:
    def __init__(self):
        self.drivers = {}
        self.dir = tempfile.TemporaryDirectory()
        try:
            import awscli.clidriver
            self.create = awscli.clidriver.create_clidriver
        except ImportError:
            self.create = None

    def run(self, call, args):
        env = {"AWS_ACCESS_KEY_ID": call["key"], "AWS_SECRET_ACCESS_KEY": call["secret"], "AWS_SESSION_TOKEN": call.get("token") or ""}
        for k, v in env.items():
            if v:
                os.environ[k] = v
            else:
                os.environ.pop(k, None)
        args = args + ["--endpoint-url", ENDPOINT, "--region", REGION, "--output", "json"]
        if self.create is None:
            done = subprocess.run(["aws"] + args, capture_output=True, text=True)
            return done.returncode, done.stdout, done.stderr
        who = tuple(env.values())
        if who not in self.drivers:
            self.drivers[who] = self.create()
        out, err = io.TextIOWrapper(io.BytesIO(), encoding="utf-8"), io.StringIO()
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            code = self.drivers[who].main(args)
        if args[0] == "ec2" and args[1].startswith("modify-"):
            del self.drivers[who]  # whose options would be looked for in the next calls
        out.flush()
        return code, out.buffer.getvalue().decode(), err.getvalue()

    def call(self, call):
        given = dict(call["input"])
        if call.get("presign"):
            args = ["s3", "presign", "s3://%s/%s" % (given["Bucket"], given["Key"]), "--expires-in", str(call["presign"])]
            code, out, err = self.run(call, args)
            return {"output": {"url": out.strip()}} if code == 0 else failure(err)
        service = call["service"]
        args = [CLI_NAMES.get(service, service), xform_name(call["operation"], "-")]
        for member, option, scheme in ("Body", "--body", ""), ("ZipFile", "--zip-file", "fileb://"), ("SecretBinary", "--secret-binary", "fileb://"):
            holder = given
            if member == "ZipFile" and "Code" in given:
                holder = given["Code"] = dict(given["Code"])
            if member in holder:
                path = os.path.join(self.dir.name, "in")
                with open(path, "wb") as f:
                    f.write(content(holder.pop(member)))
                args += [option, scheme + path]
                if holder is not given and not holder:
                    del given["Code"]
        if given:
            args += ["--cli-input-json", json.dumps(given)]
        fetched = None
        if (service, call["operation"]) in (("s3", "GetObject"), ("lambda", "Invoke")):
            # The file's name is required, and then so are the other parameters.
            fetched = os.path.join(self.dir.name, "out")
            args = args[:2]
            for k, v in given.items():
                args += ["--" + xform_name(k, "-"), str(v)]
            args.append(fetched)
        else:
            args.append("--no-paginate")
        code, out, err = self.run(call, args)
        if code != 0:
            return failure(err)
        output = json.loads(out) if out.strip() else {}
        if fetched:
            with open(fetched, "rb") as f:
                output["Body"] = text(f.read())
        return {"output": plain(output)}


def failure(err):
    found = re.search(r"An error occurred \((\S+)\) when calling the \w+ operation(?: \(.*?\))?: (.*)", err, re.S)
    if not found:
        raise RuntimeError("the CLI fails otherwise than by AWS's error: " + err.strip())
    return {"error": {"code": found[1], "message": found[2].strip()}}


def main():
    client = {"boto3": Boto3, "cli": CLI}[sys.argv[1]]()
    answers = sys.stdout
    for line in sys.stdin:
        call = json.loads(line)
        try:
            answer = client.call(call)
        except Exception as e:  # of the client, before or after the call
            answer = {"trouble": "%s: %s" % (type(e).__name__, e)}
        answers.write(json.dumps(answer) + "\n")
        answers.flush()


main()
