"""Keyed hashes: how something is recognised again without being kept.

Belongs here: keys, and the hash of a text under a key, in Python and in SQL. Does not belong here: what is
hashed and why (suppression after erasure, references in logs and receipts).

The hash is HMAC-SHA-256 (RFC 2104, FIPS 180-4) of the UTF-8 text, as 64 hexadecimal digits. A plain hash of an
e-mail address is no secret, because all addresses can be tried; without the key these can't. Each purpose has a
key of its own, so that what two of them hold can't be joined.
"""

import hashlib
import hmac
import os
import re
import tempfile
from dataclasses import dataclass, field
from pathlib import Path

from segmentation.errors import StrataError

_BLOCK_BYTES = 64
_KEY_BYTES = 32
_INNER, _OUTER = 0x36, 0x5C
_PURPOSE = re.compile("^[a-z][a-z0-9-]*$")


@dataclass(frozen=True, slots=True)
class PseudonymKey:
    """A secret and its name.

    Attributes:
        key_id: Which key this is; stored beside every hash made with it.
        secret: The key; never shown.
    """

    key_id: str
    secret: bytes = field(repr=False)

    def hash(self, text: str) -> str:
        """Return the hash of ``text``."""
        return hmac.new(self.secret, text.encode(), hashlib.sha256).hexdigest()

    def expression(self, text: str) -> str:
        """Return the SQL that hashes the text expression ``text``: the same digits, computed by the engine.

        The statement holds the key: it is for execution, never for a log or a view.
        """
        secret = self.secret if len(self.secret) <= _BLOCK_BYTES else hashlib.sha256(self.secret).digest()
        padded = secret.ljust(_BLOCK_BYTES, b"\0")
        inner, outer = (_blob(bytes(byte ^ pad for byte in padded)) for pad in (_INNER, _OUTER))
        return f"sha256({outer} || unhex(sha256({inner} || encode({text}))))"


def _blob(content: bytes) -> str:
    return "'" + "".join(f"\\x{byte:02x}" for byte in content) + "'::blob"


def load_key(folder: Path, purpose: str, *, version: int = 1) -> PseudonymKey:
    """Read the key of a purpose, and draw it where there is none yet.

    Args:
        folder: Where keys are kept, one file each, readable by their owner alone. Losing a key means that
            nothing hashed with it is recognised again: back the folder up, apart from the data.
        purpose: What the key is for, such as ``suppression``.
        version: Which key of that purpose; a new version starts fresh.

    Raises:
        StrataError: The file is there and holds no key.
    """
    if not _PURPOSE.match(purpose):
        raise ValueError(f"{purpose!r} is not the name of a purpose")
    key_id = f"{purpose}-v{version}"
    path = folder / f"{key_id}.key"
    if not path.exists():
        _draw(path)
    secret = path.read_bytes()
    if len(secret) != _KEY_BYTES:
        raise StrataError(
            f"the key {key_id} is damaged: {len(secret)} bytes",
            where=str(path),
            expected=f"{_KEY_BYTES} bytes",
            repair="bring it back from its backup; without it nothing hashed with it is recognised",
        )
    return PseudonymKey(key_id, secret)


def _draw(path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    # Made for its owner alone, under a name that no other process has.
    descriptor, draft = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
    try:
        os.write(descriptor, os.urandom(_KEY_BYTES))
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
    try:
        # A link fails where another process was first: its key stands.
        path.hardlink_to(draft)
    except FileExistsError:
        return
    finally:
        Path(draft).unlink()
