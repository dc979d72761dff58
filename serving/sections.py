"""What the section `serve` of params.yaml may hold. Pure."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, field_validator

from registry.sections import Section


class ServeParams(Section):
    """`serve:` of params.yaml."""

    host: str = "127.0.0.1"
    port: int = Field(default=8080, ge=0, le=65535, strict=True)
    """0 takes any free one."""
    hosts: tuple[str, ...] = ()
    """Further names by which the admin interface may be called, beside this machine's own."""
    environment: Literal["auto", "local", "uv", "conda"] = "auto"
    processes: int = Field(default=1, ge=1, le=64, strict=True)
    threads: int = Field(default=1, ge=1, le=256, strict=True)
    poll: float = Field(default=1.0, ge=0.05, le=3600, strict=False)
    """Seconds between two looks at the ledger."""
    timeout: float = Field(default=30.0, gt=0, le=3600, strict=False)
    """Seconds within which a caller is answered, waiting included."""
    slow_ms: float = Field(default=1000.0, gt=0, strict=False)
    """A version whose answers to recent requests take longer (median) does not go live."""
    rehearse: float = Field(default=10.0, ge=0, le=3600, strict=False)
    """Seconds between two rehearsals of the former version; 0 keeps none ready."""
    batch_rows: int = Field(default=256, ge=1, le=100_000, strict=True)
    batch_bytes: int = Field(default=1_000_000, ge=1000, strict=True)
    waiting: int = Field(default=512, ge=1, le=1_000_000, strict=True)
    """Requests that may wait at once; more are refused at once."""
    waiting_bytes: int = Field(default=64_000_000, ge=1000, strict=True)
    body_bytes: int = Field(default=16_000_000, ge=1000, strict=True)
    body_rows: int = Field(default=100_000, ge=1, strict=True)
    records: str | None = None
    """SQLAlchemy URL of the prediction log; None is a SQLite file, `off` keeps none."""

    @field_validator("records", mode="before")
    @classmethod
    def _off(cls, value: object) -> object:
        return "off" if value is False else value  # YAML 1.1 takes `off` for false

    records_days: float = Field(default=90.0, gt=0, strict=False)
    records_bytes: int = Field(default=2_000_000_000, ge=1_000_000, strict=True)
    label_days: float = Field(default=60.0, gt=0, strict=False)
    """Days after a prediction from which its label counts as late."""
    never_stored: tuple[str, ...] = ()
    """Columns that the prediction log leaves out."""
    key_column: str | None = None
    """Column that says whom a request is about, where no X-Understudy-Key does."""
    guard_minutes: float = Field(default=60.0, ge=0, allow_inf_nan=False, strict=False)
    """Minutes after a promotion in which the former version is asked beside the live one."""
    guard_share: float = Field(default=0.1, gt=0, le=1, strict=False)
    """Share of the requests of which it is."""
    certificate: str | None = None
    """PEM file for TLS; with `key`."""
    key: str | None = None
