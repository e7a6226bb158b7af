"""HDF5 files, read and written: HDF5Data, HDF5Output."""

from pathlib import Path
from typing import Any

import numpy as np
import torch

from caffe_torch.blob import Shape
from caffe_torch.layers.base import ANY, Context, Layer, Shapes, Tensors
from caffe_torch.layers.feed import cache_bytes
from caffe_torch.log import FatalError, info

_CLASSES = {
    "f": "H5T_FLOAT",
    "i": "H5T_INTEGER",
    "u": "H5T_INTEGER",
    "b": "H5T_ENUM",
    "S": "H5T_STRING",
    "O": "H5T_STRING",
}
_LINES = {"H5T_FLOAT": "hdf5.cpp:33", "H5T_INTEGER": "hdf5.cpp:36"}
_logged: set[str] = set()  # Caffe names each class of numbers once a process


class HDF5Data(Layer, type="HDF5Data"):
    """hdf5_data_param: rows of HDF5 files, one file after the other, round and round.

    `source` is a list of files, each name relative to the working folder. Tops: (batch_size, …),
    each of the data set of its own name, whatever type of number that has. A file is loaded as a
    whole when it is its turn; files that fit `feed.cache_bytes` stay in memory. `shuffle` draws
    the order of the files before each pass, and of a file's rows whenever it is its turn. Source:
    HDF5DataLayer.
    """

    bottoms = (0, 0)
    tops = (1, ANY)

    def __init__(self, param: Any, context: Context) -> None:
        super().__init__(param, context)
        self._rng = np.random.default_rng(context.rng.integers(2**63))
        self._kept: dict[str, list[torch.Tensor]] = {}

    def setup(self, bottoms: Shapes) -> None:
        p = self.param.hdf5_data_param
        self.check(
            not self.param.HasField("transform_param"),
            "hdf5_data_layer.cpp:77",
            "!this->layer_param_.has_transform_param() HDF5Data does not transform data. Remove "
            "transform_param; a Power or Scale layer scales",
        )
        info("hdf5_data_layer.cpp:81", f"Loading list of HDF5 filenames from: {p.source}")
        try:
            self._files = Path(p.source).read_text(encoding="utf-8").split()
        except (OSError, UnicodeDecodeError):
            raise FatalError(
                "hdf5_data_layer.cpp:90",
                f"Failed to open source file: {p.source} (layer '{self.name}': correct "
                f"hdf5_data_param.source, which is read from the folder {Path.cwd()})",
            ) from None
        info("hdf5_data_layer.cpp:95", f"Number of HDF5 files: {len(self._files)}")
        self.check(
            bool(self._files),
            "hdf5_data_layer.cpp:96",
            f"num_files_ >= 1 (0 vs. 1) Must have at least 1 HDF5 filename listed in {p.source}",
        )
        self.check(
            p.batch_size > 0,
            "blob.cpp:133",
            "data_ a batch_size of 0 makes an empty blob; give hdf5_data_param.batch_size",
        )
        self._turn = 0
        self._turns = self._draw_files()
        self._shapes: list[Shape] = []
        self._open()
        self._shapes = [(p.batch_size, *values.shape[1:]) for values in self._current]

    def reshape(self, bottoms: Shapes) -> list[Shape]:
        return list(self._shapes)

    def forward(self, bottoms: Tensors) -> list[torch.Tensor]:
        pieces: list[list[torch.Tensor]] = []
        need = self.param.hdf5_data_param.batch_size
        while need:
            count = min(need, len(self._current[0]) - self._row)
            rows: Any = slice(self._row, self._row + count)
            if self._shuffled is not None:
                rows = self._shuffled[rows]
            pieces.append([values[rows] for values in self._current])
            need -= count
            self._advance(count)
        device = self.context.device
        return [torch.cat(parts).to(device) for parts in zip(*pieces, strict=True)]

    def _advance(self, count: int) -> None:
        """Go on by some rows of the file; after its last, to the next file."""
        self._row += count
        if self._row < len(self._current[0]):
            return
        self._turn += 1
        if self._turn == len(self._files):
            self._turn = 0
            self._turns = self._draw_files()
        self._open()

    def _open(self) -> None:
        """Make the file whose turn it is the current one, and begin with its first row."""
        name = self._files[self._turns[self._turn]]
        if name not in self._kept:
            values = self._load(name)
            used = sum(_bytes(kept) for kept in self._kept.values())
            if used + _bytes(values) > cache_bytes():
                self._kept.clear()
            self._kept[name] = values
        self._current = self._kept[name]
        self._row = 0
        rows = len(self._current[0])
        shuffle = self.param.hdf5_data_param.shuffle
        self._shuffled = torch.from_numpy(self._rng.permutation(rows)) if shuffle else None

    def _draw_files(self) -> list[int]:
        """The order of the files in a pass."""
        n = len(self._files)
        shuffle = self.param.hdf5_data_param.shuffle
        return list(self._rng.permutation(n)) if shuffle else list(range(n))

    def _load(self, name: str) -> list[torch.Tensor]:
        """The data sets of the tops in one file, as float32."""
        import h5py  # here, as a net without such files starts sooner

        try:
            file = h5py.File(name, "r")
        except OSError as error:
            raise FatalError(
                "hdf5_data_layer.cpp:32",
                f"Failed opening HDF5 file: {name} (layer '{self.name}': list files that can be "
                f"read from the folder {Path.cwd()} in {self._source}: {error})",
            ) from None
        with file:
            loaded = [self._read(file, top, name) for top in self.param.top]
        rows = len(loaded[0])
        for top, values in zip(self.param.top, loaded, strict=True):
            self.check(
                len(values) == rows,
                "hdf5_data_layer.cpp:55",
                f"hdf_blobs_[i]->shape(0) == num ({len(values)} vs. {rows}) {name} has other "
                f"numbers of rows in '{self.param.top[0]}' and '{top}'",
            )
        for top, values, shape in zip(self.param.top, loaded, self._shapes, strict=False):
            self.check(
                values.shape[1:] == shape[1:],
                "hdf5_data_layer.cpp:55",
                f"'{top}' of {name} has rows of the shape {tuple(values.shape[1:])}, and not "
                f"{shape[1:]} as in the first file; list files of one shape in {self._source}",
            )
        return loaded

    def _read(self, file: Any, top: str, name: str) -> torch.Tensor:
        where = f"in {name}, a file of {self._source}"
        self.check(
            top in file,
            "hdf5.cpp:15",
            f"H5LTfind_dataset(file_id, dataset_name_) Failed to find HDF5 dataset {top} {where}; "
            "name the layer's tops as the data sets",
        )
        dataset = file[top]
        self.check(
            hasattr(dataset, "dtype"),
            "hdf5.cpp:21",
            f"status >= 0 (-1 vs. 0) Failed to get dataset ndims for {top} {where}: it is a group",
        )
        self.check(dataset.ndim > 0, "hdf5.cpp:22", f"ndims >= min_dim (0 vs. 1) '{top}' {where}")
        kind = _CLASSES.get(dataset.dtype.kind, "H5T_COMPOUND")
        if kind not in _LINES:
            raise FatalError(
                "hdf5.cpp:41",
                f"Unsupported datatype class: {kind} ('{top}' {where}, layer '{self.name}': "
                "write numbers)",
            )
        if kind not in _logged:
            _logged.add(kind)
            info(_LINES[kind], f"Datatype class: {kind}")
        self.check(
            dataset.size > 0,
            "blob.cpp:133",
            f"data_ '{top}' {where} has no values; leave the file out",
        )
        try:
            values = torch.from_numpy(np.asarray(dataset[()], np.float32))
        except OSError as error:
            raise FatalError(
                "hdf5.cpp:78",
                f"Check failed: status >= 0 (-1 vs. 0) Failed to read float dataset {top} {where} "
                f"(layer '{self.name}': {error}; write the file again)",
            ) from None
        return values.to(memory_format=torch.channels_last) if values.dim() == 4 else values

    @property
    def _source(self) -> str:
        return str(self.param.hdf5_data_param.source)


def _bytes(tensors: list[torch.Tensor]) -> int:
    return sum(values.nbytes for values in tensors)


class HDF5Output(Layer, type="HDF5Output"):
    """hdf5_output_param: writes two bottoms as the data sets `data` and `label` of a new file.

    Both have four dimensions there, with ones at the end. As in Caffe a second pass fails,
    since the data sets are there; what the first has written stays. Source: HDF5OutputLayer.
    """

    bottoms = (2, 2)
    tops = (0, 0)

    def setup(self, bottoms: Shapes) -> None:
        import h5py

        self._path = str(self.param.hdf5_output_param.file_name)
        try:
            h5py.File(self._path, "w").close()
        except (OSError, ValueError) as error:
            raise FatalError(
                "hdf5_output_layer.cpp:18",
                f"Check failed: file_id_ >= 0 (-1 vs. 0) Failed to open HDF5 file{self._path} "
                f"(layer '{self.name}': give a file_name that can be written: {error})",
            ) from None

    def reshape(self, bottoms: Shapes) -> list[Shape]:
        for shape in bottoms:
            self.check(
                len(shape) <= 4,
                "blob.hpp:140",
                f"num_axes() <= 4 ({len(shape)} vs. 4) Cannot use legacy accessors on Blobs with "
                "> 4 axes. Flatten the bottom first",
            )
        return []

    def forward(self, bottoms: Tensors) -> list[torch.Tensor]:
        rows = [x.shape[0] if x.dim() else 1 for x in bottoms]
        self.check(
            rows[0] == rows[1],
            "hdf5_output_layer.cpp:45",
            f"bottom[0]->num() == bottom[1]->num() ({rows[0]} vs. {rows[1]}) the two bottoms have "
            "other numbers of rows",
        )
        import h5py

        info("hdf5_output_layer.cpp:33", f"Saving HDF5 file {self._path}")
        with h5py.File(self._path, "a") as file:
            for name, x in zip(("data", "label"), bottoms, strict=True):
                self.check(
                    name not in file,
                    "hdf5.cpp:124",
                    f"status >= 0 (-1 vs. 0) Failed to make float dataset {name} {self._path} has "
                    "it already: this layer writes one batch; run one iteration, with a batch of "
                    "all examples",
                )
                values = x.detach().cpu().numpy()
                file[name] = values.reshape(*values.shape, *[1] * (4 - values.ndim))
        info("hdf5_output_layer.cpp:38", f"Successfully saved {rows[0]} rows")
        return []
