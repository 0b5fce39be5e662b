"""The settings of the archive on S3: apart from it, since a project is read without loading its driver."""

from __future__ import annotations

import re
from typing import Annotated, Literal
from urllib.parse import urlsplit

from msgspec import Meta, Struct

from catchment.archives import check_name


def _check_bucket(bucket: str) -> None:
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]{1,221}[A-Za-z0-9]", bucket):
        raise ValueError("must be the name of a bucket", 'such as "acme-archive", without s3:// and without a path')


def _check_prefix(prefix: str) -> None:
    try:
        check_name(prefix.strip("/"))
    except ValueError:
        raise ValueError(
            "must be a path of the characters A-Z a-z 0-9 _ - . = and /", 'such as "catchment/archive"'
        ) from None


def _check_endpoint(endpoint: str) -> None:
    parts = urlsplit(endpoint)
    if parts.scheme not in {"http", "https"} or not parts.hostname or parts.query or "@" in parts.netloc:
        raise ValueError("must be an address with http:// or https://", 'such as "https://minio.acme.example:9000"')


class S3Config(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`[archive]` with `type = "s3"`: Amazon S3, or a store that speaks as it does (MinIO, R2)."""

    bucket: Annotated[str, Meta(description="The bucket; it must exist.", extra={"check": _check_bucket})]
    prefix: Annotated[
        str,
        Meta(min_length=1, description="Where in the bucket the archive lies.", extra={"check": _check_prefix}),
    ] = "archive"
    region: (
        Annotated[str, Meta(min_length=1, description="The bucket's region; else `AWS_REGION`, else us-east-1.")]
        | None
    ) = None
    endpoint: (
        Annotated[
            str,
            Meta(description="The address of another store than Amazon's.", extra={"check": _check_endpoint}),
        ]
        | None
    ) = None
    access_key_id: (
        Annotated[
            str,
            Meta(
                min_length=1,
                description="A key of its own; else as everywhere at AWS: the environment, a web identity, the role of"
                " the task or the machine.",
            ),
        ]
        | None
    ) = None
    secret_access_key: Annotated[str, Meta(min_length=1, description="The secret of that key.")] | None = None
    encryption: (
        Annotated[
            Literal["AES256", "aws:kms", "aws:kms:dsse"],
            Meta(description="How the store is to encrypt each file; else as the bucket has it."),
        ]
        | None
    ) = None
    kms_key_id: (
        Annotated[str, Meta(min_length=1, description="The KMS key for `aws:kms`; else the account's own.")] | None
    ) = None
    virtual_hosted: Annotated[
        bool, Meta(description="Put the bucket into the host's name, for stores that take no other addresses.")
    ] = False
    conditional_put: Annotated[
        bool,
        Meta(
            description="The store refuses to replace a file (`If-None-Match`). Without it, whether a name is taken is"
            " looked at beforehand."
        ),
    ] = True
    timeout_s: Annotated[float, Meta(gt=0, le=3600, description="For one request, in seconds.")] = 60.0
    retry_s: Annotated[
        float,
        Meta(
            ge=0,
            le=240,
            description="So long a request that failed is sent again, ever less often, before the loader is told.",
        ),
    ] = 60.0
