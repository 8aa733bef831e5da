"""File systems of object stores, Arrow's own, and what is told of their errors.

Credentials come from where the store's SDK looks for them: the environment, its files, the machine's role.
A request ends: after CONNECT_TIMEOUT_S without a connection, REQUEST_TIMEOUT_S in silence, ATTEMPTS in all.
"""

import contextlib
import os
import re
from functools import cache
from typing import TYPE_CHECKING, Any

from tracer.faults import ExitCode, Fault, environment
from tracer.urls import IN_THE_ENVIRONMENT, Url, check_endpoint

if TYPE_CHECKING:
    from pyarrow.fs import FileSystem

ATTEMPTS = 3
CONNECT_TIMEOUT_S = 10.0
REQUEST_TIMEOUT_S = 30.0

_ENDPOINTS = ("AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL")
_REGIONS = ("AWS_REGION", "AWS_DEFAULT_REGION")

# What the SDKs call an error; nothing else of what they say is passed on: it may hold parts of the request.
_SAID = (
    re.compile(
        r"AWS Error (?P<code>[A-Z_]+)(?: \(HTTP status (?P<status>[0-9]{3})\))?"
        r" during (?P<operation>[A-Za-z0-9]+) operation(?:: curlCode: (?P<curl>[0-9]+))?"
    ),
    re.compile(r"google::cloud::Status\((?P<code>[A-Z_]+)"),
    re.compile(r"(?P<code>Azure) Error.*?(?P<status>[0-9]{3})?"),
)
_NOT_THERE = {"NO_SUCH_KEY", "NO_SUCH_BUCKET", "RESOURCE_NOT_FOUND", "NOT_FOUND"}
_DENIED = {
    "ACCESS_DENIED",
    "INVALID_ACCESS_KEY_ID",
    "INVALID_CLIENT_TOKEN_ID",
    "SIGNATURE_DOES_NOT_MATCH",
    "UNRECOGNIZED_CLIENT",
    "MISSING_AUTHENTICATION_TOKEN",
    "REQUEST_EXPIRED",
    "PERMISSION_DENIED",
    "UNAUTHENTICATED",
}
_CURL = {"6": "its name is not known", "7": "nothing listens there", "28": "no answer came in time"}
_TIMED_OUT = "28"


class Missing(Fault):
    """Nothing is at a place."""


def file_system(url: Url) -> "FileSystem":
    """The file system in which `url.inside` is a name.

    Raises:
        Fault: when this Arrow library has none for it, or the environment names an endpoint that is none.
    """
    if url.scheme != "s3":
        return _other(url.scheme, url.root, url.options)
    options = dict(url.options)
    named = next((name for name in _ENDPOINTS if os.environ.get(name)), None)
    endpoint = options.get("endpoint_override") or (os.environ[named] if named else "")
    if endpoint:
        check_endpoint(endpoint, named or "endpoint_override of the address")
    written, _, host = endpoint.rstrip("/").rpartition("://")
    region = options.get("region") or next(filter(None, map(os.environ.get, _REGIONS)), "")
    bucket = "" if endpoint or region else url.root
    return _s3(host, options.get("scheme") or written or "https", region, bucket)


@cache
def _s3(endpoint: str, scheme: str, region: str, bucket: str) -> Any:  # noqa: ANN401 - pyarrow has no types
    """`bucket`: whose region has to be found out; empty when it needs not."""
    from pyarrow import fs

    if bucket:
        with contextlib.suppress(OSError):  # the next request says it better
            region = fs.resolve_s3_region(bucket)
    elif endpoint and not region:
        region = "us-east-1"  # what stands in a signature where there are no regions
    return fs.S3FileSystem(
        region=region or None,
        endpoint_override=endpoint or None,
        scheme=scheme,
        connect_timeout=CONNECT_TIMEOUT_S,
        request_timeout=REQUEST_TIMEOUT_S,
        retry_strategy=fs.AwsStandardS3RetryStrategy(max_attempts=ATTEMPTS),
        **_if_known(fs.S3FileSystem, allow_delayed_open=True),
    )


def _if_known(kind: Any, **options: object) -> dict[str, object]:  # noqa: ANN401 - a class of pyarrow
    """Those of the options that this Arrow library has."""
    return {name: value for name, value in options.items() if name in (kind.__doc__ or "")}


@cache
def _other(scheme: str, root: str, options: tuple[tuple[str, str], ...]) -> Any:  # noqa: ANN401 - as above
    import pyarrow as pa
    from pyarrow import fs

    bounded = (*options, ("retry_limit_seconds", "60")) if scheme == "gs" else options
    try:
        return fs.FileSystem.from_uri(str(Url(scheme, root, "", bounded)))[0]
    except (OSError, ValueError, NotImplementedError, pa.ArrowException) as error:
        how = "this Arrow library was built without it, or refuses the address"
        raise Fault(f"{scheme}:// cannot be opened here", how, "pip install -U pyarrow") from error


def store_fault(url: Url, error: BaseException) -> Fault | None:
    """What an error of a file system of `file_system` means, or None when it is none of a store."""
    said = next(filter(None, (pattern.search(str(error)) for pattern in _SAID)), None)
    if isinstance(error, FileNotFoundError) and said is None:
        return _missing(url, "the store knows no such object")
    if said is None:
        return None
    told = said.groupdict()
    code, status = told["code"], told.get("status") or ""
    during = f" to {told['operation']}" if told.get("operation") else ""
    how = f"it answered {' '.join(filter(None, (status, code)))}{during}"
    if code in _NOT_THERE or status == "404":
        return _missing(url, how)
    if code in _DENIED or status in {"401", "403"}:
        return environment(f"access to {url} is denied", how, IN_THE_ENVIRONMENT)
    if code == "NETWORK_CONNECTION":
        return _unreachable(url, told.get("curl") or "")
    if status in {"301", "307", "400"} or "REDIRECT" in code:
        fix = "name the bucket's region: AWS_REGION, or ?region= in the address"
        return Fault(f"{url} cannot be read there", how, fix, ExitCode.ENVIRONMENT)
    how = f"{how}, {ATTEMPTS} times"
    return environment(f"the store of {url} does not work", how, "try again later; what is done is kept")


def _missing(url: Url, how: str) -> Missing:
    what = f"there is no bucket of {url}" if "NO_SUCH_BUCKET" in how else f"there is no {url}"
    return Missing(what, how, "check the address: names are case-sensitive")


def _unreachable(url: Url, curl: str) -> Fault:
    how = _CURL.get(curl, f"the connection failed (curl {curl})" if curl else "the connection failed")
    waited = f"; each of {ATTEMPTS} attempts is given {REQUEST_TIMEOUT_S:g} s" if curl == _TIMED_OUT else ""
    fix = "check the endpoint and the network (docs/stores.md)"
    return environment(f"the store of {url} cannot be reached", how + waited, fix)
