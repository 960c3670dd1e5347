"""The object store: whole objects, in a folder or a bucket, under names of our own making."""

from __future__ import annotations

import io
from pathlib import Path

import pytest

from asyncwb.errors import SettingsError
from asyncwb.server.objects.objects import Objects


@pytest.fixture(params=["folder", "file", "memory"])
def objects(request: pytest.FixtureRequest, tmp_path: Path) -> Objects:
    places = {
        "folder": str(tmp_path / "a b"),
        "file": (tmp_path / "a b").as_uri(),
        "memory": "memory:///",
    }
    return Objects.open(places[request.param])


def test_what_was_put_is_there_until_deleted(objects: Objects) -> None:
    objects.put("segments/7/abc.parquet", b"0123456789")
    objects.put("segments/8/d.parquet", b"x")
    assert objects.get("segments/7/abc.parquet") == b"0123456789"
    assert objects.get_range("segments/7/abc.parquet", 2, 5) == b"234"
    assert objects.get_range("segments/7/abc.parquet", 5, 5) == b""
    assert sorted((o.name, o.size) for o in objects.list("segments")) == [
        ("segments/7/abc.parquet", 10),
        ("segments/8/d.parquet", 1),
    ]
    assert [o.name for o in objects.list("segments/7")] == ["segments/7/abc.parquet"]
    objects.delete("segments/7/abc.parquet")
    objects.delete("segments/7/abc.parquet")
    with pytest.raises(FileNotFoundError):
        objects.get("segments/7/abc.parquet")
    with pytest.raises(FileNotFoundError):
        objects.reader("segments/7/abc.parquet", 10).read(1)


def test_a_reader_reads_like_a_file(objects: Objects) -> None:
    data = bytes(range(256)) * 1024
    objects.put("a", data)
    with objects.reader("a", len(data)) as reader:
        reader.seek(-8, io.SEEK_END)
        assert reader.read() == data[-8:]
        reader.seek(-70_000, io.SEEK_END)
        assert reader.read(100) == data[-70_000:-69_900]
        reader.seek(5)
        assert reader.read(3) == data[5:8]
        assert reader.tell() == 8
        assert reader.read(200_000) == data[8:200_008]
        reader.seek(3, io.SEEK_CUR)
        assert reader.read() == data[200_011:]
        assert reader.read(1) == b""


@pytest.mark.parametrize(
    "name", ["", "/a", "../a", "a/../b", "a//b", "a/", "a b", "A", ".hidden", "a/.b", "a\\b", "é"]
)
def test_no_other_names_are_taken(objects: Objects, name: str) -> None:
    for use in (objects.get, objects.delete, lambda n: objects.put(n, b""), objects.list):
        with pytest.raises(ValueError, match="no name"):
            list(use(name) or ())


def test_an_unknown_kind_of_store_is_refused() -> None:
    with pytest.raises(SettingsError, match="s3://bucket"):
        Objects.open("ftp://host/folder")
