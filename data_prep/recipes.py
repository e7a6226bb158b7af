"""What is done to a data set, by data set and preset: all that names a prepared folder.

`paper` is arXiv 1611.02167, sections 4 and 5. `released` is its code, bowenbaker/metaqnn at
a25847f, called as its README does. `authors` is what the authors' own runs did: nothing is known
of their data beyond the released code.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Literal, get_args

from data_prep.errors import DataError
from data_prep.normalize import Normalization

Dataset = Literal["cifar10", "cifar100", "svhn", "mnist", "idx"]
Preset = Literal["paper", "released", "authors"]
SplitRule = Literal["random", "first"]
SvhnSet = Literal["original", "extended", "tenth"]
Labels = Literal["zero", "minus_one"]
Part = Literal["train", "val", "train_full", "test"]

PARTS: tuple[Part, ...] = get_args(Part)
# Section 5 of Lee et al. 2016, whose validation set the paper takes: so many of each class, from
# SVHN's train and from its extra part.
EXTENDED_VALIDATION = (400, 200)
# get_datasets.py:150-157 of the released code: 10 % of SVHN's train part.
TENTH = {"train": 700, "val": 300}


@dataclass(frozen=True)
class Recipe:
    """How a data set is divided and preprocessed.

    Attributes:
        seed: of the draws and the shuffles, ≥ 0.
        validation: training examples set aside; the SVHN sets `extended` and `tenth` have
            numbers of their own, and take no other.
        split: `random`, with class proportions kept; `first`, the first of each class in file
            order, by class and not shuffled, as in the released code.
        subset: how many of the remaining training examples `train` keeps, again with class
            proportions; None for all.
        svhn: SVHN's train part (`original`), with its extra part (`extended`), or 1,000 of each
            class (`tenth`: the paper's stability experiment).
        labels: SVHN's label 10, the digit 0, is class 0 (`zero`), or every class is the label
            less one (`minus_one`).
        normalize: steps of `data_prep.normalize`, in order; without any, the databases hold the
            original uint8 pixels.
        pad: border in pixels around the images of train and train_full, for random crops.
        shape: channels, height and width in which the images are written: centred on black, grey
            ones in every channel; None leaves them as they are.
        floats: float32 records even where nothing is normalized.
        parts: which databases are written; named in any order, once or more.
        hdf5: whether HDF5 files are written as well.

    Raises:
        DataError: if a number can fit no data set, or fields contradict each other.
    """

    seed: int = 0
    validation: int | None = 5000
    split: SplitRule = "random"
    subset: int | None = None
    svhn: SvhnSet | None = None
    labels: Labels | None = None
    normalize: tuple[str, ...] = ()
    pad: int = 0
    shape: tuple[int, int, int] | None = None
    floats: bool = False
    parts: tuple[Part, ...] = PARTS
    hdf5: bool = False

    def __post_init__(self) -> None:
        if unknown := [part for part in self.parts if part not in PARTS]:
            raise DataError(f"part {unknown[0]!r} is unknown; there are: {', '.join(PARTS)}")
        object.__setattr__(self, "parts", tuple(part for part in PARTS if part in self.parts))
        own = self.svhn in ("extended", "tenth")
        written = set(self.parts)
        problems = {
            f"seed {self.seed} is negative; choose 0 or more": self.seed < 0,
            f"the SVHN set {self.svhn} has its own validation images; name no number": (
                own and self.validation is not None
            ),
            f"validation {self.validation}: choose at least 1 example": (
                not own and (self.validation is None or self.validation < 1)
            ),
            f"subset {self.subset}: choose at least 1 example": (
                self.subset is not None and self.subset < 1
            ),
            f"pad {self.pad} is negative; choose 0 or more pixels": self.pad < 0,
            f"shape {self.shape}: choose at least 1 channel, row and column": (
                self.shape is not None and min(self.shape) < 1
            ),
            f"no part to write; choose of {', '.join(PARTS)}": not self.parts,
            f"pad {self.pad}: a border is for train and train_full; name one of these parts": (
                self.pad > 0 and written.isdisjoint(("train", "train_full"))
            ),
            f"subset {self.subset}: it thins train, on which val depends; name one of these": (
                self.subset is not None and written.isdisjoint(("train", "val"))
            ),
        }
        if message := next((text for text, wrong in problems.items() if wrong), None):
            raise DataError(message)
        Normalization(self.normalize)

    @property
    def as_float(self) -> bool:
        """Whether records are float32."""
        return self.floats or bool(self.normalize)


def recipe(dataset: Dataset, preset: Preset = "paper", svhn: SvhnSet | None = None) -> Recipe:
    """How a preset prepares a data set, while the search runs.

    Raises:
        DataError: if an SVHN set is named for another data set.
    """
    if dataset != "svhn" and svhn is not None:
        raise DataError(f"{dataset} has no set {svhn}; only svhn has")
    paper = preset == "paper"
    split: SplitRule = "random" if paper else "first"
    common = Recipe(split=split, floats=not paper)  # lmdb_creator.py:223: always float
    match dataset:
        case "mnist" | "idx":
            if paper:  # section 5: "global mean subtraction", which Caffe does from mean_file
                return common
            # README of the released code, example 2. Its hyper_parameters.py has 5,000.
            return dataclasses.replace(common, validation=10_000, normalize=("mean",))
        case "cifar10" | "cifar100":  # section 5; README, example 1
            return dataclasses.replace(common, normalize=("gcn" if paper else "gcn-released",))
        case "svhn":
            # Section 5: local contrast normalization, as Lee et al. 2016; pylearn2's script for
            # SVHN, which that line of work used, normalizes the global contrast before it.
            # README, examples 3 and 4: LCN, and the tenth is whitened.
            steps: tuple[str, ...] = ("gcn", "lcn") if paper else ("lcn-released",)
            if svhn == "tenth" and not paper:
                steps = ("whiten",)
            return dataclasses.replace(
                common,
                svhn=svhn or "original",
                labels="zero" if paper else "minus_one",  # get_datasets.py:127-128
                validation=5000 if svhn in (None, "original") else None,
                normalize=steps,
            )
