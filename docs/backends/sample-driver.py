#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""A storage driver for Flocker, to read and to begin your own with; external.md has the protocol.

Its store is a folder, in which a volume is a sparse file, and which it attaches as loop devices. It needs root,
Linux, and nothing beside Python 3's standard library.

    sample-driver.py /run/flocker-sample.sock --root /srv/volumes --machine node-1

Two of these with two names over one folder are two machines that share a store, also on one machine:

    flocker backend test /run/one.sock /run/two.sock
"""

import argparse
import contextlib
import errno
import fcntl
import glob
import http.server
import json
import os
import re
import socket
import socketserver
import stat
import struct
import time

DEFAULT_SIZE = 1 << 30  # of a volume for which no size is asked
BLOCK = 4096
UUID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")


class Problem(Exception):
    """A failure that the protocol has a code for. Flocker decides by the code, people read the message."""

    def __init__(self, code, message, **more):
        super().__init__(message)
        self.body = {"code": code, "message": message, **more}


class Store:
    """The folder as one machine sees it. Other machines see the same folder, so nothing is kept in memory."""

    def __init__(self, root, machine, profiles):
        self.root = os.path.realpath(root)
        self.machine = machine
        self.profiles = profiles  # that differ in nothing here but their names
        os.makedirs(self.root, mode=0o700, exist_ok=True)

    # What Flocker asks. Each may be asked again after a crash or a lost answer, and then finishes what was begun.

    def list(self, ask):
        return {"volumes": [shown(v) for v in self.records(ask)]}

    def create(self, ask):
        dataset, size = uuid_of(ask, "dataset"), ask.get("size", 0)
        if ask.get("profile", "") not in ["", *self.profiles]:
            raise Problem("unsupported", f"there is no profile {ask['profile']!r}")
        with self.lock(ask):
            for v in self.records(ask):
                if v["dataset"] != dataset:
                    continue
                if size not in (0, v["size"]) or ask.get("profile", "") != v["profile"]:
                    raise Problem("exists", f"with {v['size']} bytes and profile {v['profile']!r}")
                return {"volume": shown(v)}
            cluster = uuid_of(ask, "cluster")
            v = {"id": f"{cluster}.{dataset}", "dataset": dataset, "size": blocks(size or DEFAULT_SIZE),
                 "profile": ask.get("profile", ""), "machine": "", "cluster": cluster}
            os.makedirs(os.path.dirname(self.image(v)), mode=0o700, exist_ok=True)
            with open(self.image(v), "wb") as image:
                image.truncate(v["size"])
                os.fsync(image.fileno())
            self.write(v)  # with this, and not before, there is a volume
            return {"volume": shown(v)}

    def destroy(self, ask):
        with self.lock(ask):
            v = self.find(ask)
            if v is None:
                return {}
            if v["machine"]:
                raise busy(v)
            os.unlink(self.record(v))
            with contextlib.suppress(FileNotFoundError):
                os.unlink(self.image(v))
            sync(os.path.dirname(self.record(v)))
            with contextlib.suppress(OSError):  # the cluster has others
                os.rmdir(os.path.dirname(self.record(v)))
            return {}

    def attach(self, ask):
        with self.lock(ask):
            v = self.known(ask)
            if v["machine"] not in ("", self.machine):
                raise busy(v)
            device = self.devices().get(v["id"])
            if v["machine"] == "":
                if device:
                    raise Problem("busy", f"{device}, from which this machine was evicted, is still there")
                v["machine"] = self.machine
                self.write(v)  # first it is ours, then there is a device
            return {"device": device or make_loop(self.image(v), self.machine)}

    def detach(self, ask):
        with self.lock(ask):
            device = self.devices().get(volume_of(ask)["id"])
            if device:
                remove_loop(device)
            v = self.find(ask)
            if v and v["machine"] == self.machine:
                sync(self.image(v))
                v["machine"] = ""
                self.write(v)  # first there is no device, then it is nobody's
            return {}

    def attached(self, ask):
        return {"devices": self.devices()}  # asks the kernel alone, and waits for nobody

    def evict(self, ask):
        # A machine that lives goes on writing through its loop device, so this store has no ability "fence".
        if ask.get("machine") == self.machine:
            raise Problem("invalid", "this machine cannot evict itself")
        with self.lock(ask):
            v = self.known(ask)
            if v["machine"] == ask.get("machine"):
                v["machine"] = ""
                self.write(v)
            return {}

    def grow(self, ask):
        with self.lock(ask):
            v = self.known(ask)
            if v["machine"] not in ("", self.machine):
                raise busy(v)
            v["size"] = max(v["size"], blocks(ask["size"]))
            with open(self.image(v), "r+b") as image:
                image.truncate(v["size"])
                os.fsync(image.fileno())
            self.write(v)
            device = self.devices().get(v["id"])
            if device:
                with opened(device) as fd:
                    fcntl.ioctl(fd, LOOP_SET_CAPACITY, 0)
            return {}

    # What is in the folder: <cluster>/<dataset>.json says what a volume is and who has it, <dataset>.img holds its data.

    def record(self, v):
        return os.path.join(self.root, v["cluster"], v["dataset"] + ".json")

    def image(self, v):
        return os.path.join(self.root, v["cluster"], v["dataset"] + ".img")

    def records(self, ask):
        """Those of the cluster that asks. Others' are not even looked at."""
        found = []
        for path in glob.glob(os.path.join(self.root, uuid_of(ask, "cluster"), "*.json")):
            with contextlib.suppress(FileNotFoundError):  # it is being destroyed
                with open(path, encoding="utf-8") as f:
                    found.append(json.load(f))
        return found

    def find(self, ask):
        wanted = volume_of(ask)["id"]
        return next((v for v in self.records(ask) if v["id"] == wanted), None)

    def known(self, ask):
        v = self.find(ask)
        if v is None:
            raise Problem("not-found", f"there is no volume {volume_of(ask)['id']} in {self.root}")
        return v

    def write(self, v):
        """A record is whole or not there, after a crash too."""
        half = self.record(v) + ".new"
        with open(half, "w", encoding="utf-8") as f:
            json.dump(v, f)
            f.flush()
            os.fsync(f.fileno())
        os.replace(half, self.record(v))
        sync(os.path.dirname(self.record(v)))

    @contextlib.contextmanager
    def lock(self, ask):
        """One change at a time, of all machines. Flocker waits timeout_ms for an answer, so nobody waits longer."""
        deadline = time.monotonic() + ask.get("timeout_ms", 60_000) / 1000
        with open(os.path.join(self.root, "lock"), "w", encoding="utf-8") as f:
            while True:
                try:
                    fcntl.flock(f, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    break
                except BlockingIOError:
                    if time.monotonic() > deadline:
                        raise Problem("temporary", "another change takes long", retry_after_ms=1000) from None
                    time.sleep(0.002)
            yield

    def devices(self):
        """This machine's devices by volume. The machine's name is kept with each, for two that are really one."""
        found = {}
        for path in glob.glob("/sys/block/loop*/loop/backing_file"):
            device = "/dev/" + path.split("/")[3]
            file = backing(device).removesuffix(" (deleted)")
            if not file.startswith(self.root + "/") or not file.endswith(".img"):
                continue
            try:
                with opened(device) as fd:
                    info = LoopInfo.of(fd)
            except OSError as e:
                if e.errno in (errno.ENXIO, errno.ENOENT):  # it went meanwhile
                    continue
                raise
            if info.tag == self.machine:
                cluster, dataset = file[:-len(".img")].split("/")[-2:]
                found[f"{cluster}.{dataset}"] = device
        return found


def shown(v):
    return {k: v[k] for k in ("id", "dataset", "size", "profile", "machine")}


def busy(v):
    return Problem("busy", f"{v['machine']} has it", machine=v["machine"])


def uuid_of(ask, field):
    """What becomes part of a path has to be a UUID."""
    if not UUID.fullmatch(str(ask.get(field))):
        raise Problem("invalid", f"{field} is no UUID")
    return ask[field]


def volume_of(ask):
    if not isinstance(ask.get("volume"), dict) or not isinstance(ask["volume"].get("id"), str):
        raise Problem("invalid", "volume is missing")
    return ask["volume"]


def blocks(size):
    return (size + BLOCK - 1) // BLOCK * BLOCK


def sync(path):
    fd = os.open(path, os.O_RDONLY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


# Loop devices, by the numbers of linux/loop.h.

LOOP_CLR_FD, LOOP_SET_STATUS64, LOOP_GET_STATUS64 = 0x4C01, 0x4C04, 0x4C05
LOOP_SET_CAPACITY, LOOP_CONFIGURE, LOOP_CTL_GET_FREE = 0x4C07, 0x4C0A, 0x4C82
LO_FLAGS_AUTOCLEAR = 4
LOOP_MAJOR = 7


class LoopInfo:
    """struct loop_info64, of which this driver uses the flags and the name, as a tag of its own."""

    LAYOUT = struct.Struct("=52xI64s112x")

    def __init__(self, raw):
        self.raw = bytearray(raw)
        self.flags, tag = self.LAYOUT.unpack(raw)
        self.tag = tag.rstrip(b"\0").decode(errors="replace")

    @classmethod
    def of(cls, fd):
        return cls(fcntl.ioctl(fd, LOOP_GET_STATUS64, bytes(cls.LAYOUT.size)))

    def with_flags(self, flags):
        return bytes(self.raw[:52]) + struct.pack("=I", flags) + bytes(self.raw[56:])


@contextlib.contextmanager
def opened(device, flags=0):
    """The device, whose node is missing where /dev is not the kernel's own."""
    if not os.path.exists(device):
        with contextlib.suppress(FileExistsError):
            os.mknod(device, 0o600 | stat.S_IFBLK, os.makedev(LOOP_MAJOR, int(device[len("/dev/loop"):])))
    fd = os.open(device, os.O_RDWR | flags)
    try:
        yield fd
    finally:
        os.close(fd)


def backing(device):
    """The file that a loop device has, empty for none."""
    try:
        with open(f"/sys/block/{os.path.basename(device)}/loop/backing_file", encoding="utf-8") as f:
            return f.read().rstrip("\n")
    except OSError:
        return ""


def make_loop(image, tag):
    fd = os.open(image, os.O_RDWR)
    try:
        info = LoopInfo.LAYOUT.pack(0, tag.encode()[:63])
        config = struct.pack("=II", fd, BLOCK) + info + bytes(64)
        for _ in range(64):  # others may take the free one first
            with open("/dev/loop-control", "r+b", buffering=0) as control:
                device = f"/dev/loop{fcntl.ioctl(control, LOOP_CTL_GET_FREE)}"
            try:
                with opened(device) as loop:
                    fcntl.ioctl(loop, LOOP_CONFIGURE, config)
                return device
            except OSError as e:
                if e.errno != errno.EBUSY:
                    raise
        raise Problem("temporary", "others take every free loop device first")
    finally:
        os.close(fd)


def remove_loop(device):
    """Takes a device away that nobody uses, and returns when it is gone."""
    file = backing(device)
    try:
        with opened(device, os.O_EXCL) as fd:  # refused while it is mounted
            fcntl.ioctl(fd, LOOP_CLR_FD)
    except OSError as e:
        if e.errno == errno.EBUSY:
            raise Problem("busy", f"{device} is in use") from None
        raise
    # With others that have it open, the kernel only marks it to go with the last of them.
    deadline = time.monotonic() + 2
    while backing(device) == file:
        if time.monotonic() < deadline:
            time.sleep(0.002)
            continue
        with opened(device) as fd:
            info = LoopInfo.of(fd)
            fcntl.ioctl(fd, LOOP_SET_STATUS64, info.with_flags(info.flags & ~LO_FLAGS_AUTOCLEAR))
        raise Problem("busy", f"{device} is open")


# The protocol.

class Handler(http.server.BaseHTTPRequestHandler):
    calls = ("list", "create", "destroy", "attach", "detach", "attached", "evict", "grow")

    def do_GET(self):
        if self.path != "/v1/greeting":
            return self.answer(404, {"code": "unsupported", "message": f"there is no {self.path}"})
        return self.answer(200, {"protocol": 1, "driver": "sample 1.0", "machine": self.server.store.machine,
                                 "abilities": ["evict", "grow"], "profiles": self.server.store.profiles})

    def do_POST(self):
        call = self.path.removeprefix("/v1/")
        if call not in self.calls:
            return self.answer(404, {"code": "unsupported", "message": f"there is no {self.path}"})
        try:
            ask = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            return self.answer(200, getattr(self.server.store, call)(ask))
        except Problem as p:
            return self.answer(409, p.body)
        except OSError as e:
            code = "no-space" if e.errno in (errno.ENOSPC, errno.EDQUOT) else "internal"
            return self.answer(500, {"code": code, "message": str(e)})
        except (KeyError, TypeError, ValueError) as e:
            return self.answer(400, {"code": "invalid", "message": f"the request cannot be read: {e!r}"})

    def answer(self, status, body):
        text = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text)

    def log_message(self, form, *args):  # a Unix socket's client has no address
        print(form % args, flush=True)


class Server(socketserver.ThreadingMixIn, socketserver.UnixStreamServer):
    daemon_threads = True
    request_queue_size = 128

    def __init__(self, path, store):
        self.store = store
        free(path)
        before = os.umask(0o177)  # who may call this driver has every volume
        super().__init__(path, Handler)
        os.umask(before)


def free(path):
    """Removes the socket of a driver that ended, never one that answers."""
    with socket.socket(socket.AF_UNIX) as s:
        try:
            s.connect(path)
        except FileNotFoundError:
            return
        except ConnectionRefusedError:
            os.unlink(path)
            return
    raise SystemExit(f"{path}: a driver answers there already")


def main():
    parser = argparse.ArgumentParser(description="A sample storage driver for Flocker: loop devices of files in a folder.")
    parser.add_argument("socket", help="path of the socket to make")
    parser.add_argument("--root", required=True, help="the folder of the volumes, which all machines share")
    parser.add_argument("--machine", default=socket.gethostname(), help="this machine's name in the store")
    parser.add_argument("--profile", action="append", default=[], help="a profile that there is; may be repeated")
    args = parser.parse_args()
    store = Store(args.root, args.machine, args.profile)
    with Server(args.socket, store) as server:
        print(f"{args.machine} serves {store.root} at {args.socket}", flush=True)
        with contextlib.suppress(KeyboardInterrupt):
            server.serve_forever()


if __name__ == "__main__":
    main()
