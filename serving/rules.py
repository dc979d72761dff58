"""The rules of `data.contract` in params.yaml that requests and tables are held to."""

from __future__ import annotations

from collections.abc import Collection, Mapping

from registry import settings
from registry.errors import ParamsInvalid, ProjectNotFound
from serving.contract import Rule, Rules


def read(never_stored: Collection[str] = ()) -> dict[str, Rules]:
    """`data.contract`, for the project's model; empty outside of a project. Raises ParamsInvalid.

    A column that is never stored is not seen by who counts, and the outcome is no caller's.
    """
    try:
        raw = settings.read_params(settings.find_root())
    except ProjectNotFound:
        return {}
    data, own = raw.get("data") or {}, raw.get("registry") or {}
    if not isinstance(data, Mapping) or not isinstance(own, Mapping):
        raise ParamsInvalid(["data and registry must be tables of keys and values"])
    rules = data.get("contract") or {}
    if not isinstance(rules, Mapping):
        raise ParamsInvalid(["data.contract must be a table of columns and their rules"])
    unseen = {*never_stored, data.get("target")}
    found = {
        str(column): settings.check_section(f"data.contract.{column}", Rule, rule or {})
        for column, rule in rules.items()
        if column not in unseen
    }
    return {str(own.get("model")): found} if found else {}
