"""Files, media, tables, console and system metrics of the real client arrive whole."""

from __future__ import annotations

import json
from pathlib import Path

import asyncwb
from tests.fix_wandb import WandbClient

_LOGS = """
import os, time
from PIL import Image
settings = wandb.Settings(x_stats_sampling_interval=0.1, console="wrap")
run = wandb.init(id="r", settings=settings)
for i in range(3):
    print(f"line {i}")
    run.log({"image": wandb.Image(Image.new("RGB", (8, 8), (i, 0, 0)), caption=f"c{i}"),
             "hist": wandb.Histogram([1, 2, 3]), "x": i})
table = wandb.Table(columns=["a", "b"], data=[[1, "x"], [2, "y"]])
run.log({"table": table, "html": wandb.Html("<b>hi</b>")})
os.makedirs("out")
with open("out/notes # 1.txt", "w") as file:
    file.write("kept")
run.save("out/notes*", base_path="out")
with open("empty.bin", "wb"):
    pass
run.save("empty.bin")
time.sleep(1)
run.finish()
"""

_READS = """
run = wandb.Api().run("p/r")
files = {file.name: file.size for file in run.files()}
with run.file("notes # 1.txt").download(root="down", replace=True) as file:
    text = file.read()
image = next(name for name in files if name.startswith("media/images/"))
run.file(image).download(root="down", replace=True)
answer({"files": files, "text": text, "image": image,
        "png": open("down/" + image, "rb").read(8).hex(),
        "system": len(run.history(stream="system", pandas=False)),
        "rows": [dict(row) for row in run.scan_history()]})
"""


def test_files_of_all_kinds(wandb_client: WandbClient, api: asyncwb.Api, tmp_path: Path) -> None:
    wandb_client.run(_LOGS)
    # A table is logged as an artifact, too, which the server declines without harm to the run.
    assert [line for line in wandb_client.failed_requests() if "createArtifact" not in line] == []
    theirs = wandb_client.run(_READS)
    run = api.run("p/r")
    ours = {file.name: file.size for file in run.files()}
    assert ours == theirs["files"]
    kept = ("notes # 1.txt", "empty.bin", "config.yaml", "wandb-metadata.json", "requirements.txt")
    assert set(kept) <= ours.keys()
    assert (theirs["text"], ours["empty.bin"]) == ("kept", 0)
    with run.file("notes # 1.txt").download(root=str(tmp_path)) as file:
        assert file.read() == "kept"
    assert theirs["png"] == b"\x89PNG\r\n\x1a\n".hex()
    rows = list(run.scan_history())
    assert rows[0]["image"]["_type"] == theirs["rows"][0]["image"]["_type"] == "image-file"
    assert rows[0]["image"]["path"] in ours
    assert rows[0]["hist"]["_type"] == "histogram"
    with run.file(rows[3]["table"]["path"]).download(root=str(tmp_path)) as file:
        assert json.load(file)["data"] == [[1, "x"], [2, "y"]]
    assert theirs["system"] >= 1
    assert len(run.history(stream="system", pandas=False)) >= 1
    console = [line for line in run.console_logs() if "line " in str(line)]
    assert len(console) >= 3
