#!/bin/bash
# A storage service on the head node, in the place of the Nexus Storage Service of
# the Blue Brain Project. There, the knowledge graph does not copy simulation data:
# it asks such a service next to the data what a file is, and registers the answer.
# This one does that part, read-only, for /sbo/data/project, which is the bucket of
# the knowledge graph seen through Lustre:
#
#   GET /                      name and version
#   GET /files/<path>          the file, or the list of a directory as JSON
#   GET /attributes/<path>     what a registration needs: size, digest, media type,
#                              time of last change, location
#
# It listens on the loopback interface only, and runs as a user who can write
# nowhere. To reach it: ssh -L 8081:localhost:8081.
set -euo pipefail

root=${1:-/sbo/data/project}
port=8081
program=/opt/nexus-storage/nexus_storage.py

install -d -m 0755 "$(dirname "$program")"
cat > "$program.new" <<'PYTHON'
#!/usr/bin/env python3
"""Serves files below a directory, and what there is to know about them."""

import email.utils
import hashlib
import http.server
import json
import mimetypes
import os
import shutil
import sys
import urllib.parse

ROOT = os.path.realpath(sys.argv[1])
PORT = int(sys.argv[2])


class Handler(http.server.BaseHTTPRequestHandler):
    server_version = "nexus-storage/1"
    protocol_version = "HTTP/1.1"

    def do_GET(self):
        self.serve(body=True)

    def do_HEAD(self):
        self.serve(body=False)

    def serve(self, body):
        path = urllib.parse.unquote(urllib.parse.urlsplit(self.path).path)
        kind, _, rest = path.lstrip("/").partition("/")
        try:
            if kind == "":
                self.send_json({"name": "nexus-storage", "version": "1"}, body)
            elif kind == "files":
                self.send_file(resolve(rest), body)
            elif kind == "attributes":
                self.send_json(attributes(resolve(rest)), body)
            else:
                self.send_json({"error": f"no such resource: /{kind}"}, body, 404)
        except FileNotFoundError:
            self.send_json({"error": f"no such file: {rest}"}, body, 404)
        except IsADirectoryError:
            self.send_json({"error": f"a directory has no attributes: {rest}"}, body, 400)
        except PermissionError:
            self.send_json({"error": f"not readable: {rest}"}, body, 403)

    def send_file(self, path, body):
        if os.path.isdir(path):
            names = sorted(e.name + ("/" if e.is_dir() else "") for e in os.scandir(path))
            self.send_json({"entries": names}, body)
            return
        with open(path, "rb") as file:
            info = os.fstat(file.fileno())
            self.send_response(200)
            self.send_header("Content-Type", media_type(path))
            self.send_header("Content-Length", str(info.st_size))
            self.send_header("Last-Modified", email.utils.formatdate(info.st_mtime, usegmt=True))
            self.end_headers()
            if body:
                shutil.copyfileobj(file, self.wfile, 1 << 20)

    def send_json(self, value, body, status=200):
        text = json.dumps(value).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        if body:
            self.wfile.write(text)


def resolve(relative):
    """Returns the real path of a file, which no link may lead out of the root."""
    path = os.path.realpath(os.path.join(ROOT, relative.lstrip("/")))
    if path != ROOT and not path.startswith(ROOT + os.sep):
        raise PermissionError(path)
    return path


def attributes(path):
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
        info = os.fstat(file.fileno())
    return {
        "location": "file://" + urllib.parse.quote(path),
        "bytes": info.st_size,
        "digest": {"algorithm": "SHA-256", "value": digest.hexdigest()},
        "mediaType": media_type(path),
        "lastModified": info.st_mtime,
    }


def media_type(path):
    return mimetypes.guess_type(path)[0] or "application/octet-stream"


if __name__ == "__main__":
    http.server.ThreadingHTTPServer(("127.0.0.1", PORT), Handler).serve_forever()
PYTHON
chmod 0755 "$program.new"
mv -f "$program.new" "$program"

id -u nexus-storage >/dev/null 2>&1 || useradd --system --no-create-home --home-dir /nonexistent --shell /usr/sbin/nologin nexus-storage

cat > /etc/systemd/system/nexus-storage.service <<UNIT
[Unit]
Description=Files of the knowledge graph, for registration
After=network.target remote-fs.target

[Service]
User=nexus-storage
ExecStart=$(command -v python3) $program $root $port
Restart=on-failure
RestartSec=2
NoNewPrivileges=yes
ProtectSystem=strict
ProtectHome=yes
PrivateTmp=yes

[Install]
WantedBy=multi-user.target
UNIT
systemctl daemon-reload
systemctl enable --quiet nexus-storage.service
systemctl restart nexus-storage.service
