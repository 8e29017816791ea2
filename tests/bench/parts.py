"""What the measurements share: the API server, an authority, the controller's process, and how results are told."""

import base64
import http.client
import json
import os
import random
import re
import socket
import ssl
import struct
import subprocess
import sys
import tempfile
import threading
import time
import urllib.parse

NAMESPACE = "team-a"
GROUP = "/apis/landfall.dev/v1alpha1"


def fail(why):
    sys.exit(f"bench: {why}")


def run(*command, **options):
    done = subprocess.run(command, capture_output=True, text=True, **options)
    if done.returncode:
        fail(f"{' '.join(command)}: {done.stdout}{done.stderr}")
    return done.stdout


def ca():
    """The key and the certificate of a CA, as a Secret holds them."""
    with tempfile.TemporaryDirectory() as folder:
        command = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "3650",
                   "-subj", "/CN=Measured CA", "-keyout", f"{folder}/key", "-out", f"{folder}/certificate"]
        run(*command)
        with open(f"{folder}/key") as key, open(f"{folder}/certificate") as certificate:
            return {"tls.key": key.read(), "tls.crt": certificate.read()}


class Kube:
    """One connection to the API server that KUBECONFIG names, kept open. Objects are JSON."""

    def __init__(self):
        config = json.loads(run("kubectl", "config", "view", "--raw", "--minify", "--flatten", "-o", "json"))
        cluster, user = config["clusters"][0]["cluster"], config["users"][0]["user"]
        self.server = urllib.parse.urlparse(cluster["server"])
        self.tls = ssl.create_default_context()
        if "certificate-authority-data" in cluster:
            self.tls.load_verify_locations(cadata=_decode(cluster["certificate-authority-data"]))
        self.headers = {"Accept": "application/json"}
        if "token" in user:
            self.headers["Authorization"] = f"Bearer {user['token']}"
        else:
            with tempfile.NamedTemporaryFile("w", suffix=".pem") as pair:
                pair.write(_decode(user["client-certificate-data"]) + _decode(user["client-key-data"]))
                pair.flush()
                self.tls.load_cert_chain(pair.name)
        self.open(60)

    def open(self, timeout):
        self.connection = http.client.HTTPSConnection(self.server.hostname, self.server.port, context=self.tls, timeout=timeout)

    def call(self, method, path, body=None, form="application/json"):
        for last in (False, True):
            try:
                self.connection.request(method, path, None if body is None else json.dumps(body), dict(self.headers, **{"Content-Type": form}))
                answer = self.connection.getresponse()
                text = answer.read()
                break
            except (OSError, http.client.HTTPException):
                if last:
                    raise
                self.open(60)
        if answer.status >= 300:
            fail(f"{method} {path}: {answer.status} {text[:400]!r}")
        return json.loads(text)

    def create(self, kind, plural, name, spec):
        body = {"apiVersion": "landfall.dev/v1alpha1", "kind": kind, "metadata": {"name": name}, "spec": spec}
        return self.call("POST", f"{GROUP}/namespaces/{NAMESPACE}/{plural}", body)

    def merge(self, plural, name, patch):
        return self.call("PATCH", f"{GROUP}/namespaces/{NAMESPACE}/{plural}/{name}", patch, "application/merge-patch+json")

    def secret(self, name, data):
        body = {"metadata": {"name": name}, "stringData": data}
        return self.call("POST", f"/api/v1/namespaces/{NAMESPACE}/secrets", body)

    def ready(self, plural, name, limit=60):
        deadline = time.monotonic() + limit
        while True:
            found = self.call("GET", f"{GROUP}/namespaces/{NAMESPACE}/{plural}/{name}")
            if is_ready(found):
                return found
            if time.monotonic() > deadline:
                fail(f"{plural}/{name} is not Ready after {limit} s: {found.get('status')}")
            time.sleep(0.1)


def _decode(text):
    return base64.b64decode(text).decode()


def is_ready(found):
    return any(c["type"] == "Ready" and c["status"] == "True" for c in found.get("status", {}).get("conditions", []))


class Watch:
    """When each object of a kind first was Ready, by a watch."""

    def __init__(self, plural):
        self.path, self.at, self.stopped = f"{GROUP}/namespaces/{NAMESPACE}/{plural}", {}, False
        threading.Thread(target=self.follow, daemon=True).start()

    def note(self, found):
        if is_ready(found):
            self.at.setdefault(found["metadata"]["name"], time.monotonic())

    def follow(self):
        kube = Kube()
        while not self.stopped:
            listed = kube.call("GET", self.path)
            for found in listed["items"]:
                self.note(found)
            query = f"?watch=1&resourceVersion={listed['metadata']['resourceVersion']}"
            kube.open(5)
            try:
                kube.connection.request("GET", self.path + query, headers=kube.headers)
                stream = kube.connection.getresponse()
                while line := stream.readline():
                    event = json.loads(line)
                    if event["type"] == "ERROR":
                        break
                    self.note(event["object"])
            except (OSError, http.client.HTTPException):
                pass
            kube.open(60)


class Authority:
    """Asks one server for addresses, over UDP."""

    def __init__(self, server):
        host, _, port = server.rpartition(":")
        self.socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.socket.settimeout(2)
        self.socket.connect((host, int(port)))

    def address(self, name):
        """The one A record of a name, or None."""
        number = random.randrange(1 << 16)
        question = b"".join(bytes([len(label)]) + label.encode() for label in name.split(".")) + b"\0" + struct.pack(">HH", 1, 1)
        self.socket.send(struct.pack(">6H", number, 0, 1, 0, 0, 0) + question)
        try:
            while (answer := self.socket.recv(4096))[:2] != struct.pack(">H", number):
                pass
        except TimeoutError:
            return None
        count = struct.unpack(">H", answer[6:8])[0]
        # Header, question, and one record whose name points to the question.
        return socket.inet_ntoa(answer[-4:]) if count == 1 and len(answer) == 28 + len(question) else None

    def until(self, name, wanted, limit=60):
        """Seconds until the name has the address; any, where `wanted` is None."""
        began = time.monotonic()
        while True:
            found = self.address(name)
            if found is not None and wanted in (None, found):
                return time.monotonic() - began
            if time.monotonic() - began > limit:
                fail(f"{name} is {found} and not {wanted} after {limit} s")
            time.sleep(0.002)


TICK = 1000 / os.sysconf("SC_CLK_TCK")


def spent(pid, children=False):
    """Milliseconds of processor of a process, or of its children that were waited for; 0 where it is gone."""
    try:
        with open(f"/proc/{pid}/stat") as file:
            fields = file.read().rpartition(")")[2].split()
    except OSError:
        return 0
    at = 13 if children else 11
    return (int(fields[at]) + int(fields[at + 1])) * TICK


def family(pid):
    """The same of a process, its living children, and those that it waited for."""
    found = subprocess.run(["pgrep", "-P", str(pid)], capture_output=True, text=True).stdout.split()
    return spent(pid) + spent(pid, children=True) + sum(spent(child) for child in found)


class Parts:
    """The processes that work for Landfall: the controller, and these of the test bed."""

    def __init__(self, *names):
        bed = os.environ["BENCH_DIR"]
        with open(f"{bed}/controller.pid") as file:
            self.controller = int(file.read())
        status = run("tests/testbed/testbed", "status", f"{bed}/bed").split("\n")
        pids = {line.split()[0]: int(line.split()[3]) for line in status if len(line.split()) == 4}
        self.others = {name: pids[name] for name in names}

    def read(self):
        """Milliseconds of processor so far, by part."""
        found = {"runners and engines": spent(self.controller, children=True), "controller": spent(self.controller)}
        return found | {name: family(pid) for name, pid in self.others.items()}

    def since(self, before):
        """Seconds of processor since then, of those that took any."""
        took = {name: round((now - before[name]) / 1000, 1) for name, now in self.read().items()}
        return {name: seconds for name, seconds in took.items() if seconds}

    def peak(self):
        """The most memory that the controller has had, MiB."""
        with open(f"/proc/{self.controller}/status") as file:
            return round(int(re.search(r"^VmHWM:\s+(\d+) kB", file.read(), re.M)[1]) / 1024, 1)


def share(values, part):
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, max(0, round(part * len(ordered)) - 1))]


def tell(rows, where):
    """Prints `what: value (goal)` lines and writes them as JSON."""
    for what, (value, goal) in rows.items():
        print(f"{what:64} {value!s:>12}   {goal}")
    with open(where, "w") as file:
        json.dump({what: value for what, (value, _) in rows.items()}, file, indent=1)
