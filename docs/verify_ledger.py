"""Verify a ledger of Kette, or a proof from one: `python verify_ledger.py signer.pub LEDGER|PROOF`.

Written from docs/ledger-format.md, without Kette's code; for Ed25519 keys. Any fault is an error.
"""

import base64
import hashlib
import json
import re
import sys
from pathlib import Path

from cryptography.hazmat.primitives.serialization import load_pem_public_key

ROLES = {f"key.{done}": "custodian" for done in ("enrolled", "retired", "revoked")}
ROLES |= dict.fromkeys(("released", "deprecated", "withdrawn"), "releaser")
TYPE, STATEMENT = b"application/vnd.in-toto+json", "https://in-toto.io/Statement/v1"
ENVELOPE = re.compile(
    r'{"payload":"([^"]+)","payloadType":"application/vnd\.in-toto\+json",'
    r'"signatures":\[{"keyid":"(.+)","sig":"([^"]+)"}\]}'
)
NOTE = re.compile(r"([!-*,-~]+)\n(0|[1-9]\d{0,17})\n(\S{44})\n\n— \1 (\S+)\n", re.ASCII)
TILE = re.compile(r"tile/(\d)/((?:x\d{3}/)*\d{3})(?:\.p/([1-9]\d{0,2}))?", re.ASCII)


def need(holds, what):
    if not holds:
        raise ValueError(what)


def sha256(*parts):
    return hashlib.sha256(b"".join(parts)).digest()


def canonical(value):
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()


def unbase64(text):
    need(base64.b64encode(data := base64.b64decode(text)).decode() == text, "slack in base64")
    return data


def root(hashes):
    while len(hashes) > 1:
        pairs = [hashes[i : i + 2] for i in range(0, len(hashes), 2)]
        hashes = [sha256(b"\1", *pair) if len(pair) == 2 else pair[0] for pair in pairs]
    return hashes[0] if hashes else sha256()


def climb(node, index, size, path):
    if size == 1:  # RFC 6962 Section 2.1.1, from the root down
        return need(not path and index == 0, "the path is too long") or node
    half, step = 1 << (size - 1).bit_length() - 1, bytes.fromhex(path[-1])
    if index < half:
        return sha256(b"\1", climb(node, index, half, path[:-1]), step)
    return sha256(b"\1", step, climb(node, index - half, size - half, path[:-1]))


def key_of(pem):
    raw = (key := load_pem_public_key(pem)).public_bytes_raw()
    said = {"keytype": "ed25519", "keyval": {"public": raw.hex()}, "scheme": "ed25519"}
    return sha256(canonical(said)).hex(), key


class Reader:
    def __init__(self, note, anchor):
        self.origin, size, top, blob = NOTE.fullmatch(note.decode()).groups()
        self.size, self.root, self.blob = int(size), unbase64(top), unbase64(blob)
        self.signed, self.anchor = note.split(b"\n\n")[0] + b"\n", anchor
        self.keys, self.last, self.at, self.newest = {}, -1, "", None

    def read(self, raw, index):
        # 1. One DSSE envelope with one signature, in its one encoding.
        payload, keyid, signature = ENVELOPE.fullmatch(raw.decode()).groups()
        said = json.loads(payload := unbase64(payload))
        need(canonical(said) == payload and said["_type"] == STATEMENT, "it is no statement")
        kind, details = (said := said["predicate"]).get("kind"), said.get("details", {})
        # 2. Its key was enrolled, has not ended, and has the role; record 0 enrolls its own.
        role = details["role"] if kind == "signature" else ROLES.get(kind, "pipeline")
        new, public = key_of(details["public"].encode()) if kind == "key.enrolled" else (None, None)
        key, roles, _, until = (self.keys or {new: [public, details.get("roles"), 0, None]})[keyid]
        key.verify(unbase64(signature), b"DSSEv1 28 %b %d %b" % (TYPE, len(payload), payload))
        need(until is None and (kind == "clock.back" or role in roles), f"its key is no {role}")
        # 3. It was signed for this place: ledger, index, time, and all key events before it.
        at = (place := said["kette_ledger"]).pop("at")
        need(place == {"origin": self.origin, "index": index, "key_record": self.newest}, "place")
        need(at >= self.at or index > self.last + 1 or kind == "clock.back", "the time goes back")
        if new:  # 4. A key event changes who may sign from here on.
            need(new == details["keyid"] and new not in self.keys, "the key is not new")
            self.keys[new] = [public, details["roles"], index, None]
        elif role == "custodian":
            self.keys[details["keyid"]][3] = self.keys[details["keyid"]][3] or index
        self.last, self.at, self.newest = index, at, index if role == "custodian" else self.newest

    def finish(self):
        for keyid, (key, _, since, until) in self.keys.items():
            in_force = since < max(self.size, 1) and (until is None or until >= self.size)
            hint = sha256(self.origin.encode(), b"\n\1", key.public_bytes_raw())[:4]
            if in_force and self.blob[:4] == hint and self.anchor in (keyid, next(iter(self.keys))):
                return key.verify(self.blob[4:], self.signed)
        raise ValueError("no trusted key signed the checkpoint")


def check_ledger(folder, anchor):
    paths = [path for path in folder.rglob("*") if path.is_symlink() or not path.is_dir()]
    files = {path.relative_to(folder).as_posix(): path.read_bytes() for path in paths}
    reader, leaves, tiles = Reader(files.pop("checkpoint"), anchor), [], set()
    while (name := f"entries/{len(leaves):011_}.jsonl".replace("_", "/")) in files:
        *lines, end = files.pop(name).split(b"\n")
        need(lines and not end, f"a record of {name} is cut off")
        for raw in lines:
            reader.read(raw, len(leaves))
            leaves.append(sha256(b"\0", raw))
    need(root(leaves[: reader.size]) == reader.root, "the records are not the checkpoint's")
    levels = [leaves]
    while len(row := levels[-1]) >= 256:
        levels.append([root(row[i : i + 256]) for i in range(0, len(row) - 255, 256)])
    for name in filter(TILE.fullmatch, list(files)):
        level, at, width = (int(re.sub("[x/]", "", n)) for n in TILE.fullmatch(name).groups("256"))
        made = b"".join(levels[level][256 * at :][:width])
        need(files.pop(name) == made and len(made) == 32 * width, f"{name} is not the records'")
        tiles.add((level, at, width))
    for level in range(len(levels)):
        full, part = divmod(reader.size >> 8 * level, 256)
        need(tiles >= {(level, at, 256) for at in range(full)}, "a full tile is missing")
        need(not part or (level, full, part) in tiles, "a partial tile is missing")
    need(files.keys() <= {"lock", "append.tmp"} and not files.get("lock"), f"a file: {[*files]}")
    return reader


def check_proof(raw, anchor):
    proof, order = json.loads(raw), ("envelope", "index", "path")
    reader = Reader(proof["checkpoint"].encode(), anchor)
    again = {"checkpoint": proof["checkpoint"], "format": "urn:kette:proof:v1"}
    again["records"] = [{name: record[name] for name in order} for record in proof["records"]]
    need(canonical(again) == raw and again["records"], "it is no proof in its one encoding")
    for envelope, index, path in (record.values() for record in again["records"]):
        need(path == [bytes.fromhex(h).hex() for h in path] and index > reader.last, "bad order")
        leaf = sha256(b"\0", envelope.encode())
        need(climb(leaf, index, reader.size, path) == reader.root, f"record {index} is not there")
        reader.read(envelope.encode(), index)
    return reader


if __name__ == "__main__":
    (anchor, _), what = key_of(Path(sys.argv[1]).read_bytes()), Path(sys.argv[2])
    reader = check_ledger(what, anchor) if what.is_dir() else check_proof(what.read_bytes(), anchor)
    reader.finish()
    sys.stdout.write(f"ok: up to record {reader.last}\n")
