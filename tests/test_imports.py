"""The contract on imports names every module that it must."""

import tomllib
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[1]


def test_caffe_torch_is_kept_from_all_of_prototxt_gen_but_the_schema() -> None:
    config = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())
    (contract,) = (
        contract
        for contract in config["tool"]["importlinter"]["contracts"]
        if contract["source_modules"] == ["caffe_torch"]
    )
    modules = {
        f"prototxt_gen.{file.stem}"
        for file in (REPOSITORY / "prototxt_gen").glob("*.py")
        if file.stem != "__init__"
    }
    assert modules <= set(contract["forbidden_modules"])
