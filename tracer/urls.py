"""Addresses of object stores: `s3://bucket/key`, taken apart, and never with a credential in them.

Nothing is asked of a store here (`stores`).
"""

import re
from dataclasses import dataclass, replace
from urllib.parse import parse_qsl, urlencode

from tracer.faults import Fault

# What the part after `?` may say, by scheme: how to connect. All of it may be shown.
_S3_OPTIONS = frozenset({"endpoint_override", "scheme", "region"})
_OPTIONS = {
    "s3": _S3_OPTIONS,
    "gs": frozenset({"endpoint_override", "scheme"}),
    "abfs": frozenset({"enable_tls"}),
    "abfss": frozenset({"enable_tls"}),
}
_URL = re.compile(r"(?P<scheme>[A-Za-z][A-Za-z0-9+.-]*)://(?P<rest>.*)", re.DOTALL)
_BUCKET = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")
_CONTAINER = re.compile(r"(?:[A-Za-z0-9$-]+@)?[A-Za-z0-9][A-Za-z0-9._-]*(?::[0-9]+)?")
_ENDPOINT = re.compile(r"(?:https?://)?[A-Za-z0-9.\-\[\]:]+/?")
_UNPRINTABLE = re.compile(r"[\x00-\x1f\x7f-\x9f\ud800-\udfff\\]")
_WORD = re.compile(r"[a-z_]{1,40}")
_SECRETS = re.compile(r"key|secret|token|password|credential|signature|sig\b", re.IGNORECASE)
IN_THE_ENVIRONMENT = (
    "leave credentials to the environment: AWS_PROFILE, or AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY "
    "(docs/stores.md)"
)


def is_url(text: str) -> bool:
    """Is it SCHEME://…, and no path?"""
    return _URL.match(text) is not None


@dataclass(frozen=True)
class Url:
    """An object, or what is below a prefix.

    Attributes:
        scheme: s3, gs, abfs or abfss.
        root: the bucket; of abfs, container@account.
        key: below it, without a slash at either end; may be empty.
        options: how to connect: endpoint_override, scheme, region.
    """

    scheme: str
    root: str
    key: str = ""
    options: tuple[tuple[str, str], ...] = ()

    @classmethod
    def of(cls, text: str) -> "Url":
        """Take an address apart.

        Raises:
            Fault: for one that is not of an object store, or that holds credentials. They are not in it.
        """
        found = _URL.fullmatch(text)
        scheme = found["scheme"].lower() if found else ""
        if found is None or scheme not in _OPTIONS:
            raise Fault(
                f"{scheme or 'that'}:// is no place for a trace or results",
                "paths of this machine and s3://, gs:// and abfs:// are",
                "copy it to one of them",
            )
        rest, _, query = found["rest"].partition("?")
        root, _, key = rest.partition("/")
        _check_root(scheme, root)
        return cls(scheme, root, _checked_key(f"{scheme}://{root}", key.rstrip("/")), _options(scheme, query))

    def __truediv__(self, name: str) -> "Url":
        """What is called `name` below it.

        Raises:
            Fault: for a name that is absolute, or leads elsewhere.
        """
        below = _checked_key(str(self), name, of_url=False)
        return replace(self, key=f"{self.key}/{below}" if self.key else below)

    def at(self, key: str) -> "Url":
        """Another object of the same bucket, by its whole key, as the store listed it."""
        return replace(self, key=key)

    @property
    def inside(self) -> str:
        """As Arrow's file systems call it: bucket/key."""
        return f"{self.container}/{self.key}" if self.key else self.container

    @property
    def container(self) -> str:
        """The bucket or container alone."""
        return self.root.partition("@")[0]

    @property
    def name(self) -> str:
        """The last part of the key; of a bucket, its own."""
        return self.key.rpartition("/")[2] or self.container

    @property
    def parent(self) -> "Url":
        """What it is in; of a bucket, itself."""
        return replace(self, key=self.key.rpartition("/")[0])

    def __str__(self) -> str:
        key = f"/{self.key}" if self.key else ""
        options = f"?{urlencode(self.options, safe=':/')}" if self.options else ""
        return f"{self.scheme}://{self.root}{key}{options}"


def check_endpoint(text: str, where: str) -> None:
    """Refuse a text that is no HOST:PORT, with http:// or https:// or without.

    Raises:
        Fault: naming where it stands, not the text: there may be a password in it.
    """
    if not _ENDPOINT.fullmatch(text):
        raise Fault(
            f"{where} is no endpoint", "it is not [http[s]://]HOST[:PORT]", "write it like localhost:9000"
        )


def _check_root(scheme: str, root: str) -> None:
    azure = scheme.startswith("abfs")
    if (_CONTAINER if azure else _BUCKET).fullmatch(root):
        return
    if "@" in root:
        how = "something stands before an @, where a password would"
        raise Fault(f"an address {scheme}://… holds credentials", how, IN_THE_ENVIRONMENT)
    wanted = "container@account" if azure else "a bucket"
    how = f"after {scheme}:// stands the name of {wanted}: letters, digits, dots and dashes"
    raise Fault(f"an address {scheme}://… names no bucket", how, f"write {scheme}://bucket/guest.trace, say")


def _checked_key(base: str, key: str, *, of_url: bool = True) -> str:
    """A key that leads nowhere else: none of its parts is empty, `.` or `..`.

    Raises:
        Fault: for another one. With `of_url`, the key may be empty.
    """
    if not key and of_url:
        return key
    parts = key.split("/")
    if _UNPRINTABLE.search(key) or {"", ".", ".."} & set(parts):
        how = f"{key!r:.80} is absolute, has an empty part, `..` or a character that cannot be shown"
        raise Fault(f"{base} has no such name below it", how, "name what is below it by its parts")
    return key


def _options(scheme: str, query: str) -> tuple[tuple[str, str], ...]:
    given = parse_qsl(query, keep_blank_values=True)
    for name, value in given:
        if name in _OPTIONS[scheme]:
            _check_option(name, value)
            continue
        if _SECRETS.search(name) or not _WORD.fullmatch(name):
            how = f"after ? stands {name if _WORD.fullmatch(name) else 'more than how to connect'}"
            raise Fault(f"an address {scheme}://… holds credentials", how, IN_THE_ENVIRONMENT)
        how = f"known are {', '.join(sorted(_OPTIONS[scheme]))}"
        raise Fault(f"an address {scheme}://… has no {name}", how, "leave it out")
    return tuple(sorted(dict(given).items()))


def _check_option(name: str, value: str) -> None:
    if name == "endpoint_override":
        check_endpoint(value, "endpoint_override of the address")
    elif name == "scheme" and value not in {"http", "https"}:
        raise Fault("scheme of the address is not possible", "it is http or https", "leave it out")
    elif not re.fullmatch(r"[A-Za-z0-9-]+", value):
        raise Fault(f"{name} of the address is not possible", "it is a word like us-east-1", "leave it out")
