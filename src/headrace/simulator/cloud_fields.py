"""Schemas of the clouds' requests to create batches, whose violations are refused by field name."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Final

from msgspec import Struct

from headrace.simulator.asks import Rejected


class Field(Struct, frozen=True):
    """A field of a body: a regular expression for strings, fields of an object, or a type."""

    of: str | Mapping[str, Field] | type
    required: bool = False


BUCKET: Final = r"[a-z0-9][-.a-z0-9]{1,61}[a-z0-9]"
_S3: Final = rf"s3://{BUCKET}(?:/[-!_*'().a-z0-9A-Z]+(?:/[-!_*'().a-z0-9A-Z]+)*)?/?"
_ACCOUNT: Final = r"[0-9]{12}"

INVOCATION: Final[Mapping[str, Field]] = {
    "jobName": Field(r"(?=.{1,63}$)[a-zA-Z0-9]{1,63}(-*[a-zA-Z0-9\+\-\.]){0,63}", required=True),
    "modelId": Field(r"[a-zA-Z0-9:./_-]{1,2048}", required=True),
    "roleArn": Field(r"arn:aws(-[^:]+)?:iam::([0-9]{12})?:role/.+", required=True),
    "clientRequestToken": Field(r"[a-zA-Z0-9]{1,256}(-*[a-zA-Z0-9]){0,256}"),
    "inputDataConfig": Field(
        {
            "s3InputDataConfig": Field(
                {"s3Uri": Field(_S3, required=True), "s3InputFormat": Field("JSONL"), "s3BucketOwner": Field(_ACCOUNT)}
            )
        },
        required=True,
    ),
    "outputDataConfig": Field(
        {
            "s3OutputDataConfig": Field(
                {"s3Uri": Field(_S3, required=True), "s3EncryptionKeyId": Field(".+"), "s3BucketOwner": Field(_ACCOUNT)}
            )
        },
        required=True,
    ),
    "vpcConfig": Field({"subnetIds": Field(list, required=True), "securityGroupIds": Field(list, required=True)}),
    "timeoutDurationInHours": Field(int),
    "tags": Field(list),
    "modelInvocationType": Field("InvokeModel|Converse"),
}
PREDICTION: Final[Mapping[str, Field]] = {
    "displayName": Field(r".{1,128}", required=True),
    "model": Field(r"(projects/[^/]+/locations/[^/]+/)?publishers/[^/]+/models/[^/]+", required=True),
    "inputConfig": Field(
        {
            "instancesFormat": Field("jsonl|csv|bigquery|tf-record|tf-record-gzip|file-list", required=True),
            "gcsSource": Field({"uris": Field(list, required=True)}),
            "bigquerySource": Field({"inputUri": Field(r"bq://.+", required=True)}),
        },
        required=True,
    ),
    "outputConfig": Field(
        {
            "predictionsFormat": Field("jsonl|csv|bigquery", required=True),
            "gcsDestination": Field({"outputUriPrefix": Field(rf"gs://{BUCKET}(/.*)?", required=True)}),
            "bigqueryDestination": Field({"outputUri": Field(r"bq://.+", required=True)}),
        },
        required=True,
    ),
    "labels": Field(dict),
    "encryptionSpec": Field(dict),
    "serviceAccount": Field(str),
}


def checked(said: Any, fields: Mapping[str, Field], place: str) -> dict[str, Any]:
    """The validated body. Raises Rejected that names the first unknown, missing or invalid field."""
    if not isinstance(said, dict):
        raise Rejected(400, f"{place or 'The body'} must be an object.", param=place)
    for name in said:
        if name not in fields:
            raise Rejected(400, f'Unknown name "{name}" at "{place}": Cannot find field.', param=place + name)
    for name, field in fields.items():
        where = f"{place}{name}"
        if name not in said:
            if field.required:
                raise Rejected(400, f"{where} is required.", param=where)
        elif isinstance(field.of, Mapping):
            checked(said[name], field.of, f"{where}.")
        elif isinstance(field.of, type):
            if not isinstance(said[name], field.of):
                raise Rejected(400, f"{where} must be {field.of.__name__}.", param=where)
        elif not isinstance(said[name], str) or not re.fullmatch(field.of, said[name]):
            raise Rejected(400, f"Value at '{where}' failed to satisfy constraint: {field.of}", param=where)
    hours = said.get("timeoutDurationInHours", 24)
    if not 24 <= hours <= 168:
        raise Rejected(400, "timeoutDurationInHours must be from 24 to 168.", param="timeoutDurationInHours")
    return said


def one_of(said: Mapping[str, Any], place: str, names: tuple[str, ...]) -> dict[str, Any]:
    found = [name for name in names if name in said]
    if len(found) != 1:
        raise Rejected(400, f"{place} must have one of {', '.join(names)}.", param=place)
    chosen: dict[str, Any] = said[found[0]]
    return chosen
