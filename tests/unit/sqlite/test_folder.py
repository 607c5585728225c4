import os
from pathlib import Path

import pytest

from onward.errors import StoreError
from onward.sqlite.database import Database
from onward.sqlite.folder import run_folder


def test_the_run_folder_is_beside_the_file_and_private(database_path: Path) -> None:
    folder = run_folder(database_path)
    assert folder == database_path.with_name("onward.db-run")
    assert folder.stat().st_mode & 0o777 == 0o700
    assert run_folder(database_path) == folder


def test_a_missing_folder_is_named_and_not_made(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match=r"does not exist.*Create the folder, or correct the path"):
        Database.open(tmp_path / "nowhere" / "onward.db")
    assert os.listdir(tmp_path) == []


def test_a_folder_is_not_taken_for_a_database(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="is a folder, not a database"):
        Database.open(tmp_path)


def test_a_file_in_the_run_folders_place_is_told(database_path: Path) -> None:
    in_the_way = database_path.with_name("onward.db-run")
    in_the_way.write_text("mine")
    with pytest.raises(StoreError):
        Database.open(database_path)
    assert in_the_way.read_text() == "mine"
