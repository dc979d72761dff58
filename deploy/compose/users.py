"""Makes the users of an MLflow server with basic auth; may be run again.

    python deploy/compose/users.py ana:member ben:member eve:reader

A member may train, register, promote and roll back, a reader may look. The password of a new user
is read from the variable PASSWORD_ANA and so on; that of one who is there stays. The server and its
administrator come from MLFLOW_TRACKING_URI, MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD.
"""

from __future__ import annotations

import os
import re
import sys

from mlflow.exceptions import MlflowException
from mlflow.server.auth.client import AuthServiceClient

ROLE = "members"
# MANAGE, since a rollback takes aliases away, which MLflow counts as deleting.
GRANTS = {"registered_model": "MANAGE", "experiment": "EDIT"}
SHORTEST = 12  # MLflow's own limit


def main() -> None:
    """Make who is named. Ends with a sentence where that cannot be done."""
    wanted = [word.partition(":")[::2] for word in sys.argv[1:]]
    if not wanted or not all(name and kind in ("member", "reader") for name, kind in wanted):
        sys.exit(__doc__)
    try:
        uri = os.environ["MLFLOW_TRACKING_URI"]
    except KeyError:
        sys.exit("MLFLOW_TRACKING_URI must name the server")
    server = AuthServiceClient(uri)
    try:
        roles = {role.name: role.id for role in server.list_roles("default")}
        role = roles.get(ROLE) or server.create_role("default", ROLE, "train and decide").id
        granted = {p.resource_type for p in server.list_role_permissions(role)}
        for kind, permission in GRANTS.items():
            if kind not in granted:
                server.add_role_permission(role, kind, "*", permission)
        for name, kind in wanted:
            make(server, name, role if kind == "member" else None)
    except MlflowException as error:
        sys.exit(f"{uri} refused: {error.message}")


def make(server: AuthServiceClient, name: str, role: int | None) -> None:
    """One user, in the role or in none."""
    try:
        server.get_user(name)
    except MlflowException as error:
        if error.error_code != "RESOURCE_DOES_NOT_EXIST":
            raise
        variable = f"PASSWORD_{re.sub('[^A-Z0-9]', '_', name.upper())}"
        password = os.environ.get(variable, "")
        if len(password) < SHORTEST:
            sys.exit(f"{variable} must hold {SHORTEST} characters or more")
        server.create_user(name, password)
    held = {r.name: r.id for r in server.list_user_roles(name)}
    if role is not None and ROLE not in held:
        server.assign_role(name, role)
    if role is None and ROLE in held:
        server.unassign_role(name, held[ROLE])
    print(f"{name} is a {'reader' if role is None else 'member'}")


if __name__ == "__main__":
    main()
