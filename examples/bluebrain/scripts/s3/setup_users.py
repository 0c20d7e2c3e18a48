#!/usr/bin/env python3
"""Makes the users of a cluster on a node, from a JSON file that all nodes see.

    setup_users.py USERS_JSON [DATA_DIRECTORY]

The head node is given a data directory as well, and prepares it: a place for
every user below DATA_DIRECTORY/scratch. Whoever runs first makes the home
directories, which the nodes share; running again changes nothing.

The file:

    {
      "home": "/sbo/home",                 where homes are; by default two levels
                                           above the file
      "groups": [{"name": "sbo", "gid": 2000}],
      "users": [{"name": "ramon", "uid": 2001, "group": "sbo",
                 "groups": ["more"], "fullName": "...", "shell": "/bin/bash",
                 "sshPublicKeys": ["ssh-ed25519 ..."]}]
    }

IDs are part of the file because files on shared storage belong to numbers.
"""

import argparse
import contextlib
import grp
import json
import os
import pwd
import shutil
import subprocess
import sys
import tempfile

BEGIN = "# begin: written by setup_users.py from the list of users"
END = "# end: below is yours"


def run(*command):
    subprocess.run(command, check=True, stdin=subprocess.DEVNULL)


def ensure_group(group):
    name, gid = group["name"], int(group["gid"])
    try:
        found = grp.getgrnam(name).gr_gid
    except KeyError:
        run("groupadd", "--gid", str(gid), name)
        return
    if found != gid:
        sys.exit(f"group {name} has GID {found} on this node, but {gid} in the list of users")


def ensure_account(user, home):
    name, uid = user["name"], int(user["uid"])
    more = ",".join(user.get("groups", []))
    try:
        found = pwd.getpwnam(name)
    except KeyError:
        command = ["useradd", "--uid", str(uid), "--gid", user["group"], "--home-dir", home, "--no-create-home",
                   "--shell", user.get("shell", "/bin/bash"), "--comment", user.get("fullName", "")]
        if more:
            command += ["--groups", more]
        run(*command, name)
        return
    if found.pw_uid != uid:
        sys.exit(f"user {name} has UID {found.pw_uid} on this node, but {uid} in the list of users")
    if more:
        run("usermod", "--append", "--groups", more, name)


def ensure_directory(path, mode, uid, gid):
    """Makes a directory with owner and mode; says whether it was not there."""
    try:
        os.mkdir(path, 0o700)
    except FileExistsError:
        return False
    os.chown(path, uid, gid)
    os.chmod(path, mode)
    return True


@contextlib.contextmanager
def acting_as(uid, gid):
    """Acts as a user: whatever users link from their homes, they reach no more
    through this script than by themselves."""
    os.setegid(gid)
    os.seteuid(uid)
    try:
        yield
    finally:
        os.seteuid(0)
        os.setegid(0)


def write_private(path, text):
    """Replaces a file in one go: another node may be reading or writing it."""
    handle, temporary = tempfile.mkstemp(dir=os.path.dirname(path), prefix=".setup_users-")
    with os.fdopen(handle, "w", encoding="utf-8") as out:
        out.write(text)
    os.rename(temporary, path)


def ensure_home(user, home):
    entry = pwd.getpwnam(user["name"])
    new = ensure_directory(home, 0o700, entry.pw_uid, entry.pw_gid)
    try:
        with acting_as(entry.pw_uid, entry.pw_gid):
            if new:
                copy_skeleton(home)
            ssh = os.path.join(home, ".ssh")
            os.makedirs(ssh, 0o700, exist_ok=True)
            ensure_keys(os.path.join(ssh, "authorized_keys"), user.get("sshPublicKeys", []))
    except OSError as error:
        # What one user made of a home must not keep a node from the others.
        print(f"warning: the keys of {user['name']} are not set up: {error}", file=sys.stderr)


def copy_skeleton(home):
    if not os.path.isdir("/etc/skel"):
        return
    for name in os.listdir("/etc/skel"):
        source, target = os.path.join("/etc/skel", name), os.path.join(home, name)
        if os.path.isfile(source) and not os.path.lexists(target):
            shutil.copyfile(source, target)


def ensure_keys(path, keys):
    """Puts the keys of the list first and keeps what users added below."""
    try:
        with open(path, encoding="utf-8") as file:
            old = file.read()
    except FileNotFoundError:
        old = ""
    own = old.split(END + "\n", 1)[1] if END + "\n" in old else old
    new = "".join(line + "\n" for line in [BEGIN, *keys, END]) + own
    if new != old:
        write_private(path, new)


def prepare_data(directory, users):
    scratch = os.path.join(directory, "scratch")
    os.makedirs(scratch, exist_ok=True)
    os.chmod(scratch, 0o755)
    for user in users:
        entry = pwd.getpwnam(user["name"])
        ensure_directory(os.path.join(scratch, user["name"]), 0o750, entry.pw_uid, entry.pw_gid)


def main():
    parser = argparse.ArgumentParser(description="Makes the users of a cluster on this node.")
    parser.add_argument("users", help="JSON file with the groups and users")
    parser.add_argument("data", nargs="?", help="directory on shared storage to prepare for them")
    arguments = parser.parse_args()

    try:
        with open(arguments.users, encoding="utf-8") as file:
            wanted = json.load(file)
    except FileNotFoundError:
        sys.exit(f"the list of users {arguments.users} is not there: is the file system mounted, and the file on it?")
    except json.JSONDecodeError as error:
        sys.exit(f"the list of users {arguments.users} is no JSON: {error}")

    homes = wanted.get("home") or os.path.dirname(os.path.dirname(os.path.abspath(arguments.users)))
    for group in wanted.get("groups", []):
        ensure_group(group)
    users = wanted.get("users", [])
    for user in users:
        home = os.path.join(homes, user["name"])
        ensure_account(user, home)
        ensure_home(user, home)
    if arguments.data:
        prepare_data(arguments.data, users)
    print(f"{len(users)} users are set up with homes in {homes}")


if __name__ == "__main__":
    main()
