"""What the section `monitor` of params.yaml may hold. Pure."""

from __future__ import annotations

import re
import shlex
from typing import Literal, Self
from urllib.parse import urlsplit

from pydantic import Field, field_validator, model_validator

from registry.sections import Section

Trigger = Literal["performance", "estimate", "score", "drift"]
"""What may call for a retraining; what looks broken never does."""


class DriftPolicy(Section):
    """`monitor.drift`: from which size on a difference from the reference is told of."""

    numeric: float = Field(default=0.1, gt=0, allow_inf_nan=False, strict=False)
    """Wasserstein distance in standard deviations of the reference."""
    categorical: float = Field(default=0.1, gt=0, le=1, strict=False)
    """Total variation distance: the share of rows that would have to change their category."""
    missing: float = Field(default=0.05, gt=0, le=1, strict=False)
    """Change of the share of missing values."""
    unseen: float = Field(default=0.01, gt=0, le=1, strict=False)
    """Share of rows with a category that the reference does not have."""
    outside: float = Field(default=0.01, gt=0, le=1, strict=False)
    """Share of rows outside the values of the reference, by a twentieth of a standard deviation."""
    score: float = Field(default=0.1, gt=0, allow_inf_nan=False, strict=False)
    """As `numeric`, of the model's answers; of classes without probabilities as `categorical`."""
    alpha: float = Field(default=0.002, gt=0, lt=0.5, strict=False)
    """Chance that a window like the reference shows anything (Bonferroni over all columns)."""
    minimum: int = Field(default=200, ge=20, strict=True)
    """Rows of a window below which nothing is judged."""
    jump: float = Field(default=1.5, gt=0, allow_inf_nan=False, strict=False)
    """As `numeric`, from one window to the next: the world does not change so fast, units do."""
    jump_share: float = Field(default=0.3, gt=0, le=1, strict=False)
    """As `categorical`, from one window to the next."""
    broken_share: float = Field(default=0.05, gt=0, le=1, strict=False)
    """Share of unseen categories, or of values far outside the range, that looks broken."""
    broken_missing: float = Field(default=0.3, gt=0, le=1, strict=False)
    """Growth of the share of missing values that looks broken."""
    ignore: tuple[str, ...] = ()
    """Columns that are not looked at."""


class QualityPolicy(Section):
    """`monitor.quality`: from when on the model does worse."""

    drop: float = Field(default=0.05, gt=0, allow_inf_nan=False, strict=False)
    """By how much the metric may be worse than on the held-out rows, in the metric's own unit."""
    minimum: int = Field(default=200, ge=20, strict=True)
    """Labels of a window below which nothing is judged."""
    confidence: float = Field(default=0.95, gt=0.5, lt=1, strict=True)
    coverage: float = Field(default=0.0, ge=0, le=1, strict=False)
    """Share of a window's predictions that must have a label before it is judged."""
    labels: float = Field(default=0.3, gt=0, le=1, strict=False)
    """Total variation distance of a window's classes from the window before that looks broken;
    of a regression a tenth of the change of the mean in standard deviations of held-out rows."""
    slices: tuple[str, ...] | None = None
    """Columns; None takes those of `evaluate.slices`."""


class MonitorParams(Section):
    """`monitor:` of params.yaml."""

    window_hours: float = Field(default=24.0, gt=0, allow_inf_nan=False, strict=False)
    """Length of a window by time; windows begin at whole multiples since 1970, UTC."""
    window_rows: int | None = Field(default=None, ge=20, strict=True)
    """Rows of a window by count; it takes the place of `window_hours`."""
    back_days: float = Field(default=30.0, gt=0, allow_inf_nan=False, strict=False)
    """How far back windows are judged when monitoring begins or was away."""
    lag: float = Field(default=5.0, ge=0, le=3600, strict=False)
    """Seconds after which what was answered is in the prediction log, if its writer is well."""
    every: float = Field(default=60.0, ge=0.1, le=86_400, strict=False)
    """Seconds between two looks of `monitor watch`."""
    store: str | None = None
    """SQLAlchemy URL of what the monitor knows; None is the database of a PostgreSQL log, else
    a SQLite file."""
    drift: DriftPolicy = Field(default_factory=DriftPolicy)
    quality: QualityPolicy = Field(default_factory=QualityPolicy)
    of: int = Field(default=5, ge=1, le=1000, strict=True)
    """Newest windows that are looked at, ..."""
    at_least: int = Field(default=2, ge=1, strict=True)
    """... of which so many, the newest among them, must show the same."""
    cool_down: int = Field(default=5, ge=0, strict=True)
    """Windows after a retraining or a rollback without another; of alerts, about the same."""
    retrain: Literal["off", "staging", "canary", "production"] = "off"
    """How far a version goes that was retrained because of findings."""
    retrain_on: tuple[Trigger, ...] = ("performance", "estimate", "score")
    retrain_minutes: float = Field(default=240.0, gt=0, allow_inf_nan=False, strict=False)
    """After so long a retraining is ended."""
    retrain_share: float = Field(default=0.7, ge=0, le=1, strict=False)
    """Rows that a data version must have of those that the live version was trained on, all
    together and of the time that they are of."""
    data_command: str | None = None
    """Command that brings the newest data version into the working copy, such as `git pull`."""
    canary_weight: float = Field(default=0.1, gt=0, lt=1, strict=False)
    rollback: bool = False
    """Whether a version that does worse than the former one is taken back."""
    webhook: str | None = None
    """Address that alerts are posted to as JSON."""
    mail_to: tuple[str, ...] = ()
    mail_from: str = "understudy@localhost"
    mail_server: str = "localhost:25"
    """SMTP server; name and password are UNDERSTUDY_SMTP_USER and UNDERSTUDY_SMTP_PASSWORD."""
    mail_tls: bool = False
    """Whether STARTTLS is asked for before anything is said."""

    @field_validator("webhook")
    @classmethod
    def _is_an_address(cls, value: str | None) -> str | None:
        if value is not None:
            parts = urlsplit(value)
            if parts.scheme not in ("http", "https") or not parts.hostname:
                raise ValueError("an address begins with http:// or https:// and names a host")
        return value

    @field_validator("mail_server")
    @classmethod
    def _is_a_server(cls, value: str) -> str:
        host, _, port = value.partition(":")
        if not host or (port and not (port.isdecimal() and 0 < int(port) < 65536)):
            raise ValueError("it is written as HOST or HOST:PORT")
        return value

    @field_validator("mail_to")
    @classmethod
    def _are_addresses(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        for address in value:
            if not re.fullmatch(r"[^@\s]+@[^@\s]+", address):
                raise ValueError(f"{address!r} is no address of a person, such as ana@example.org")
        return value

    @field_validator("data_command")
    @classmethod
    def _is_a_command(cls, value: str | None) -> str | None:
        if value is not None:
            try:
                words = shlex.split(value)
            except ValueError as error:
                raise ValueError(f"a shell cannot read it ({error})") from None
            if not words:
                raise ValueError("it is empty; leave it out where there is none")
        return value

    @field_validator("retrain", mode="before")
    @classmethod
    def _off(cls, value: object) -> object:
        return "off" if value is False else value  # YAML 1.1 takes `off` for false

    @model_validator(mode="after")
    def _fits(self) -> Self:
        if self.at_least > self.of:
            raise ValueError("at_least cannot be more than of")
        if self.window_rows is not None and "window_hours" in self.model_fields_set:
            raise ValueError("a window has window_hours or window_rows, and both are given")
        return self
