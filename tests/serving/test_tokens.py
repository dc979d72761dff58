"""Tokens: good ones are taken, for what they are for, and only hashes are kept."""

from __future__ import annotations

import json
import stat
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from click.testing import CliRunner

from cli.main import main
from serving import tokens
from serving.tokens import Tokens, TokensUnreadable


def command(folder: Path, *arguments: str, code: int = 0) -> str:
    done = CliRunner().invoke(main, ["token", *arguments, "--folder", str(folder)])
    assert done.exit_code == code, done.output
    return done.stdout if code == 0 else done.output


def test_who_may_do_what(tmp_path: Path) -> None:
    known = Tokens(tmp_path, "its own")
    assert not known.predicting_needs_one
    assert known.allows("Bearer its own", "admin")
    website = command(tmp_path, "website").strip()
    admin = json.loads(command(tmp_path, "ops", "--admin", "--json"))["token"]
    assert known.look()
    assert not known.look()
    assert known.predicting_needs_one
    for given, predict, decide in (
        (f"Bearer {website}", True, False),
        (f"bearer {admin}", True, True),
        (f"Basic {admin}", False, False),
        (website, False, False),
        ("Bearer ", False, False),
        ("Bearer \udcff", False, False),
        ("", False, False),
    ):
        assert known.allows(given, "predict") is predict
        assert known.allows(given, "admin") is decide


def test_a_token_that_is_removed_is_taken_no_more(tmp_path: Path) -> None:
    made = f"Bearer {command(tmp_path, 'website').strip()}"
    known = Tokens(tmp_path, "its own")
    assert known.allows(made, "predict")
    command(tmp_path, "website", "--remove")
    assert known.look()
    assert not known.allows(made, "predict")


def test_tokens_that_cannot_be_read_leave_those_that_were(tmp_path: Path) -> None:
    made = f"Bearer {command(tmp_path, 'website').strip()}"
    known = Tokens(tmp_path, "its own")
    (tmp_path / tokens.FILE).write_text("[]")
    with pytest.raises(TokensUnreadable, match="holds no tokens"):
        known.look()
    assert not known.look()
    assert known.allows(made, "predict")


def test_only_the_hash_is_kept_and_only_its_owner_reads_it(tmp_path: Path) -> None:
    made = command(tmp_path, "website").strip()
    path = tmp_path / tokens.FILE
    assert made not in path.read_text()
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_names(tmp_path: Path) -> None:
    command(tmp_path, "a")
    assert "there is a token 'a' already" in command(tmp_path, "a", code=1)
    assert "there is no token 'b'; there are: a" in command(tmp_path, "b", "--remove", code=1)
    assert "1 to 100 printable letters" in command(tmp_path, "b\n", code=1)
    assert command(tmp_path, "a", "--remove") == "removed: a\n"
    assert tokens.read(tmp_path) == {}


def test_two_who_make_tokens_at_once_get_both(tmp_path: Path) -> None:
    with ThreadPoolExecutor(8) as pool:
        made = list(pool.map(lambda n: change(tmp_path, str(n)), range(40)))
    assert tokens.read(tmp_path).keys() == set(made)


def test_who_waited_too_long_for_somebody_else_changes_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with tokens.changing(tmp_path):
        monkeypatch.setattr(tokens, "PATIENCE", 0.1)
        said = command(tmp_path, "a", code=1)
    assert f"another `understudy token` has been changing {tmp_path}/tokens.json for 0.1 s" in said
    assert tokens.read(tmp_path) == {}


def change(folder: Path, name: str) -> str:
    with tokens.changing(folder) as known:
        known[name] = {"scope": "predict", "sha256": tokens.hashed(name)}
    return name


@pytest.mark.parametrize("text", ['{"a": 3}', "[", "[]"])
def test_a_file_that_holds_something_else(tmp_path: Path, text: str) -> None:
    (tmp_path / tokens.FILE).write_text(text)
    with pytest.raises(TokensUnreadable, match="holds no tokens; delete it"):
        tokens.read(tmp_path)
    assert "holds no tokens" in command(tmp_path, "a", code=1)
